//! What is fuzzed. The server's formats are taken file by file: none of them needs the server, nor its index.

pub mod bodies;

/// The server's log.
#[path = "."]
pub mod log {
    #[path = "../../server/src/log/effect.rs"]
    pub mod effect;
    #[path = "../../server/src/log/record.rs"]
    pub mod record;
}

/// The server's index.
#[path = "."]
pub mod index {
    #[path = "../../server/src/index/keys.rs"]
    pub mod keys;
}

/// The server's stores.
#[path = "."]
pub mod store {
    #[path = "../../server/src/store/place.rs"]
    mod place;
    pub use place::{Cursor, Durable};
}
