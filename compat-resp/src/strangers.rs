//! Those who speak HTTP to the sidecar, as a stranger's page makes a browser do: the log says so, and not once for each.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// There is at most one line so often: a page can send thousands.
const GAP: Duration = Duration::from_secs(60);

/// Who came, as far as it has not been told.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    told_at: Option<Instant>,
    count: u64,
}

impl Strangers {
    /// Notes one, and says so if that was not said just now.
    pub fn came(&self, address: SocketAddr) {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.count += 1;
        if untold.told_at.is_some_and(|at| at.elapsed() < GAP) {
            return;
        }
        tracing::warn!(
            client = %address,
            connections = untold.count,
            "a client speaks HTTP, as a page in a browser does that wants to write here: its connection is closed"
        );
        *untold = Untold { told_at: Some(Instant::now()), count: 0 };
    }
}
