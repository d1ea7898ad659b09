//! The snapshots by name, each with its newest backup and its rank; without a look at all the other backups.

use datadb::{Backup, SnapshotKey};

use super::{
    Engine, EngineError,
    browse::{Filter, backup},
};
use crate::index::{Family, Index, keys, ranks::Rank};

/// Snapshots in one page: each brings a whole backup with its tags.
const PAGE_SNAPSHOTS: usize = 64;

/// A snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotName {
    /// Its newest backup.
    pub newest: Backup,
    /// Where it began.
    pub rank: Rank,
}

/// Walks over the snapshots by host and path.
#[derive(Debug)]
pub struct NamePages {
    filter: Filter,
    names: std::ops::Range<Vec<u8>>,
    is_at_end: bool,
}

impl NamePages {
    /// All that a filter lets through.
    pub fn new(filter: Filter) -> Self {
        let names = filter.names();
        Self { filter, names, is_at_end: false }
    }

    /// The next page; `None` is the end. A page may be empty.
    fn next(&mut self, index: &Index) -> Result<Option<Vec<SnapshotName>>, EngineError> {
        if self.is_at_end {
            return Ok(None);
        }
        let page = index.scan(Family::Backups, &self.names.start, &self.names.end, PAGE_SNAPSHOTS)?;
        self.is_at_end = page.len() < PAGE_SNAPSHOTS;
        let mut snapshots = Vec::new();
        for (key, snapshot) in &page {
            self.names.start = [key, &[0][..]].concat();
            if keys::parse_name(key).is_some_and(|(host, path)| self.filter.lets(&host, &path)) {
                snapshots.push(SnapshotKey::try_from(&snapshot[..])?);
            }
        }
        let mut names = Vec::new();
        for (snapshot, rank) in snapshots.iter().zip(index.ranks(&snapshots)?) {
            let (first, last) = keys::versions(snapshot);
            if let Some((_, key)) = index.scan_back(Family::Backups, &last, &first, 1)?.first() {
                names.push(SnapshotName { newest: backup(index, key)?, rank });
            }
        }
        Ok(Some(names))
    }
}

impl Engine {
    /// The next page; `None` is the end.
    pub async fn next_names(
        &self,
        mut pages: NamePages,
    ) -> Result<(NamePages, Option<Vec<SnapshotName>>), EngineError> {
        self.with_index(move |index| {
            let page = pages.next(index)?;
            Ok((pages, page))
        })
        .await
    }
}
