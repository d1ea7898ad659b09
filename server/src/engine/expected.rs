//! What hosts promise to bring, and what did not come. Silence must not look like success.

use std::collections::HashSet;

use datadb::{
    HostName, Kind, SnapshotKey, TreePath,
    backup::BackupTime,
    codec::Reader,
    expected::{Expectation, Expected},
    limits,
};

use super::{Engine, EngineError, browse::Filter, newest::newest};
use crate::index::{Family, Index, IndexError, keys};

/// Expectations looked at at once.
const PAGE: usize = 256;

/// Decides in the committer whether one more path may be expected.
#[derive(Debug, Default)]
pub struct Promises {
    /// New paths of this group, by their keys.
    admitted: HashSet<Vec<u8>>,
}

impl Promises {
    /// Refuses a path that is new where there is no room for it.
    pub fn admit(&mut self, index: &Index, expectation: &Expectation) -> Result<(), EngineError> {
        let key = keys::expected(&expectation.host, &expectation.path);
        if self.admitted.contains(&key) || index.get(Family::Backups, &key)?.is_some() {
            return Ok(());
        }
        let all = keys::expected_all();
        let known = index.scan(Family::Backups, &all.start, &all.end, limits::EXPECTATIONS_MAX)?.len();
        if known + self.admitted.len() >= limits::EXPECTATIONS_MAX {
            let message =
                format!("backups of {} paths are expected already, and no more can be", limits::EXPECTATIONS_MAX);
            return Err(EngineError::refused(Kind::Full, message));
        }
        self.admitted.insert(key);
        Ok(())
    }

    /// The path takes no room any more.
    pub fn forget(&mut self, host: &HostName, path: &TreePath) {
        self.admitted.remove(&keys::expected(host, path));
    }
}

fn expected(index: &Index, now: i64, value: &[u8]) -> Result<Expected, EngineError> {
    let damaged = IndexError::value("what is expected");
    let mut r = Reader::new(value);
    let read = r.signed("said").and_then(|said| Ok((said, Expectation::decode(&mut r)?)));
    let (said, expectation) = read.map_err(damaged)?;
    let newest = newest(index, SnapshotKey::of(&expectation.host, &expectation.path))?;
    let is_overdue = expectation.is_overdue(now, newest);
    let newest = newest.map(BackupTime::new).transpose()?;
    Ok(Expected { expectation, said, newest, is_overdue })
}

/// Walks over what is expected, by host and path.
#[derive(Debug)]
pub struct ExpectedPages {
    filter: Filter,
    keys: std::ops::Range<Vec<u8>>,
    only_overdue: bool,
    now: i64,
    is_at_end: bool,
}

impl ExpectedPages {
    /// All that a filter lets through.
    pub fn new(filter: Filter, only_overdue: bool, now: i64) -> Self {
        let keys = filter.host.as_ref().map_or_else(keys::expected_all, keys::expected_of);
        Self { filter, keys, only_overdue, now, is_at_end: false }
    }

    /// The next page; `None` is the end. A page may be empty.
    fn next(&mut self, index: &Index) -> Result<Option<Vec<Expected>>, EngineError> {
        if self.is_at_end {
            return Ok(None);
        }
        let page = index.scan(Family::Backups, &self.keys.start, &self.keys.end, PAGE)?;
        self.is_at_end = page.len() < PAGE;
        let mut found = Vec::new();
        for (key, value) in &page {
            self.keys.start = [key, &[0][..]].concat();
            let one = expected(index, self.now, value)?;
            let is_meant = self.filter.lets(&one.expectation.host, &one.expectation.path);
            if is_meant && (one.is_overdue || !self.only_overdue) {
                found.push(one);
            }
        }
        Ok(Some(found))
    }
}

impl Engine {
    /// By when the next backup of a path must have come; durable when this returns.
    pub async fn expect(&self, expectation: Expectation) -> Result<(), EngineError> {
        self.check_writable()?;
        self.inner.committer.expect(expectation).await
    }

    /// No backup of this path is expected any more. Where none was, nothing is written.
    pub async fn forget(&self, host: HostName, path: TreePath) -> Result<(), EngineError> {
        self.check_writable()?;
        let key = keys::expected(&host, &path);
        let is_there = self.with_index(move |index| Ok(index.get(Family::Backups, &key)?.is_some())).await?;
        if is_there { self.inner.committer.forget(host, path).await } else { Ok(()) }
    }

    /// The next page; `None` is the end.
    pub async fn next_expected(
        &self,
        mut pages: ExpectedPages,
    ) -> Result<(ExpectedPages, Option<Vec<Expected>>), EngineError> {
        self.with_index(move |index| {
            let page = pages.next(index)?;
            Ok((pages, page))
        })
        .await
    }

    /// All that is expected, at most [`limits::EXPECTATIONS_MAX`].
    pub async fn expected(&self) -> Result<Vec<Expected>, EngineError> {
        let mut pages = ExpectedPages::new(Filter::default(), false, self.now());
        self.with_index(move |index| {
            let mut all = Vec::new();
            while let Some(page) = pages.next(index)? {
                all.extend(page);
            }
            Ok(all)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(number: usize) -> Expectation {
        Expectation {
            host: HostName::new("host").unwrap(),
            path: TreePath::new(format!("/{number}").as_bytes()).unwrap(),
            due: BackupTime::new(1000).unwrap(),
            age_seconds_max: 10,
            entry: "entry".to_owned(),
            schedule: "@daily".to_owned(),
        }
    }

    #[test]
    fn so_many_paths_may_be_expected_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        let mut batch = index.batch();
        for number in 2..limits::EXPECTATIONS_MAX {
            let one = expectation(number);
            let mut w = datadb::codec::Writer::default();
            one.encode(w.signed(7));
            batch.put(Family::Backups, &keys::expected(&one.host, &one.path), &w.finish());
        }
        index.write(batch).unwrap();
        let mut promises = Promises::default();
        assert!(promises.admit(&index, &expectation(0)).is_ok());
        assert!(promises.admit(&index, &expectation(1)).is_ok());
        assert!(promises.admit(&index, &expectation(1)).is_ok(), "it is counted once");
        assert!(promises.admit(&index, &expectation(5)).is_ok(), "it is known");
        let refused = promises.admit(&index, &expectation(limits::EXPECTATIONS_MAX)).unwrap_err();
        assert_eq!(refused.kind(), Kind::Full);
        let one = expectation(1);
        promises.forget(&one.host, &one.path);
        assert!(promises.admit(&index, &expectation(limits::EXPECTATIONS_MAX)).is_ok());
        let mut pages = ExpectedPages::new(Filter::default(), true, 1001);
        let mut found = 0;
        while let Some(page) = pages.next(&index).unwrap() {
            assert!(page.iter().all(|one| one.is_overdue && one.said == 7 && one.newest.is_none()));
            found += page.len();
        }
        assert_eq!(found, limits::EXPECTATIONS_MAX - 2);
        assert!(ExpectedPages::new(Filter::default(), true, 1000).next(&index).unwrap().unwrap().is_empty());
    }
}
