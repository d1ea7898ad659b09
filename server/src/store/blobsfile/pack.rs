//! Packs: append-only files of records, with a header and, once sealed, a footer.
//!
//! # Format (version 1), numbers little endian
//! Header, 24 bytes: magic `DataDBpk` (8), version (4), the pack's number (8), BLAKE3 (its first 4 bytes) of those.
//! Then records, one after the other (see [`super::record`]). A sealed pack ends in a footer: magic `DataDBft` (8), per
//! record its offset (8) and its whole head; then number of records (4), length of the footer up to here (8), BLAKE3 (its
//! first 16 bytes) of all of that, and magic `DataDBnd` (8). The records that it lists fill the pack from its header to the
//! footer, without gaps; bytes that don't say so are the end of somebody's data, and no footer. The footer holds nothing that the records don't: whoever
//! finds it damaged reads the records instead. Names are `%016x.pack` of the number, which is never used again.
//! A pack of a newer version is refused.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;

use super::record::{self, Claim, FIXED_BYTES, HEAD_BYTES_MAX, Head, RecordError};
use super::{HEADS_BYTES_MAX, PACK_RECORDS_MAX};
use crate::store::{StoreError, disk::DiskFile};

/// Bytes before the first record.
pub const HEADER_BYTES: u64 = 24;

const VERSION: u32 = 1;
const HEADER_MAGIC: &[u8; 8] = b"DataDBpk";
const FOOTER_MAGIC: &[u8; 8] = b"DataDBft";
const END_MAGIC: &[u8; 8] = b"DataDBnd";
const TAIL_BYTES: u64 = 4 + 8 + 16 + 8;

/// No footer is longer, as far as a reader is concerned.
const FOOTER_BYTES_MAX: u64 = 256 << 20;

/// What a writer may put into a footer: heads up to where a pack is full, the one that fills it, and their offsets.
const _: () = assert!(
    ((HEADS_BYTES_MAX + HEAD_BYTES_MAX + PACK_RECORDS_MAX * 8) as u64) < FOOTER_BYTES_MAX,
    "every footer that is written can be read"
);

/// How much is read at once when looking for the next magic.
const SEARCH_BYTES: usize = 256 << 10;

/// The file name of a pack.
pub fn file_name(number: u64) -> String {
    format!("{number:016x}.pack")
}

/// The number of a pack by its file name.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".pack")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

/// The header of pack `number`.
pub fn header(number: u64) -> Vec<u8> {
    let mut header = [&HEADER_MAGIC[..], &VERSION.to_le_bytes(), &number.to_le_bytes()].concat();
    let sum = blake3::hash(&header);
    header.extend_from_slice(&sum.as_bytes()[..4]);
    header
}

/// Whether the header is intact; a newer version is an error.
pub fn check_header(file: &dyn DiskFile, path: &Path, number: u64) -> Result<bool, StoreError> {
    let io = |source| StoreError::io(path.display(), source);
    let mut found = [0; HEADER_BYTES as usize];
    let read = file.read_at(&mut found, 0).map_err(io)?;
    if read == found.len() && found[..8] == HEADER_MAGIC[..] {
        let version = u32::from_le_bytes(found[8..12].try_into().expect("four bytes"));
        let is_intact = blake3::hash(&found[..20]).as_bytes()[..4] == found[20..];
        if is_intact && version > VERSION {
            return Err(StoreError::Newer { place: path.display().to_string(), version });
        }
    }
    Ok(found[..read] == header(number)[..])
}

/// The footer of these records.
pub fn footer(records: &[(u64, Head)]) -> Vec<u8> {
    let mut footer = FOOTER_MAGIC.to_vec();
    for (offset, head) in records {
        footer.extend_from_slice(&offset.to_le_bytes());
        footer.extend_from_slice(head.bytes());
    }
    let count = u32::try_from(records.len()).expect("a pack has at most PACK_RECORDS_MAX records");
    let len = footer.len() as u64;
    footer.extend_from_slice(&count.to_le_bytes());
    footer.extend_from_slice(&len.to_le_bytes());
    let sum = blake3::hash(&footer);
    footer.extend_from_slice(&sum.as_bytes()[..16]);
    footer.extend_from_slice(END_MAGIC);
    footer
}

