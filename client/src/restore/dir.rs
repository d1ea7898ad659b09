//! Directories being restored into. The metadata of one is set when nobody writes into it any more: the planner has left
//! it and no file of it is under way, which is when the last reference is dropped.

use std::sync::{Arc, OnceLock};

use datadb::Meta;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, unlinkat},
    io::Errno,
};

use super::{
    metadata::{apply_open, strip_xattrs},
    shared::Shared,
};

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// Below the target, without a slash at the beginning.
    path: Vec<u8>,
    /// Nothing was in it before.
    pub is_new: bool,
    meta: OnceLock<Meta>,
    shared: Arc<Shared>,
}

impl Dir {
    /// The target itself; made with everything above it if it is not there.
    pub fn target(path: &std::path::Path, shared: &Arc<Shared>) -> std::io::Result<Arc<Self>> {
        let is_new = !path.exists();
        std::fs::create_dir_all(path)?;
        let fd = open(path, FLAGS, Mode::empty())?;
        Ok(Arc::new(Self { fd, path: Vec::new(), is_new, meta: OnceLock::new(), shared: Arc::clone(shared) }))
    }

    /// A directory below; whatever else has its name is removed.
    pub fn child(&self, name: &[u8]) -> Result<Arc<Self>, Errno> {
        let is_new = match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error),
        };
        let (fd, is_new) = match openat(&self.fd, name, FLAGS | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => (fd, is_new),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                unlinkat(&self.fd, name, AtFlags::empty())?;
                mkdirat(&self.fd, name, Mode::RWXU)?;
                (openat(&self.fd, name, FLAGS | OFlags::NOFOLLOW, Mode::empty())?, true)
            }
            Err(error) => return Err(error),
        };
        if !is_new {
            strip_xattrs(&fd);
        }
        let path = self.path_of(name);
        Ok(Arc::new(Self { fd, path, is_new, meta: OnceLock::new(), shared: Arc::clone(&self.shared) }))
    }

    /// The metadata it shall have in the end.
    pub fn set_meta(&self, meta: Meta) {
        if self.path.is_empty() && !self.is_new {
            strip_xattrs(&self.fd);
        }
        // Set once, by the planner.
        drop(self.meta.set(meta));
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Below the target.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path of a name in it, below the target.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// Opens a directory by its path below this one, following nothing; for links to files made long ago.
    pub fn walk_to(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = openat(&self.fd, ".", flags, Mode::empty())?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = openat(&at, name, flags, Mode::empty())?;
        }
        Ok(at)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Some(meta) = self.meta.get() {
            let path = if self.path.is_empty() { &b"."[..] } else { &self.path };
            apply_open(&self.shared, &self.fd, meta, path);
        }
    }
}
