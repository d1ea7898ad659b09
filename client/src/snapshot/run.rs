//! What all stages of one attempt share: counters, acknowledgements, and the trouble that ends it.

use std::{
    collections::HashSet,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use datadb::{Fault, Kind, ObjectKey};

/// Keys known to belong to other content: objects that would have them take the next salt.
pub type Taken = HashSet<ObjectKey>;

/// Why an attempt ended early.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The run has failed.
    Fault(Fault),
    /// Something that was there is not any more, or a key is taken: another attempt, without trusting the cache, may help.
    Again {
        /// What to say if it does not.
        reason: String,
        /// Keys that turned out to be taken.
        taken: Vec<ObjectKey>,
    },
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::Missing | Kind::Expired | Kind::Conflict => Self::Again { reason: fault.message, taken: Vec::new() },
            _ => Self::Fault(fault),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    acked: u64,
    trouble: Option<Trouble>,
}

/// The shared state of one attempt.
#[derive(Debug, Default)]
pub struct Run {
    state: Mutex<State>,
    changed: Condvar,
    /// Blobs that were new to the repository.
    pub blobs_new: AtomicU64,
    /// Bytes of bundles and objects sent.
    pub bytes_uploaded: AtomicU64,
}

impl Run {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more bundle was accepted.
    pub fn ack(&self, blobs_new: u32) {
        self.blobs_new.fetch_add(u64::from(blobs_new), Ordering::Relaxed);
        self.lock().acked += 1;
        self.changed.notify_all();
    }

    /// How many bundles were accepted.
    pub fn acked(&self) -> u64 {
        self.lock().acked
    }

    /// Ends the attempt; the first trouble counts.
    pub fn fail(&self, trouble: impl Into<Trouble>) {
        self.lock().trouble.get_or_insert(trouble.into());
        self.changed.notify_all();
    }

    /// The trouble, if there is any.
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble.clone()
    }

    /// Waits until so many bundles were accepted; false if there is trouble.
    pub fn wait_for(&self, bundles: u64) -> bool {
        let mut state = self.lock();
        while state.acked < bundles && state.trouble.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.trouble.is_none()
    }
}
