//! What a service manager is told: ready, alive, reloading, stopping. Where none asks (`NOTIFY_SOCKET`), nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Speaks to the manager.
#[derive(Debug)]
pub struct Service {
    every: Option<Duration>,
    last: Instant,
}

impl Service {
    /// Everything is ready.
    pub fn ready() -> Self {
        tell(&[NotifyState::Ready]);
        Self { every: sd_notify::watchdog_enabled().map(|most| most / 3), last: Instant::now() }
    }

    /// The loop goes round; told three times as often as the manager asks for it.
    pub fn is_alive(&mut self) {
        if self.every.is_some_and(|every| self.last.elapsed() >= every) {
            tell(&[NotifyState::Watchdog]);
            self.last = Instant::now();
        }
    }

    /// What to show beside the name of the service.
    pub fn status(&self, line: &str) {
        tell(&[NotifyState::Status(line)]);
    }

    /// It stops.
    pub fn stopping() {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told how it goes");
    }
}
