//! The log: the sequence of all that was ever committed. It is the truth; the index is derived from it and from packs.
//!
//! Each record is one blob in a store like that of the blobs. Sequence numbers have no gaps, and each record names the
//! digest of the one before it, so that a lost, a foreign or a swapped record is found.

pub mod end;
pub mod fork;
pub mod reader;

use bytes::Bytes;
use datadb::{BlobRef, Bundle, bundle::BundleBuilder, codec::DecodeError, limits};
use thiserror::Error;

pub use self::reader::LogReader;
pub use crate::record::{Logged, Position};
use crate::{
    record::{Body, Record},
    store::{Cursor, Durable, Outcome, Put, SharedStore, StoreError, blocking},
};

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
    /// A record that nobody could read again is not written.
    #[error("log: a record of {bytes} bytes is not written, because it could not be read again: {source}")]
    Unwritable {
        /// How long its encoding is.
        bytes: usize,
        /// What a reader would say.
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
            check_readable(&bytes).map_err(|source| LogError::Unwritable { bytes: bytes.len(), source })?;
            let blob = BlobRef::of(&bytes);
            let mut bundle = BundleBuilder::new();
            bundle.push(&blob, &bytes);
            // Several MiB, which are in the bundle now.
            drop(bytes);
            Ok::<_, LogError>((record, blob, bundle.seal(LEVEL)))
        })
        .await?;
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

/// Whether a reader would take a record, by the very rules that it reads by.
fn check_readable(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.len() > limits::LOG_RECORD_BYTES_MAX {
        return Err(DecodeError::rule("log record", "is longer than its limit"));
    }
    Record::decode(bytes).map(drop)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datadb::codec::Writer;

    use super::*;
    use crate::store::{testing::conformance::sample, testing::memory::MemoryStore};

    /// Objects of so many bytes together, none longer than `max`.
    fn objects(seed: u64, mut bytes: usize, max: usize) -> Body {
        let mut objects = Vec::new();
        while bytes > 0 {
            let len = bytes.min(max);
            objects.push(sample(seed + objects.len() as u64, len));
            bytes -= len;
        }
        Body::Objects(objects)
    }

    fn number(random: &mut blake3::OutputReader, below: u64) -> u64 {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below
    }

    async fn read_all(store: &SharedStore) -> Vec<Logged> {
        let mut reader = LogReader::new(store.clone(), Position::START, false);
        let mut all = Vec::new();
        while let Some(logged) = reader.next().await.unwrap() {
            all.push(logged);
        }
        all
    }

    /// Random sizes around every limit of a record: what is appended is read again, by a reader who knows nothing, and what
    /// a reader would refuse is refused before it is written, and stops nothing.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_appended_is_read_again_and_nothing_else_is_written() {
        let mut random = blake3::Hasher::new().update(b"log limits").finalize_xof();
        let (mut written, mut refused) = (0, 0);
        for round in 0..8u64 {
            let store: SharedStore = Arc::new(MemoryStore::default());
            let mut log = Log::new(store.clone(), Position::START);
            let mut expected = Vec::new();
            for step in 0..4u64 {
                let around = [100, limits::LOG_PART_BYTES, limits::LOG_RECORD_BYTES_MAX, limits::OBJECT_BYTES_MAX];
                let bodies: Vec<Body> = (0..1 + number(&mut random, 2))
                    .map(|body| {
                        let size = around[number(&mut random, 4) as usize] + 60 - number(&mut random, 120) as usize;
                        let over = usize::from(number(&mut random, 8) == 0);
                        objects(round * 1000 + step * 100 + body * 10, size, limits::OBJECT_BYTES_MAX + over)
                    })
                    .collect();
                let before = log.position();
                let (logged, result) = log.append(bodies.clone(), &[], 5).await;
                let done: Vec<Body> = logged.iter().flat_map(|it| it.record.entries.iter().cloned()).collect();
                assert_eq!(bodies[..done.len()], done);
                expected.extend(done);
                match result {
                    Ok(()) => written += 1,
                    Err(LogError::Unwritable { bytes, .. }) => {
                        refused += 1;
                        assert!(bytes > limits::OBJECT_BYTES_MAX);
                        assert_eq!(log.position(), logged.last().map_or(before, |it| it.position));
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            let read = read_all(&store).await;
            assert_eq!(read.last().map_or(Position::START, |it| it.position), log.position());
            assert!(read.into_iter().flat_map(|it| it.record.entries).eq(expected));
        }
        assert!(written > 5 && refused > 2, "{written} written, {refused} refused");
    }

    /// The limit to the byte.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_as_long_as_its_limit_is_written_and_one_that_is_a_byte_longer_is_refused() {
        for over in [0, 1] {
            let store: SharedStore = Arc::new(MemoryStore::default());
            let mut log = Log::new(store.clone(), Position::START);
            let mut last = limits::OBJECT_BYTES_MAX / 2;
            let body = loop {
                let body = objects(7, 3 * limits::OBJECT_BYTES_MAX + last, limits::OBJECT_BYTES_MAX);
                let entries = vec![body.clone()];
                let record =
                    Record { sequence: 1, previous: Position::START.digest, time: 5, durable: Vec::new(), entries };
                let len = record.encode().len();
                if len == limits::LOG_RECORD_BYTES_MAX + over {
                    break body;
                }
                last = last + limits::LOG_RECORD_BYTES_MAX + over - len;
            };
            let (logged, result) = log.append(vec![body], &[], 5).await;
            assert_eq!((logged.len(), result.is_ok()), (1 - over, over == 0));
            assert_eq!(read_all(&store).await.len(), 1 - over);
        }
    }

    /// Whatever comes together is split into records that have room for it.
    #[test]
    fn entries_are_split_where_a_record_is_full() {
        let entries: Vec<Body> = (0..9).map(|at| objects(at, 3 << 20, limits::OBJECT_BYTES_MAX)).collect();
        let records = records(entries.clone());
        assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 2, 1]);
        assert!(records.into_iter().flatten().eq(entries));
        let mut longest = Writer::default();
        longest.varint(limits::LOG_PART_BYTES as u64);
        assert!(longest.finish().len() <= 4, "what size_hint counts for a length is enough");
    }
}
