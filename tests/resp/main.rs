//! The RESP sidecar before a real server, with real clients of Redis, and beside a real redis-server.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod connections;
mod differential;
mod limits;
mod transactions;
mod walk;

use support::{processes::Server, resp::Sidecar};

/// A server and the sidecar before it.
struct House {
    server: Server,
    sidecar: Sidecar,
}

impl House {
    fn new() -> Self {
        let server = Server::new();
        let sidecar = Sidecar::of(server.url());
        Self { server, sidecar }
    }
}
