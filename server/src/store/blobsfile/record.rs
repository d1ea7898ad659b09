//! One record of a pack: a bundle with its label, and the checksums that prove both.
//!
//! # Format (version 1), numbers little endian
//! | bytes | what |
//! | --- | --- |
//! | 8 | magic `DA 7A DB 0A 72 65 63 1A`, by which a record can be found again after damage |
//! | 1 | version of the record, 1 |
//! | 1 | codec of the data: 0 raw, 1 zstd |
//! | 2 | zero |
//! | 4 | blobs in the table |
//! | 4 | plain length of the bundle |
//! | 4 | length of the label |
//! | 4 | length of the data |
//! | 16 | BLAKE3 (its first 16 bytes) of the data |
//! | 16 | BLAKE3 (its first 16 bytes) of everything above, the table and the label |
//! | 56 each | table: per blob SHA-1, BLAKE3, plain length (big endian) |
//! | | label |
//! | | data |
//!
//! A record does not depend on its position. With another version the reader treats the record as unknown, and the pack
//! as damaged there; packs of a newer version are refused as a whole by their header.

use bytes::{Bytes, BytesMut};
use datadb::{BlobRef, Bundle, bundle::Codec, limits};
use thiserror::Error;

/// Starts every record.
pub const MAGIC: [u8; 8] = [0xDA, 0x7A, 0xDB, 0x0A, 0x72, 0x65, 0x63, 0x1A];

/// Bytes before the table.
pub const FIXED_BYTES: usize = 60;

/// The longest data: a sealed log record. What doesn't shrink is kept raw, so that coding adds nothing.
pub const DATA_BYTES_MAX: usize = limits::SEALED_BYTES_MAX;

/// No head is longer.
pub const HEAD_BYTES_MAX: usize = FIXED_BYTES + limits::BUNDLE_BLOBS_MAX * BlobRef::LEN + limits::LABEL_BYTES_MAX;

const VERSION: u8 = 1;
const SUM_BYTES: usize = 16;
const HEAD_SUM_AT: usize = FIXED_BYTES - SUM_BYTES;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// No record starts here.
    #[error("no record starts here")]
    Magic,
    /// A record of another version.
    #[error("the record has another version")]
    Version,
    /// The head's fields contradict the limits or its checksum.
    #[error("the record's head is damaged")]
    Head,
    /// The data is not what the head's checksum says.
    #[error("the record's data is damaged")]
    Data,
    /// The record reaches beyond the end.
    #[error("the record is cut short")]
    Short,
}

/// Everything of a record but its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The head's bytes: the fixed part, table and label.
    bytes: Bytes,
    codec: Codec,
    table_bytes: usize,
    plain_bytes: u32,
    data_bytes: u32,
}

/// The lengths that the fixed part of a head claims, which may be damaged, within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    head_bytes: usize,
    data_bytes: u32,
    data_sum: [u8; SUM_BYTES],
}

impl Claim {
    /// What these bytes claim, whatever magic and version they have; `None` if no record can be so long.
    pub fn of(fixed: &[u8; FIXED_BYTES]) -> Option<Self> {
        let (blobs, label, data_bytes) = (u32_at(fixed, 12) as usize, u32_at(fixed, 20) as usize, u32_at(fixed, 24));
        if blobs == 0
            || blobs > limits::BUNDLE_BLOBS_MAX
            || label > limits::LABEL_BYTES_MAX
            || data_bytes as usize > DATA_BYTES_MAX
        {
            return None;
        }
        let data_sum = *fixed[HEAD_SUM_AT - SUM_BYTES..].first_chunk()?;
        Some(Self { head_bytes: FIXED_BYTES + blobs * BlobRef::LEN + label, data_bytes, data_sum })
    }

    /// Length of the whole head.
    pub const fn head_len(&self) -> usize {
        self.head_bytes
    }

    /// Length of the data.
    pub const fn data_len(&self) -> usize {
        self.data_bytes as usize
    }

    /// Length of the whole record.
    pub const fn record_len(&self) -> u64 {
        self.head_bytes as u64 + self.data_bytes as u64
    }

