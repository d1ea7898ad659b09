//! Which snapshot was there first: the place in the log of each one's first backup. Times don't tell, because a backup may
//! be given a past one.

use datadb::SnapshotKey;

use super::{Batch, Family, Index, IndexError, keys};

/// Keys read at once when an older index is completed.
const PAGE: usize = 1024;

/// Bytes of a record's sequence and a place in it.
const RANK_BYTES: usize = 12;

/// The record of a snapshot's first backup, and the place in it; the smaller was there first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Sequence of the record.
    pub record: u64,
    /// Place in the record.
    pub place: u32,
}

impl Rank {
    fn encode(self) -> [u8; RANK_BYTES] {
        let mut bytes = [0; RANK_BYTES];
        bytes[..8].copy_from_slice(&self.record.to_be_bytes());
        bytes[8..].copy_from_slice(&self.place.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (record, place) = bytes.split_first_chunk()?;
        Some(Self { record: u64::from_be_bytes(*record), place: u32::from_be_bytes(place.try_into().ok()?) })
    }
}

/// Notes where a snapshot begins.
pub fn put(batch: &mut Batch<'_>, snapshot: &SnapshotKey, rank: Rank) {
    batch.put(Family::Backups, &keys::first(snapshot), &rank.encode());
}

impl Index {
    /// Where each of these snapshots began.
    pub fn ranks(&self, snapshots: &[SnapshotKey]) -> Result<Vec<Rank>, IndexError> {
        let keys: Vec<Vec<u8>> = snapshots.iter().map(keys::first).collect();
        let rank = |value: Option<Vec<u8>>| value.and_then(|value| Rank::decode(&value)).unwrap_or_default();
        Ok(self.multi_get(Family::Backups, &keys)?.into_iter().map(rank).collect())
    }

    /// Completes an index that was written before ranks were kept.
    pub fn complete_ranks(&self) -> Result<(), IndexError> {
        if self.totals()?.backups == 0 || !self.scan(Family::Backups, b"f", b"g", 1)?.is_empty() {
            return Ok(());
        }
        let mut firsts = std::collections::BTreeMap::<SnapshotKey, Rank>::new();
        let mut from = b"t".to_vec();
        loop {
            let page = self.scan(Family::Backups, &from, b"u", PAGE)?;
            for (key, value) in &page {
                let backup = value[..].try_into().map_err(IndexError::value("a backup's key"))?;
                if let (Some(backup), Some(rank)) = (self.backup(&backup)?, key.get(9..).and_then(Rank::decode)) {
                    let first = firsts.entry(backup.snapshot()).or_insert(rank);
                    *first = rank.min(*first);
                }
                from = [key, &[0][..]].concat();
            }
            if page.len() < PAGE {
                break;
            }
        }
        let mut batch = self.batch();
        firsts.iter().for_each(|(snapshot, rank)| put(&mut batch, snapshot, *rank));
        self.write(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Body, Record};
    use crate::record::{Logged, Position};
    use datadb::{
        Backup, Digest, FileType, HostName, ObjectKey, TreePath,
        backup::{BackupTime, Counts},
    };

    #[test]
    fn a_rank_is_read_as_it_was_written_and_orders_as_its_bytes() {
        let ranks = [(0, 0), (0, 7), (1, 0), (1, 300), (256, 2), (u64::MAX, u32::MAX)];
        let ranks = ranks.map(|(record, place)| Rank { record, place });
        assert!(ranks.is_sorted() && ranks.map(Rank::encode).is_sorted());
        assert_eq!(ranks.map(|rank| Rank::decode(&rank.encode())), ranks.map(Some));
        assert_eq!(Rank::decode(&[0; 11]), None);
    }

    /// Backups of paths of one host, each with its time, one record each.
    fn apply(index: &Index, backups: &[(&str, i64)]) -> Vec<SnapshotKey> {
        let mut snapshots = Vec::new();
        for (sequence, (path, time)) in (1..).zip(backups) {
            let backup = Backup {
                host: HostName::new("host").unwrap(),
                path: TreePath::new(path.as_bytes()).unwrap(),
                time: BackupTime::new(*time).unwrap(),
                root: ObjectKey::new([0; 20]),
                file_type: FileType::Dir,
                counts: Counts::default(),
                tags: Default::default(),
                token: [sequence as u8; 16],
            };
            snapshots.push(backup.snapshot());
            let (previous, durable) = (Digest::new([0; 32]), Vec::new());
            let record = Record { sequence, previous, time: 0, durable, entries: vec![Body::Backup(Box::new(backup))] };
            index.apply(&Logged { record, position: Position { sequence, ..Position::START } }).unwrap();
        }
        snapshots
    }

    #[test]
    fn ranks_follow_the_log_and_not_the_times_and_an_older_index_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        index.complete_ranks().unwrap();
        let snapshots = apply(&index, &[("/z", 900), ("/a", 5), ("/z", 1), ("/m", 7), ("/a", 2)]);
        let wanted = [&snapshots[0], &snapshots[1], &snapshots[3]].map(|key| *key);
        let ranks = index.ranks(&wanted).unwrap();
        assert_eq!(ranks, [1, 2, 4].map(|record| Rank { record, place: 0 }));
        let mut batch = index.batch();
        batch.delete_range(Family::Backups, b"f", b"g");
        index.write(batch).unwrap();
        assert_eq!(index.ranks(&wanted).unwrap(), [Rank::default(); 3]);
        index.complete_ranks().unwrap();
        assert_eq!(index.ranks(&wanted).unwrap(), ranks);
    }
}
