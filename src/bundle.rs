//! Bundles: blobs compressed together as one frame. The unit of upload, of storage and of download.
//!
//! **Nothing but the blobs.** The data of a compressed bundle is exactly one zstd frame (RFC 8878), which tells its plain length
//! in its head; no other frame, no skippable one and no byte stands before or behind it, and it is not longer than what it
//! holds, for what doesn't shrink is kept raw. So no bundle takes more room than its limits say.

use std::{cell::RefCell, io};

use bytes::Bytes;
use thiserror::Error;
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe,
};

use crate::{
    blob::{BlobId, BlobRef},
    codec::DecodeError,
    limits,
};

/// How a bundle's data is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl TryFrom<u8> for Codec {
    type Error = DecodeError;
    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Zstd),
            other => Err(DecodeError::Unknown { field: "codec", value: u64::from(other) }),
        }
    }
}

/// Why a bundle was refused.
#[derive(Debug, Error)]
pub enum BundleError {
    /// The table or a length is wrong.
    #[error("bundle: {0}")]
    Malformed(#[from] DecodeError),
    /// The data is not what the codec says, or not as long as declared.
    #[error("bundle: the data does not decode to {declared} bytes")]
    Undecodable {
        /// The declared plain length.
        declared: u32,
    },
    /// A blob's bytes are not those that its id and digest name.
    #[error("blob {id}: bytes do not match their {hash}")]
    Mismatch {
        /// The blob.
        id: BlobId,
        /// Which of its two hashes failed.
        hash: &'static str,
    },
}

/// Some blobs, compressed together: a table of what is inside, and the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    codec: Codec,
    plain_bytes: u32,
    table: Bytes,
    data: Bytes,
}

impl Bundle {
    /// Checks the shape: the table is whole, not empty, within limits, its lengths add up to `plain_bytes`, and the data is
    /// not longer than that. The data stays unread.
    pub fn new(codec: Codec, plain_bytes: u32, table: Bytes, data: Bytes) -> Result<Self, BundleError> {
        let bundle = Self { codec, plain_bytes, table, data };
        bundle.check()?;
        Ok(bundle)
    }

    /// Checks the same once more, of a bundle that was made here: that everybody else will read it.
    pub fn check(&self) -> Result<(), BundleError> {
        let Self { codec, plain_bytes, .. } = *self;
        let (refs, rest) = self.table.as_chunks::<{ BlobRef::LEN }>();
        if refs.is_empty() || !rest.is_empty() {
            return Err(DecodeError::rule("table", "is not a whole number of refs").into());
        }
        if refs.len() > limits::BUNDLE_BLOBS_MAX {
            return Err(DecodeError::rule("table", "has more blobs than a bundle may hold").into());
        }
        let max = match (refs.len(), codec) {
            // What is sealed can't be compressed, so a frame never needs as much.
            (1, Codec::Raw) => limits::SEALED_BYTES_MAX,
            (1, Codec::Zstd) => limits::LOG_RECORD_BYTES_MAX,
            _ => limits::BUNDLE_BYTES_MAX,
        };
        if plain_bytes as usize > max {
            return Err(DecodeError::rule("plain length", "exceeds its limit").into());
        }
        let sum: u64 = self.refs().map(|blob| u64::from(blob.len)).sum();
        if sum != u64::from(plain_bytes) {
            return Err(DecodeError::rule("table", "lengths do not add up to the plain length").into());
        }
        let data_bytes = self.data.len() as u64;
        let is_right_length = match codec {
            Codec::Raw => data_bytes == sum,
            Codec::Zstd => data_bytes <= sum,
        };
        if !is_right_length {
            let rule = "is not as long as its blobs: what does not shrink is sent raw, and nothing stands beside the one frame";
            return Err(DecodeError::rule("data", rule).into());
        }
        Ok(())
    }

    /// How the data is coded.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Length after decoding.
    pub const fn plain_bytes(&self) -> u32 {
        self.plain_bytes
    }

    /// The packed table, 56 bytes a blob.
    pub const fn table(&self) -> &Bytes {
        &self.table
    }

