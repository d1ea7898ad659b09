//! The client of DataDB: walks, chunks, hashes, compresses and streams; and brings everything back.
//!
//! `walk -> snapshot (read, ask, bundle, upload, assemble, objects) -> commit` is the way there, `restore` the way back,
//! `dump` the one into an archive; `select` says what of a tree is taken; `connection` is all that knows the API, and what the other edges (FUSE, scheduler) use.

pub mod cache;
pub mod chunker;
pub mod cli;
pub mod clock;
pub mod color;
pub mod connection;
pub mod diff;
pub mod dump;
pub mod exit;
pub mod fetch;
pub mod field;
pub mod fs;
pub mod process;
pub mod report;
pub mod restore;
pub mod select;
pub mod snapshot;
pub mod walk;

pub use datadb::glob;
