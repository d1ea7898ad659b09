//! What the index keeps of a blob in a leaf: where it lies and what proves it.
//!
//! # Format (version 1)
//! `state u8 (0 good, 1 bad) · pack · offset · record length · position in the record · plain length` as varints, then the
//! BLAKE3 (32). A bad entry is kept so that damage can be reported; for everything else the blob is missing.

use datadb::{
    BlobId, BlobRef, Digest,
    codec::{DecodeError, Reader, Writer},
};

use super::record::Head;
use crate::store::Cursor;

/// A blob's place in a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether its copy failed verification.
    pub is_bad: bool,
    /// Which record.
    pub cursor: Cursor,
    /// Length of the whole record.
    pub record_len: u64,
    /// Which blob of the record, from 0.
    pub position: u32,
    /// Plain length of the blob.
    pub len: u32,
    /// BLAKE3 of the blob.
    pub digest: Digest,
}

impl Entry {
    /// The entry of a blob in a record.
    pub fn new(cursor: Cursor, record_len: u64, position: usize, blob: &BlobRef) -> Self {
        let position = u32::try_from(position).expect("a bundle has at most BUNDLE_BLOBS_MAX blobs");
        Self { is_bad: false, cursor, record_len, position, len: blob.len, digest: blob.digest }
    }

    /// Whether a record that was read in its place holds the blob where it says.
    pub fn names(&self, head: &Head, id: &BlobId) -> bool {
        head.refs().nth(self.position as usize).is_some_and(|blob| blob.id == *id)
    }

    /// The encoding above.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(56);
        w.u8(u8::from(self.is_bad)).varint(self.cursor.pack).varint(self.cursor.offset).varint(self.record_len);
        w.varint(u64::from(self.position)).varint(u64::from(self.len)).raw(self.digest.as_bytes());
        w.finish()
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let is_bad = match r.u8("state")? {
            0 => false,
            1 => true,
            other => return Err(DecodeError::Unknown { field: "entry state", value: u64::from(other) }),
        };
        let cursor = Cursor { pack: r.varint("pack")?, offset: r.varint("offset")? };
        let record_len = r.varint("record length")?;
        let (position, len) = (r.varint32("position")?, r.varint32("length")?);
        let digest = Digest::new(r.array("digest")?);
        r.end()?;
        Ok(Self { is_bad, cursor, record_len, position, len, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_was_written(
            is_bad: bool, pack: u64, offset: u64, record_len: u64, position: u32, len: u32, digest: [u8; 32]
        ) {
            let (cursor, digest) = (Cursor { pack, offset }, Digest::new(digest));
            let entry = Entry { is_bad, cursor, record_len, position, len, digest };
            prop_assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
        }

        #[test]
        fn any_bytes_are_an_error_or_an_entry_that_encodes_to_them(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
