//! Sessions: who is uploading. A session lives as long as its traffic renews it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use datadb::{Kind, limits};

use super::EngineError;
use crate::store::counted::Asked;

/// Sessions at one time; a client that died leaves its own until the lease ends.
const SESSIONS_MAX: usize = 4096;

/// A session's id.
pub type SessionId = [u8; 16];

/// The sessions of all clients.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<HashMap<SessionId, Session>>,
}

#[derive(Debug)]
struct Session {
    /// When it was last heard of, in unix seconds.
    seen: i64,
    /// What the stores had been asked before.
    asked: Asked,
}

impl Session {
    fn is_alive(&self, now: i64) -> bool {
        now - self.seen <= i64::from(limits::LEASE_SECONDS)
    }
}

impl Sessions {
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session with a fresh random id.
    pub fn open(&self, id: SessionId, now: i64) -> Result<(), EngineError> {
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.is_alive(now));
        if sessions.len() >= SESSIONS_MAX {
            return Err(EngineError::refused(Kind::Unavailable, "too many sessions are open: try again later"));
        }
        sessions.insert(id, Session { seen: now, asked: Asked::new() });
        Ok(())
    }

    /// Renews a session; one that is not known (any more) is refused.
    pub fn renew(&self, id: &[u8], now: i64) -> Result<(), EngineError> {
        let mut sessions = self.sessions();
        match SessionId::try_from(id).ok().and_then(|id| sessions.get_mut(&id)) {
            Some(session) if session.is_alive(now) => {
                session.seen = now.max(session.seen);
                Ok(())
            }
            _ => Err(EngineError::refused(Kind::Expired, "the session is not known or has expired: open a new one")),
        }
    }

    /// Ends a session.
    pub fn close(&self, id: &[u8]) {
        if let Ok(id) = SessionId::try_from(id) {
            self.sessions().remove(&id);
        }
    }

    /// Notes what the stores have been asked so far, from which a session's own share is counted.
    pub fn note_asked(&self, id: &[u8], asked: Asked) {
        let mut sessions = self.sessions();
        if let Some(session) = SessionId::try_from(id).ok().and_then(|id| sessions.get_mut(&id)) {
            session.asked = asked;
        }
    }

    /// What was noted for a session; `None` if it is not known (any more).
    pub fn asked(&self, id: &[u8]) -> Option<Asked> {
        let id = SessionId::try_from(id).ok()?;
        Some(self.sessions().get(&id)?.asked.clone())
    }
}