    /// The coded data.
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// What is inside, in order.
    pub fn refs(&self) -> impl ExactSizeIterator<Item = BlobRef> + '_ {
        self.table.as_chunks::<{ BlobRef::LEN }>().0.iter().map(BlobRef::unpack)
    }

    /// Decodes the data without checking the blobs.
    pub fn decode(&self) -> Result<Plain, BundleError> {
        let undecodable = || BundleError::Undecodable { declared: self.plain_bytes };
        let plain = match self.codec {
            Codec::Raw => self.data.clone(),
            Codec::Zstd => decompress(&self.data, self.plain_bytes as usize).map_err(|_| undecodable())?.into(),
        };
        if plain.len() != self.plain_bytes as usize {
            return Err(undecodable());
        }
        Ok(Plain { table: self.table.clone(), plain })
    }

    /// Decodes the data and verifies SHA-1 and BLAKE3 of every blob.
    pub fn verify(&self) -> Result<Plain, BundleError> {
        let plain = self.decode()?;
        plain.iter().try_for_each(|(blob, bytes)| check(&blob, &bytes))?;
        Ok(plain)
    }
}

thread_local! {
    /// A context costs more than a small frame: a thread keeps its own, for the level that it used last.
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compress(plain: &[u8], level: i32) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let (_, compressor) = match kept.take_if(|(of, _)| *of == level) {
            Some(kept_one) => kept.insert(kept_one),
            None => kept.insert((level, Compressor::new(level)?)),
        };
        compressor.compress(plain)
    })
}

/// Starts a frame that holds data; there are others that hold nothing, and are passed over.
const FRAME_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Whether these bytes are one frame and nothing else, which says that it holds so many.
fn is_one_frame(bytes: &[u8], plain_bytes: usize) -> bool {
    bytes.starts_with(&FRAME_MAGIC)
        && zstd_safe::find_frame_compressed_size(bytes) == Ok(bytes.len())
        && matches!(zstd_safe::get_frame_content_size(bytes), Ok(Some(len)) if len == plain_bytes as u64)
}

fn decompress(frame: &[u8], plain_bytes: usize) -> io::Result<Vec<u8>> {
    if !is_one_frame(frame, plain_bytes) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(kept) => kept,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress(frame, plain_bytes)
    })
}

/// Verifies that bytes are the blob's.
pub fn check(blob: &BlobRef, bytes: &[u8]) -> Result<(), BundleError> {
    let actual = BlobRef::of(bytes);
    let mismatch = |hash| Err(BundleError::Mismatch { id: blob.id, hash });
    if actual.id != blob.id {
        return mismatch("SHA-1");
    }
    if actual.digest != blob.digest {
        return mismatch("BLAKE3");
    }
    Ok(())
}

/// A decoded bundle.
#[derive(Clone, Debug)]
pub struct Plain {
    table: Bytes,
    plain: Bytes,
}

impl Plain {
    /// The blobs with their bytes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (BlobRef, Bytes)> + '_ {
        let mut start = 0;
        self.table.as_chunks::<{ BlobRef::LEN }>().0.iter().map(move |packed| {
            let blob = BlobRef::unpack(packed);
            let end = start + blob.len as usize;
            let bytes = self.plain.slice(start..end);
            start = end;
            (blob, bytes)
        })
    }

    /// Plain length of all blobs together.
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// Whether all blobs are empty.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }
}

/// Gathers blobs for a bundle.
#[derive(Debug, Default)]
pub struct BundleBuilder {
    table: Vec<u8>,
    plain: Vec<u8>,
}

impl BundleBuilder {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a blob of this length may join. An empty builder takes any.
    pub fn has_room(&self, len: usize) -> bool {
        self.is_empty()
            || (self.plain.len() + len <= limits::BUNDLE_BYTES_MAX
                && self.table.len() < limits::BUNDLE_BLOBS_MAX * BlobRef::LEN)
    }

    /// Adds a blob; ask `has_room` first.
    pub fn push(&mut self, blob: &BlobRef, bytes: &[u8]) {
        debug_assert_eq!(blob.len as usize, bytes.len());
        blob.pack(&mut self.table);
        self.plain.extend_from_slice(bytes);
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Plain bytes so far.
    pub fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Compresses what was gathered at a zstd level; what doesn't shrink is kept raw.
    ///
    /// # Panics
    /// If it is empty.
    pub fn seal(self, level: i32) -> Bundle {
        assert!(!self.is_empty(), "only a bundle with blobs is sealed");
        let plain_bytes = u32::try_from(self.plain.len()).expect("has_room keeps a bundle far below 4 GiB");
        let (codec, data) = match compress(&self.plain, level) {
            Ok(frame) if frame.len() < self.plain.len() => (Codec::Zstd, frame),
            _ => (Codec::Raw, self.plain),
        };
        Bundle { codec, plain_bytes, table: self.table.into(), data: data.into() }
    }
}
