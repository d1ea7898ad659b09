//! Directories being restored into. The metadata of one is set when nobody writes into it or below it any more: the
//! planner has left it and no file of it is under way, which is when the last reference is dropped.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use datadb::Meta;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, fchmod, fgetxattr, mkdirat, open, openat, unlinkat},
    io::Errno,
};

use super::{
    metadata::{apply, apply_to_new, strip_acls, unlike},
    open_dirs::Slot,
    shared::Shared,
};
use crate::{
    fs::at::At,
    fs::xattrs::Reader,
    fs::{FileId, Stat},
};

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory. It may be closed and opened again meanwhile, but never another one is opened in its place.
#[derive(Debug)]
pub struct Dir {
    parent: Option<Arc<Self>>,
    name: Vec<u8>,
    slot: Arc<Slot>,
    /// `None` in a rehearsal, where it would be made.
    id: Option<FileId>,
    /// Nothing was in it before.
    pub is_new: bool,
    /// What is made in it gets an ACL from it.
    pub has_default_acl: bool,
    /// Whether its metadata is to be looked at in the end: something was made in it, or it differed before.
    is_touched: AtomicBool,
    /// Its mode before it was made writable, if it had to be.
    mode_before: OnceLock<u32>,
    meta: Mutex<Option<Meta>>,
    shared: Arc<Shared>,
}

impl Dir {
    /// The target itself; made with everything above it if it is not there.
    pub fn target(path: &Path, shared: &Arc<Shared>) -> std::io::Result<Arc<Self>> {
        let is_new = !path.try_exists()?;
        std::fs::create_dir_all(path)?;
        let fd = open(path, FLAGS, Mode::empty())?;
        if is_new {
            strip_acls(At::Open(fd.as_fd()));
        }
        Ok(Self::opened(None, b"", fd, is_new, shared)?)
    }

