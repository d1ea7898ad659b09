//! Finding entries in one backup, or in many.

use datadb::{Backup, FileType, Meta, TreePath, glob::Globs, limits};

use super::{
    Engine, EngineError,
    browse::{BackupPages, Filter},
    history::{Page, size},
    walk::{
        Visit,
        survey::{Progress, Survey},
    },
};
use crate::{index::Index, store::blocking};

/// Index keys read in one go, before anybody looks whether the client is still there.
pub(super) const READS_PER_STEP: u64 = 256;

/// Which entries are wanted; `None`, and no types, let everything through.
#[derive(Debug)]
pub struct Query {
    /// The pattern of the path.
    pub globs: Globs,
    /// Of one of these types.
    pub types: Vec<FileType>,
    /// Modified after this unix second.
    pub newer: Option<i64>,
    /// Modified at or before this unix second.
    pub older: Option<i64>,
    /// Files of more bytes.
    pub larger: Option<u64>,
    /// Files of fewer bytes.
    pub smaller: Option<u64>,
}

impl Query {
    fn wants(&self, path: &[u8], meta: &Meta) -> bool {
        let has_size = (self.larger.is_none() && self.smaller.is_none()) || meta.file_type == FileType::File;
        (self.types.is_empty() || self.types.contains(&meta.file_type))
            && self.newer.is_none_or(|time| meta.mtime.seconds > time)
            && self.older.is_none_or(|time| meta.mtime.seconds <= time)
            && has_size
            && self.larger.is_none_or(|bytes| meta.size > bytes)
            && self.smaller.is_none_or(|bytes| meta.size < bytes)
            && self.globs.is_match(path, meta.file_type == FileType::Dir)
    }
}

impl Visit for Query {
    fn visit(&mut self, _: &Index, path: &[u8], meta: &Meta) -> Result<bool, EngineError> {
        Ok(self.wants(path, meta))
    }
}

/// What to search.
#[derive(Debug)]
pub enum Among {
    /// One backup.
    One(Box<Backup>),
    /// All that a filter lets through.
    All(Filter),
}

/// A search on its way.
#[derive(Debug)]
pub struct Search {
    index: Index,
    query: Query,
    survey: Survey,
}

impl Search {
    /// The next page; `None` is the end.
    fn next_page(&mut self) -> Result<Option<Page>, EngineError> {
        let until = self.index.keys_read() + READS_PER_STEP;
        let mut progress = Progress::Within;
        while progress == Progress::Within
            && self.waiting() < limits::PAGE_ENTRIES_MAX
            && self.index.keys_read() < until
        {
            progress = self.survey.step(&self.index, &mut self.query)?;
        }
        let (backups, keys_read) = (self.survey.backups(), self.index.keys_read());
        let Some((of, found)) = self.survey.present() else { return Ok(None) };
        let (mut versions, mut bytes) = (Vec::new(), 0);
        while versions.len() < limits::PAGE_ENTRIES_MAX
            && bytes < limits::PAGE_BYTES
            && let Some(version) = found.pop_front()
        {
            bytes += size(&version);
            versions.push(version);
        }
        Ok(Some(Page { host: of.host.clone(), path: of.path.clone(), versions, backups, keys_read }))
    }

    fn waiting(&mut self) -> usize {
        self.survey.present().map_or(0, |(_, found)| found.len())
    }
}

impl Engine {
    /// Starts a search for what lies below a path.
    pub fn find(&self, query: Query, among: Among, below: TreePath) -> Search {
        let survey = match among {
            Among::One(backup) => Survey::of_one(*backup, below),
            Among::All(filter) => Survey::of_all(BackupPages::new(filter), None, below),
        };
        Search { index: self.inner.index.view(), query, survey }
    }

    /// The next page; `None` is the end.
    pub async fn next_found(&self, mut search: Search) -> Result<(Search, Option<Page>), EngineError> {
        blocking(move || {
            let page = search.next_page()?;
            Ok((search, page))
        })
        .await
    }
}
