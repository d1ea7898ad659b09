//! Watching a side: nobody waits for one that hangs.
//!
//! A side whose medium is silent for [`SILENCE`] (one call to it has not returned for so long, see `store::pulse`) hangs:
//! whoever waits for an answer of it gets an error at once, and nothing more is asked of it until the call returns. So what
//! is stuck stays what it was: at most [`CALLS_MAX`] calls with what they carry, on the few threads of the leaf. The call
//! that is stuck is the probe, too: no other is made.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use crate::store::{
    BlobStore, Cursor, Durable, Item, Presence, Put, SharedStore, StoreError, StoreStats, Stored, pulse::Pulse,
};

/// A side one of whose calls has not returned for so long hangs: longer than a disk takes to spin up, or a loaded one to
/// sync what a pack holds, and shorter than anybody gives up who waits for a restore.
pub const SILENCE: Duration = Duration::from_secs(30);

/// Calls to a side that are under way at once; others wait for their turn. What they carry is what a side that hangs keeps
/// in memory: a bundle each.
const CALLS_MAX: usize = 32;

/// How often whoever waits looks whether the side hangs, at most; and within a silence so many times.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 10;

/// What is known of whether a side answers.
#[derive(Debug)]
pub(super) struct Watch {
    place: String,
    pulse: Pulse,
    silence: Duration,
    turns: Arc<Semaphore>,
    /// A call that was given up has returned.
    returned: Arc<Notify>,
}

impl Watch {
    pub fn new(place: String, pulse: Pulse, silence: Duration, returned: Arc<Notify>) -> Self {
        Self { place, pulse, silence, turns: Arc::new(Semaphore::new(CALLS_MAX)), returned }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.pulse.silent_for() < self.silence {
            return Ok(());
        }
        let what = format!(
            "it hangs, a call to it has not returned for {} s (a stuck mount, or a disk that fails); nothing waits for it, \
             and it catches up when it answers",
            self.silence.as_secs_f32()
        );
        Err(StoreError::Away { place: self.place.clone(), what })
    }

    /// Waits for something of the side, as long as that doesn't hang.
    pub async fn wait<F: Future + Unpin + Send>(&self, mut done: F) -> Result<F::Output, StoreError> {
        let look = LOOK.min(self.silence / LOOKS);
        loop {
            if let Ok(done) = tokio::time::timeout(look, &mut done).await {
                return Ok(done);
            }
            self.check()?;
        }
    }

    /// Asks the side. The call runs to its end, whoever waits for it.
    async fn ask<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check()?;
        let turn = self.wait(Box::pin(self.turns.clone().acquire_owned())).await?;
        let returned = self.returned.clone();
        let mut asked = tokio::spawn(async move {
            let answer = call.await;
            // Nobody closes the turns. The next one is asked when this is done.
            drop(turn);
            answer
        });
        match self.wait(&mut asked).await {
            Ok(answer) => ended(answer),
            Err(hangs) => {
                // Its task looks after it again when it answers.
                tokio::spawn(async move {
                    drop(asked.await);
                    returned.notify_one();
                });
                Err(hangs)
            }
        }
    }
}

/// What a task gave.
fn ended<T>(answer: Result<T, tokio::task::JoinError>) -> T {
    answer.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}

/// Opens a side, unless that hangs. What was begun goes on in `opening`, and is waited for again next time: nothing is ever
/// opened twice at once.
pub(super) async fn open<T: Send + 'static>(
    watch: &Watch,
    opening: &tokio::sync::Mutex<Option<JoinHandle<T>>>,
    open: impl FnOnce() -> super::side::Opening<T>,
) -> Result<T, StoreError> {
    let mut opening = opening.lock().await;
    if opening.is_none() {
        watch.check()?;
    }
    let task = opening.get_or_insert_with(|| tokio::spawn(open()));
    let opened = watch.wait(task).await?;
    *opening = None;
    Ok(ended(opened))
}

/// The store of a side, that nobody waits for when it hangs. It prints itself as the side's.
#[derive(Debug)]
pub(super) struct Watched {
    inner: SharedStore,
    watch: Arc<Watch>,
}

impl Watched {
    pub fn around(inner: SharedStore, watch: Arc<Watch>) -> SharedStore {
        Arc::new(Self { inner, watch })
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BlobStore for Watched {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        let inner = self.inner.clone();
        self.watch.ask(async move { inner.put(bundle, label).await }).await
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        let (inner, ids) = (self.inner.clone(), ids.to_vec());
        self.watch.ask(async move { inner.find(&ids).await }).await
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let (inner, id) = (self.inner.clone(), *id);
        self.watch.ask(async move { inner.get(&id).await }).await
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        let inner = self.inner.clone();
        self.watch.ask(async move { inner.flush().await }).await
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        let inner = self.inner.clone();
        self.watch.ask(async move { inner.enumerate(after, max).await }).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let inner = self.inner.clone();
        self.watch.ask(async move { inner.stats().await }).await
    }
}
