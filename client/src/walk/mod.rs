//! Walking a tree: depth first, names in byte order, everything by calls relative to open directories, so that paths of
//! any length and trees that change meanwhile are no danger. Mount points are crossed, unless the selection keeps them shut.
//!
//! In memory are the open directories from the root to the present place and the names of each; never a list of all files.

use std::{path::Path, sync::Arc};

use datadb::{
    Fault, FileType, Kind, Name,
    meta::{Content, Timestamp},
};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use crate::{
    cache::{Cursor, Known},
    exit,
    fs::{Dir, Stat, words},
    report::{Report, escape},
    select::{Selection, Selector},
};

/// Something that the walk met.
#[derive(Debug)]
pub struct Entry {
    /// The directory that holds it; `None` for the root of the tree if that is a directory.
    pub parent: Option<Arc<Dir>>,
    /// Its name there; empty only where there is no parent.
    pub name: Vec<u8>,
    /// Whether it is the root of the backup (which has no name there).
    pub is_root: bool,
    /// As it was when the walk came by.
    pub stat: Stat,
    /// Its type.
    pub file_type: FileType,
    /// When the walk came by.
    pub seen: Timestamp,
    /// The encoding of its meta in the last backup, if it is unchanged since (a directory's without its ref).
    pub unchanged: Option<Vec<u8>>,
    /// The directory itself, if it is one that could be opened; or why it could not. A mount point that stays shut has none.
    pub open: Option<Result<Arc<Dir>, Errno>>,
}

impl Entry {
    /// Its whole path, for people.
    pub fn path(&self) -> Vec<u8> {
        match (&self.parent, &self.open) {
            (Some(parent), _) => parent.path_of(&self.name),
            (None, Some(Ok(dir))) => dir.path().to_vec(),
            (None, _) => self.name.clone(),
        }
    }

    /// The name in the backup.
    pub fn backup_name(&self) -> Option<Name> {
        if self.is_root { None } else { Name::new(&self.name).ok() }
    }
}

/// A step of the walk.
#[derive(Debug)]
pub enum Step {
    /// A file, symlink, fifo or device.
    Leaf(Entry),
    /// A directory; its entries follow, then its `Leave`.
    Enter(Entry),
    /// The end of the directory entered last. If nothing in it changed, what it consisted of in the last backup.
    Leave(Option<Content>),
}

/// What the walk knows of the last backup.
#[derive(Debug, Default)]
pub struct Past {
    /// The cache beside which to walk.
    pub cursor: Option<Cursor>,
    /// Paths (below the root, beginning with `/`, sorted) that must be read again, with all directories above them.
    pub affected: Vec<Vec<u8>>,
}

struct Frame {
    dir: Option<Arc<Dir>>,
    names: std::vec::IntoIter<Vec<u8>>,
    in_cache: bool,
    is_unchanged: bool,
    /// Length of the path below the root before this directory's name was added.
    path_len: usize,
}

/// A walk in progress.
pub struct Walk<'a> {
    past: Past,
    report: &'a Report,
    /// Asked for every name but the root's; `None` where everything is taken.
    selector: Option<Selector<'a>>,
    frames: Vec<Frame>,
    buffer: Vec<u8>,
    /// The path below the root of the present directory, kept only where affected paths must be told apart.
    below: Vec<u8>,
    start: Option<Entry>,
}

