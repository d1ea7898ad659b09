//! An open directory and its path, for messages.

use std::sync::Arc;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags, RawDir, openat},
    io::Errno,
};

/// Bytes of names that one call to the kernel brings.
const NAMES_BYTES: usize = 64 << 10;

/// An open directory. It stays open as long as somebody has to read one of its files.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: Vec<u8>,
}

impl Dir {
    /// Of something open.
    pub const fn new(fd: OwnedFd, path: Vec<u8>) -> Self {
        Self { fd, path }
    }

    /// Opens a name for listing, without following a symlink and, where that is allowed, without touching its atime.
    pub fn open<Fd: AsFd>(parent: Fd, name: &[u8], path: Vec<u8>) -> Result<Arc<Self>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = open_quietly(parent, name, flags)?;
        Ok(Arc::new(Self::new(fd, path)))
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The whole path.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The whole path of a name in it.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// All names in byte order, without `.` and `..`.
    pub fn names(&self, buffer: &mut Vec<u8>) -> Result<Vec<Vec<u8>>, Errno> {
        buffer.clear();
        buffer.reserve(NAMES_BYTES);
        let mut names = Vec::new();
        let mut entries = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            match entry?.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(name.to_vec()),
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Opens without changing the atime if the file is ours or we are root, else as it goes.
pub fn open_quietly<Fd: AsFd>(dir: Fd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(&dir, name, flags, Mode::empty()),
        other => other,
    }
}
