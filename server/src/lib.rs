//! The server of DataDB: it owns the log, the index derived from it, and the blob stores.
//!
//! Data flows one way: `rpc` decodes a call, `engine` decides, `store` keeps bundles, `log` keeps the truth in its records
//! (`record`), `index` finds things fast. `config` says where things are kept, `stack` builds that out of stores,
//! `descriptors` says who may open files. `observe` counts what happens, `http` shows it. `cli` starts it all.

pub mod cli;
pub mod config;
pub mod descriptors;
pub mod engine;
pub mod http;
pub mod index;
pub mod log;
pub mod observe;
pub mod place;
pub mod random;
pub mod record;
pub mod rpc;
pub mod stack;
pub mod store;
