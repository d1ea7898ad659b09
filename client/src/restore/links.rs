//! Hard links: the first name of a file is restored, the others are linked to it when it is whole.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::{
    fd::AsFd,
    fs::{AtFlags, linkat},
    io::Errno,
};

use super::{dir::Dir, place::Place, shared::Shared};
use crate::walk::Stat;

#[derive(Debug)]
enum State {
    /// Not whole yet; these wait for it.
    Pending(Vec<(Arc<Dir>, Vec<u8>)>),
    Done,
    Failed,
}

/// A file with several names.
#[derive(Debug)]
pub struct Link {
    root: Weak<Dir>,
    dir: Weak<Dir>,
    dir_path: Vec<u8>,
    name: Vec<u8>,
    state: Mutex<State>,
}

impl Link {
    /// Of a file whose first name is about to be restored.
    pub fn new(root: &Arc<Dir>, dir: &Arc<Dir>, name: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            root: Arc::downgrade(root),
            dir: Arc::downgrade(dir),
            dir_path: dir.path().to_vec(),
            name: name.to_vec(),
            state: Mutex::new(State::Pending(Vec::new())),
        })
    }

    /// One more name: linked now, or when the file is whole.
    pub fn add(&self, shared: &Shared, dir: &Arc<Dir>, name: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Pending(waiting) => waiting.push((Arc::clone(dir), name.to_vec())),
            State::Done => {
                drop(state);
                self.link(shared, dir, name);
            }
            State::Failed => self.tell(shared, dir, name),
        }
    }

    /// The first name is there and whole, or it failed.
    pub fn finish(&self, shared: &Shared, is_whole: bool) {
        let next = if is_whole { State::Done } else { State::Failed };
        let before = std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), next);
        let State::Pending(waiting) = before else { return };
        for (dir, name) in waiting {
            if is_whole {
                self.link(shared, &dir, &name);
            } else {
                self.tell(shared, &dir, &name);
            }
        }
    }

    fn tell(&self, shared: &Shared, dir: &Dir, name: &[u8]) {
        let first = crate::report::escape(&self.name);
        shared.report.error(&dir.path_of(name), &format!("is the same file as {first}, which could not be restored"));
    }

    fn link(&self, shared: &Shared, dir: &Dir, name: &[u8]) {
        match self.try_link(dir, name) {
            Ok(()) => shared.done(0),
            Err(error) => shared.error(&dir.path_of(name), "hard link", error),
        }
    }

    fn try_link(&self, dir: &Dir, name: &[u8]) -> Result<(), Errno> {
        if let Some(from) = self.dir.upgrade() {
            return link_from(from.fd(), &self.name, dir, name);
        }
        let root = self.root.upgrade().ok_or(Errno::NOENT)?;
        link_from(root.walk_to(&self.dir_path)?, &self.name, dir, name)
    }
}

fn link_from<Fd: AsFd>(from: Fd, first: &[u8], dir: &Dir, name: &[u8]) -> Result<(), Errno> {
    if !dir.is_new {
        let (one, other) = (Stat::at(&from, first)?, Stat::at(dir.fd(), name));
        if other.is_ok_and(|other| (one.dev, one.inode) == (other.dev, other.inode)) {
            return Ok(());
        }
    }
    let place = Place::find(dir, name)?;
    linkat(&from, first, dir.fd(), &place.name[..], AtFlags::empty())?;
    place.keep(dir, name)
}
