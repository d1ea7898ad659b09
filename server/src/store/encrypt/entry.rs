//! What the index keeps of a blob: which sealed blob it lies in, and what proves it; and how far the labels were read.
//!
//! # Format (version 1)
//! Of a blob: `state u8 (0 good, 1 bad) · id of the sealed blob (20) · pack · offset of its record · plain length` (varints),
//! then the BLAKE3 of the plain blob (32). A bad entry is one whose seal failed; for everything but the count it is missing.
//!
//! Of the store, under `leaf:NAME`: `0 or 1, and with it pack and offset` of the last label that was read, `blobs · their
//! bytes · dead bytes · records · bad blobs`, the number of keys that sealed any of it (varints), and their ids (8 each).

use std::collections::BTreeSet;

use datadb::{
    BlobId, BlobRef, Digest,
    codec::{DecodeError, Reader, Writer},
};

use super::key::KeyId;
use crate::store::Cursor;

/// A blob's place among the sealed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether its seal failed.
    pub is_bad: bool,
    /// The sealed blob that it lies in.
    pub inner: BlobId,
    /// Where that one's record lies.
    pub cursor: Cursor,
    /// Plain length of the blob.
    pub len: u32,
    /// BLAKE3 of the blob.
    pub digest: Digest,
}

impl Entry {
    /// The entry of a blob in a sealed one.
    pub const fn new(inner: BlobId, cursor: Cursor, blob: &BlobRef) -> Self {
        Self { is_bad: false, inner, cursor, len: blob.len, digest: blob.digest }
    }

    /// The encoding above.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(80);
        w.u8(u8::from(self.is_bad)).raw(self.inner.as_bytes()).varint(self.cursor.pack).varint(self.cursor.offset);
        w.varint(u64::from(self.len)).raw(self.digest.as_bytes());
        w.finish()
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let is_bad = flag(&mut r)?;
        let inner = BlobId::new(r.array("sealed blob")?);
        let cursor = Cursor { pack: r.varint("pack")?, offset: r.varint("offset")? };
        let (len, digest) = (r.varint32("length")?, Digest::new(r.array("digest")?));
        r.end()?;
        Ok(Self { is_bad, inner, cursor, len, digest })
    }
}

fn flag(r: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match r.u8("state")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Unknown { field: "state", value: u64::from(other) }),
    }
}

/// How far the labels were read, and what they say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last label that was read.
    pub read_to: Option<Cursor>,
    /// Distinct blobs.
    pub blobs: u64,
    /// Their plain lengths added up.
    pub blob_bytes: u64,
    /// Plain bytes stored more than once.
    pub dead_bytes: u64,
    /// Sealed bundles.
    pub records: u64,
    /// Blobs whose seal failed.
    pub bad_blobs: u64,
    /// The keys that are needed.
    pub keys: BTreeSet<KeyId>,
}

impl Progress {
    /// The encoding above.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(u8::from(self.read_to.is_some()));
        if let Some(Cursor { pack, offset }) = self.read_to {
            w.varint(pack).varint(offset);
        }
        w.varint(self.blobs).varint(self.blob_bytes).varint(self.dead_bytes).varint(self.records);
        w.varint(self.bad_blobs).varint(self.keys.len() as u64);
        for key in &self.keys {
            w.raw(key.as_bytes());
        }
        w.finish()
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let read_to = match flag(&mut r)? {
            true => Some(Cursor { pack: r.varint("pack")?, offset: r.varint("offset")? }),
            false => None,
        };
        let mut progress = Self {
            read_to,
            blobs: r.varint("blobs")?,
            blob_bytes: r.varint("blob bytes")?,
            dead_bytes: r.varint("dead bytes")?,
            records: r.varint("records")?,
            bad_blobs: r.varint("bad blobs")?,
            keys: BTreeSet::new(),
        };
        for _ in 0..r.count("keys", KeyId::LEN)? {
            progress.keys.insert(KeyId::new(r.array("key")?));
        }
        r.end()?;
        Ok(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_was_written(
            is_bad: bool, inner: [u8; 20], pack: u64, offset: u64, len: u32, digest: [u8; 32]
        ) {
            let (cursor, digest) = (Cursor { pack, offset }, Digest::new(digest));
            let entry = Entry { is_bad, inner: BlobId::new(inner), cursor, len, digest };
            prop_assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
        }

        #[test]
        fn progress_comes_back_as_it_was_written(
            cursor: Option<(u64, u64)>, sums: [u64; 5], keys in prop::collection::btree_set(any::<[u8; 8]>(), 0..4)
        ) {
            let [blobs, blob_bytes, dead_bytes, records, bad_blobs] = sums;
            let read_to = cursor.map(|(pack, offset)| Cursor { pack, offset });
            let keys = keys.into_iter().map(KeyId::new).collect();
            let progress = Progress { read_to, blobs, blob_bytes, dead_bytes, records, bad_blobs, keys };
            prop_assert_eq!(Progress::decode(&progress.encode()).unwrap(), progress);
        }

        #[test]
        fn any_bytes_are_an_error_or_an_entry_that_encodes_to_them(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
