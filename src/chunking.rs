//! The parameters of content-defined chunking, which are part of a repository's format.

use crate::{codec::DecodeError, limits};

/// FastCDC (2020) sizes in bytes, and the secret seed that keeps chunk lengths from telling what a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkerParams {
    /// No chunk but a file's last is shorter; files up to this length are one chunk.
    pub bytes_min: u32,
    /// What the cut condition aims at.
    pub bytes_avg: u32,
    /// No chunk is longer.
    pub bytes_max: u32,
    /// Changes where the cuts fall.
    pub seed: u64,
}

impl ChunkerParams {
    /// The sizes of a new repository with this seed.
    pub const fn with_seed(seed: u64) -> Self {
        Self { bytes_min: 128 << 10, bytes_avg: 512 << 10, bytes_max: 2 << 20, seed }
    }

    /// Refuses sizes that the chunker or the limits can't stand.
    pub fn checked(self) -> Result<Self, DecodeError> {
        let ordered = 64 <= self.bytes_min && self.bytes_min < self.bytes_avg && self.bytes_avg < self.bytes_max;
        if !ordered {
            return Err(DecodeError::rule("chunker sizes", "are not 64 <= min < avg < max"));
        }
        if self.bytes_max as usize > limits::BLOB_BYTES_MAX {
            return Err(DecodeError::rule("chunker maximum", "exceeds the longest blob allowed"));
        }
        Ok(self)
    }
}
