//! What the backups of each snapshot come to.

use datadb::Backup;

use super::{
    Engine, EngineError,
    browse::{BackupPages, Filter},
};
use crate::{index::Index, store::blocking};

/// Snapshots in one page: each brings a whole backup with its tags.
const PAGE_SNAPSHOTS: usize = 16;

/// A snapshot, and what its backups come to.
#[derive(Clone, Debug)]
pub struct SnapshotTotals {
    /// Its newest backup.
    pub newest: Backup,
    /// How many backups.
    pub backups: u64,
    /// Their sizes added up.
    pub bytes: u64,
}

/// Adds the snapshots up, one after the other.
#[derive(Debug)]
pub struct TotalsPages {
    pages: BackupPages,
    present: Option<SnapshotTotals>,
}

impl TotalsPages {
    /// Of all snapshots that a filter lets through.
    pub fn new(filter: Filter) -> Self {
        Self { pages: BackupPages::new(filter), present: None }
    }

    /// The next page; `None` is the end. A page may be empty.
    fn next(&mut self, index: &Index) -> Result<Option<Vec<SnapshotTotals>>, EngineError> {
        let mut page = Vec::new();
        for _ in 0..PAGE_SNAPSHOTS {
            let backups = self.pages.next(index)?;
            if backups.is_empty() {
                page.extend(self.present.take());
                return Ok((!page.is_empty()).then_some(page));
            }
            page.extend(backups.into_iter().filter_map(|backup| self.add(backup)));
        }
        Ok(Some(page))
    }

    /// Adds a backup; gives the snapshot before it where it begins another one.
    fn add(&mut self, backup: Backup) -> Option<SnapshotTotals> {
        let bytes = backup.counts.bytes;
        match &mut self.present {
            Some(present) if present.newest.snapshot() == backup.snapshot() => {
                present.backups += 1;
                present.bytes = present.bytes.saturating_add(bytes);
                present.newest = backup;
                None
            }
            present => present.replace(SnapshotTotals { newest: backup, backups: 1, bytes }),
        }
    }
}

impl Engine {
    /// The next page; `None` is the end.
    pub async fn next_totals(
        &self,
        mut pages: TotalsPages,
    ) -> Result<(TotalsPages, Option<Vec<SnapshotTotals>>), EngineError> {
        let index = self.inner.index.clone();
        blocking(move || {
            let page = pages.next(&index)?;
            Ok((pages, page))
        })
        .await
    }
}
