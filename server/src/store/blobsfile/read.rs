//! Reading: one record by a blob's entry, verified; and all records in append order.

use std::{io, sync::PoisonError, time::Duration};

use bytes::Bytes;
use datadb::{BlobId, Bundle};

use super::{
    Inner,
    entry::Entry,
    pack::{self, HEADER_BYTES},
    record::{Head, RecordError},
    scan::{Scan, Step},
};
use crate::{
    index::IndexError,
    store::{Cursor, Damage, Item, StoreError, Stored, disk::DiskFile},
};

/// Entries read at once in a walk over the index.
pub(super) const INDEX_PAGE: usize = 4096;

/// How long is waited before a read that failed is tried again.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

impl Inner {
    /// The bundle that holds a blob. **Only damage is damage:** a checksum that fails, a record that is cut short or a pack
    /// that is not there marks the copy bad. Any other trouble is tried again, then told, and marks nothing.
    pub(super) fn read(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let Some(entry) = self.rechecked(std::slice::from_ref(id))?.remove(0) else { return Ok(None) };
        if entry.is_bad {
            return Ok(None);
        }
        let what = match self.read_patiently(&entry) {
            Ok(Ok((head, bundle))) if entry.names(&head, id) => {
                return Ok(Some(Stored { bundle, label: head.label() }));
            }
            Ok(Ok(_)) => "another record lies there".to_owned(),
            Ok(Err(damage)) => damage.to_string(),
            Err(StoreError::Io { source, .. }) if self.is_pack_gone(&source) => source.to_string(),
            Err(StoreError::Io { place, source }) => return Err(StoreError::Unreadable { id: *id, place, source }),
            Err(other) => return Err(other),
        };
        self.mark_bad(entry.cursor, id)?;
        Err(StoreError::Damaged { id: *id, leaf: self.config.name.clone(), cursor: entry.cursor, what })
    }

    /// Whether a pack is not there, in a directory that is.
    fn is_pack_gone(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotFound && self.config.disk.list(&self.config.dir).is_ok()
    }

    /// Reads a record, and tries again what may pass. Between two tries it lets go of all files that it keeps open: what is
    /// lacking may be descriptors, and a file may have become stale.
    fn read_patiently(&self, entry: &Entry) -> Result<Result<(Head, Bundle), RecordError>, StoreError> {
        for pause in RETRY_PAUSES {
            match self.read_record(entry) {
                Err(StoreError::Io { source, .. }) if source.kind() != io::ErrorKind::NotFound => {
                    self.files.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    std::thread::sleep(pause);
                }
                done => return done,
            }
        }
        self.read_record(entry)
    }

    pub(super) fn read_record(&self, entry: &Entry) -> Result<Result<(Head, Bundle), RecordError>, StoreError> {
        let Cursor { pack, offset } = entry.cursor;
        let file = self.file(pack)?;
        let mut bytes = vec![0; usize::try_from(entry.record_len).unwrap_or(usize::MAX)];
        let read =
            file.read_at(&mut bytes, offset).map_err(|source| StoreError::io(self.path(pack).display(), source))?;
        if read < bytes.len() {
            return Ok(Err(RecordError::Short));
        }
        let mut bytes = Bytes::from(bytes);
        Ok(Head::declared_len(&bytes).and_then(|len| {
            if len > bytes.len() {
                return Err(RecordError::Head);
            }
            let data = bytes.split_off(len);
            let head = Head::decode(bytes)?;
            let bundle = head.clone().into_bundle(data)?;
            Ok((head, bundle))
        }))
    }

