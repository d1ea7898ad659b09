//! How long each sealed pack must be, in bounded room: a leaf that lives for decades has millions of packs, where every flush
//! makes one.
//!
//! The index has a key for the length of each of the newest packs. Of older ones, as long as all of them are there, it keeps
//! no more than how many they are and how long together. Where that is not so any more, the entries of the blobs tell
//! which packs are too short.

use std::collections::BTreeMap;

use datadb::codec::{DecodeError, Reader, Writer};

use super::Inner;
use crate::{
    index::{Family, IndexError, keys},
    store::StoreError,
};

/// So many packs lose their keys at once; at most twice as many have one.
pub(super) const FOLDED_AT_ONCE: u64 = 1024;

/// Packs whose lengths are not kept singly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Folded {
    /// The last of them; all before it belong to them.
    pub up_to: u64,
    /// How many are there.
    pub packs: u64,
    /// Their lengths added up.
    pub bytes: u64,
}

impl Folded {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.varint(self.up_to).varint(self.packs).varint(self.bytes);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let folded = Self { up_to: r.varint("last pack")?, packs: r.varint("packs")?, bytes: r.varint("bytes")? };
        r.end()?;
        Ok(folded)
    }

    /// Whether all of them are among these packs, as long as they were.
    pub(super) fn are_all_there(&self, packs: &BTreeMap<u64, u64>) -> bool {
        let mut there = Self { up_to: self.up_to, ..Self::default() };
        packs.range(..=self.up_to).for_each(|(_, len)| there.add(*len));
        there == *self
    }

    fn add(&mut self, len: u64) {
        self.packs += 1;
        self.bytes += len;
    }
}

impl Inner {
    /// What the index knows of packs without a key of their own.
    pub(super) fn folded(&self) -> Result<Folded, StoreError> {
        let found = self.config.index().get(Family::State, &keys::packs(&self.config.name))?;
        let folded = found.as_deref().map(Folded::decode).transpose();
        Ok(folded.map_err(IndexError::value("the sum of a leaf's packs"))?.unwrap_or_default())
    }

    /// Whether the index knows that a pack takes no more.
    pub(super) fn is_sealed(&self, number: u64) -> Result<bool, StoreError> {
        let has_key = self.config.index().get(Family::State, &keys::pack(&self.config.name, number))?.is_some();
        Ok(has_key || number <= self.folded()?.up_to)
    }

    /// Takes the keys of packs that lie before `open`, as long as there are many.
    pub(super) fn fold(&self, open: u64) -> Result<(), StoreError> {
        let mut folded = self.folded()?;
        while open > folded.up_to + 2 * FOLDED_AT_ONCE {
            let Some(more) = self.folded_further(folded)? else { return Ok(()) };
            let name = &self.config.name;
            let mut batch = self.config.index().batch();
            let (from, end) = (keys::pack(name, folded.up_to + 1), keys::pack(name, more.up_to + 1));
            batch.delete_range(Family::State, &from, &end);
            batch.put(Family::State, &keys::packs(name), &more.encode());
            self.config.index().write(batch)?;
            folded = more;
        }
        Ok(())
    }

    /// The next packs added; `None` where one is not as long as it must be, which is not to be forgotten.
    fn folded_further(&self, folded: Folded) -> Result<Option<Folded>, StoreError> {
        let name = &self.config.name;
        let mut more = Folded { up_to: folded.up_to + FOLDED_AT_ONCE, ..folded };
        let (from, end) = (keys::pack(name, folded.up_to + 1), keys::pack(name, more.up_to + 1));
        let known = self.config.index().scan(Family::State, &from, &end, FOLDED_AT_ONCE as usize)?;
        let state = self.state();
        for (key, len) in known {
            let number = key.last_chunk().map(|number| u64::from_be_bytes(*number));
            let there = number.and_then(|number| state.packs.get(&number));
            if there.map(|len| len.to_be_bytes().to_vec()) != Some(len.to_vec()) {
                return Ok(None);
            }
        }
        state.packs.range(folded.up_to + 1..=more.up_to).for_each(|(_, len)| more.add(*len));
        Ok(Some(more))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use bytes::Bytes;
    use datadb::BlobId;

    use super::*;
    use crate::{
        index::{Index, space::Space},
        store::{
            BlobStore as _, Presence,
            blobsfile::{BlobsFile, LeafConfig, OpenReport, Relied, pack},
            disk::Disk as _,
            testing::conformance::{bundle, sample},
            testing::power_cut::CutDisk,
        },
    };

    const FLUSHES: u64 = 3 * FOLDED_AT_ONCE + 100;

    fn open(disk: &CutDisk, index: &Arc<Index>) -> (BlobsFile, OpenReport) {
        let config = LeafConfig {
            name: "blobs".into(),
            dir: PathBuf::from("/packs"),
            disk: Arc::new(disk.clone()),
            space: Space::of(index, "blobs").unwrap(),
            pack_bytes: 1 << 20,
            reserve_bytes: 0,
            is_sealed_by_flush: true,
            threads: None,
        };
        BlobsFile::open(config, Relied::Index, &[]).unwrap()
    }

    fn keys_of_packs(index: &Index) -> u64 {
        index.scan(Family::State, b"pack:", b"pack;", usize::MAX).unwrap().len() as u64
    }

    /// A leaf whose flushes make a pack each keeps as much of a thousand packs as of ten thousand, also after a rebuild; and
    /// what is lost of any of them is found, all the same.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_kept_of_old_packs_does_not_grow_with_the_flushes() {
        let (disk, dir) = (CutDisk::default(), tempfile::tempdir().unwrap());
        let index = Arc::new(Index::open(dir.path()).unwrap());
        let (store, _) = open(&disk, &index);
        for seed in 1..=FLUSHES {
            store.put(bundle(&[sample(seed, 40)]), Bytes::new()).await.unwrap();
            store.flush().await.unwrap();
            assert!(seed % 500 != 0 || keys_of_packs(&index) <= 2 * FOLDED_AT_ONCE + 1);
        }
        assert!(keys_of_packs(&index) <= 2 * FOLDED_AT_ONCE + 1);
        drop(store);
        let rebuilt_dir = tempfile::tempdir().unwrap();
        let rebuilt = Arc::new(Index::open(rebuilt_dir.path()).unwrap());
        let (store, report) = open(&disk, &rebuilt);
        assert_eq!((report.records_added, &report.damage[..]), (FLUSHES, &[][..]));
        assert!(keys_of_packs(&rebuilt) <= 2 * FOLDED_AT_ONCE + 1);
        drop(store);
        for index in [&index, &rebuilt] {
            let (store, report) = open(&disk, index);
            assert_eq!((&report.damage[..], report.lost_blobs), (&[][..], 0));
            drop(store);
        }
        let path = |number| PathBuf::from("/packs").join(pack::file_name(number));
        disk.replace(&path(5), None);
        disk.open(&path(700)).unwrap().truncate(60).unwrap();
        for index in [&index, &rebuilt] {
            // And once more: what is lost is told at each start.
            for lost in [2, 0] {
                let (store, report) = open(&disk, index);
                let hurt: Vec<u64> = report.damage.iter().map(|damage| damage.cursor.pack).collect();
                assert_eq!((hurt, report.lost_blobs), (vec![5, 700], lost));
                let ids = [4, 5, 700, 701, FLUSHES].map(|seed| BlobId::of(&sample(seed, 40)));
                let found = store.find(&ids).await.unwrap();
                let is_there: Vec<bool> = found.iter().map(|it| matches!(it, Presence::Have(_))).collect();
                assert_eq!(is_there, [true, false, false, true, true]);
            }
        }
    }
}
