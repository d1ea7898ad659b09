//! The place of an entry in its directory: free, or taken by something that will be replaced at once by a rename.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, renameat, unlinkat},
    io::Errno,
};

use super::dir::Dir;
use crate::fs::Stat;

/// Under which name an entry was made.
#[derive(Debug)]
pub struct Place {
    /// That name.
    pub name: Vec<u8>,
    is_temporary: bool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Place {
    /// Makes something under a name, or beside what has the name now. An empty directory in the way is removed, one that
    /// is not empty is an error.
    pub fn make<T>(
        dir: &Dir,
        name: &[u8],
        make: impl Fn(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<(Self, T), Errno> {
        loop {
            let place = Self::find(dir, name)?;
            match dir.change(|fd| make(fd, &place.name)) {
                // Left by a restore that was killed, which had the same process id.
                Err(Errno::EXIST) if place.is_temporary => {}
                made => return Ok((place, made?)),
            }
        }
    }

    fn find(dir: &Dir, name: &[u8]) -> Result<Self, Errno> {
        let free = Self { name: name.to_vec(), is_temporary: false };
        if dir.is_new {
            return Ok(free);
        }
        match Stat::at(dir.fd()?, name) {
            Err(Errno::NOENT) => Ok(free),
            Err(error) => Err(error),
            Ok(stat) if stat.file_type == Some(datadb::FileType::Dir) => {
                dir.change(|fd| unlinkat(fd, name, AtFlags::REMOVEDIR))?;
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
        if !self.is_temporary {
            return Ok(());
        }
        let fd = dir.fd()?;
        renameat(&*fd, &self.name[..], &*fd, name)
    }

    /// What was made is not whole: it is removed.
    pub fn discard(&self, dir: &Dir) -> Result<(), Errno> {
        unlinkat(dir.fd()?, &self.name[..], AtFlags::empty())
    }
}