/// Reads the footer: offsets and heads of all records. `None` if there is none, or if it is damaged.
pub fn read_footer(file: &dyn DiskFile) -> io::Result<Option<Vec<(u64, Head)>>> {
    let size = file.size()?;
    let Some(tail_at) = size.checked_sub(TAIL_BYTES) else { return Ok(None) };
    let mut tail = [0; TAIL_BYTES as usize];
    if file.read_at(&mut tail, tail_at)? < tail.len() || tail[28..] != END_MAGIC[..] {
        return Ok(None);
    }
    let count = u32::from_le_bytes(tail[..4].try_into().expect("four bytes"));
    let len = u64::from_le_bytes(tail[4..12].try_into().expect("eight bytes"));
    if len > FOOTER_BYTES_MAX.min(tail_at) {
        return Ok(None);
    }
    let start = tail_at - len;
    let mut bytes = vec![0; len as usize];
    if file.read_at(&mut bytes, start)? < bytes.len() {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes).update(&tail[..12]);
    if hasher.finalize().as_bytes()[..16] != tail[12..28] || !bytes.starts_with(FOOTER_MAGIC) {
        return Ok(None);
    }
    let records = parse_footer(Bytes::from(bytes).slice(FOOTER_MAGIC.len()..));
    Ok(records.filter(|records| records.len() == count as usize && do_fill(records, start)))
}

/// Whether these records lie one behind the other from the header up to a place.
fn do_fill(records: &[(u64, Head)], until: u64) -> bool {
    let mut end = HEADER_BYTES;
    for (offset, head) in records {
        if *offset != end {
            return false;
        }
        end += head.record_len();
    }
    end == until
}

fn parse_footer(mut bytes: Bytes) -> Option<Vec<(u64, Head)>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let offset = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        let len = Head::declared_len(&bytes[8..]).ok()?;
        let head = bytes.get(8..8 + len)?;
        records.push((offset, Head::decode(bytes.slice_ref(head)).ok()?));
        bytes = bytes.split_off(8 + len);
    }
    Some(records)
}

/// Whether a sealed pack is intact to its last byte: header, records without gaps, and a footer that lists just those.
pub fn is_whole(file: &dyn DiskFile, number: u64) -> io::Result<bool> {
    let mut found = [0; HEADER_BYTES as usize];
    if file.read_at(&mut found, 0)? < found.len() || found[..] != header(number)[..] {
        return Ok(false);
    }
    let Some(records) = read_footer(file)? else { return Ok(false) };
    let mut end = HEADER_BYTES;
    for (offset, head) in &records {
        let is_there = *offset == end && read_head(file, end)?.as_ref() == Ok(head);
        if !is_there || read_data(file, end, head)?.and_then(|data| head.clone().into_bundle(data)).is_err() {
            return Ok(false);
        }
        end += head.record_len();
    }
    Ok(file.size()? == end + footer(&records).len() as u64)
}

/// Reads exactly this many bytes, or says that the record is cut short.
fn read_exactly(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Result<Bytes, RecordError>> {
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, offset)?;
    Ok(if read == len { Ok(bytes.into()) } else { Err(RecordError::Short) })
}

/// Reads the head of the record at an offset.
pub fn read_head(file: &dyn DiskFile, offset: u64) -> io::Result<Result<Head, RecordError>> {
    let mut fixed = [0; FIXED_BYTES];
    let read = file.read_at(&mut fixed, offset)?;
    let len = match Head::declared_len(&fixed[..read]) {
        Ok(len) => len,
        Err(error) => return Ok(Err(error)),
    };
    Ok(read_exactly(file, offset, len)?.and_then(Head::decode))
}

/// Reads the data behind a head.
pub fn read_data(file: &dyn DiskFile, offset: u64, head: &Head) -> io::Result<Result<Bytes, RecordError>> {
    let len = head.record_len() as usize - head.bytes().len();
    read_exactly(file, offset + head.bytes().len() as u64, len)
}

/// What the head at an offset claims, damaged or not.
pub fn read_claim(file: &dyn DiskFile, offset: u64) -> io::Result<Option<Claim>> {
    let mut fixed = [0; FIXED_BYTES];
    let read = file.read_at(&mut fixed, offset)?;
    Ok(if read < FIXED_BYTES { None } else { Claim::of(&fixed) })
}

/// Reads the data where a claim says that it is.
pub fn read_claimed(file: &dyn DiskFile, offset: u64, claim: &Claim) -> io::Result<Result<Bytes, RecordError>> {
    read_exactly(file, offset + claim.head_len() as u64, claim.data_len())
}

