//! The log: the sequence of all that was ever committed. It is the truth; the index is derived from it and from packs.
//!
//! Each record is one blob in a store like that of the blobs. Sequence numbers have no gaps, and each record names the
//! digest of the one before it, so that a lost, a foreign or a swapped record is found.

pub mod effect;
pub mod end;
pub mod kin;
pub mod reader;
pub mod record;

use bytes::Bytes;
use datadb::{BlobId, BlobRef, Bundle, Digest, bundle::BundleBuilder, codec::DecodeError, limits};
use thiserror::Error;

pub use self::reader::LogReader;
use self::record::{Body, Record};
use crate::store::{Cursor, Durable, Outcome, Put, SharedStore, StoreError, blocking};

/// zstd level of log records; a part compresses in milliseconds.
const LEVEL: i32 = 3;

/// What can be wrong with the log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The store below failed.
    #[error("log: {0}")]
    Store(#[from] StoreError),
    /// A record can't be read.
    #[error("log: the record after {after} is damaged: {source}")]
    Record {
        /// Sequence number of the record before it.
        after: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A stretch of the log is unreadable.
    #[error("log: {bytes} bytes after record {after} are unreadable (pack {pack:016x} at {offset})", pack = cursor.pack, offset = cursor.offset)]
    Damage {
        /// Sequence number of the record before it.
        after: u64,
        /// Where.
        cursor: Cursor,
        /// How many bytes.
        bytes: u64,
    },
    /// Records are missing.
    #[error("log: record {expected} is missing, the next one is {found}")]
    Gap {
        /// The number that should come next.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// Two histories meet: a record does not continue the one before it.
    #[error("log: there are two different records before number {sequence}; they are not merged")]
    Fork {
        /// Sequence number of the record that doesn't fit.
        sequence: u64,
    },
    /// Two histories meet: there are two records of one number.
    #[error("log: there are two different records number {sequence}; they are not merged")]
    Twins {
        /// Their sequence number.
        sequence: u64,
    },
    /// The log is older than what was derived from it.
    #[error("log: it ends at record {last}, but the index holds {applied}: records were lost")]
    Ends {
        /// The last record found.
        last: u64,
        /// The last record applied.
        applied: u64,
    },
    /// The record that the index was last told of is another one here.
    #[error(
        "log: its record number {sequence} is not the one that the index holds: another repository's, or written apart"
    )]
    Differs {
        /// Its sequence number.
        sequence: u64,
    },
}

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

/// Appends to the log. There is one in a process, and the store's lock keeps other processes out.
///
/// A record of which nobody knows whether it is durable is *in doubt*: it is kept, and before anything else is appended the
/// very same record is put again. So there are never two records of one number.
#[derive(Debug)]
pub struct Log {
    store: SharedStore,
    position: Position,
    doubt: Option<Doubt>,
}

/// A record that may be in the log.
#[derive(Debug)]
struct Doubt {
    record: Record,
    blob: BlobRef,
    bundle: Bundle,
}

/// A record that is in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The record.
    pub record: Record,
    /// Where the log stands after it.
    pub position: Position,
}

impl Log {
    /// Goes on after a position.
    pub fn new(store: SharedStore, position: Position) -> Self {
        Self { store, position, doubt: None }
    }

    /// Makes sure that a record in doubt is in the log, and gives it. To be called before `append` after an error.
    pub async fn settle(&mut self) -> Result<Option<Logged>, LogError> {
        let Some(Doubt { record, blob, bundle }) = self.doubt.take() else { return Ok(None) };
        let number = record.sequence;
        let put = self.store.put(bundle.clone(), Bytes::new()).await;
        let result = match put {
            Ok(put) if put.outcomes == [Outcome::Conflict] => return Err(LogError::Fork { sequence: number }),
            Ok(put) => self.store.flush().await.map(|_| put.cursor),
            Err(error) => Err(error),
        };
        match result {
            Ok(cursor) => {
                self.position = Position { sequence: number, digest: blob.digest, cursor, blob: Some(blob.id) };
                Ok(Some(Logged { record, position: self.position }))
            }
            Err(error) => {
                self.doubt = Some(Doubt { record, blob, bundle });
                Err(error.into())
            }
        }
    }

    /// The last record.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Appends entries, as few records as fit, and returns when they are durable. After an error those that are not in the
    /// result don't count, and the log goes on behind the last durable one.
    pub async fn append(
        &mut self,
        entries: Vec<Body>,
        durable: &[Durable],
        time: i64,
    ) -> (Vec<Logged>, Result<(), LogError>) {
        let mut logged = Vec::new();
        for entries in records(entries) {
            let before = self.position;
            match self.append_one(entries, durable, time).await {
                Ok(one) => logged.push(one),
                Err(error) => {
                    self.position = before;
                    return (logged, Err(error));
                }
            }
        }
        (logged, Ok(()))
    }

    async fn append_one(&mut self, entries: Vec<Body>, durable: &[Durable], time: i64) -> Result<Logged, LogError> {
        if let Some(Doubt { record, .. }) = &self.doubt {
            return Err(LogError::Fork { sequence: record.sequence });
        }
        let Position { sequence, digest, .. } = self.position;
        let record = Record { sequence: sequence + 1, previous: digest, time, durable: durable.to_vec(), entries };
        let (record, blob, bundle) = blocking(move || {
            let bytes = record.encode();
            let blob = BlobRef::of(&bytes);
            let mut bundle = BundleBuilder::new();
            bundle.push(&blob, &bytes);
            (record, blob, bundle.seal(LEVEL))
        })
        .await;
        let put = match self.store.put(bundle.clone(), Bytes::new()).await {
            Ok(put) if put.outcomes == [Outcome::New] => put,
            Ok(_) => return Err(LogError::Fork { sequence: record.sequence }),
            Err(error) => {
                if matches!(error, StoreError::InDoubt { .. }) {
                    self.doubt = Some(Doubt { record, blob, bundle });
                }
                return Err(error.into());
            }
        };
        if let Err(error) = self.store.flush().await {
            // What is not durable the store has dropped; anything else leaves the record there, durable or about to be.
            if !matches!(error, StoreError::NotDurable { .. }) {
                self.doubt = Some(Doubt { record, blob, bundle });
            }
            return Err(error.into());
        }
        let Put { cursor, .. } = put;
        self.position = Position { sequence: record.sequence, digest: blob.digest, cursor, blob: Some(blob.id) };
        Ok(Logged { record, position: self.position })
    }
}

/// Splits entries into records of bounded size.
fn records(entries: Vec<Body>) -> Vec<Vec<Body>> {
    let mut records: Vec<Vec<Body>> = Vec::new();
    let mut bytes = usize::MAX;
    for entry in entries {
        let size = entry.size_hint();
        match records.last_mut() {
            Some(last) if bytes.saturating_add(size) <= limits::LOG_PART_BYTES => {
                last.push(entry);
                bytes += size;
            }
            _ => {
                records.push(vec![entry]);
                bytes = size;
            }
        }
    }
    records
}
