//! What is fuzzed. The server's formats are taken file by file: none of them needs the server, nor its index.

pub mod bodies;

/// The records of the server's log.
#[path = "../../server/src/record/mod.rs"]
pub mod record;

/// The server's index.
#[path = "."]
pub mod index {
    #[path = "../../server/src/index/keys.rs"]
    pub mod keys;
}

/// Places in the server's stores.
#[path = "../../server/src/place.rs"]
pub mod place;
