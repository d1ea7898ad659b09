//! Blobs on their way: whoever stores one holds a claim to its id, and others wait until it is known what became of it.
//!
//! Sealing takes long, and two seals of the same bytes differ, so the inner store can't tell that they are the same.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use datadb::BlobId;
use tokio::sync::Notify;

/// All claims of a store.
#[derive(Debug, Default)]
pub struct Claims {
    held: Mutex<HashSet<BlobId>>,
    released: Notify,
}

/// Released when it is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    ids: HashSet<BlobId>,
}

impl Claims {
    fn held(&self) -> MutexGuard<'_, HashSet<BlobId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody holds any of these ids, and takes all of them at once, so that no two wait for each other.
    pub async fn take(self: &Arc<Self>, ids: &[BlobId]) -> Claim {
        let ids: HashSet<BlobId> = ids.iter().copied().collect();
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // From here on no release is missed.
            released.as_mut().enable();
            if self.try_take(&ids) {
                return Claim { claims: self.clone(), ids };
            }
            released.await;
        }
    }

    fn try_take(&self, ids: &HashSet<BlobId>) -> bool {
        let mut held = self.held();
        let is_free = held.is_disjoint(ids);
        if is_free {
            held.extend(ids);
        }
        is_free
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.claims.held();
        for id in &self.ids {
            held.remove(id);
        }
        drop(held);
        self.claims.released.notify_waiters();
    }
}
