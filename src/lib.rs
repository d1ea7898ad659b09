//! The words that every part of DataDB shares: the generated API, ids, objects, their encodings, and the limits.
//!
//! Nothing here does IO. The client and the server compute every key with this code, so that they can't disagree.

pub mod api;
pub mod backup;
pub mod blob;
pub mod bundle;
pub mod chunking;
pub mod clock;
pub mod codec;
pub mod command;
pub mod error;
pub mod expected;
pub mod failpoint;
pub mod glob;
pub mod key;
pub mod limits;
pub mod meta;
pub mod object;
pub mod terminal;
pub mod version;
pub mod wire;

pub use backup::{Backup, BackupKey, HostName, SnapshotKey, TreePath};
pub use blob::{BlobId, BlobRef, Digest};
pub use bundle::Bundle;
pub use error::{Fault, Kind};
pub use key::{ObjectKey, ObjectRef};
pub use meta::{FileType, Meta, Name};
pub use object::Object;
pub use version::{Moment, Version};

/// Version of the protocol in `proto/`. Both sides name theirs in the first call and refuse what they can't speak.
pub const PROTOCOL_VERSION: u32 = 1;

/// Version of everything the server keeps on disk (packs, log records, index keys, object encodings).
pub const FORMAT_VERSION: u32 = 1;
