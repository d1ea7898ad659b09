//! Encrypt: around any store, so that whoever keeps the bytes learns nothing but padded lengths.
//!
//! Each bundle becomes one sealed blob, named by the SHA-1 of its sealed bytes, with the table of what is inside within the
//! seal. The same table, sealed for itself and bound to that blob, is the label of its record. From the labels the entries
//! are made: plain id to sealed blob, in a part of the index of its own.
//!
//! **Nothing is decided by the entry alone.** A blob is there if its entry is good and the inner store has the sealed blob;
//! what that one lost or marked bad is missing here, and is stored anew when it comes again. So an entry can never promise
//! what isn't there. Entries go to the index when the inner store has flushed, with how far the labels are read; what a
//! crash leaves behind that is found again by reading the labels from there.
//!
//! **What is found out.** A flipped bit, a cut, a blob or a label in the place of another, an old one in the place of a new
//! one: the seal, or what is in it, doesn't fit what was asked for. A key that is missing: the index knows the ids of all
//! keys that sealed anything, and every label names its own. A whole store set back to an older state is noticed by the
//! log, whose records are numbered, as long as there is an index to compare it with; nobody else knows what came later.
//!
//! Rooms: `key` and `phrase` (files and words), `seal` (boxes), `content` (what is in them), `entry` (the index), and the
//! verbs `put`, `read`, `flush`, `catch_up`.

mod catch_up;
mod claims;
mod content;
mod entry;
mod flush;
pub mod key;
pub mod phrase;
mod put;
mod read;
mod seal;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};

pub use self::{catch_up::EncryptReport, put::check_fits};
use self::{
    claims::Claims,
    entry::{Entry, Progress},
    key::Keys,
};
use super::{BlobStore, Cursor, Durable, Item, Presence, Put, SharedStore, StoreError, StoreStats, Stored, to_the_end};
use crate::index::space::Space;

/// A store that another one keeps without being able to read it. See the module.
#[derive(Debug)]
pub struct Encrypt {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    inner: SharedStore,
    keys: Keys,
    space: Space,
    name: String,
    state: Mutex<State>,
    /// Blobs that are on their way into the inner store.
    claims: Arc<Claims>,
    /// Held for reading from an inner put to its entries, for writing by who wants to see no put between the two.
    gate: tokio::sync::RwLock<()>,
    /// Held by the one flush that runs.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Entries whose sealed blobs the inner store has not flushed yet.
    pending: HashMap<BlobId, Entry>,
    /// Entries that are being flushed, or wait for the index.
    flushing: HashMap<BlobId, Entry>,
    progress: Progress,
    /// What a failed flush falls back to.
    durable: Progress,
    /// As the inner store said last.
    unflushed_bytes: u64,
    /// Whether the place that the labels were read to stays what it was: when it was opened, the inner store could not be
    /// asked for all that it may hold, and what is missing comes to lie before the places that it gives out since.
    is_held_back: bool,
}

impl State {
    /// All labels up to this one were read.
    fn has_read(&mut self, to: Option<Cursor>) {
        if !self.is_held_back {
            self.progress.read_to = to;
        }
    }

    /// The entries of these blobs, as far as they wait in memory.
    fn waiting(&self, ids: &[BlobId]) -> Vec<Option<Entry>> {
        let waiting = |id| self.pending.get(id).or_else(|| self.flushing.get(id)).copied();
        ids.iter().map(waiting).collect()
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left the maps whole: every change of them is a single insert or take.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Encrypt {
    /// Seals what goes into a store, and reads the labels of what is there already. `space` and `name` are this wrapper's
    /// own, and the same ones at each start. Fails if a key is missing.
    pub async fn open(
        inner: SharedStore,
        keys: Keys,
        space: Space,
        name: &str,
    ) -> Result<(Self, EncryptReport), StoreError> {
        let core = Core {
            inner,
            keys,
            space,
            name: name.to_owned(),
            state: Mutex::default(),
            claims: Arc::default(),
            gate: tokio::sync::RwLock::default(),
            flushing: tokio::sync::Mutex::default(),
        };
        let core = Arc::new(core);
        let report = core.clone().catch_up().await?;
        Ok((Self { core }, report))
    }
}

impl fmt::Display for Encrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "encrypt({})", self.core.inner)
    }
}

#[async_trait]
impl BlobStore for Encrypt {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        to_the_end(self.core.clone().put(bundle, label)).await
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        let known = self.core.known(ids).await?;
        Ok(known.into_iter().map(|known| known.presence()).collect())
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        self.core.read(id).await
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        to_the_end(self.core.clone().flush()).await
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        self.core.enumerate(after, max).await
    }

    /// In plain terms; what is stored is told by the inner store, and the copies that it found damaged count as one blob
    /// each, as it doesn't know how many are inside.
    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let inner = self.core.inner.stats().await?;
        let Progress { blobs, blob_bytes, dead_bytes, records, bad_blobs, .. } = self.core.state().progress;
        Ok(StoreStats { blobs, blob_bytes, dead_bytes, records, bad_blobs: bad_blobs + inner.bad_blobs, ..inner })
    }
}