    /// A directory below; whatever else has its name is removed.
    pub fn child(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>, Errno> {
        let make = |fd: &OwnedFd| mkdirat(fd, name, Mode::RWXU);
        let open = || openat(self.fd()?, name, FLAGS | OFlags::NOFOLLOW, Mode::empty());
        let is_new = match self.change(make) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error),
        };
        let (fd, is_new) = match open() {
            Ok(fd) => (fd, is_new),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.change(|fd| unlinkat(fd, name, AtFlags::empty()))?;
                self.change(make)?;
                (open()?, true)
            }
            Err(error) => return Err(error),
        };
        if is_new && self.has_default_acl {
            strip_acls(At::Open(fd.as_fd()));
        }
        Self::opened(Some(self), name, fd, is_new, &self.shared)
    }

    /// A directory below that is there.
    pub fn present(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>, Errno> {
        let fd = openat(self.fd()?, name, FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
        Self::opened(Some(self), name, fd, false, &self.shared)
    }

    /// A directory that would be made; there is nothing in it to look at.
    pub fn imagined(parent: Option<&Arc<Self>>, name: &[u8], shared: &Arc<Shared>) -> Arc<Self> {
        Self::new(parent, name, Arc::default(), (None, true, false), shared)
    }

    fn opened(
        parent: Option<&Arc<Self>>,
        name: &[u8],
        fd: OwnedFd,
        is_new: bool,
        shared: &Arc<Shared>,
    ) -> Result<Arc<Self>, Errno> {
        let id = Stat::of(&fd)?.id();
        let has_default_acl = !is_new && fgetxattr(&fd, c"system.posix_acl_default", &mut [0; 0][..]).is_ok();
        let slot = if parent.is_some() { Arc::default() } else { Slot::pinned() };
        shared.open_dirs.hold(&slot, fd);
        Ok(Self::new(parent, name, slot, (Some(id), is_new, has_default_acl), shared))
    }

    fn new(
        parent: Option<&Arc<Self>>,
        name: &[u8],
        slot: Arc<Slot>,
        (id, is_new, has_default_acl): (Option<FileId>, bool, bool),
        shared: &Arc<Shared>,
    ) -> Arc<Self> {
        Arc::new(Self {
            parent: parent.cloned(),
            name: name.to_vec(),
            slot,
            id,
            is_new,
            has_default_acl,
            is_touched: AtomicBool::new(is_new),
            mode_before: OnceLock::new(),
            meta: Mutex::default(),
            shared: Arc::clone(shared),
        })
    }

    /// The metadata it shall have in the end; `differs` says that it has other metadata now.
    pub fn set_meta(&self, meta: Meta, differs: bool) {
        self.is_touched.fetch_or(differs, Ordering::Relaxed);
        *self.meta.lock().unwrap_or_else(PoisonError::into_inner) = Some(meta);
    }

    /// The descriptor; opened again, and those above it, if it was closed meanwhile.
    pub fn fd(&self) -> Result<Arc<OwnedFd>, Errno> {
        let mut closed = Vec::new();
        let mut at = self;
        let mut fd = loop {
            if let Some(fd) = at.slot.get() {
                break fd;
            }
            closed.push(at);
            at = at.parent.as_deref().ok_or(Errno::BADF)?;
        };
        for dir in closed.into_iter().rev() {
            let opened = openat(&fd, &dir.name[..], FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
            if dir.id != Some(Stat::of(&opened)?.id()) {
                // Somebody moved it away and put another in its place.
                return Err(Errno::STALE);
            }
            fd = self.shared.open_dirs.hold(&dir.slot, opened);
        }
        Ok(fd)
    }

    /// Changes what is in it. A directory of one's own that is write-protected is opened up, until the end.
    pub fn change<T>(&self, change: impl Fn(&OwnedFd) -> Result<T, Errno>) -> Result<T, Errno> {
        let fd = self.fd()?;
        let changed = match change(&fd) {
            Err(Errno::ACCESS) if self.open_up(&fd)? => change(&fd)?,
            other => other?,
        };
        self.is_touched.store(true, Ordering::Relaxed);
        Ok(changed)
    }

    fn open_up(&self, fd: &OwnedFd) -> Result<bool, Errno> {
        let stat = Stat::of(fd)?;
        if self.is_new || !self.shared.rights.is_own(stat.uid) || stat.mode & 0o700 == 0o700 {
            return Ok(false);
        }
        self.mode_before.get_or_init(|| stat.mode);
        fchmod(fd, Mode::from_raw_mode(stat.mode | 0o700))?;
        Ok(true)
    }

    /// Below the target, without a slash at the beginning; empty for the target.
    pub fn path(&self) -> Vec<u8> {
        let mut names = vec![&self.name[..]];
        let mut at = self;
        while let Some(parent) = &at.parent {
            at = parent;
            names.push(&at.name);
        }
        names.reverse();
        // The first is the target's, which is empty.
        names[1..].join(&b'/')
    }

    /// The path of a name in it, below the target.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    fn shown_path(&self) -> Vec<u8> {
        if self.parent.is_none() { b".".to_vec() } else { self.path() }
    }

    /// Opens a directory by its path below this one, following nothing; for links to files made long ago.
    pub fn walk_to(&self, path: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = self.fd()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = Arc::new(openat(&at, name, flags, Mode::empty())?);
        }
        Ok(at)
    }

    /// Sets what is to be set in the end, once.
    fn finish(&self) {
        if !self.is_touched.swap(false, Ordering::Relaxed) {
            return;
        }
        let meta = self.meta.lock().unwrap_or_else(PoisonError::into_inner).take();
        let finished = match (meta, self.mode_before.get()) {
            (Some(meta), _) => self.settle(&meta),
            (None, Some(mode)) => self.fd().and_then(|fd| fchmod(&fd, Mode::from_raw_mode(*mode))),
            (None, None) => Ok(()),
        };
        if let Err(error) = finished {
            self.shared.error(&self.shown_path(), "", error);
        }
    }

    fn settle(&self, meta: &Meta) -> Result<(), Errno> {
        let fd = self.fd()?;
        let at = At::Open(fd.as_fd());
        let path = || self.shown_path();
        if self.is_new {
            apply_to_new(&self.shared, at, meta, &path);
        } else {
            let unlike = unlike(&self.shared.rights, at, &at.stat()?, meta, &mut Reader::default());
            apply(&self.shared, at, meta, unlike, &path);
        }
        Ok(())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        self.finish();
        // The directories above that nobody else has end here too: one after the other, not one inside the other,
        // because a tree may be deeper than a stack.
        let mut above = self.parent.take();
        while let Some(mut dir) = above.and_then(Arc::into_inner) {
            dir.finish();
            above = dir.parent.take();
        }
    }
}
