//! The task of a side: reaches it again when it was away, brings it level when it is behind, pays what it is owed.

use std::{sync::Weak, time::Duration};

use super::{Inner, Standing, put::longer};
use crate::store::{SharedStore, StoreError};

/// How long a side that is away is left alone at first, and at most. A write that needs it asks at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// No side is tried more often than this, however many writes ask for it.
const SPACING: Duration = Duration::from_millis(100);

/// How long a level side is left alone.
const IDLE: Duration = Duration::from_secs(10);

/// Looks after a side until the mirror ends.
pub(super) async fn tend(mirror: Weak<Inner>, at: usize) {
    let mut pause = PAUSES.0;
    loop {
        let Some(inner) = mirror.upgrade() else { return };
        if inner.is_stopping() {
            return;
        }
        let is_level = inner.tend_once(at).await;
        pause = if is_level { PAUSES.0 } else { longer(pause, PAUSES.1) };
        let wake = inner.sides[at].wake.clone();
        drop(inner);
        let woken = async {
            tokio::time::sleep(SPACING).await;
            wake.notified().await;
        };
        // Woken or not, there is something to look at.
        drop(tokio::time::timeout(if is_level { IDLE } else { pause }, woken).await);
    }
}

impl Inner {
    /// Does what a side needs now; tells whether it is level after that.
    async fn tend_once(&self, at: usize) -> bool {
        // What failed is noted at the side, and said.
        if self.sides[at].now().0 == Standing::Away && self.revive(at).await.is_err() {
            return false;
        }
        match self.sides[at].now().0 {
            Standing::Away => false,
            Standing::Behind => {
                if let Err(error) = self.catch_up(at).await {
                    tracing::warn!(side = %self.sides[at], %error, "a side can't catch up now");
                }
                self.changed.notify_waiters();
                self.sides[at].now().0 == Standing::Level
            }
            Standing::Level => {
                self.pay_owed().await;
                true
            }
        }
    }

    /// Tries to reach a side: the store it had, or a new one.
    pub(super) async fn revive(&self, at: usize) -> Result<(), StoreError> {
        let side = &self.sides[at];
        let result = match side.now().1 {
            Some(store) => store.flush().await.map(|_| store),
            None => self.open_side(at).await,
        };
        let result = match result {
            Ok(store) => {
                side.answers(store);
                Ok(())
            }
            Err(error) => {
                if side.trouble() != error.to_string() {
                    tracing::error!(%side, %error, "a side of a mirror is away");
                }
                side.fails(&error, matches!(error, StoreError::Gone { .. }));
                Err(error)
            }
        };
        self.changed.notify_waiters();
        result
    }

    async fn open_side(&self, at: usize) -> Result<SharedStore, StoreError> {
        let opened = self.sides[at].open().await?;
        if opened.is_hurt {
            tracing::error!(side = %self.sides[at], "a side lost something: it is compared with the others from the front");
            self.checkpoints.forget(at).await?;
        }
        Ok(opened.store)
    }

    /// Brings a side level: what it alone holds goes to the others, what it lacks comes from them.
    async fn catch_up(&self, at: usize) -> Result<(), StoreError> {
        let side = &self.sides[at];
        self.check_kin().await.inspect_err(|error| side.fails(error, false))?;
        let level = self.readable().into_iter().find(|(other, _, is_level)| *is_level && *other != at);
        let Some((reference, ..)) = level else { return self.catch_up_alone(at).await };
        if !side.config.is_write_only {
            self.give(at).await?;
        }
        let pulled = self.pull(at, reference).await?;
        // What came meanwhile is little; nothing comes while this is done.
        let _gate = self.gate.write().await;
        let rest = self.pull(at, reference).await?;
        if side.now().0 == Standing::Behind {
            side.becomes_level();
            let (records, blobs) = (pulled.records + rest.records, pulled.blobs + rest.blobs);
            tracing::info!(%side, records, blobs, "a side of a mirror has caught up");
        }
        Ok(())
    }

    /// The same where no side is level: those that answer must have, together, all that counts.
    async fn catch_up_alone(&self, at: usize) -> Result<(), StoreError> {
        let _gate = self.gate.write().await;
        let is_complete = self.pull_from_all(at).await;
        if is_complete && self.is_enough_to_read(|other| self.sides[other].now().0 != Standing::Away) {
            self.sides[at].becomes_level();
            return Ok(());
        }
        Err(self.away("too few sides answer to know all that was committed"))
    }
}
