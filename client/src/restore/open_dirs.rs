//! Directories that are open. There are never more of them than a share of the files that the process may have open,
//! however wide or deep the tree is: the one that was opened first is closed, and opened again if it is needed again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rustix::{
    fd::OwnedFd,
    process::{Resource, getrlimit},
};

/// So many are enough for speed, whatever is allowed.
const OPEN_MAX: u64 = 1024;

/// The place of one directory's descriptor.
#[derive(Debug, Default)]
pub struct Slot {
    is_pinned: bool,
    fd: Mutex<Option<Arc<OwnedFd>>>,
}

impl Slot {
    /// One that nobody closes.
    pub fn pinned() -> Arc<Self> {
        Arc::new(Self { is_pinned: true, fd: Mutex::default() })
    }

    /// The descriptor, unless it was closed. It stays open as long as the caller has it.
    pub fn get(&self) -> Option<Arc<OwnedFd>> {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, fd: Option<Arc<OwnedFd>>) {
        *self.fd.lock().unwrap_or_else(PoisonError::into_inner) = fd;
    }
}

/// All that are open, the oldest first.
#[derive(Debug)]
pub struct OpenDirs {
    max: usize,
    queue: Mutex<VecDeque<Weak<Slot>>>,
}

impl OpenDirs {
    /// A quarter of what this process may have open.
    pub fn new() -> Self {
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self { max: (allowed / 4).clamp(16, OPEN_MAX) as usize, queue: Mutex::default() }
    }

    /// Puts a descriptor into its slot, and closes the oldest ones that are too many.
    pub fn hold(&self, slot: &Arc<Slot>, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        slot.set(Some(Arc::clone(&fd)));
        if slot.is_pinned {
            return fd;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(Arc::downgrade(slot));
        while queue.len() > self.max {
            if let Some(oldest) = queue.pop_front().and_then(|slot| slot.upgrade()) {
                oldest.set(None);
            }
        }
        fd
    }
}
