//! The log: the sequence of all that was ever committed. It is the truth; the index is derived from it and from packs.
//!
//! Each record is one blob in a store like that of the blobs. Sequence numbers have no gaps, and each record names the
//! digest of the one before it, so that a lost, a foreign or a swapped record is found.

pub mod effect;
pub mod record;

use bytes::Bytes;
use datadb::{BlobRef, Digest, bundle::BundleBuilder, codec::DecodeError, limits};
use thiserror::Error;

use self::record::{Body, Record};
use crate::store::{Cursor, Durable, Item, Outcome, SharedStore, StoreError, blocking};

/// zstd level of log records; a part compresses in milliseconds.
const LEVEL: i32 = 3;

/// Records read at once.
const PAGE: usize = 256;

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
    /// The log is older than what was derived from it.
    #[error("log: it ends at record {last}, but the index holds {applied}: records were lost")]
    Ends {
        /// The last record found.
        last: u64,
        /// The last record applied.
        applied: u64,
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
}

impl Position {
    /// Before the first record.
    pub const START: Self = Self { sequence: 0, digest: Digest::new([0; 32]), cursor: None };
}

/// Appends to the log. There is one in a process, and the store's lock keeps other processes out.
#[derive(Debug)]
pub struct Log {
    store: SharedStore,
    position: Position,
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
        Self { store, position }
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
        let put = self.store.put(bundle, Bytes::new()).await?;
        if put.outcomes != [Outcome::New] {
            return Err(LogError::Fork { sequence: record.sequence });
        }
        self.store.flush().await?;
        self.position = Position { sequence: record.sequence, digest: blob.digest, cursor: put.cursor };
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

/// Reads the log from a position on, and checks that each record continues the one before it.
#[derive(Debug)]
pub struct LogReader {
    store: SharedStore,
    position: Position,
    page: std::vec::IntoIter<Item>,
    is_at_end: bool,
}

impl LogReader {
    /// Starts behind a position.
    pub fn new(store: SharedStore, position: Position) -> Self {
        Self { store, position, page: Vec::new().into_iter(), is_at_end: false }
    }

    /// The last record read.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The next record; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Logged>, LogError> {
        let item = match self.page.next() {
            Some(item) => item,
            None if self.is_at_end => return Ok(None),
            None => {
                let items = self.store.enumerate(self.position.cursor, PAGE).await?;
                self.is_at_end = items.len() < PAGE;
                self.page = items.into_iter();
                match self.page.next() {
                    Some(item) => item,
                    None => return Ok(None),
                }
            }
        };
        let after = self.position.sequence;
        let (cursor, refs) = match item {
            Item::Record { cursor, refs, .. } => (cursor, refs),
            Item::Damage(damage) => {
                return Err(LogError::Damage { after, cursor: damage.cursor, bytes: damage.bytes });
            }
        };
        let damaged = |source| LogError::Record { after, source };
        let blob = refs.first().ok_or_else(|| damaged(DecodeError::Short { field: "record" }))?;
        let record = self.read(blob).await?.map_err(damaged)?;
        if record.sequence != after + 1 {
            return Err(LogError::Gap { expected: after + 1, found: record.sequence });
        }
        if record.previous != self.position.digest {
            return Err(LogError::Fork { sequence: record.sequence });
        }
        self.position = Position { sequence: record.sequence, digest: blob.digest, cursor: Some(cursor) };
        Ok(Some(Logged { record, position: self.position }))
    }

    async fn read(&self, blob: &BlobRef) -> Result<Result<Record, DecodeError>, LogError> {
        let missing = DecodeError::Short { field: "record" };
        let Some(stored) = self.store.get(&blob.id).await? else { return Ok(Err(missing)) };
        let Ok(plain) = stored.bundle.verify() else { return Ok(Err(missing)) };
        let bytes = plain.iter().find(|(inside, _)| inside.id == blob.id).map(|(_, bytes)| bytes);
        Ok(bytes.ok_or(missing).and_then(|bytes| Record::decode(&bytes)))
    }
}
