//! One side of a mirror: its store, if it is open, and how it stands.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use super::watch::{self, Watch, Watched};
use crate::{
    observe::Counter,
    store::{Cursor, SharedStore, StoreError, pulse::Pulse},
};

/// A side that was opened.
pub struct Opened {
    /// Its store.
    pub store: SharedStore,
    /// Whether it lost something, so that it must be compared from the front.
    pub is_hurt: bool,
}

/// Opens a side, again after each failure.
pub type Opener = Arc<dyn Fn() -> Opening<Result<Opened, StoreError>> + Send + Sync>;

/// Something that is being opened.
pub type Opening<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a side is.
pub struct SideConfig {
    /// Its name, by which its checkpoints are kept.
    pub name: String,
    /// What its store prints itself as.
    pub prints_as: String,
    /// Whether it is never read.
    pub is_write_only: bool,
    /// Whether it lies on this machine's own disks.
    pub is_local: bool,
    /// Whether its medium answers.
    pub pulse: Pulse,
    /// Opens it.
    pub open: Opener,
}

/// How a side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has all that counts, and takes every write.
    Level,
    /// It can be asked, and is being brought level.
    Behind,
    /// It can't be asked, or failed when it was.
    Away,
}

pub(super) struct Side {
    pub config: SideConfig,
    /// Wakes its task.
    pub wake: Arc<Notify>,
    /// Blobs put there again because its copy was lost or damaged.
    pub healed_blobs: Counter,
    /// Blobs copied there because it was behind.
    pub copied_blobs: Counter,
    pub copied_bytes: Counter,
    state: Mutex<State>,
    watch: Arc<Watch>,
    /// What was begun to be opened and did not come to an end yet.
    opening: tokio::sync::Mutex<Option<JoinHandle<Result<Opened, StoreError>>>>,
}

struct State {
    store: Option<SharedStore>,
    standing: Standing,
    trouble: String,
    /// How often it was tried to reach it.
    attempts: u64,
    /// The last record put there by this process.
    last: Option<Cursor>,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side").field("name", &self.config.name).field("standing", &self.now().0).finish_non_exhaustive()
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.config.prints_as)
    }
}

impl Side {
    /// A side that hangs when a call to it has not returned for so long.
    pub fn new(config: SideConfig, silence: Duration) -> Self {
        let trouble = "it was not opened yet".to_owned();
        let state = State { store: None, standing: Standing::Away, trouble, attempts: 0, last: None };
        let [healed_blobs, copied_blobs, copied_bytes] = [(); 3].map(|()| Counter::default());
        let wake = Arc::<Notify>::default();
        let watch = Arc::new(Watch::new(config.prints_as.clone(), config.pulse.clone(), silence, wake.clone()));
        let (state, opening) = (Mutex::new(state), tokio::sync::Mutex::default());
        Self { config, wake, healed_blobs, copied_blobs, copied_bytes, state, watch, opening }
    }

    /// Opens its store, unless that hangs.
    pub async fn open(&self) -> Result<Opened, StoreError> {
        let Opened { store, is_hurt } = watch::open(&self.watch, &self.opening, || (self.config.open)()).await??;
        Ok(Opened { store: Watched::around(store, self.watch.clone()), is_hurt })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its standing and its store.
    pub fn now(&self) -> (Standing, Option<SharedStore>) {
        let state = self.state();
        (state.standing, state.store.clone())
    }

    /// Why it is not level; empty if it is.
    pub fn trouble(&self) -> String {
        self.state().trouble.clone()
    }

    pub fn trouble_line(&self) -> String {
        let standing = if self.now().0 == Standing::Away { "is away" } else { "is behind" };
        match self.trouble() {
            trouble if trouble.is_empty() => format!("{self} {standing}"),
            trouble => format!("{self} {standing} ({trouble})"),
        }
    }

    /// Whether `ack = "local"` waits for it.
    pub const fn is_needed_locally(&self) -> bool {
        self.config.is_local && !self.config.is_write_only
    }

    pub fn attempts(&self) -> u64 {
        self.state().attempts
    }

    /// It answers now, with this store.
    pub fn answers(&self, store: SharedStore) {
        let mut state = self.state();
        state.attempts += 1;
        (state.store, state.standing) = (Some(store), Standing::Behind);
        state.trouble = "it catches up".into();
    }

    /// It does not answer. With `is_gone` its store is of no use any more.
    pub fn fails(&self, error: &StoreError, is_gone: bool) {
        let mut state = self.state();
        state.attempts += 1;
        (state.standing, state.trouble) = (Standing::Away, error.to_string());
        if is_gone {
            state.store = None;
        }
    }

    pub fn becomes_level(&self) {
        let mut state = self.state();
        (state.standing, state.trouble) = (Standing::Level, String::new());
    }

    /// Its last record is at least this one.
    pub fn has_put(&self, cursor: Option<Cursor>) {
        let mut state = self.state();
        state.last = state.last.max(cursor);
    }

    pub fn last(&self) -> Option<Cursor> {
        self.state().last
    }
}
