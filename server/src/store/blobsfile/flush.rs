//! Making durable: sync the files, then give the entries to the index.

use std::{collections::HashMap, sync::PoisonError};

use datadb::{BlobId, Fault, failpoint};

use super::{
    Inner, State, Totals,
    append::{OpenPack, UnsyncedPack},
    entry::Entry,
    pack::HEADER_BYTES,
};
use crate::{
    index::{BATCH_BYTES_MAX, Family, keys},
    store::{Cursor, Durable, StoreError},
};

/// Bytes of an entry with its key in a batch, roughly.
const ENTRY_BYTES: usize = 100;

/// What one flush has to do.
struct Work {
    packs: Vec<UnsyncedPack>,
    sealed: Vec<(u64, u64)>,
    is_dir_dirty: bool,
    entries: Vec<(BlobId, Entry)>,
    end: Cursor,
    totals: Totals,
    bytes: u64,
}

impl Inner {
    /// Returns when everything appended before is on the medium and in the index.
    pub(super) fn flush(&self) -> Result<Durable, StoreError> {
        let _one_at_a_time = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let work = self.begin_flush()?;
        if let Err((pack, source)) = self.sync(&work) {
            let place = self.path(pack).display().to_string();
            let source = match source.downcast::<Fault>() {
                // Everything waits where it is found, in memory and in its pack, and the next flush tries again.
                Ok(Fault { message: what, .. }) => return Err(StoreError::InDoubt { place, what }),
                Err(source) => source,
            };
            self.drop_unsynced(&work);
            return Err(StoreError::NotDurable { place, source });
        }
        failpoint::hit_in(&self.config.name, "synced");
        self.finish_sync(&work);
        // If the index fails, the entries stay in memory, where they are found, and the next flush tries again.
        self.write_entries(&work)?;
        failpoint::hit_in(&self.config.name, "indexed");
        let mut state = self.state();
        state.flushing.clear();
        state.appender.closed.clear();
        drop(state);
        if let Err(error) = self.fold(work.end.pack) {
            tracing::warn!(leaf = %self.config.name, %error, "the lengths of old packs could not be put together; tried again with the next flush");
        }
        Ok(Durable { leaf: self.config.name.clone(), end: work.end })
    }

    /// Moves what is pending to what is being flushed. Appending goes on meanwhile.
    fn begin_flush(&self) -> Result<Work, StoreError> {
        let mut state = self.state();
        if state.is_broken {
            return Err(self.broken());
        }
        let holds_records = |open: &OpenPack| !open.records.is_empty();
        if self.config.is_sealed_by_flush && state.appender.open.as_ref().is_some_and(holds_records) {
            self.seal(&mut state)?;
        }
        let pending = std::mem::take(&mut state.pending);
        state.flushing.extend(pending);
        let State { appender, flushing, totals, unflushed_bytes, packs, .. } = &mut *state;
        let mut to_sync = appender.unsynced.clone();
        let sealed = to_sync.iter().map(|pack| (pack.pack.number, pack.len)).collect();
        let open = appender.open.as_ref();
        // One that flushes seal, and that holds no record yet, is nothing that could be durable.
        let unborn = open.filter(|_| self.config.is_sealed_by_flush).map_or(u64::MAX, |open| open.pack.number);
        if let Some(open) = open.filter(|open| open.pack.number < unborn && open.len > open.durable_len) {
            to_sync.push(UnsyncedPack { pack: open.pack.clone(), len: open.len, durable_len: open.durable_len });
        }
        let (pack, offset) = packs.range(..unborn).next_back().map_or((0, 0), |(pack, len)| (*pack, *len));
        Ok(Work {
            packs: to_sync,
            sealed,
            is_dir_dirty: appender.is_dir_dirty,
            entries: flushing.iter().map(|(id, entry)| (*id, *entry)).collect(),
            end: Cursor { pack, offset },
            totals: *totals,
            bytes: *unflushed_bytes,
        })
    }

    fn sync(&self, work: &Work) -> Result<(), (u64, std::io::Error)> {
        for pack in &work.packs {
            pack.pack.file.sync().map_err(|error| (pack.pack.number, error))?;
        }
        if work.is_dir_dirty {
            self.config.disk.sync_dir(&self.config.dir).map_err(|error| (work.end.pack, error))?;
        }
        Ok(())
    }

    /// Notes how far the packs are durable now.
    fn finish_sync(&self, work: &Work) {
        let mut state = self.state();
        state.appender.unsynced.retain(|pack| !work.sealed.iter().any(|(number, _)| *number == pack.pack.number));
        // Their lengths stay noted until the index has them, however often that fails.
        state.appender.closed.extend(&work.sealed);
        if let Some(open) = &mut state.appender.open {
            let synced = work.packs.iter().find(|pack| pack.pack.number == open.pack.number);
            open.durable_len = synced.map_or(open.durable_len, |pack| pack.len);
        }
        for pack in &mut state.appender.unsynced {
            let synced = work.packs.iter().find(|synced| synced.pack.number == pack.pack.number);
            pack.durable_len = synced.map_or(pack.durable_len, |synced| synced.len);
        }
        if work.packs.iter().any(|pack| pack.pack.number == state.appender.last_number) {
            state.appender.is_dir_dirty = false;
        }
        state.unflushed_bytes = state.unflushed_bytes.saturating_sub(work.bytes);
        state.durable_totals = work.totals;
    }

    fn write_entries(&self, work: &Work) -> Result<(), StoreError> {
        let index = self.config.index();
        let closed = self.state().appender.closed.clone();
        let mut chunks = work.entries.chunks(BATCH_BYTES_MAX / ENTRY_BYTES).peekable();
        loop {
            let mut batch = index.batch();
            for (id, entry) in chunks.next().unwrap_or_default() {
                self.config.space.put(&mut batch, id.as_bytes(), &entry.encode());
            }
            if chunks.peek().is_none() {
                for (number, len) in &closed {
                    batch.put(Family::State, &keys::pack(&self.config.name, *number), &len.to_be_bytes());
                }
                let leaf = keys::leaf(&self.config.name);
                batch.put(Family::State, &leaf, &work.totals.encode(work.end));
                return self.end_flush(batch, work.end);
            }
            index.write(batch)?;
        }
    }

    /// After a failed sync nobody knows which of the unsynced bytes are on the medium, and asking again may say "all" when
    /// they are not. So they are cut off, and what they held counts as missing.
    fn drop_unsynced(&self, work: &Work) {
        let mut state = self.state();
        state.pending = HashMap::new();
        state.flushing = HashMap::new();
        state.unflushed_bytes = 0;
        state.totals = state.durable_totals;
        let mut packs = work.packs.clone();
        packs.append(&mut state.appender.unsynced);
        if let Some(open) = state.appender.open.take() {
            packs.push(UnsyncedPack { pack: open.pack, len: open.len, durable_len: open.durable_len });
        }
        for UnsyncedPack { pack, durable_len, .. } in packs {
            // The header stays, so that a pack without records is told from one that lost them.
            let len = durable_len.max(HEADER_BYTES);
            // The cut is synced itself, or a power cut could bring back what stands in the next pack once more.
            if let Err(error) = pack.file.truncate(len).and_then(|()| pack.file.sync()) {
                tracing::error!(leaf = %self.config.name, %error, "bytes that could not be synced can't be cut off");
                state.is_broken = true;
            }
            state.packs.insert(pack.number, len);
            // It takes no more; how long it must be is noted with the next flush.
            state.appender.closed.push((pack.number, len));
        }
    }
}
