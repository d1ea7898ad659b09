//! Lifting marks: a mark is a suspicion. A marked record that verifies again counts again.
//!
//! Marks are looked at again when the leaf is opened, when somebody asks for a blob that is marked, and when a person asks
//! for it. Records whose marks were lifted are kept for the engine, which puts them into the log.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, Weak},
};

use datadb::BlobId;

use super::{Inner, entry::Entry, read::INDEX_PAGE, record::Head};
use crate::{
    index::IndexError,
    store::{Cursor, StoreError},
};

/// InPlace records that one question reads again: enough for what a person asks for, too few to hold up a backup.
const ASKED_MAX: usize = 16;

/// InPlace records that are gathered before they are read in the order of their places.
const GATHERED_MAX: usize = 1 << 14;

/// Bytes of marked records that are read again when a leaf is opened: some seconds of a disk.
const OPENING_BYTES_MAX: u64 = 1 << 30;

/// Records whose marks were lifted, kept for the log. What is beyond is found again by a rebuild.
const LIFTED_MAX: usize = 1 << 16;

/// What to ask a leaf about its marks, as long as it is open.
#[derive(Clone, Debug)]
pub struct Marks(Weak<Inner>);

impl Marks {
    pub(super) const fn new(leaf: Weak<Inner>) -> Self {
        Self(leaf)
    }

    /// Records whose marks were lifted since the last call.
    pub fn take_lifted(&self) -> Vec<Cursor> {
        let take = |leaf: std::sync::Arc<Inner>| {
            std::mem::take(&mut *leaf.lifted.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.0.upgrade().map(take).unwrap_or_default()
    }

    /// Reads every marked record again, and gives the number of blobs that count again. Blocks.
    pub fn recheck(&self) -> Result<u64, StoreError> {
        self.0.upgrade().map_or(Ok(0), |leaf| leaf.recheck_all(u64::MAX))
    }
}

impl Inner {
    /// The entries of these blobs, after a second look at some of those that are marked bad.
    pub(super) fn rechecked(&self, ids: &[BlobId]) -> Result<Vec<Option<Entry>>, StoreError> {
        let entries = self.entries(ids)?;
        let mut suspects = BTreeMap::new();
        for entry in entries.iter().flatten().filter(|entry| entry.is_bad) {
            if suspects.len() < ASKED_MAX {
                suspects.insert(entry.cursor, *entry);
            }
        }
        if self.recheck(&suspects)? == 0 { Ok(entries) } else { self.entries(ids) }
    }

    /// Looks at all marked records again when the leaf is opened, as far as that is quick.
    pub(super) fn recheck_at_opening(&self) -> Result<u64, StoreError> {
        self.recheck_all(OPENING_BYTES_MAX)
    }

    /// Reads marked records again, at most so many bytes, and gives the number of blobs that count again.
    fn recheck_all(&self, bytes_max: u64) -> Result<u64, StoreError> {
        if self.stats().bad_blobs == 0 {
            return Ok(0);
        }
        let (mut after, mut bytes, mut lifted) = (None, 0u64, 0);
        loop {
            let mut suspects = BTreeMap::new();
            let is_done = loop {
                let page = self.config.space.page(after.as_deref(), INDEX_PAGE)?;
                let Some((last, _)) = page.last() else { break true };
                after = Some(last.clone());
                for (_, value) in &page {
                    let entry = Entry::decode(value).map_err(IndexError::value("a blob's entry"))?;
                    if entry.is_bad
                        && bytes.saturating_add(entry.record_len) <= bytes_max
                        && suspects.insert(entry.cursor, entry).is_none()
                    {
                        bytes += entry.record_len;
                    }
                }
                if suspects.len() >= GATHERED_MAX {
                    break false;
                }
            };
            lifted += self.recheck(&suspects)?;
            if is_done || bytes >= bytes_max {
                return Ok(lifted);
            }
        }
    }

    /// Reads these records again; what still can't be read, for whatever reason, stays marked.
    fn recheck(&self, suspects: &BTreeMap<Cursor, Entry>) -> Result<u64, StoreError> {
        let mut lifted = 0;
        for (cursor, entry) in suspects {
            match self.read_record(entry) {
                Ok(Ok((head, _))) => lifted += self.lift(*cursor, &head)?,
                Ok(Err(_)) | Err(StoreError::Io { .. } | StoreError::Peer { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(lifted)
    }

    /// The blobs of a record count again, as far as no newer copy does.
    fn lift(&self, cursor: Cursor, head: &Head) -> Result<u64, StoreError> {
        let ids: Vec<BlobId> = head.refs().map(|blob| blob.id).collect();
        let _no_flush = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let entries = self.with_indexed(state.waiting(&ids), &ids)?;
        let mut batch = self.config.index().batch();
        let mut lifted = 0i64;
        for (id, entry) in ids.iter().zip(entries) {
            let Some(mut entry) = entry.filter(|it| it.is_bad && it.cursor == cursor && it.names(head, id)) else {
                continue;
            };
            entry.is_bad = false;
            lifted += 1;
            self.config.space.put(&mut batch, id.as_bytes(), &entry.encode());
        }
        if lifted == 0 {
            return Ok(0);
        }
        self.count_bad(&mut state, &mut batch, -lifted)?;
        self.config.index().write(batch)?;
        drop(state);
        tracing::warn!(leaf = %self.config.name, pack = cursor.pack, offset = cursor.offset, blobs = lifted, "a record that was marked bad verifies again, and counts");
        let mut noted = self.lifted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < LIFTED_MAX {
            noted.push(cursor);
        }
        Ok(lifted.unsigned_abs())
    }
}
