//! The scheduler: takes snapshots every so often, like cron and anacron, and says so when it could not.
//!
//! `config` is what the user wrote; `plan` says from that, the time and what has been when the next run is due, and knows
//! nothing else; `run` does it, as child processes of the client; `history` is what has been, in a small database.

pub mod cli;
pub mod clock;
pub mod config;
pub mod history;
pub mod metrics;
pub mod plan;
pub mod run;
pub mod status;
