//! Making durable: the inner store flushes, then the entries go to the index.

use std::sync::Arc;

use datadb::{BlobId, failpoint};

use super::{
    Core,
    entry::{Entry, Progress},
};
use crate::{
    index::{BATCH_BYTES_MAX, Family, keys},
    store::{Durable, StoreError, blocking},
};

/// Bytes of an entry with its key in a batch, roughly.
const ENTRY_BYTES: usize = 120;

impl Core {
    /// Returns when everything put before is durable in the inner store and in the index.
    pub(super) async fn flush(self: Arc<Self>) -> Result<Vec<Durable>, StoreError> {
        let _one_at_a_time = self.flushing.lock().await;
        let (entries, progress) = self.begin_flush().await;
        let durable = match self.inner.flush().await {
            Ok(durable) => durable,
            Err(error) => {
                // Whatever else failed, the entries may stay: of what the inner store doesn't have they promise nothing.
                if let StoreError::NotDurable { .. } = error {
                    self.drop_pending().await;
                }
                return Err(error);
            }
        };
        self.state().durable = progress.clone();
        failpoint::hit_in(&self.name, "sealed.durable");
        // If the index fails, the entries stay in memory, where they are found, and the next flush tries again.
        let core = self.clone();
        blocking(move || core.write_entries(&entries, &progress)).await?;
        self.state().flushing.clear();
        Ok(durable)
    }

    /// Moves what is pending to what is being flushed. Putting goes on meanwhile.
    async fn begin_flush(&self) -> (Vec<(BlobId, Entry)>, Progress) {
        let _no_put_between = self.gate.write().await;
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        state.flushing.extend(pending);
        state.unflushed_bytes = 0;
        (state.flushing.iter().map(|(id, entry)| (*id, *entry)).collect(), state.progress.clone())
    }

    pub(super) fn write_entries(&self, entries: &[(BlobId, Entry)], progress: &Progress) -> Result<(), StoreError> {
        let index = self.space.index();
        let mut chunks = entries.chunks(BATCH_BYTES_MAX / ENTRY_BYTES).peekable();
        loop {
            let mut batch = index.batch();
            for (id, entry) in chunks.next().unwrap_or_default() {
                self.space.put(&mut batch, id.as_bytes(), &entry.encode());
            }
            if chunks.peek().is_none() {
                batch.put(Family::State, &keys::leaf(&self.name), &progress.encode());
                return Ok(index.write(batch)?);
            }
            index.write(batch)?;
        }
    }

    /// What was put since the last good flush is lost, and what comes meanwhile may be: all of it counts as missing.
    async fn drop_pending(&self) {
        let _no_put_between = self.gate.write().await;
        let mut state = self.state();
        state.pending.clear();
        state.flushing.clear();
        state.progress = state.durable.clone();
    }
}
