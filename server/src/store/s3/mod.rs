//! S3: packs as objects of a bucket, at AWS or at any store that speaks like it.
//!
//! The leaf **is** a [`BlobsFile`] on another file layer (`disk`): its packs are staged in local files and sent as whole
//! objects by the flush, which seals them first, footer and all (`layout` has their names and formats). So an object is there whole or not at all
//! and never changes, thousands of small files are a few requests, commits that wait together share packs, and a bucket
//! is all that a rebuild needs. A flush that can't reach the store is *in doubt*: what was staged stays, is found and read
//! as before, and the next flush sends the very same bytes under the very same key. Small packs are put together in larger
//! objects later, when nothing else is written (`merge`).
//!
//! One server writes below a prefix (`lease`). Requests are counted (`requests`), made again with growing, random
//! waits out of a budget, and slowed down together when the store asks for fewer (`pace`).

mod ahead;
mod bucket;
mod client;
mod config;
mod disk;
mod error;
mod layout;
mod lease;
mod merge;
mod objects;
mod pace;
mod probe;
mod requests;
mod upload;

use std::{fmt, os::unix::fs::DirBuilderExt as _, path::Path, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};

use self::{bucket::Bucket, client::Client, disk::S3Disk, error::Failure, layout::Name, lease::Lease, merge::Merging};
pub use self::{
    config::{CredentialsSource, ObjectLock, Patience, S3Config, ServerSideEncryption},
    error::S3Error,
    probe::{ProbeReport, probe},
    requests::{Request, Requests},
};
use super::{
    BlobStore, Cursor, Durable, Item, Presence, Put, StoreError, StoreStats, Stored,
    blobsfile::{BLOBS_RESERVE_BYTES, BlobsFile, LeafConfig, OpenReport, PACK_BYTES, Relied, recheck::Marks},
};
use crate::index::space::Space;

/// Classes whose objects can't be read when they are wanted.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// A prefix of a bucket. See the module.
#[derive(Clone, Debug)]
pub struct S3Store {
    /// Ends with the last one who holds the store, before anything else of it.
    _merging: Option<Arc<Merging>>,
    packs: BlobsFile,
    config: Arc<S3Config>,
    requests: Arc<Requests>,
}

/// What cannot work, found before anything is asked.
fn check(config: &S3Config) -> Result<(), S3Error> {
    match &config.storage_class {
        Some(class) if ARCHIVES.contains(&&**class) => Err(S3Error::Other {
            said: format!("objects of class {class} can't be read when they are wanted: set another `storage_class`"),
        }),
        _ => Ok(()),
    }
}

/// Takes the lease of a prefix and brings the index up to the end of its packs. Blocks. Staged packs lie in `staging`, which
/// belongs to this leaf alone; what an earlier run left there was never relied on. `name` is the leaf's within its stack.
pub fn open(
    config: S3Config,
    space: Space,
    name: String,
    relied: Relied,
    bad: &[Cursor],
    staging: &Path,
) -> Result<(S3Store, OpenReport), StoreError> {
    let place = config.to_string();
    let failed = |error: S3Error| StoreError::Peer { place: place.clone(), fault: error.into() };
    let unusable = |error| StoreError::io(staging.display(), error);
    check(&config).map_err(failed)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(staging).map_err(unusable)?;
    let client = Client::connect(&config).map_err(failed)?;
    let floor = newest_fence(&client).map_err(failed)?;
    let lease = Lease::take(&client, staging, floor).map_err(failed)?;
    let requests = client.requests().clone();
    let bucket = Arc::new(Bucket::new(client, lease, staging.to_owned()));
    let threads = Some(bucket.client.threads().into());
    let disk = Arc::new(S3Disk::new(bucket.clone()).map_err(unusable)?);
    let dir = PathBuf::from(&place);
    let leaf = LeafConfig {
        name,
        dir,
        disk,
        space,
        pack_bytes: PACK_BYTES,
        reserve_bytes: BLOBS_RESERVE_BYTES,
        is_sealed_by_flush: true,
        threads,
    };
    let (packs, report) = BlobsFile::open(leaf, relied, bad)?;
    let merging = Merging::start(&bucket).map(Arc::new);
    Ok((S3Store { _merging: merging, packs, config: Arc::new(config), requests }, report))
}

/// Whether there is any pack below the prefix. Blocks.
pub fn holds_packs(config: &S3Config) -> Result<bool, StoreError> {
    let found = Client::connect(config).and_then(|client| newest_fence(&client));
    let found = found.map_err(|error| StoreError::Peer { place: config.to_string(), fault: error.into() });
    Ok(found? > 0)
}

/// The largest fencing number that any object was written under; 0 if there is none.
fn newest_fence(client: &Client) -> Result<u64, S3Error> {
    let asking = client.clone();
    let listed = client.wait(async move { asking.list().await }).map_err(Failure::into_error)?;
    Ok(listed.iter().filter_map(|object| Name::parse(&object.name)).map(|name| name.fence()).max().unwrap_or(0))
}

impl S3Store {
    /// Its marks.
    pub fn marks(&self) -> Marks {
        self.packs.marks()
    }

    /// What was asked of the store so far.
    pub fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

#[async_trait]
impl BlobStore for S3Store {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        self.packs.put(bundle, label).await
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        self.packs.find(ids).await
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        self.packs.get(id).await
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        self.packs.flush().await
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        self.packs.enumerate(after, max).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.packs.stats().await
    }
}
