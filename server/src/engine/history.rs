//! The history of one path: what it was in each backup of every snapshot that may hold it.

use std::collections::VecDeque;

use datadb::{Backup, HostName, Kind, Meta, Moment, SnapshotKey, TreePath, Version, limits, version};

use super::{
    Engine, EngineError,
    browse::{BackupPages, Filter},
    trail::Trail,
};
use crate::{index::Index, store::blocking};

/// Versions from one snapshot; perhaps none, which tells how far the work is.
#[derive(Debug)]
pub struct Page {
    /// The snapshot's host.
    pub host: HostName,
    /// The snapshot's path.
    pub path: TreePath,
    /// What was found.
    pub versions: Vec<Version>,
    /// Backups looked at so far, in all snapshots.
    pub backups: u64,
    /// Index keys read so far.
    pub keys_read: u64,
}

/// A walk through the history of a path.
#[derive(Debug)]
pub struct History {
    index: Index,
    path: TreePath,
    is_unfolded: bool,
    pages: BackupPages,
    waiting: VecDeque<Backup>,
    present: Option<Present>,
    backups: u64,
}

/// The snapshot that is being looked at.
#[derive(Debug)]
struct Present {
    snapshot: SnapshotKey,
    host: HostName,
    path: TreePath,
    below: TreePath,
    trail: Trail,
    /// The version that the last backup showed.
    open: Option<Version>,
}

impl Present {
    fn new(backup: &Backup, path: &TreePath) -> Result<Self, EngineError> {
        let elsewhere = || EngineError::refused(Kind::Internal, format!("{path} does not lie below {}", backup.path));
        let below = path.below(&backup.path).ok_or_else(elsewhere)?;
        Ok(Self {
            snapshot: backup.snapshot(),
            host: backup.host.clone(),
            path: backup.path.clone(),
            trail: Trail::new(below.clone()),
            below,
            open: None,
        })
    }

    /// Looks at the next backup; gives the version that it ends.
    fn look(&mut self, index: &Index, backup: &Backup, is_unfolded: bool) -> Result<Option<Version>, EngineError> {
        let found = self.trail.find(index, backup)?;
        let moment = Moment::from(backup);
        if let Some(open) = &mut self.open
            && !is_unfolded
            && is_same(open, found)
        {
            open.last = moment;
            open.backups += 1;
            return Ok(None);
        }
        if self.open.is_none() && found.is_none() {
            return Ok(None);
        }
        let path = self.below.clone();
        let next = Version { path, first: moment, last: moment, backups: 1, meta: found.cloned() };
        Ok(self.open.replace(next))
    }
}

fn is_same(version: &Version, found: Option<&Meta>) -> bool {
    match (&version.meta, found) {
        (Some(one), Some(other)) => version::is_same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

impl History {
    /// The next page; `None` is the end. Looks at no more than a page of backups.
    fn next_page(&mut self) -> Result<Option<Page>, EngineError> {
        let mut versions = Vec::new();
        if self.waiting.is_empty() {
            self.waiting = self.pages.next(&self.index)?.into();
            let first = self.waiting.front();
            if first.map(Backup::snapshot) != self.present.as_ref().map(|present| present.snapshot) {
                let next = first.map(|first| Present::new(first, &self.path)).transpose()?;
                if let Some(mut ended) = std::mem::replace(&mut self.present, next) {
                    versions.extend(ended.open.take());
                    return Ok(Some(self.page(&ended, versions)));
                }
            }
        }
        let Some(mut present) = self.present.take() else { return Ok(None) };
        let mut bytes = 0;
        while versions.len() < limits::PAGE_ENTRIES_MAX
            && bytes < limits::PAGE_BYTES
            && let Some(backup) = self.waiting.pop_front()
        {
            self.backups += 1;
            if let Some(version) = present.look(&self.index, &backup, self.is_unfolded)? {
                bytes += size(&version);
                versions.push(version);
            }
        }
        let page = self.page(&present, versions);
        self.present = Some(present);
        Ok(Some(page))
    }

    fn page(&self, present: &Present, versions: Vec<Version>) -> Page {
        let (host, path) = (present.host.clone(), present.path.clone());
        Page { host, path, versions, backups: self.backups, keys_read: self.index.keys_read() }
    }
}

/// Bytes (roughly) of a version in a reply.
pub(super) fn size(version: &Version) -> usize {
    128 + version.path.as_bytes().len() + version.meta.as_ref().map_or(0, |meta| meta.encode().len())
}

impl Engine {
    /// Starts to look at a path of the hosts, folded into versions or backup by backup.
    pub fn history(&self, path: TreePath, filter: Filter, is_unfolded: bool) -> History {
        let filter = Filter { holding: Some(path.clone()), ..filter };
        History {
            index: self.inner.index.view(),
            path,
            is_unfolded,
            pages: BackupPages::new(filter),
            waiting: VecDeque::new(),
            present: None,
            backups: 0,
        }
    }

    /// The next page; `None` is the end.
    pub async fn next_versions(&self, mut history: History) -> Result<(History, Option<Page>), EngineError> {
        blocking(move || {
            let page = history.next_page()?;
            Ok((history, page))
        })
        .await
    }
}
