//! What the server counts and shows of itself: commands, calls, errors, and who watches.
//!
//! Whoever does something counts it here with a few atomics: no lock, no allocation. `http` and `rpc` show it; nothing is
//! formatted before somebody looks.

pub mod calls;
pub mod commands;
pub mod errors;
pub mod histogram;
pub mod monitor;

use std::sync::atomic::{AtomicU64, Ordering};

use self::{calls::Calls, commands::Commands, errors::Errors, monitor::Monitor};

/// A number that only grows, until the server ends.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything counted since the server started.
#[derive(Debug)]
pub struct Observed {
    /// Unix seconds.
    pub started_at: i64,
    /// Connections accepted on the gRPC port.
    pub connections: Counter,
    /// Commands of the database.
    pub commands: Commands,
    /// Calls over gRPC.
    pub calls: Calls,
    /// What failed, of both.
    pub errors: Errors,
    /// Blobs that a client asked about or sent although they were there: what was spared.
    pub dedup_blobs: Counter,
    /// Their plain bytes.
    pub dedup_bytes: Counter,
    /// Whoever watches commands.
    pub monitor: Monitor,
    run: u32,
    requests: Counter,
}

impl Observed {
    /// Nothing counted yet. `run` tells the ids that this server gives from those that another run gave.
    pub fn new(started_at: i64, run: [u8; 4]) -> Self {
        Self {
            started_at,
            connections: Counter::default(),
            commands: Commands::default(),
            calls: Calls::default(),
            errors: Errors::default(),
            dedup_blobs: Counter::default(),
            dedup_bytes: Counter::default(),
            monitor: Monitor::default(),
            run: u32::from_be_bytes(run),
            requests: Counter::default(),
        }
    }

    /// Counts a connection, if it is one.
    pub fn connected<T, E>(&self, connection: Result<T, E>) -> Result<T, E> {
        connection.inspect(|_| self.connections.add(1))
    }

    /// An id for a call that brought none.
    pub fn request_id(&self) -> String {
        self.requests.add(1);
        format!("server-{:08x}-{}", self.run, self.requests.get())
    }
}
