//! An entry of the backup, and the directory where it comes to lie.

use std::sync::Arc;

use datadb::{FileType, Meta, meta::Content};

use super::dir::Dir;

/// What is wanted, and where.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The directory.
    pub dir: Arc<Dir>,
    /// Its name there.
    pub name: Vec<u8>,
    /// As it is in the backup.
    pub meta: Meta,
}

impl Wanted {
    /// Its path below the target.
    pub fn path(&self) -> Vec<u8> {
        self.dir.path_of(&self.name)
    }

    /// Whether the backup lacks what it is.
    pub fn is_lost(&self) -> bool {
        is_lost(&self.meta)
    }
}

/// Whether the backup lacks what an entry is: bytes, or where it leads.
pub fn is_lost(Meta { file_type, content, size, target, error, .. }: &Meta) -> bool {
    error.is_some()
        && match file_type {
            FileType::File => *content == Content::None && *size > 0,
            FileType::Symlink => target.is_none(),
            _ => false,
        }
}