/// The eight bytes at an offset, fewer at the end of the file as zeros.
fn magic_at(file: &dyn DiskFile, offset: u64) -> io::Result<[u8; 8]> {
    let mut magic = [0; 8];
    file.read_at(&mut magic, offset)?;
    Ok(magic)
}

/// Whether a footer starts at an offset.
pub fn is_footer(file: &dyn DiskFile, offset: u64) -> io::Result<bool> {
    Ok(magic_at(file, offset)? == *FOOTER_MAGIC)
}

/// Whether a record or a footer starts at an offset.
pub fn is_boundary(file: &dyn DiskFile, offset: u64) -> io::Result<bool> {
    let magic = magic_at(file, offset)?;
    Ok(magic == record::MAGIC || magic == *FOOTER_MAGIC)
}

/// The offset of the next record's magic at or after `from`, before `end`.
pub fn find_magic(file: &dyn DiskFile, from: u64, end: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    let mut buf = vec![0; SEARCH_BYTES];
    while at < end {
        let want = SEARCH_BYTES.min((end - at) as usize);
        let read = file.read_at(&mut buf[..want], at)?;
        if let Some(found) = buf[..read].windows(8).position(|window| window == record::MAGIC) {
            return Ok(Some(at + found as u64));
        }
        if read < want || at + read as u64 >= end {
            return Ok(None);
        }
        at += read as u64 - 7;
    }
    Ok(None)
}

/// An open pack file and its number.
#[derive(Clone, Debug)]
pub struct PackFile {
    /// Its number.
    pub number: u64,
    /// The file.
    pub file: Arc<dyn DiskFile>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{disk::Disk as _, testing::conformance::bundle, testing::power_cut::CutDisk};
    use proptest::prelude::*;

    #[test]
    fn a_file_name_tells_its_number_and_no_other_name_does() {
        assert_eq!(parse_file_name(&file_name(0x1f)), Some(0x1f));
        for other in ["1f.pack", "000000000000001F.pack", "000000000000001f.pack.new", "pack", ""] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }

    fn file(bytes: &[u8]) -> Arc<dyn DiskFile> {
        let disk = CutDisk::default();
        disk.replace(Path::new("/pack"), Some(bytes.to_vec()));
        disk.open(Path::new("/pack")).unwrap()
    }

    fn sealed(shapes: &[Vec<u8>]) -> (Vec<u8>, Vec<(u64, Head)>) {
        let mut bytes = header(1);
        let mut records = Vec::new();
        for blob in shapes {
            let bundle = bundle(&[Bytes::copy_from_slice(blob)]);
            let head = Head::new(&bundle, b"label");
            records.push((bytes.len() as u64, head.clone()));
            bytes.extend_from_slice(head.bytes());
            bytes.extend_from_slice(bundle.data());
        }
        bytes.extend_from_slice(&footer(&records));
        (bytes, records)
    }

    #[test]
    fn a_pack_is_whole_as_long_as_no_bit_of_it_is_flipped() {
        let (bytes, _) = sealed(&[vec![1; 50], vec![2; 10]]);
        assert!(is_whole(&*file(&bytes), 1).unwrap());
        assert!(!is_whole(&*file(&bytes), 2).unwrap(), "it is another pack");
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            assert!(!is_whole(&*file(&bytes), 1).unwrap(), "byte {at}");
            assert!(!is_whole(&*file(&bytes[..at]), 1).unwrap(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn a_footer_lists_what_was_sealed(shapes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..6)) {
            let (bytes, records) = sealed(&shapes);
            prop_assert_eq!(read_footer(&*file(&bytes)).unwrap(), Some(records));
        }

        #[test]
        fn a_footer_with_a_flipped_bit_is_none(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let (mut bytes, records) = sealed(&[vec![1; 50], vec![2; 10]]);
            let (last, head) = &records[1];
            let start = (last + head.record_len()) as usize;
            let at = start + at.index(bytes.len() - start);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(read_footer(&*file(&bytes)).unwrap(), None);
        }

        #[test]
        fn any_bytes_are_no_footer(mut bytes in prop::collection::vec(any::<u8>(), 0..300), has_end: bool) {
            if has_end {
                bytes.extend_from_slice(END_MAGIC);
            }
            prop_assert_eq!(read_footer(&*file(&bytes)).unwrap(), None);
        }
    }
}
