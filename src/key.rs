//! Keys of objects: what an encoding is called, and what tells two encodings with one key apart.

use crate::blob::{BlobId, Digest, id20};

id20! {
    /// Names an object: the SHA-1 of its canonical encoding.
    ObjectKey
}

impl ObjectKey {
    /// The key of this encoding.
    pub fn of(encoding: &[u8]) -> Self {
        Self(*BlobId::of(encoding).as_bytes())
    }
}

/// An object's key, and the BLAKE3 of its encoding that tells two objects with one key apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// SHA-1 of the encoding.
    pub key: ObjectKey,
    /// BLAKE3 of the encoding.
    pub digest: Digest,
}

impl ObjectRef {
    /// Hashes an encoding both ways.
    pub fn of(encoding: &[u8]) -> Self {
        Self { key: ObjectKey::of(encoding), digest: Digest::of(encoding) }
    }
}