impl<'a> Walk<'a> {
    /// Starts at a canonical absolute path, which may be a file.
    pub fn start(path: &Path, past: Past, selection: &'a Selection, report: &'a Report) -> Result<Self, Fault> {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = path.as_os_str().as_bytes();
        let fault = |error: Errno| Fault::new(Kind::NotFound, format!("{}: {}", path.display(), words(error)));
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let fd = openat(CWD, parent, flags, Mode::empty()).map_err(fault)?;
                (Some(Arc::new(Dir::new(fd, parent.as_os_str().as_bytes().to_vec()))), name.as_bytes().to_vec())
            }
            _ => (None, Vec::new()),
        };
        let stat = match &parent {
            Some(parent) => Stat::at(parent.fd(), &name),
            None => Stat::at(CWD, bytes),
        };
        let stat = stat.map_err(fault)?;
        let file_type = stat
            .file_type
            .ok_or_else(|| Fault::new(Kind::Invalid, format!("{}: a socket can't be backed up", path.display())))?;
        let selector = Selector::start(selection, path, &stat, report);
        let (frames, buffer, below) = (Vec::new(), Vec::new(), Vec::new());
        let mut walk = Self { past, report, selector, frames, buffer, below, start: None };
        let known = walk.past.cursor.as_mut().and_then(Cursor::root);
        let mut entry = walk.entry(parent, name, stat, file_type, known);
        entry.is_root = true;
        if entry.parent.is_none() {
            entry.open = Some(Dir::open(CWD, bytes, bytes.to_vec()));
        }
        walk.start = Some(entry);
        Ok(walk)
    }

    fn entry(
        &self,
        parent: Option<Arc<Dir>>,
        name: Vec<u8>,
        stat: Stat,
        file_type: FileType,
        known: Option<Known>,
    ) -> Entry {
        let is_unchanged = |known: &Known| known.is_unchanged(&stat) && !self.is_affected(&name);
        let unchanged = known.filter(is_unchanged).map(|known| known.meta);
        Entry { parent, name, is_root: false, stat, file_type, seen: crate::clock::now(), unchanged, open: None }
    }

    /// Whether a name in the present directory, or something below it, must be read again.
    fn is_affected(&self, name: &[u8]) -> bool {
        if self.past.affected.is_empty() {
            return false;
        }
        if self.frames.is_empty() {
            return true;
        }
        let mut path = self.below.clone();
        path.push(b'/');
        path.extend_from_slice(name);
        let affected = &self.past.affected;
        let from = affected.partition_point(|other| other < &path);
        // What begins with the path follows it in order, behind at most names that go on where it ends.
        affected[from..]
            .iter()
            .take_while(|other| other.starts_with(&path))
            .any(|other| other.get(path.len()).is_none_or(|next| *next == b'/'))
    }

    /// The next step; `None` at the end.
    pub fn step(&mut self) -> Option<Step> {
        if let Some(entry) = self.start.take() {
            return Some(self.meet(entry));
        }
        loop {
            let frame = self.frames.last_mut()?;
            let Some(name) = frame.names.next() else { return Some(self.leave()) };
            if exit::is_interrupted() {
                return None;
            }
            if let Some(step) = self.child(name) {
                return Some(step);
            }
        }
    }

    fn child(&mut self, name: Vec<u8>) -> Option<Step> {
        let dir = self.frames.last()?.dir.clone()?;
        let (stat, file_type) = self.look(&dir, &name)?;
        let frame = self.frames.last_mut()?;
        let mut known = None;
        if let (true, Some(cursor)) = (frame.in_cache, &mut self.past.cursor) {
            let seek = cursor.seek_child(&name);
            frame.is_unchanged &= !seek.skipped;
            known = seek.known;
        }
        let entry = self.entry(Some(dir), name, stat, file_type, known);
        if entry.unchanged.is_none() {
            self.changed();
        }
        Some(self.meet(entry))
    }

    /// What a name is, if it is to be backed up and can be.
    fn look(&mut self, dir: &Dir, name: &[u8]) -> Option<(Stat, FileType)> {
        let stat = Stat::at(dir.fd(), name);
        if let Some(selector) = &mut self.selector
            && !selector.takes(name, stat.as_ref().ok())
        {
            return None;
        }
        match stat {
            Ok(Stat { file_type: None, .. }) => {
                self.report.line(&format!("{}: a socket, skipped", escape(&dir.path_of(name))));
            }
            Ok(stat) => return stat.file_type.map(|file_type| (stat, file_type)),
            Err(Errno::NOENT) => {
                self.report.line(&format!("{}: vanished", escape(&dir.path_of(name))));
                self.changed();
            }
            Err(error) => {
                self.report.error(&dir.path_of(name), &words(error));
                self.changed();
            }
        }
        None
    }

    fn changed(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.is_unchanged = false;
        }
    }

    fn meet(&mut self, mut entry: Entry) -> Step {
        if entry.file_type != FileType::Dir {
            return Step::Leaf(entry);
        }
        let names = self.list(&mut entry);
        let dir = entry.open.as_ref().and_then(|open| open.as_ref().ok()).map(Arc::clone);
        let parent_in_cache = self.frames.last().is_none_or(|frame| frame.in_cache);
        let in_cache = parent_in_cache && self.past.cursor.as_mut().is_some_and(Cursor::descend);
        let path_len = self.below.len();
        if !self.past.affected.is_empty() && !self.frames.is_empty() {
            self.below.push(b'/');
            self.below.extend_from_slice(&entry.name);
        }
        let is_unchanged = in_cache && names.is_some();
        let mut names = names.unwrap_or_default();
        if let Some(selector) = &mut self.selector {
            names = selector.enter(&entry.name, dir.as_deref(), names);
        }
        self.frames.push(Frame { dir, names: names.into_iter(), in_cache, is_unchanged, path_len });
        Step::Enter(entry)
    }

    /// Opens a directory, unless it is to stay shut, and lists it; `None` if that fails, which is a change.
    fn list(&mut self, entry: &mut Entry) -> Option<Vec<Vec<u8>>> {
        let keeps_shut = |selector: &Selector<'_>| !entry.is_root && selector.keeps_shut(&entry.stat);
        let is_shut = self.selector.as_ref().is_some_and(keeps_shut);
        if let (Some(parent), None, false) = (&entry.parent, &entry.open, is_shut) {
            entry.open = Some(Dir::open(parent.fd(), &entry.name, parent.path_of(&entry.name)));
        }
        let names = match &entry.open {
            Some(Ok(dir)) => dir.names(&mut self.buffer),
            Some(Err(error)) => Err(*error),
            None => Ok(Vec::new()),
        };
        if let Err(error) = &names {
            entry.open = Some(Err(*error));
            entry.unchanged = None;
            self.changed();
        }
        names.ok()
    }

    fn leave(&mut self) -> Step {
        let Some(frame) = self.frames.pop() else { return Step::Leave(None) };
        self.below.truncate(frame.path_len);
        if let Some(selector) = &mut self.selector {
            selector.leave();
        }
        let mut content = None;
        if let (true, Some(cursor)) = (frame.in_cache, &mut self.past.cursor) {
            content = cursor.leave();
            if self.frames.is_empty() && cursor.is_broken() {
                self.report.line("the cache of the last backup is damaged: what lies behind the damage was read again");
            }
        }
        let content = content.filter(|_| frame.is_unchanged);
        if content.is_none() {
            self.changed();
        }
        Step::Leave(content)
    }
}

#[cfg(test)]
mod tests;
