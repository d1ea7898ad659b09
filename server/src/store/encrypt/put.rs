//! Putting: a bundle is sealed and handed on, and its entries wait for the flush.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use datadb::{BlobId, BlobRef, Bundle};

use super::{
    Core, State,
    content::{self, Sealed},
    entry::Entry,
    read::Known,
};
use crate::store::{Cursor, Outcome, Presence, Put, StoreError, blocking, check_put};

/// Refuses what no reader would take, as it is or when it is sealed.
pub fn check_fits(bundle: &Bundle, label: &[u8]) -> Result<(), StoreError> {
    check_put(bundle, label)?;
    content::check_fits(bundle, label)
}

impl State {
    fn put(&self, outcomes: Vec<Outcome>, cursor: Option<Cursor>) -> Put {
        let unflushed_blobs = self.pending.len() + self.flushing.len();
        Put { outcomes, cursor, unflushed_bytes: self.unflushed_bytes, unflushed_blobs }
    }

    /// Counts and notes one blob of a bundle that is in the inner store now.
    pub(super) fn add(&mut self, blob: &BlobRef, outcome: Outcome, known: Option<Entry>, entry: Entry) {
        let sums = &mut self.progress;
        match (outcome, known) {
            (Outcome::Known | Outcome::Conflict, _) => {
                sums.dead_bytes += u64::from(blob.len);
                return;
            }
            // A newer copy heals a bad one, or one that was lost.
            (Outcome::New, Some(known)) => sums.bad_blobs = sums.bad_blobs.saturating_sub(u64::from(known.is_bad)),
            (Outcome::New, None) => {
                sums.blobs += 1;
                sums.blob_bytes += u64::from(blob.len);
            }
        }
        self.pending.insert(blob.id, entry);
    }
}

impl Core {
    /// Stores a bundle, unless all of its blobs are known.
    pub(super) async fn put(self: Arc<Self>, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        check_fits(&bundle, &label)?;
        let blobs: Vec<BlobRef> = bundle.refs().collect();
        let ids: Vec<BlobId> = blobs.iter().map(|blob| blob.id).collect();
        let _claim = self.claims.take(&ids).await;
        let known = self.known(&ids).await?;
        let outcomes = judge(&blobs, &known);
        if !outcomes.contains(&Outcome::New) {
            return Ok(self.state().put(outcomes, None));
        }
        let core = self.clone();
        let Sealed { blob, bundle, label } = blocking(move || core.seal(&bundle, &label)).await?;
        let _no_flush_begins = self.gate.read().await;
        let put = self.inner.put(bundle, label).await?;
        let cursor = match put.cursor {
            Some(cursor) if put.outcomes == [Outcome::New] => cursor,
            // Two seals of anything differ.
            _ => return Err(self.inconsistent(format!("the inner store says that it knows the new blob {}", blob.id))),
        };
        let mut state = self.state();
        for ((one, outcome), known) in blobs.iter().zip(&outcomes).zip(&known) {
            state.add(one, *outcome, known.entry, Entry::new(blob.id, cursor, one));
        }
        state.progress.records += 1;
        let read_to = state.progress.read_to.max(Some(cursor));
        state.has_read(read_to);
        state.progress.keys.insert(self.keys.first().id());
        state.unflushed_bytes = put.unflushed_bytes;
        Ok(state.put(outcomes, Some(cursor)))
    }

    fn seal(&self, bundle: &Bundle, label: &[u8]) -> Result<Sealed, StoreError> {
        let sealed = content::seal_bundle(self.keys.first(), bundle, label);
        let sealed = sealed.map_err(|source| StoreError::Io { place: "getrandom".to_owned(), source })?;
        sealed.map_err(|error| self.inconsistent(format!("this can't be sealed: {error}")))
    }

    pub(super) fn inconsistent(&self, what: String) -> StoreError {
        StoreError::Inconsistent { place: self.name.clone(), what }
    }
}

/// What becomes of each blob, given what is known of it. The second of two equal blobs in one bundle is known. Where a side
/// that can't be asked might have it, it is stored once more: then it is there for certain.
pub(super) fn judge(blobs: &[BlobRef], known: &[Known]) -> Vec<Outcome> {
    let mut seen = HashMap::new();
    let judge_one = |(blob, known): (&BlobRef, &Known)| {
        let earlier = seen.insert(blob.id, blob.digest);
        let there = match (known.inner, known.entry) {
            (Presence::Have(_), Some(entry)) => Some(entry.digest),
            (Presence::Unknown, Some(entry)) if entry.digest != blob.digest => Some(entry.digest),
            _ => None,
        };
        match there.or(earlier) {
            None => Outcome::New,
            Some(digest) if digest == blob.digest => Outcome::Known,
            Some(_) => Outcome::Conflict,
        }
    };
    blobs.iter().zip(known).map(judge_one).collect()
}
