//! Where bundles are kept: the one trait, and the backends behind it.
//!
//! # What every store promises (the conformance suite has a test for each)
//! 1. **Atomic.** A bundle that was put is there whole or not at all, whatever happens meanwhile.
//! 2. **Durable after `flush`.** What was put before `flush` was called survives a power cut once it has returned `Ok`.
//!    After an `Err` nothing that was put since the last good `flush` is trusted: it counts as missing again. But after
//!    `InDoubt` nothing is dropped: it may or may not be durable, is found and read as before, and the next `flush` tries
//!    the very same write again.
//! 3. **Same id, same bytes.** The first bytes put under an id stay; others are answered `Conflict` and not stored.
//! 4. **Verified reads.** `get` returns bytes that are what was put, or an error that names the blob; never other bytes.
//! 5. **Absence is a value.** A blob that is not there is `None` or `Missing`. "A side is down, so I can't know" is
//!    `Unknown`, never one of the two.
//! 6. **Append order.** `enumerate` gives every record once, in the order in which they were put, and can go on from any
//!    cursor that it gave out, also after a restart.
//! 7. **Labels travel.** The label of a record comes back unchanged from `get` and `enumerate`.
//! 8. **What is accepted can be read.** Limits are the same when writing as when reading, and looked at before anything is
//!    written: what exceeds one is refused as `Unfit`, and leaves no trace.
//!
//! Every call runs to its end even where its caller goes away. Removing is not part of this trait: only garbage
//! collection may hold that power.

pub mod blobsfile;
pub mod counted;
pub mod disk;
pub mod encrypt;
pub mod in_place;
pub mod mirror;
pub mod pulse;
pub mod remote;
pub mod s3;
pub mod testing;
pub mod threads;

use std::{fmt, io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, BlobRef, Bundle, Digest, Fault, Kind, limits};
use thiserror::Error;
use tokio::runtime::Handle;

pub use crate::place::{Cursor, Durable};

/// A blob store. See the module for what it promises.
#[async_trait]
pub trait BlobStore: fmt::Debug + fmt::Display + Send + Sync {
    /// Stores a bundle whose blobs the caller has verified. Blobs that are known already become dead bytes; a bundle
    /// without any new blob is not stored at all. `label` is opaque and comes back as it is.
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError>;

    /// Tells for each id whether it is there, in the order of the ids.
    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError>;

    /// Gives a bundle that holds the blob, as it is stored; `None` if the blob is not there.
    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError>;

    /// Makes everything durable that was put before this call, and tells how far each leaf now reaches.
    async fn flush(&self) -> Result<Vec<Durable>, StoreError>;

    /// The next `max` records at most after a cursor (`None`: from the front), in append order.
    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError>;

    /// Counts and sizes.
    async fn stats(&self) -> Result<StoreStats, StoreError>;
}

/// What became of each blob of a bundle, in the order of its table, and how much waits for a `flush`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Per blob.
    pub outcomes: Vec<Outcome>,
    /// Where its record lies in the enumeration; `None` if nothing was new and nothing was stored.
    pub cursor: Option<Cursor>,
    /// Stored bytes that are not durable yet.
    pub unflushed_bytes: u64,
    /// Blobs whose entries wait in memory for a `flush`.
    pub unflushed_blobs: usize,
}

/// What became of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there now.
    New,
    /// It was there before.
    Known,
    /// Its id belongs to other bytes; it was not stored.
    Conflict,
}

/// Whether a blob is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    Have(Found),
    /// It is not there, or only as a copy that failed verification.
    Missing,
    /// A side that might have it can't be asked now.
    Unknown,
}

/// A blob that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Plain length in bytes.
    pub len: u32,
    /// Reading in ascending order reads forwards. Equal places are one bundle, as long as the process lives.
    pub place: u64,
}

/// A bundle as it is stored, with its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The bundle; its table holds the blob that was asked for.
    pub bundle: Bundle,
    /// The label it was put with.
    pub label: Bytes,
}

/// What an enumeration meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record {
        /// Where it is.
        cursor: Cursor,
        /// The blobs in its bundle.
        refs: Vec<BlobRef>,
        /// Its label.
        label: Bytes,
    },
    /// Bytes that are no record any more.
    Damage(Damage),
}

/// A stretch of a pack that holds no readable record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it starts.
    pub cursor: Cursor,
    /// How many bytes.
    pub bytes: u64,
}

/// Counts and sizes of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Distinct blobs.
    pub blobs: u64,
    /// Their plain lengths added up.
    pub blob_bytes: u64,
    /// Plain bytes stored more than once.
    pub dead_bytes: u64,
    /// Records written.
    pub records: u64,
    /// Bytes on the medium.
    pub stored_bytes: u64,
    /// Blobs whose only copy failed verification.
    pub bad_blobs: u64,
    /// Files that it keeps open.
    pub open_files: u64,
}