    /// Marks the blobs of a record bad, the one that was asked for among them. A flush that is under way is waited for: it
    /// would write the entries as they were.
    fn mark_bad(&self, cursor: Cursor, asked: &BlobId) -> Result<(), StoreError> {
        let mut ids = self.ids_of_damaged(cursor)?;
        if !ids.contains(asked) {
            ids.push(*asked);
        }
        let _no_flush = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let entries = self.with_indexed(state.waiting(&ids), &ids)?;
        let mut batch = self.config.index().batch();
        let mut marked = 0;
        for (id, entry) in ids.iter().zip(entries) {
            let Some(mut entry) = entry.filter(|entry| !entry.is_bad && entry.cursor == cursor) else { continue };
            entry.is_bad = true;
            marked += 1;
            if state.pending.remove(id).is_none() {
                state.flushing.remove(id);
            }
            self.config.space.put(&mut batch, id.as_bytes(), &entry.encode());
        }
        self.count_bad(&mut state, &mut batch, marked)?;
        Ok(self.config.index().write(batch)?)
    }

    /// The blobs of a damaged record: those its head names if it can still be read, else those the index places there.
    pub(super) fn ids_of_damaged(&self, cursor: Cursor) -> Result<Vec<BlobId>, StoreError> {
        let head = self.file(cursor.pack).ok().and_then(|file| pack::read_head(&*file, cursor.offset).ok()?.ok());
        match head {
            Some(head) => Ok(head.refs().map(|blob| blob.id).collect()),
            None => self.ids_at(cursor),
        }
    }

    /// The blobs that lie in one record, by a walk over the whole index: slow, and needed only for a damaged head.
    fn ids_at(&self, cursor: Cursor) -> Result<Vec<BlobId>, StoreError> {
        let mut ids: Vec<BlobId> = {
            let state = self.state();
            let waiting = state.pending.iter().chain(&state.flushing);
            waiting.filter(|(_, entry)| entry.cursor == cursor).map(|(id, _)| *id).collect()
        };
        let mut after = None;
        loop {
            let page = self.config.space.page(after.as_deref(), INDEX_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(ids) };
            after = Some(last.clone());
            for (id, value) in &page {
                let entry = Entry::decode(value).map_err(IndexError::value("a blob's entry"))?;
                if entry.cursor == cursor {
                    ids.push(BlobId::try_from(&id[..]).map_err(IndexError::value("a blob's id"))?);
                }
            }
        }
    }

    /// From where on nothing tells where records begin in a pack without a footer: every walk must know, wherever it starts.
    /// What is appended later is intact, so it stays what it was at first.
    fn lost_from(&self, number: u64, file: &dyn DiskFile, len: u64) -> Result<Option<u64>, StoreError> {
        let known = self.lost_from.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = Scan::find_lost(file, len).map_err(|source| StoreError::io(self.path(number).display(), source))?;
        self.lost_from.lock().unwrap_or_else(PoisonError::into_inner).put(number, found);
        Ok(found)
    }

    /// The records after a cursor, in append order.
    pub(super) fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        let first = after.map_or(0, |cursor| cursor.pack);
        let packs: Vec<(u64, u64)> = self.state().packs.range(first..).map(|(pack, len)| (*pack, *len)).collect();
        let mut items = Vec::new();
        for (number, len) in packs {
            let start = after.filter(|cursor| cursor.pack == number).map(|cursor| cursor.offset);
            let file = self.file(number)?;
            let io = |source| StoreError::io(self.path(number).display(), source);
            let is_sealed = self.is_sealed(number)?;
            let by_footer = if is_sealed { Scan::by_footer(&*file, start, len).map_err(io)? } else { None };
            let mut scan = match (by_footer, start) {
                (Some(scan), _) => scan,
                (None, None) => Scan::new(&*file, HEADER_BYTES, len, u64::MAX),
                (None, Some(start)) => {
                    Scan::after(&*file, start, len, self.lost_from(number, &*file, len)?).map_err(io)?
                }
            };
            while items.len() < max {
                let Some(step) = scan.next_step().map_err(io)? else { break };
                items.push(match step {
                    Step::Record { offset, head } => Item::Record {
                        cursor: Cursor { pack: number, offset },
                        refs: head.refs().collect(),
                        label: head.label(),
                    },
                    Step::Damage { offset, bytes } => {
                        Item::Damage(Damage { cursor: Cursor { pack: number, offset }, bytes })
                    }
                });
            }
            if items.len() >= max {
                break;
            }
        }
        Ok(items)
    }
}
