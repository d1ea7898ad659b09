//! Places in the log: a record with where it lies, and how far the log is applied.

use datadb::{BlobId, Digest};

use super::Record;
use crate::place::Cursor;

/// How far the log is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Sequence number of the record; 0 is before the first.
    pub sequence: u64,
    /// The record's digest, zeros before the first.
    pub digest: Digest,
    /// Where the record lies.
    pub cursor: Option<Cursor>,
    /// The blob that the record is; `None` before the first, and where an older version has not kept it.
    pub blob: Option<BlobId>,
}

impl Position {
    /// Before the first record.
    pub const START: Self = Self { sequence: 0, digest: Digest::new([0; 32]), cursor: None, blob: None };
}

/// A record that is in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The record.
    pub record: Record,
    /// Where the log stands after it.
    pub position: Position,
}
