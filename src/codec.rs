//! The primitives of all encodings on disk: canonical varints and length-prefixed bytes.
//!
//! Every value has exactly one encoding (a varint with needless bytes is refused), because keys are hashes of encodings.
//! Reading never allocates more than the input holds, whatever lengths the input claims.

use thiserror::Error;

/// Why bytes are not a valid encoding.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum DecodeError {
    /// The input ends inside the named field.
    #[error("{field} is cut short")]
    Short {
        /// The field being read.
        field: &'static str,
    },
    /// Bytes remain after the last field.
    #[error("{bytes} bytes too many")]
    Trailing {
        /// How many remain.
        bytes: usize,
    },
    /// The field breaks a rule of the encoding.
    #[error("{field}: {rule}")]
    Rule {
        /// The field being read.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The encoding was written by a version that this reader doesn't know.
    #[error("{field} has version or kind {value}, which this version does not know")]
    Unknown {
        /// The field being read.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl DecodeError {
    /// A broken rule.
    pub const fn rule(field: &'static str, rule: &'static str) -> Self {
        Self::Rule { field, rule }
    }
}

/// Builds an encoding.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty encoding with room for this many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// An unsigned LEB128 varint.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    /// A signed number, zigzag coded.
    pub fn signed(&mut self, value: i64) -> &mut Self {
        self.varint(((value << 1) ^ (value >> 63)) as u64)
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.varint(value.len() as u64).raw(value)
    }

    /// Bytes of a length that the format fixes.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    /// How many bytes there are so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The encoding.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads an encoding from front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the front of these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes remain.
    pub const fn remaining(&self) -> usize {
        self.0.len()
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let (&first, rest) = self.0.split_first().ok_or(DecodeError::Short { field })?;
        self.0 = rest;
        Ok(first)
    }

    /// An unsigned varint in its only (shortest) form.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::rule(field, "does not fit 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::rule(field, "is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(DecodeError::rule(field, "does not fit 64 bits"))
    }

    /// A varint that fits 32 bits.
    pub fn varint32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.varint(field)?).map_err(|_| DecodeError::rule(field, "does not fit 32 bits"))
    }

    /// A signed number, zigzag coded.
    pub fn signed(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let value = self.varint(field)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Bytes behind their length, of which there may be at most `max`.
    pub fn bytes(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.varint(field)?;
        if len > max as u64 {
            return Err(DecodeError::rule(field, "is longer than its limit"));
        }
        self.raw(field, len as usize)
    }

    /// UTF-8 text behind its length.
    pub fn text(&mut self, field: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(field, max)?).map_err(|_| DecodeError::rule(field, "is not UTF-8"))
    }

    /// Exactly this many bytes.
    pub fn raw(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let (value, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short { field })?;
        self.0 = rest;
        Ok(value)
    }

    /// Exactly `N` bytes, as an array.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (value, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Short { field })?;
        self.0 = rest;
        Ok(*value)
    }

    /// A count of things that take at least `each` bytes, so that no claim exceeds what the input can hold.
    pub fn count(&mut self, field: &'static str, each: usize) -> Result<usize, DecodeError> {
        let count = self.varint(field)?;
        if count > (self.remaining() / each.max(1)) as u64 {
            return Err(DecodeError::Short { field });
        }
        Ok(count as usize)
    }

    /// Fails unless everything was read.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { bytes: self.0.len() }) }
    }
}
