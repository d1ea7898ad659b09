//! Hard links: the first name of a file is restored, the others are linked to it when it is whole.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, linkat},
    io::Errno,
};

use super::{decide::Act, dir::Dir, place::Place, shared::Shared};
use crate::fs::FileId;

/// One more name, its directory, and what is to be done with it.
#[derive(Debug)]
pub struct Another {
    /// Where it lies.
    pub dir: Arc<Dir>,
    /// The name.
    pub name: Vec<u8>,
    /// What is to be done.
    pub act: Act,
}

#[derive(Debug)]
enum State {
    /// Not whole yet; these wait for it.
    Pending(Vec<Another>),
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
    /// Which file it is, if it was there and stays.
    pub kept: Option<FileId>,
    state: Mutex<State>,
}

impl Link {
    /// Of a file whose first name is about to be restored, unless it is kept.
    pub fn new(root: &Arc<Dir>, dir: &Arc<Dir>, name: &[u8], kept: Option<FileId>) -> Arc<Self> {
        Arc::new(Self {
            root: Arc::downgrade(root),
            dir: Arc::downgrade(dir),
            dir_path: dir.path(),
            name: name.to_vec(),
            kept,
            state: Mutex::new(State::Pending(Vec::new())),
        })
    }

    /// One more name: linked now, or when the file is whole.
    pub fn add(&self, shared: &Shared, another: Another) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Pending(waiting) => waiting.push(another),
            State::Done => {
                drop(state);
                self.link(shared, &another);
            }
            State::Failed => self.tell(shared, &another),
        }
    }

    /// The first name is there and whole, or it failed.
    pub fn finish(&self, shared: &Shared, is_whole: bool) {
        let next = if is_whole { State::Done } else { State::Failed };
        let before = std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), next);
        let State::Pending(waiting) = before else { return };
        for another in waiting {
            if is_whole {
                self.link(shared, &another);
            } else {
                self.tell(shared, &another);
            }
        }
    }

    fn tell(&self, shared: &Shared, Another { dir, name, .. }: &Another) {
        // When everything ends early, what did not come is no news.
        if !shared.is_over() {
            let first = crate::report::escape(&self.name);
            let line = format!("is the same file as {first}, which could not be restored");
            shared.trouble(&dir.path_of(name), &line);
        }
    }

    fn link(&self, shared: &Shared, another: &Another) {
        let made = if another.act.makes() { self.try_link(&another.dir, &another.name) } else { Ok(()) };
        match made {
            Ok(()) => shared.done_file(another.act, 0),
            Err(error) => shared.error(&another.dir.path_of(&another.name), "hard link", error),
        }
    }

    fn try_link(&self, dir: &Dir, name: &[u8]) -> Result<(), Errno> {
        let from: Arc<OwnedFd> = match self.dir.upgrade() {
            Some(from) => from.fd()?,
            None => self.root.upgrade().ok_or(Errno::NOENT)?.walk_to(&self.dir_path)?,
        };
        let (place, ()) = Place::make(dir, name, |fd, at| linkat(&from, &self.name[..], fd, at, AtFlags::empty()))?;
        place.keep(dir, name)
    }
}
