//! A walk through many backups of one snapshot at once: every state of every directory is read once, however many
//! backups show it.
//!
//! The states that a directory had, each from one backup on, are read in the order of the backups, and of each only the
//! segments that the state before did not have (`gather`). What becomes of a name that way is noted as runs (`track`);
//! where it is a directory, its own states follow from that, and it is walked the same way. In memory at one time: the
//! names that matter of one directory, and the states of the directories still to come, up to a number of bytes; where
//! that is too little, the walk takes fewer names at a time and reads the directory again for the rest.

mod gather;
pub mod survey;
mod track;

use std::collections::VecDeque;

use datadb::{Backup, FileType, Meta, Moment, ObjectKey, TreePath, Version, limits};

use self::{
    gather::Gather,
    track::{Runs, Track},
};
use super::{EngineError, trail::Trail};
use crate::index::Index;

/// The bytes of a name, or the empty bound before all names.
type NameBytes = Box<[u8]>;

/// Looks at entries.
pub trait Visit: Send {
    /// Looks at an entry at its path below the backups' root; tells whether it is a hit, of which the walk gives a version
    /// for each run of backups that show it. Comes at least once for every state of every entry, and in no certain order.
    fn visit(&mut self, index: &Index, path: &[u8], meta: &Meta) -> Result<bool, EngineError>;
}

/// A directory on the way from the root to the present place.
#[derive(Debug)]
struct Level {
    /// Length of the path without this directory's name.
    path_len: usize,
    /// The sets that it had, each from the backup of this number on.
    sets: Runs<ObjectKey>,
    /// The first name not looked at yet; `None` when all were.
    from: Option<NameBytes>,
    /// Directories in it that are still to come.
    below: VecDeque<(NameBytes, Runs<ObjectKey>)>,
}

impl Level {
    fn new(path_len: usize, sets: Runs<ObjectKey>) -> Self {
        Self { path_len, sets, from: Some(Box::default()), below: VecDeque::new() }
    }
}

/// A walk. See the module.
#[derive(Debug)]
pub struct Walk {
    start: Trail,
    start_path: TreePath,
    start_track: Track,
    moments: Vec<Moment>,
    path: Vec<u8>,
    levels: Vec<Level>,
    gather: Option<Gather>,
    /// Bytes of all that `levels` hold.
    pub(super) held_bytes: usize,
    bytes_max: usize,
    is_started: bool,
    found: VecDeque<Version>,
}

impl Walk {
    /// A walk through what lies below a path, which remembers about so many bytes.
    pub fn new(below: TreePath, bytes_max: usize) -> Self {
        Self {
            start: Trail::new(below.clone()),
            path: if below == TreePath::root() { Vec::new() } else { below.as_bytes().to_vec() },
            start_path: below,
            start_track: Track::default(),
            moments: Vec::new(),
            levels: Vec::new(),
            gather: None,
            held_bytes: 0,
            bytes_max,
            is_started: false,
            found: VecDeque::new(),
        }
    }

    /// Takes the next backup of the snapshot. All must come before the first step. A directory where the walk starts is
    /// looked at, but is no hit; anything else may be one, a root under the name that it is shown by.
    pub fn add(&mut self, index: &Index, backup: &Backup, visit: &mut dyn Visit) -> Result<(), EngineError> {
        let number = self.moments.len() as u32;
        self.moments.push(Moment::from(backup));
        let meta = self.start.find(index, backup)?;
        let is_dir = meta.is_some_and(|meta| meta.file_type == FileType::Dir);
        if meta.is_some() && !is_dir && self.start_path == TreePath::root() {
            self.start_path = TreePath::lenient(&[b"/", backup.path.shown_name()].concat())?;
        }
        let is_hit = match meta {
            Some(meta) => visit.visit(index, self.start_path.as_bytes(), meta)? && !is_dir,
            None => false,
        };
        self.start_track.note(number, meta, is_hit.then_some(self.start_path.as_bytes()));
        Ok(())
    }

    /// Whether another backup may be added.
    pub fn takes(&self) -> bool {
        !self.is_started && self.moments.len() < limits::WALK_BACKUPS_MAX
    }

    /// Goes on, by about one object read; tells whether there is more to do.
    pub fn step(&mut self, index: &Index, visit: &mut dyn Visit) -> Result<bool, EngineError> {
        if !self.is_started {
            self.begin()?;
        } else if let Some(mut gather) = self.gather.take() {
            if gather.step(index, &self.path, visit)? {
                self.gather = Some(gather);
            } else {
                self.gathered(gather)?;
            }
        } else {
            let Some(level) = self.levels.last_mut() else { return Ok(false) };
            if let Some((name, sets)) = level.below.pop_front() {
                self.held_bytes -= name.len();
                let path_len = self.path.len();
                self.path.push(b'/');
                self.path.extend_from_slice(&name);
                self.levels.push(Level::new(path_len, sets));
            } else if let Some(from) = level.from.take() {
                let bytes_max = self.bytes_max.saturating_sub(self.held_bytes) / 2;
                self.gather = Some(Gather::new(level.sets.starts(), from, bytes_max));
            } else {
                self.path.truncate(level.path_len);
                self.held_bytes -= level.sets.bytes();
                self.levels.pop();
            }
        }
        Ok(true)
    }

    /// Takes what was found so far, in its order.
    pub fn found(&mut self) -> &mut VecDeque<Version> {
        &mut self.found
    }

    fn begin(&mut self) -> Result<(), EngineError> {
        self.is_started = true;
        let Track { hits, sets, .. } = std::mem::take(&mut self.start_track);
        self.tell(self.start_path.clone(), hits);
        self.held_bytes = sets.bytes();
        self.levels.push(Level::new(self.path.len(), sets));
        Ok(())
    }

    /// Tells the hits of a directory's names and keeps its directories for later.
    fn gathered(&mut self, gather: Gather) -> Result<(), EngineError> {
        let (names, next) = gather.finish();
        let mut below = VecDeque::new();
        for (name, track) in names {
            if !track.hits.is_empty() {
                let path = TreePath::lenient(&[&self.path, &b"/"[..], &name].concat())?;
                self.tell(path, track.hits);
            }
            if !track.sets.is_empty() {
                self.held_bytes += name.len() + track.sets.bytes();
                below.push_back((name, track.sets));
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.below = below;
            level.from = next;
        }
        Ok(())
    }

    fn tell(&mut self, path: TreePath, hits: Runs<Box<Meta>>) {
        for (numbers, meta) in hits.until(self.moments.len() as u32) {
            let backups = u64::from(numbers.end - numbers.start);
            let (first, last) = (self.moments[numbers.start as usize], self.moments[numbers.end as usize - 1]);
            self.found.push_back(Version { path: path.clone(), first, last, backups, meta: Some(*meta) });
        }
    }
}
