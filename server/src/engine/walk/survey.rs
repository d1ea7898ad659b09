//! Walks through all snapshots, one after the other.

use std::collections::VecDeque;

use datadb::{Backup, BackupKey, TreePath, Version, limits};

use super::{Visit, Walk};
use crate::{
    engine::{EngineError, browse::BackupPages},
    index::Index,
};

/// How far a survey is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// In the middle of a snapshot.
    Within,
    /// At the end of one, until everything found in it is taken.
    AtEnd,
    /// Done.
    Over,
}

/// Backups in order, and the walk through those of the present snapshot.
#[derive(Debug)]
pub struct Survey {
    /// `None` when all that remain are in `waiting`.
    pages: Option<BackupPages>,
    waiting: VecDeque<Backup>,
    skipped: Option<BackupKey>,
    below: TreePath,
    present: Option<Present>,
    backups: u64,
}

#[derive(Debug)]
struct Present {
    /// The first backup of the snapshot.
    of: Backup,
    walk: Walk,
    is_at_end: bool,
}

impl Survey {
    /// Of one backup, below a path.
    pub fn of_one(backup: Backup, below: TreePath) -> Self {
        Self { pages: None, waiting: [backup].into(), skipped: None, below, present: None, backups: 0 }
    }

    /// Of all backups that the pages hold, but perhaps one, below a path.
    pub fn of_all(pages: BackupPages, skipped: Option<BackupKey>, below: TreePath) -> Self {
        Self { pages: Some(pages), waiting: VecDeque::new(), skipped, below, present: None, backups: 0 }
    }

    /// How many backups were taken so far.
    pub const fn backups(&self) -> u64 {
        self.backups
    }

    /// A backup of the present snapshot, and what was found there and not taken yet.
    pub fn present(&mut self) -> Option<(&Backup, &mut VecDeque<Version>)> {
        self.present.as_mut().map(|present| (&present.of, present.walk.found()))
    }

    /// Goes on, by about one object read.
    pub fn step(&mut self, index: &Index, visit: &mut dyn Visit) -> Result<Progress, EngineError> {
        self.fill(index)?;
        let Some(present) = &mut self.present else { return Ok(self.begin()) };
        if present.is_at_end {
            let is_taken = present.walk.found().is_empty();
            return Ok(if is_taken { self.begin() } else { Progress::AtEnd });
        }
        let Present { of, walk, is_at_end } = present;
        match self.waiting.pop_front_if(|backup| walk.takes() && backup.snapshot() == of.snapshot()) {
            Some(backup) => {
                self.backups += 1;
                walk.add(index, &backup, visit)?;
            }
            None => *is_at_end = !walk.step(index, visit)?,
        }
        Ok(if *is_at_end { Progress::AtEnd } else { Progress::Within })
    }

    /// Sees to it that a backup waits if there is one more.
    fn fill(&mut self, index: &Index) -> Result<(), EngineError> {
        while self.waiting.is_empty()
            && let Some(pages) = &mut self.pages
        {
            self.waiting = pages.next(index)?.into();
            if self.waiting.is_empty() {
                self.pages = None;
            }
            self.waiting.retain(|backup| Some(backup.key()) != self.skipped);
        }
        Ok(())
    }

    fn begin(&mut self) -> Progress {
        let walk = || Walk::new(self.below.clone(), limits::WALK_BYTES_MAX);
        self.present = self.waiting.front().map(|of| Present { of: of.clone(), walk: walk(), is_at_end: false });
        if self.present.is_some() { Progress::Within } else { Progress::Over }
    }
}
