//! The local cache of the last backup of one path: what every file looked like, so that an unchanged one is not read.
//!
//! # Format (version 1)
//! A head of 128 bytes: magic `DATADB-CACHE`, version u8, repository id (16), key of the backup (20), zeros, and in the
//! last 16 bytes the BLAKE3 (cut) of what is before. Then blocks: `length u32 · BLAKE3 (cut to 16) of the block's number
//! (u64) and payload · payload`, big endian; a payload is whole records. Records come in the order of the walk:
//! `1 · type u8 · trusted u8 · size · mtime · ctime · inode · name · meta` for an entry (a directory's own entries follow
//! it, its meta then has no ref yet), and `2 · content` when a directory ends (`0`, or `2 · key`). Numbers are varints,
//! times a zigzag number of seconds and nanoseconds. The name of the root is empty. A reader ignores a file with another
//! magic, version or repository; damage ends the reading, never the backup. Losing a cache costs reading, not uploading.

mod block;
mod read;
mod record;
mod write;

use std::path::{Path, PathBuf};

use datadb::{Fault, Kind, SnapshotKey};

pub use read::{Cursor, Seek};
pub use record::Known;
pub use write::Writer;

/// Where the cache of a snapshot lies: `$XDG_CACHE_HOME/datadb/<repository>/<snapshot>`. `None` without a home.
pub fn path(repository: &[u8; 16], snapshot: SnapshotKey) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".cache"));
    let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let repository: String = repository.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(xdg.or_else(home)?.join("datadb").join(repository).join(snapshot.to_string()))
}

fn io_fault(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(Kind::Internal, format!("cache {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
