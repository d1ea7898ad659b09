//! A leaf whose directory may be taken away while it is open, as when a disk is unmounted.
//!
//! The wrapper looks with each write whether the directory that was opened is still in its place, for a file system would go
//! on for ever with files that have lost their names, and new ones would come to lie below the mount point. Once another
//! directory was met in its place, nothing is written until the leaf is opened again: a pack may have been begun there.
//! What can't be read while the directory is not there is not damaged. It prints itself as what is inside. Whether a directory is the right one at all is looked at before, see [`crate::stack::proof`].

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};

use super::{
    BlobStore, Cursor, Durable, Item, Presence, Put, SharedStore, StoreError, StoreStats, Stored,
    disk::{DirIdentity, Disk},
    threads::Threads,
};

/// A leaf in a directory that may be taken away. See the module.
#[derive(Debug)]
pub struct InPlace {
    inner: SharedStore,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    threads: Threads,
    identity: Option<DirIdentity>,
    /// Another directory was met in its place.
    is_gone: AtomicBool,
}

impl InPlace {
    /// Around a leaf whose packs are in this directory, with the threads of that leaf.
    pub fn around(inner: SharedStore, disk: Arc<dyn Disk>, dir: &Path, threads: Threads) -> Result<Self, StoreError> {
        let identity = disk.identity(dir).map_err(|source| StoreError::io(dir.display(), source))?;
        Ok(Self { inner, disk, dir: dir.to_owned(), threads, identity, is_gone: AtomicBool::new(false) })
    }

    async fn check(&self) -> Result<(), StoreError> {
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let what = match self.threads.run(move || disk.identity(&dir)).await {
            Ok(found) if found == self.identity && !self.is_gone.load(Ordering::Acquire) => return Ok(()),
            Ok(None) => "the directory is missing: mount its disk, or put it back".to_owned(),
            Ok(Some(_)) => {
                self.is_gone.store(true, Ordering::Release);
                "another directory is in its place, or was: put it back, and start the server again".to_owned()
            }
            Err(error) => error.to_string(),
        };
        Err(StoreError::Gone { place: self.dir.display().to_string(), what })
    }
}

impl fmt::Display for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BlobStore for InPlace {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        let put = self.inner.put(bundle, label).await;
        self.check().await?;
        put
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        self.inner.find(ids).await
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let stored = self.inner.get(id).await;
        if let Err(StoreError::Damaged { .. }) = stored {
            self.check().await?;
        }
        stored
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        self.check().await?;
        let durable = self.inner.flush().await?;
        self.check().await?;
        Ok(durable)
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        self.inner.enumerate(after, max).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.inner.stats().await
    }
}
