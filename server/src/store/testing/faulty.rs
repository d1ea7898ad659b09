//! A store that fails as told: what a wrapper or an engine above it must be ready for.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};

use crate::store::{BlobStore, Cursor, Durable, Item, Presence, Put, SharedStore, StoreError, StoreStats, Stored};

/// What goes wrong in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails, and nothing happened.
    Fails,
    /// It happened, but the answer is lost.
    FailsAfterApplying,
    /// It takes so many milliseconds.
    Slow(u64),
    /// Of a `put` only the first half of the blobs arrives, and the call fails.
    HalfABatch,
    /// There is no room.
    Full,
    /// A `get` finds flipped bits: the inner store's verification would say so.
    FlippedBits,
    /// A `get` reads less than there should be: said like flipped bits.
    ShortRead,
}

/// Forwards to another store, and fails as planned: each call takes the next fault of the plan, then all is well.
#[derive(Debug)]
pub struct Faulty {
    inner: SharedStore,
    plan: Mutex<VecDeque<Option<Fault>>>,
}

impl Faulty {
    /// A store without faults so far.
    pub fn new(inner: SharedStore) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    fn plan(&self) -> MutexGuard<'_, VecDeque<Option<Fault>>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next calls fail like this, one after the other; `None` is a call that goes well.
    pub fn next(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.plan().extend(faults);
    }

    /// From now on all is well.
    pub fn clear(&self) {
        self.plan().clear();
    }

    /// Takes the next fault; those that are the same for every call are carried out here.
    async fn before(&self) -> Result<Option<Fault>, StoreError> {
        let fault = self.plan().pop_front().flatten();
        match fault {
            Some(Fault::Fails) => Err(self.failure()),
            Some(Fault::Full) => Err(StoreError::Full { place: self.to_string() }),
            Some(Fault::Slow(millis)) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    fn after<T>(&self, fault: Option<Fault>, value: T) -> Result<T, StoreError> {
        if fault == Some(Fault::FailsAfterApplying) { Err(self.failure()) } else { Ok(value) }
    }

    fn failure(&self) -> StoreError {
        StoreError::Io { place: self.to_string(), source: io::Error::other("a fault was injected") }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty({})", self.inner)
    }
}

#[async_trait]
impl BlobStore for Faulty {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        let fault = self.before().await?;
        if fault == Some(Fault::HalfABatch) {
            if let Some(half) = half(&bundle) {
                self.inner.put(half, label).await?;
            }
            return Err(self.failure());
        }
        let put = self.inner.put(bundle, label).await?;
        self.after(fault, put)
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        let fault = self.before().await?;
        let found = self.inner.find(ids).await?;
        self.after(fault, found)
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let fault = self.before().await?;
        let stored = self.inner.get(id).await?;
        let what = match fault {
            Some(Fault::FlippedBits) => "the record's data is damaged",
            Some(Fault::ShortRead) => "the record is cut short",
            _ => return self.after(fault, stored),
        };
        let cursor = Cursor { pack: 0, offset: 0 };
        Err(StoreError::Damaged { id: *id, leaf: self.to_string(), cursor, what: what.to_owned() })
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        let fault = self.before().await?;
        let durable = self.inner.flush().await?;
        self.after(fault, durable)
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        let fault = self.before().await?;
        let items = self.inner.enumerate(after, max).await?;
        self.after(fault, items)
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.inner.stats().await
    }
}

/// The first half of a bundle's blobs; `None` if that is none.
fn half(bundle: &Bundle) -> Option<Bundle> {
    let plain = bundle.decode().ok()?;
    let blobs: Vec<_> = plain.iter().collect();
    let mut builder = datadb::bundle::BundleBuilder::new();
    for (blob, bytes) in &blobs[..blobs.len() / 2] {
        builder.push(blob, bytes);
    }
    (!builder.is_empty()).then(|| builder.seal(1))
}