    /// Whether these bytes are its data.
    pub fn is_data(&self, data: &[u8]) -> bool {
        data.len() == self.data_len() && sum(&[data]) == self.data_sum
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn sum(parts: &[&[u8]]) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes().first_chunk().expect("a BLAKE3 is 32 bytes long")
}

impl Head {
    /// The head of a new record, of what [`crate::store::check_put`] has let through.
    pub fn new(bundle: &Bundle, label: &[u8]) -> Self {
        let fits = "limits keep every part of a record far below 4 GiB";
        let blobs = u32::try_from(bundle.refs().len()).expect(fits);
        let label_bytes = u32::try_from(label.len()).expect(fits);
        let data_bytes = u32::try_from(bundle.data().len()).expect(fits);
        let mut bytes = BytesMut::with_capacity(FIXED_BYTES + bundle.table().len() + label.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, bundle.codec() as u8, 0, 0]);
        for number in [blobs, bundle.plain_bytes(), label_bytes, data_bytes] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&sum(&[bundle.data()]));
        let head_sum = sum(&[&bytes, bundle.table(), label]);
        bytes.extend_from_slice(&head_sum);
        bytes.extend_from_slice(bundle.table());
        bytes.extend_from_slice(label);
        Self {
            bytes: bytes.freeze(),
            codec: bundle.codec(),
            table_bytes: bundle.table().len(),
            plain_bytes: bundle.plain_bytes(),
            data_bytes,
        }
    }

    /// Length of the whole head as its fixed part declares it, after a check of every limit.
    pub fn declared_len(fixed: &[u8]) -> Result<usize, RecordError> {
        if fixed.len() < FIXED_BYTES {
            return Err(RecordError::Short);
        }
        if fixed[..8] != MAGIC {
            return Err(RecordError::Magic);
        }
        if fixed[8] != VERSION {
            return Err(RecordError::Version);
        }
        fixed.first_chunk().and_then(Claim::of).map(|claim| claim.head_len()).ok_or(RecordError::Head)
    }

    /// Reads a head of exactly `declared_len` bytes and verifies its checksum.
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        if bytes.len() != Self::declared_len(&bytes)? {
            return Err(RecordError::Short);
        }
        if sum(&[&bytes[..HEAD_SUM_AT], &bytes[FIXED_BYTES..]]) != bytes[HEAD_SUM_AT..FIXED_BYTES] {
            return Err(RecordError::Head);
        }
        Ok(Self {
            codec: Codec::try_from(bytes[9]).map_err(|_| RecordError::Version)?,
            table_bytes: u32_at(&bytes, 12) as usize * BlobRef::LEN,
            plain_bytes: u32_at(&bytes, 16),
            data_bytes: u32_at(&bytes, 24),
            bytes,
        })
    }

    /// The head's bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Length of the whole record.
    pub fn record_len(&self) -> u64 {
        self.bytes.len() as u64 + u64::from(self.data_bytes)
    }

    /// What is inside.
    pub fn refs(&self) -> impl ExactSizeIterator<Item = BlobRef> + '_ {
        let table = &self.bytes[FIXED_BYTES..FIXED_BYTES + self.table_bytes];
        table.as_chunks::<{ BlobRef::LEN }>().0.iter().map(BlobRef::unpack)
    }

    /// The label.
    pub fn label(&self) -> Bytes {
        self.bytes.slice(FIXED_BYTES + self.table_bytes..)
    }

    /// Verifies the data and puts the bundle together.
    pub fn into_bundle(self, data: Bytes) -> Result<Bundle, RecordError> {
        if data.len() != self.data_bytes as usize {
            return Err(RecordError::Short);
        }
        if sum(&[&data]) != self.bytes[HEAD_SUM_AT - SUM_BYTES..HEAD_SUM_AT] {
            return Err(RecordError::Data);
        }
        let table = self.bytes.slice(FIXED_BYTES..FIXED_BYTES + self.table_bytes);
        Bundle::new(self.codec, self.plain_bytes, table, data).map_err(|_| RecordError::Head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::bundle::BundleBuilder;
    use proptest::prelude::*;

    fn bundle(blobs: &[Vec<u8>]) -> Bundle {
        let mut builder = BundleBuilder::new();
        for bytes in blobs {
            builder.push(&BlobRef::of(bytes), bytes);
        }
        builder.seal(1)
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was_written(
            blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..9),
            label in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let bundle = bundle(&blobs);
            let head = Head::new(&bundle, &label);
            let again = Head::decode(head.bytes().clone()).unwrap();
            prop_assert_eq!(&again, &head);
            prop_assert_eq!(&again.label()[..], &label[..]);
            prop_assert_eq!(again.into_bundle(bundle.data().clone()).unwrap(), bundle);
        }

        #[test]
        fn any_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut with_magic = MAGIC.to_vec();
            with_magic.push(VERSION);
            with_magic.extend_from_slice(&bytes);
            prop_assert!(Head::decode(bytes.into()).is_err());
            prop_assert!(Head::decode(with_magic.into()).is_err());
        }

        #[test]
        fn every_flipped_bit_is_found(blob in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let bundle = bundle(&[blob]);
            let head = Head::new(&bundle, b"label");
            let mut bytes = [&head.bytes()[..], &bundle.data()[..]].concat();
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            let head_len = head.bytes().len();
            let read = Head::decode(Bytes::copy_from_slice(&bytes[..head_len]))
                .and_then(|head| head.into_bundle(Bytes::copy_from_slice(&bytes[head_len..])));
            prop_assert!(read.is_err());
        }
    }
}
