//! The scheduler with real programs: a server, the client that it starts, hooks, a webhook, a service manager's socket.

#[path = "../support/mod.rs"]
mod support;

mod config;
mod hooks;
mod overdue;
mod reload;
mod runs;
mod scene;
mod systemd;
mod told;
