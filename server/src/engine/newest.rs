//! The newest backup of every snapshot: when each path of each host was backed up last.

use datadb::{HostName, SnapshotKey, TreePath};

use super::{Engine, EngineError};
use crate::index::{Family, Index, keys};

/// Names read at once.
const PAGE: usize = 256;

/// When a path was backed up last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Whose path.
    pub host: HostName,
    /// Which.
    pub path: TreePath,
    /// Unix seconds.
    pub time: i64,
}

/// The newest backup of some snapshots, by host and path, and how many were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewestBackups {
    /// By host and path.
    pub snapshots: Vec<Newest>,
    /// Those beyond the number asked for.
    pub left_out: u64,
}

/// Unix second of the newest backup of a snapshot.
pub(super) fn newest(index: &Index, snapshot: SnapshotKey) -> Result<Option<i64>, EngineError> {
    let (first, last) = keys::versions(&snapshot);
    let found = index.scan_back(Family::Backups, &last, &first, 1)?;
    Ok(found.first().and_then(|(key, _)| keys::version_time(key)))
}

fn all(index: &Index, max: usize) -> Result<NewestBackups, EngineError> {
    let mut found = NewestBackups::default();
    let mut from = b"n".to_vec();
    while found.snapshots.len() < max {
        let page = index.scan(Family::Backups, &from, b"o", PAGE.min(max - found.snapshots.len()))?;
        let Some((last, _)) = page.last() else { break };
        from = [last, &[0][..]].concat();
        for (key, snapshot) in &page {
            let time = newest(index, SnapshotKey::try_from(&snapshot[..])?)?;
            if let (Some((host, path)), Some(time)) = (keys::parse_name(key), time) {
                found.snapshots.push(Newest { host, path, time });
            }
        }
    }
    found.left_out = index.totals()?.snapshots.saturating_sub(found.snapshots.len() as u64);
    Ok(found)
}

impl Engine {
    /// The newest backup of at most `max` snapshots, the first ones by host and path.
    pub async fn newest_backups(&self, max: usize) -> Result<NewestBackups, EngineError> {
        self.with_index(move |index| all(index, max)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::backup::BackupTime;

    /// An index that holds names and versions of so many snapshots, and nothing else.
    fn index(dir: &std::path::Path, snapshots: u32) -> Index {
        let index = Index::open(dir).unwrap();
        let mut batch = index.batch();
        for number in 0..snapshots {
            let host = HostName::new("host").unwrap();
            let path = TreePath::new(format!("/{number:04}").as_bytes()).unwrap();
            let snapshot = SnapshotKey::of(&host, &path);
            batch.put(Family::Backups, &keys::name(&host, &path), snapshot.as_bytes());
            for time in [5, 1000 + i64::from(number), 7] {
                batch.put(Family::Backups, &keys::version(&snapshot, BackupTime::new(time).unwrap()), &[0; 20]);
            }
        }
        index.write(batch).unwrap();
        index
    }

    #[test]
    fn the_newest_of_each_is_found_page_by_page_and_no_more_than_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let index = index(dir.path(), 600);
        for (max, found) in [(0, 0), (1, 1), (256, 256), (300, 300), (600, 600), (1000, 600)] {
            let newest = all(&index, max).unwrap().snapshots;
            assert_eq!(newest.len(), found);
            for (number, one) in newest.iter().enumerate() {
                assert_eq!((one.path.to_string(), one.time), (format!("/{number:04}"), 1000 + number as i64));
            }
        }
    }
}
