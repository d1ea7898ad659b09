//! Whether a file has changed since it was looked at.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _, path::Path};

/// What tells two states of a file apart. An editor that writes a new file changes the inode, one that writes in place the
/// times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl Stamp {
    /// Of a file now; the stamp of one that is not there differs from all others.
    pub fn of(file: &Path) -> Self {
        let stamp = |meta: Metadata| {
            (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
        };
        Self(std::fs::metadata(file).ok().map(stamp))
    }
}
