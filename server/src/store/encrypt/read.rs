//! Reading: what is known of blobs, the bundle of one, and all records in append order.

use std::{collections::HashMap, sync::Arc};

use datadb::{BlobId, BlobRef};

use super::{
    Core, State,
    content::{self, Contents},
    entry::Entry,
    seal::SealError,
};
use crate::{
    index::{Family, IndexError, keys},
    store::{Cursor, Damage, Found, Item, Presence, StoreError, Stored, blocking, to_the_end},
};

/// Entries read at once in a walk over the index.
const INDEX_PAGE: usize = 4096;

/// What is known of a blob.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its entry, a bad one too.
    pub entry: Option<Entry>,
    /// Whether the inner store has the sealed blob of a good entry.
    pub inner: Presence,
}

impl Known {
    /// Whether the blob is there.
    pub fn presence(self) -> Presence {
        match (self.entry, self.inner) {
            (Some(Entry { digest, len, .. }), Presence::Have(Found { place, .. })) => {
                Presence::Have(Found { digest, len, place })
            }
            (_, Presence::Unknown) => Presence::Unknown,
            _ => Presence::Missing,
        }
    }
}

impl Core {
    /// The entries of these blobs, bad ones included: from memory first, then from the index. An entry goes from there to
    /// the index and never back, so the state may be let go between the two.
    pub(super) fn entries(&self, ids: &[BlobId]) -> Result<Vec<Option<Entry>>, StoreError> {
        let mut entries = self.state().waiting(ids);
        let unknown: Vec<usize> = (0..ids.len()).filter(|at| entries[*at].is_none()).collect();
        let keys: Vec<&[u8; 20]> = unknown.iter().map(|at| ids[*at].as_bytes()).collect();
        for (at, value) in unknown.into_iter().zip(self.space.multi_get(&keys)?) {
            let entry = value.as_deref().map(Entry::decode).transpose();
            entries[at] = entry.map_err(IndexError::value("a blob's entry"))?;
        }
        Ok(entries)
    }

    /// What is known of these blobs here and in the inner store.
    pub(super) async fn known(self: &Arc<Self>, ids: &[BlobId]) -> Result<Vec<Known>, StoreError> {
        let (core, asked) = (self.clone(), ids.to_vec());
        let entries = blocking(move || core.entries(&asked)).await?;
        let good = |entry: &Option<Entry>| entry.filter(|entry| !entry.is_bad).map(|entry| entry.inner);
        // Neighbours lie in the same sealed blob.
        let mut inner: Vec<BlobId> = entries.iter().filter_map(good).collect();
        inner.sort_unstable();
        inner.dedup();
        let found = if inner.is_empty() { Vec::new() } else { self.inner.find(&inner).await? };
        let found: HashMap<BlobId, Presence> = inner.into_iter().zip(found).collect();
        let presence = |entry| good(entry).and_then(|inner| found.get(&inner).copied()).unwrap_or(Presence::Missing);
        Ok(entries.iter().map(|entry| Known { entry: *entry, inner: presence(entry) }).collect())
    }

    /// The bundle that holds a blob. One whose seal is broken is marked bad.
    pub(super) async fn read(self: &Arc<Self>, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let (core, id) = (self.clone(), *id);
        let entry = blocking(move || core.entries(&[id])).await?.remove(0);
        let Some(entry) = entry.filter(|entry| !entry.is_bad) else { return Ok(None) };
        let stored = match self.inner.get(&entry.inner).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(None),
            // It is told under the name by which it was asked for; what it is called below nobody knows.
            Err(StoreError::Damaged { leaf, cursor, what, .. }) => {
                return Err(StoreError::Damaged { id, leaf, cursor, what });
            }
            Err(other) => return Err(other),
        };
        let core = self.clone();
        let what = match blocking(move || core.open_for(&id, &entry, &stored)).await {
            Ok(opened) => return Ok(Some(opened)),
            Err(what) => what.to_string(),
        };
        to_the_end(self.clone().mark_bad(entry.inner)).await?;
        Err(StoreError::Damaged { id, leaf: self.name.clone(), cursor: entry.cursor, what })
    }

    fn open_for(&self, id: &BlobId, entry: &Entry, stored: &Stored) -> Result<Stored, SealError> {
        // Another key or version is damage, too: the label could be opened, and both are sealed at once.
        let opened = content::open_bundle(&self.keys, &stored.bundle)?;
        let is_asked = |blob: BlobRef| blob.id == *id && blob.digest == entry.digest;
        if opened.bundle.refs().any(is_asked) { Ok(opened) } else { Err(SealError::Foreign) }
    }

    /// Marks all blobs bad that lie in a sealed one, by a walk over the whole index: slow, and needed only where the inner
    /// store gave bytes in good order that are not what was sealed. It waits for a flush that runs, which would write its
    /// entries over the marks.
    async fn mark_bad(self: Arc<Self>, inner: BlobId) -> Result<(), StoreError> {
        let _no_flush = self.flushing.lock().await;
        let core = self.clone();
        blocking(move || core.write_marks(&inner)).await
    }

    fn write_marks(&self, inner: &BlobId) -> Result<(), StoreError> {
        let mut state = self.state();
        let mut bad: HashMap<BlobId, Entry> = HashMap::new();
        let mut after = None;
        loop {
            let page = self.space.page(after.as_deref(), INDEX_PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (id, value) in &page {
                let id = BlobId::try_from(&id[..]).map_err(IndexError::value("a blob's id"))?;
                let entry = Entry::decode(value).map_err(IndexError::value("a blob's entry"))?;
                if entry.inner == *inner && !entry.is_bad {
                    bad.insert(id, entry);
                }
            }
        }
        // What waits in memory is newer.
        bad.retain(|id, _| !state.pending.contains_key(id) && !state.flushing.contains_key(id));
        let State { pending, flushing, .. } = &mut *state;
        bad.extend(pending.extract_if(|_, entry| entry.inner == *inner));
        bad.extend(flushing.extract_if(|_, entry| entry.inner == *inner));
        let mut batch = self.space.index().batch();
        for (id, entry) in &bad {
            self.space.put(&mut batch, id.as_bytes(), &Entry { is_bad: true, ..*entry }.encode());
        }
        state.progress.bad_blobs += bad.len() as u64;
        state.durable.bad_blobs += bad.len() as u64;
        // As long as entries wait for the index, it doesn't reach as far as that.
        if state.flushing.is_empty() {
            batch.put(Family::State, &keys::leaf(&self.name), &state.durable.encode());
        }
        Ok(self.space.index().write(batch)?)
    }

    /// The records after a cursor, in append order; one whose label can't be opened is damage.
    pub(super) async fn enumerate(
        self: &Arc<Self>,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let items = self.inner.enumerate(after, max).await?;
        let core = self.clone();
        Ok(blocking(move || items.into_iter().map(|item| core.open_item(item)).collect()).await)
    }

    fn open_item(&self, item: Item) -> Item {
        let Item::Record { cursor, refs, label } = item else { return item };
        match content::open_label(&self.keys, &refs, &label) {
            Ok(Contents { refs, label }) => Item::Record { cursor, refs, label },
            Err(error) => {
                tracing::warn!(store = %self.name, pack = cursor.pack, offset = cursor.offset, %error, "a label can't be opened");
                Item::Damage(Damage { cursor, bytes: refs.iter().map(|blob| u64::from(blob.len)).sum() })
            }
        }
    }
}
