//! What commands have changed, as the log says it: what is, not what was asked for, so that replaying needs no answers
//! and may begin anywhere before the end.
//!
//! # Format (version 1)
//! `kind u8 · database · key · …`: 1 put: `type u8 · element · value`; 2 remove: `element`; 3 drop the key. Types: 1
//! string (one element, the empty one), 2 hash (field, value), 3 set (member, nothing), 4 list (index in 8 bytes big
//! endian, value). Texts and bytes stand behind their lengths.

use bytes::Bytes;
use datadb::{
    codec::{DecodeError, Reader, Writer},
    limits,
};

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const DROP: u8 = 3;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DataType {
    /// Bytes.
    String = 1,
    /// Fields with values.
    Hash = 2,
    /// Members.
    Set = 3,
    /// Entries by index.
    List = 4,
}

impl DataType {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::List => "list",
        }
    }
}

impl TryFrom<u8> for DataType {
    type Error = DecodeError;
    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte {
            1 => Self::String,
            2 => Self::Hash,
            3 => Self::Set,
            4 => Self::List,
            other => return Err(DecodeError::Unknown { field: "data type", value: u64::from(other) }),
        })
    }
}

/// A key of a database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// Its database; never empty.
    pub database: String,
    /// The key.
    pub key: String,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The element has this value now, and the key this type; where it had another, all of that is gone.
    Put(DataType, Bytes, Bytes),
    /// The element is gone.
    Remove(Bytes),
    /// The key is gone.
    Drop,
}

/// A change and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The key.
    pub spot: Spot,
    /// What becomes of it.
    pub change: Change,
}

impl Effect {
    /// Roughly how many bytes `encode` will write.
    pub fn size_hint(&self) -> usize {
        let spot = self.spot.database.len() + self.spot.key.len() + 8;
        spot + match &self.change {
            Change::Put(_, element, value) => element.len() + value.len() + 8,
            Change::Remove(element) => element.len() + 4,
            Change::Drop => 0,
        }
    }

    /// The encoding above.
    pub fn encode(&self, w: &mut Writer) {
        w.u8(match self.change {
            Change::Put(..) => PUT,
            Change::Remove(_) => REMOVE,
            Change::Drop => DROP,
        });
        w.bytes(self.spot.database.as_bytes()).bytes(self.spot.key.as_bytes());
        match &self.change {
            Change::Put(kind, element, value) => drop(w.u8(*kind as u8).bytes(element).bytes(value)),
            Change::Remove(element) => drop(w.bytes(element)),
            Change::Drop => {}
        }
    }

    /// Reads what `encode` wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = r.u8("effect")?;
        let database = r.text("database", limits::DATABASE_BYTES_MAX)?.to_owned();
        let key = r.text("key", limits::KEY_BYTES_MAX)?.to_owned();
        let change = match kind {
            PUT => {
                let data_type = DataType::try_from(r.u8("data type")?)?;
                let element = Bytes::copy_from_slice(r.bytes("element", limits::MEMBER_BYTES_MAX)?);
                Change::Put(data_type, element, Bytes::copy_from_slice(r.bytes("value", limits::VALUE_BYTES_MAX)?))
            }
            REMOVE => Change::Remove(Bytes::copy_from_slice(r.bytes("element", limits::MEMBER_BYTES_MAX)?)),
            DROP => Change::Drop,
            other => return Err(DecodeError::Unknown { field: "effect", value: u64::from(other) }),
        };
        Ok(Self { spot: Spot { database, key }, change })
    }
}
