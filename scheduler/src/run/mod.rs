//! Doing what is due.
//!
//! `daemon` looks every second what is due, and starts it; `one` is a run: its locks, hooks, children and end; `child`
//! ends with its time or the scheduler, and all that it started with it. Who is told: `notify` (people and what watches
//! for them) and `promise` (the server).

pub mod child;
pub mod client;
pub mod daemon;
pub mod hooks;
pub mod lock;
pub mod notify;
pub mod one;
pub mod power;
pub mod promise;
mod reload;
pub mod service;
pub mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::history::History;

/// The history, as several tasks hold it. Each use is short.
#[derive(Clone, Debug)]
pub struct SharedHistory(Arc<Mutex<History>>);

impl SharedHistory {
    /// Shares it.
    pub fn new(history: History) -> Self {
        Self(Arc::new(Mutex::new(history)))
    }

    /// A use of it.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        // Every change is a transaction, so whoever panicked left none half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
