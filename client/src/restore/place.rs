//! The place of an entry in its directory: free, or taken by something that will be replaced at once by a rename.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::{
    fs::{AtFlags, renameat, unlinkat},
    io::Errno,
};

use super::dir::Dir;
use crate::walk::Stat;

/// Under which name an entry is made.
#[derive(Debug)]
pub struct Place {
    /// The name to make it under.
    pub name: Vec<u8>,
    is_temporary: bool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Place {
    /// Looks what is there. An empty directory in the way is removed, one that is not empty is an error.
    pub fn find(dir: &Dir, name: &[u8]) -> Result<Self, Errno> {
        let free = Self { name: name.to_vec(), is_temporary: false };
        if dir.is_new {
            return Ok(free);
        }
        match Stat::at(dir.fd(), name) {
            Err(Errno::NOENT) => Ok(free),
            Err(error) => Err(error),
            Ok(stat) if stat.file_type == Some(datadb::FileType::Dir) => {
                unlinkat(dir.fd(), name, AtFlags::REMOVEDIR)?;
                Ok(free)
            }
            Ok(_) => {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let name = format!(".datadb-{}-{number}", std::process::id()).into_bytes();
                Ok(Self { name, is_temporary: true })
            }
        }
    }

    /// What was made is whole: it takes the name that it was made for.
    pub fn keep(&self, dir: &Dir, name: &[u8]) -> Result<(), Errno> {
        if self.is_temporary { renameat(dir.fd(), &self.name[..], dir.fd(), name) } else { Ok(()) }
    }

    /// What was made is not whole: it is removed.
    pub fn discard(&self, dir: &Dir) {
        // It may not have been made at all.
        unlinkat(dir.fd(), &self.name[..], AtFlags::empty()).ok();
    }
}
