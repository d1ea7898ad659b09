//! Blob ids and digests: what a chunk of bytes is called, and what proves that it is the right one.

use std::{fmt, str::FromStr};

use sha1::Digest as _;

use crate::codec::{DecodeError, Reader};

/// Defines a 20-byte name that prints as 40 hex digits.
macro_rules! id20 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 20]);

        impl $name {
            /// Bytes of an id.
            pub const LEN: usize = 20;

            /// Takes 20 bytes as they are.
            pub const fn new(bytes: [u8; 20]) -> Self {
                Self(bytes)
            }

            /// The 20 bytes.
            pub const fn as_bytes(&self) -> &[u8; 20] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::blob::write_hex(f, &self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = $crate::codec::DecodeError;
            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                let bytes = bytes.try_into().map_err(|_| {
                    $crate::codec::DecodeError::rule(stringify!($name), "is not 20 bytes long")
                })?;
                Ok(Self(bytes))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::codec::DecodeError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::blob::parse_hex(text).map(Self).ok_or($crate::codec::DecodeError::rule(
                    stringify!($name),
                    "is not 40 hex digits",
                ))
            }
        }
    };
}
pub(crate) use id20;

/// Writes bytes as lower-case hex digits.
pub fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly `2 * N` hex digits.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

id20! {
    /// Names a blob: the SHA-1 of its bytes. SHA-1 can be made to collide, so a `Digest` stands beside it wherever
    /// bytes are compared.
    BlobId
}

impl BlobId {
    /// Stands for a hole where ids are packed; no blob is known that has it.
    pub const HOLE: Self = Self([0; 20]);

    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha1::Sha1::digest(bytes).into())
    }
}

/// The BLAKE3 of a blob or of an object's encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Bytes of a digest.
    pub const LEN: usize = 32;

    /// Takes 32 bytes as they are.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = DecodeError;
    fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        bytes.try_into().map(Self).map_err(|_| DecodeError::rule("Digest", "is not 32 bytes long"))
    }
}

impl FromStr for Digest {
    type Err = DecodeError;
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        parse_hex(text).map(Self).ok_or(DecodeError::rule("Digest", "is not 64 hex digits"))
    }
}

/// The digest of a file: BLAKE3 over the digests of its chunks in order. Holes don't count; their place and length are
/// part of the file's list, whose key covers them.
#[derive(Debug, Default)]
pub struct FileDigest(blake3::Hasher);

impl FileDigest {
    /// A file without chunks so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk.
    pub fn chunk(&mut self, digest: &Digest) {
        self.0.update(digest.as_bytes());
    }

    /// The digest of the whole file.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// All that is known of a blob without having it: id, digest and plain length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlobRef {
    /// SHA-1 of the bytes.
    pub id: BlobId,
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// Plain length in bytes.
    pub len: u32,
}

impl BlobRef {
    /// Bytes of a packed ref in a bundle's table.
    pub const LEN: usize = 56;

    /// Hashes the bytes, both ways while they are in the cache.
    ///
    /// # Panics
    /// If there are 4 GiB or more; a blob has at most `limits::LOG_RECORD_BYTES_MAX`.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            id: BlobId::of(bytes),
            digest: Digest::of(bytes),
            len: u32::try_from(bytes.len()).expect("a blob is shorter than 4 GiB"),
        }
    }

    /// Appends the packed form: id, digest, length (big endian).
    pub fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(self.digest.as_bytes());
        out.extend_from_slice(&self.len.to_be_bytes());
    }

    /// Reads the packed form.
    pub fn unpack(packed: &[u8; Self::LEN]) -> Self {
        let mut reader = Reader::new(packed);
        let fixed = "an array of fixed length holds all three fields";
        Self {
            id: BlobId(reader.array("id").expect(fixed)),
            digest: Digest(reader.array("digest").expect(fixed)),
            len: u32::from_be_bytes(reader.array("len").expect(fixed)),
        }
    }
}