/// What can go wrong in a store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A stored copy is not what was put. It is marked bad: from now on it counts as missing.
    #[error("blob {id} is damaged in pack {pack:016x} of {leaf} at {offset}: {what}", pack = cursor.pack, offset = cursor.offset)]
    Damaged {
        /// The blob that was asked for.
        id: BlobId,
        /// The leaf's name within its stack.
        leaf: String,
        /// The record.
        cursor: Cursor,
        /// What failed.
        what: String,
    },
    /// A stored copy can't be read now, though nothing says that it is damaged: the system lacks descriptors or memory, or the
    /// medium failed. Nothing is marked.
    #[error("blob {id} can't be read now, {place}: {source}; nothing is marked bad for that: try again")]
    Unreadable {
        /// The blob that was asked for.
        id: BlobId,
        /// Which file.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The medium is (nearly) full.
    #[error("no space left in {place}: free some, then run the same command again")]
    Full {
        /// Where.
        place: String,
    },
    /// Written data could not be made durable, and is not trusted any more.
    #[error("could not make {place} durable, what was written since the last commit counts as missing: {source}")]
    NotDurable {
        /// Which file.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Written data may or may not be durable. The store keeps it, and the next flush tries the very same write again.
    #[error("{place} may or may not be durable; it is kept, and tried again with the next commit: {what}")]
    InDoubt {
        /// Which file, or store.
        place: String,
        /// What stood in the way.
        what: String,
    },
    /// A store can't be reached now, or too few of several can; nothing was written.
    #[error("{place} can't be used now: {what}")]
    Away {
        /// Which store.
        place: String,
        /// Why, and the way out.
        what: String,
    },
    /// What was opened is not there any more, as when a disk was taken away; it must be opened again.
    #[error("{place} is gone: {what}")]
    Gone {
        /// Which store.
        place: String,
        /// What was found instead.
        what: String,
    },
    /// What was given could not be read again, so nothing of it was written.
    #[error("nothing is stored of what could not be read again: {what}")]
    Unfit {
        /// Which limit it exceeds.
        what: String,
    },
    /// The data on disk contradicts itself or the index.
    #[error("{place}: {what}")]
    Inconsistent {
        /// Which file.
        place: String,
        /// What is wrong, and the way out.
        what: String,
    },
    /// Sealed with a key that is not at hand.
    #[error(
        "{place} is sealed with the key {needed}, and at hand are {keys}: name the file of that key too, behind the first \
         if it is an old one, or make it again from its recovery phrase with `datadb-server keygen PATH --recover`"
    )]
    WrongKey {
        /// Which store.
        place: String,
        /// The key that is needed.
        needed: encrypt::key::KeyId,
        /// The keys that are there, and where they came from.
        keys: String,
    },
    /// Written by a newer version.
    #[error("{place} has format version {version}, which this version does not know: use a newer datadb-server")]
    Newer {
        /// Which file.
        place: String,
        /// The version found.
        version: u32,
    },
    /// Another server said no, or nothing.
    #[error("{place}: {fault}")]
    Peer {
        /// Which server.
        place: String,
        /// What it said.
        fault: Fault,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] crate::index::IndexError),
    /// The file system failed.
    #[error("{place}: {source}")]
    Io {
        /// Which file.
        place: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// Wraps what the file system said about a place; "no space" becomes `Full`, and a remote medium's [`Fault`] `Peer`.
    pub fn io(place: impl fmt::Display, source: io::Error) -> Self {
        let place = place.to_string();
        let source = match source.downcast::<Fault>() {
            Ok(fault) => return Self::Peer { place, fault },
            Err(source) => source,
        };
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { place },
            _ => Self::Io { place, source },
        }
    }

    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Damaged { .. } => Kind::Damaged,
            Self::InDoubt { .. } | Self::Away { .. } | Self::Gone { .. } | Self::Unreadable { .. } => Kind::Unavailable,
            Self::Full { .. } => Kind::Full,
            Self::Unfit { .. } => Kind::Invalid,
            Self::NotDurable { .. } | Self::Io { .. } | Self::Inconsistent { .. } | Self::WrongKey { .. } => {
                Kind::Internal
            }
            Self::Newer { .. } => Kind::Unsupported,
            Self::Index(error) => error.kind(),
            Self::Peer { fault, .. } => fault.kind,
        }
    }
}

/// Refuses what no reader would take. Every store asks this of whatever is put there, before it writes anything.
pub fn check_put(bundle: &Bundle, label: &[u8]) -> Result<(), StoreError> {
    bundle.check().map_err(|error| StoreError::Unfit { what: error.to_string() })?;
    check_label(label.len())
}

/// Refuses a label of so many bytes if it is too long.
fn check_label(bytes: usize) -> Result<(), StoreError> {
    if bytes > limits::LABEL_BYTES_MAX {
        let max = limits::LABEL_BYTES_MAX;
        return Err(StoreError::Unfit { what: format!("a label of {bytes} bytes, and at most {max} are kept") });
    }
    Ok(())
}

/// Runs blocking work (disk, index, hashing) off the async workers. It runs to its end even if the caller goes away.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    blocking_on(&Handle::current(), work).await
}

/// The same, on the threads of a certain runtime.
pub async fn blocking_on<T: Send + 'static>(threads: &Handle, work: impl FnOnce() -> T + Send + 'static) -> T {
    match threads.spawn_blocking(work).await {
        Ok(value) => value,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Runs work to its end even if the caller goes away.
pub async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(value) => value,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// A store that several parts hold.
pub type SharedStore = Arc<dyn BlobStore>;
