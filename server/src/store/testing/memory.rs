//! A store in memory: the plainest thing that keeps the promises, for tests and as a first example of a backend.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};

use crate::store::{
    BlobStore, Cursor, Durable, Found, Item, Outcome, Presence, Put, StoreError, StoreStats, Stored, check_put,
};

/// Keeps everything until it is dropped; `flush` has nothing to do.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Stored>,
    places: HashMap<BlobId, (usize, Found)>,
    stats: StoreStats,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

#[async_trait]
impl BlobStore for MemoryStore {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        check_put(&bundle, &label)?;
        let mut state = self.state();
        let number = state.records.len();
        let mut outcomes = Vec::with_capacity(bundle.refs().len());
        let mut dead_bytes = 0;
        for blob in bundle.refs() {
            let outcome = match state.places.get(&blob.id) {
                Some((_, found)) if found.digest == blob.digest => Outcome::Known,
                Some(_) => Outcome::Conflict,
                None => {
                    let found = Found { digest: blob.digest, len: blob.len, place: number as u64 };
                    state.places.insert(blob.id, (number, found));
                    state.stats.blobs += 1;
                    state.stats.blob_bytes += u64::from(blob.len);
                    Outcome::New
                }
            };
            if outcome != Outcome::New {
                dead_bytes += u64::from(blob.len);
            }
            outcomes.push(outcome);
        }
        let cursor = outcomes.contains(&Outcome::New).then_some(Cursor { pack: 0, offset: number as u64 });
        if cursor.is_some() {
            state.stats.records += 1;
            state.stats.dead_bytes += dead_bytes;
            state.stats.stored_bytes += bundle.data().len() as u64;
            state.records.push(Stored { bundle, label });
        }
        Ok(Put { outcomes, cursor, unflushed_bytes: 0, unflushed_blobs: 0 })
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        let state = self.state();
        let presence = |id| state.places.get(id).map_or(Presence::Missing, |(_, found)| Presence::Have(*found));
        Ok(ids.iter().map(presence).collect())
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let state = self.state();
        Ok(state.places.get(id).map(|(number, _)| state.records[*number].clone()))
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        let offset = self.state().records.len() as u64;
        Ok(vec![Durable { leaf: "memory".to_owned(), end: Cursor { pack: 0, offset } }])
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        let state = self.state();
        let first = after.map_or(0, |cursor| cursor.offset as usize + 1);
        let records = state.records.iter().enumerate().skip(first).take(max);
        Ok(records
            .map(|(number, stored)| Item::Record {
                cursor: Cursor { pack: 0, offset: number as u64 },
                refs: stored.bundle.refs().collect(),
                label: stored.label.clone(),
            })
            .collect())
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(self.state().stats)
    }
}
