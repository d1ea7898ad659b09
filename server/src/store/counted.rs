//! Counts what goes into a backend and comes out of it.
//!
//! Around every leaf, whichever its type, so that no backend counts for itself. It prints itself as the leaf: it keeps
//! nothing, and nobody chooses it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};

use super::{
    BlobStore, Cursor, Durable, Item, Outcome, Presence, Put, SharedStore, StoreError, StoreStats, Stored, s3::Requests,
};
use crate::observe::Counter;

/// Whoever looks at a backend waits so long for its counts.
const ASKED: Duration = Duration::from_secs(2);

/// What has gone through a backend since the server started. Bytes are as they are stored.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Blobs that were new and stored.
    pub blobs_uploaded: Counter,
    /// Bytes of the bundles that hold them.
    pub bytes_uploaded: Counter,
    /// Blobs of the bundles that were read.
    pub blobs_downloaded: Counter,
    /// Bytes of these bundles.
    pub bytes_downloaded: Counter,
}

/// A backend to look at.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its type in lower case, such as `blobsfile`.
    pub kind: &'static str,
    /// Its own name: what it prints itself as.
    pub name: String,
    /// What has gone through it.
    pub traffic: Arc<Traffic>,
    /// What was asked of the store behind it, where requests are what counts.
    pub requests: Option<Arc<Requests>>,
    store: SharedStore,
    /// A question that is not answered yet: whoever asks next waits for the same answer.
    asking: Arc<Mutex<Option<Asking>>>,
}

/// A question to a store that goes on when nobody waits for its answer any more.
type Asking = JoinHandle<Result<StoreStats, StoreError>>;

impl Backend {
    /// With the requests that it makes.
    #[must_use]
    pub fn with_requests(self, requests: Arc<Requests>) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// Counts and sizes; `Away` if it does not answer in time.
    pub async fn stats(&self) -> Result<StoreStats, StoreError> {
        let asked = timeout(ASKED, async {
            let mut asking = self.asking.lock().await;
            let store = self.store.clone();
            let answer = asking.get_or_insert_with(|| tokio::spawn(async move { store.stats().await })).await;
            *asking = None;
            answer.unwrap_or_else(|ended| match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StoreError::Away { place: self.name.clone(), what: "the server is stopping".into() }),
            })
        });
        asked.await.unwrap_or_else(|_| {
            let what = format!("it has not answered for {} s", ASKED.as_secs());
            Err(StoreError::Away { place: self.name.clone(), what })
        })
    }
}

/// Requests by kind.
pub type Asked = BTreeMap<&'static str, u64>;

/// The requests that these backends have made so far, all together.
pub fn asked(backends: &[Backend]) -> Asked {
    let mut asked = Asked::new();
    for (kind, count) in backends.iter().filter_map(|backend| backend.requests.as_ref()).flat_map(|it| it.by_kind()) {
        *asked.entry(kind).or_default() += count;
    }
    asked
}

/// A store whose traffic is counted.
#[derive(Debug)]
pub struct Counted {
    inner: SharedStore,
    traffic: Arc<Traffic>,
}

impl Counted {
    /// Puts the counting around a backend of this type, which goes on with the `traffic` it had when it was open before.
    /// What comes back with it is for those who look.
    pub fn around(kind: &'static str, inner: SharedStore, traffic: Option<Arc<Traffic>>) -> (SharedStore, Backend) {
        let traffic = traffic.unwrap_or_default();
        let (name, store, asking) = (inner.to_string(), inner.clone(), Arc::default());
        let backend = Backend { kind, name, traffic: traffic.clone(), requests: None, store, asking };
        (Arc::new(Self { inner, traffic }), backend)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BlobStore for Counted {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        let bytes = bundle.data().len();
        let put = self.inner.put(bundle, label).await?;
        if put.cursor.is_some() {
            let new = put.outcomes.iter().filter(|outcome| **outcome == Outcome::New).count();
            self.traffic.blobs_uploaded.add(new as u64);
            self.traffic.bytes_uploaded.add(bytes as u64);
        }
        Ok(put)
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        self.inner.find(ids).await
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let stored = self.inner.get(id).await?;
        if let Some(Stored { bundle, .. }) = &stored {
            self.traffic.blobs_downloaded.add(bundle.refs().count() as u64);
            self.traffic.bytes_downloaded.add(bundle.data().len() as u64);
        }
        Ok(stored)
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        self.inner.flush().await
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        self.inner.enumerate(after, max).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.inner.stats().await
    }
}
