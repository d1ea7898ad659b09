//! What a service manager is told: ready, alive, stopping. Where none asks (`NOTIFY_SOCKET`), nothing.

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use crate::engine::Engine;

/// Tells the manager; one that does not listen is worth a line in the log, not an end.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told how it goes");
    }
}

/// Says that it lives, twice as often as the manager asks for, as long as the index answers.
pub fn keep_watchdog(engine: Engine) -> Option<JoinHandle<()>> {
    let every = sd_notify::watchdog_enabled()? / 2;
    Some(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            match engine.newest_backups(0).await {
                Ok(_) => tell(&[NotifyState::Watchdog]),
                Err(error) => tracing::error!(%error, "the index does not answer; the watchdog is not told to wait"),
            }
        }
    }))
}
