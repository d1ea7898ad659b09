//! Fetching: what restore, dump, diff, cat and the mount bring from the server. Entries come in the order of the tree, chunks
//! in windows that are asked for ahead of their turn, and every byte is verified before it is handed out.

pub(crate) mod chunks;
pub mod content;
pub(crate) mod reading;
pub(crate) mod tree;
pub mod window;
