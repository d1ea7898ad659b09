//! Sessions: who is uploading. A session lives as long as its traffic renews it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use datadb::{Kind, limits};

use super::EngineError;

/// Sessions at one time; a client that died leaves its own until the lease ends.
const SESSIONS_MAX: usize = 4096;

/// A session's id.
pub type SessionId = [u8; 16];

/// The sessions of all clients.
#[derive(Debug, Default)]
pub struct Sessions {
    /// When each was last heard of, in unix seconds.
    seen: Mutex<HashMap<SessionId, i64>>,
}

impl Sessions {
    fn seen(&self) -> MutexGuard<'_, HashMap<SessionId, i64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session with a fresh random id.
    pub fn open(&self, id: SessionId, now: i64) -> Result<(), EngineError> {
        let mut seen = self.seen();
        seen.retain(|_, last| now - *last <= i64::from(limits::LEASE_SECONDS));
        if seen.len() >= SESSIONS_MAX {
            return Err(EngineError::refused(Kind::Unavailable, "too many sessions are open: try again later"));
        }
        seen.insert(id, now);
        Ok(())
    }

    /// Renews a session; one that is not known (any more) is refused.
    pub fn renew(&self, id: &[u8], now: i64) -> Result<(), EngineError> {
        let mut seen = self.seen();
        match SessionId::try_from(id).ok().and_then(|id| seen.get_mut(&id)) {
            Some(last) if now - *last <= i64::from(limits::LEASE_SECONDS) => {
                *last = now.max(*last);
                Ok(())
            }
            _ => Err(EngineError::refused(Kind::Expired, "the session is not known or has expired: open a new one")),
        }
    }

    /// Ends a session.
    pub fn close(&self, id: &[u8]) {
        if let Ok(id) = SessionId::try_from(id) {
            self.seen().remove(&id);
        }
    }
}
