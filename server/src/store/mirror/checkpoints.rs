//! Checkpoints: up to which record of another side a side is known to have everything, durably. Kept in the index; where one is
//! lost, sides are compared from the front.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use datadb::codec::{DecodeError, Reader, Writer};

use crate::{
    index::{Family, IndexError, SharedIndex, keys},
    store::{Cursor, StoreError, blocking},
};

/// A checkpoint: the side that has everything, the side whose records are meant, and the last of these.
pub(super) type Checkpoint = (usize, usize, Cursor);

pub(super) struct Checkpoints {
    index: SharedIndex,
    names: Vec<String>,
    known: Mutex<HashMap<(usize, usize), Cursor>>,
}

fn decode(bytes: &[u8]) -> Result<Cursor, DecodeError> {
    let mut r = Reader::new(bytes);
    let cursor = Cursor { pack: r.varint("pack")?, offset: r.varint("offset")? };
    r.end()?;
    Ok(cursor)
}

impl Checkpoints {
    /// Reads the checkpoints of sides with these names.
    pub async fn load(index: SharedIndex, names: Vec<String>) -> Result<Self, StoreError> {
        blocking(move || {
            let mut known = HashMap::new();
            for (side, name) in names.iter().enumerate() {
                for (other, other_name) in names.iter().enumerate() {
                    if let Some(bytes) = index.get(Family::State, &keys::level(name, other_name))? {
                        known
                            .insert((side, other), decode(&bytes).map_err(IndexError::value("a mirror's checkpoint"))?);
                    }
                }
            }
            Ok(Self { index, names, known: Mutex::new(known) })
        })
        .await
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(usize, usize), Cursor>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last record of `other` up to which `side` has everything.
    pub fn get(&self, side: usize, other: usize) -> Option<Cursor> {
        self.known().get(&(side, other)).copied()
    }

    /// Notes how far sides are. What they have must be durable.
    pub async fn set(&self, checkpoints: impl IntoIterator<Item = Checkpoint>) -> Result<(), StoreError> {
        let mut new = Vec::new();
        {
            let mut known = self.known();
            for (side, other, cursor) in checkpoints {
                if known.insert((side, other), cursor) != Some(cursor) {
                    let mut w = Writer::default();
                    w.varint(cursor.pack).varint(cursor.offset);
                    new.push((keys::level(&self.names[side], &self.names[other]), Some(w.finish())));
                }
            }
        }
        self.write(new).await
    }

    /// Nothing is known of a side any more: it lost something.
    pub async fn forget(&self, side: usize) -> Result<(), StoreError> {
        self.known().retain(|(of, _), _| *of != side);
        let names = self.names.iter().map(|other| (keys::level(&self.names[side], other), None));
        self.write(names.collect()).await
    }

    async fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let index = self.index.clone();
        blocking(move || {
            let mut batch = index.batch();
            for (key, value) in &changes {
                match value {
                    Some(value) => batch.put(Family::State, key, value),
                    None => batch.delete(Family::State, key),
                }
            }
            Ok(index.write(batch)?)
        })
        .await
    }
}
