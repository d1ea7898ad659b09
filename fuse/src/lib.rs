//! The time machine: every backup of a server as a read-only file system.
//!
//! `adapter` answers the kernel and is the only room that knows it; `view` says what lies where, `cache` fetches and keeps
//! what the server has. Below the root of a backup nothing ever changes, so whatever was seen once may be kept.

pub mod adapter;
pub mod cache;
pub mod cli;
pub mod entry;
pub mod view;
