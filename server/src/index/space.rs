//! A part of the index that belongs to one store of the stack: what it knows of each blob, by id.
//!
//! The leaf of the embedded default and its log have a family of their own each; all other stores share the family
//! `stores`, where a slot in front of the id keeps them apart. A slot is given to a name when it is first met, and is the
//! name's for as long as the index lives.

use std::sync::{Mutex, PoisonError};

use super::{Batch, Family, Index, IndexError, Pair, SharedIndex, keys};

/// Bytes of a slot in front of an id.
const SLOT_BYTES: usize = 2;

/// Behind every id.
const END: [u8; 21] = [0xff; 21];

/// The entries of one store.
#[derive(Clone, Debug)]
pub struct Space {
    index: SharedIndex,
    family: Family,
    slot: Option<[u8; SLOT_BYTES]>,
}

impl Space {
    /// The part of the store with this name; a slot is allotted when the name is new.
    pub fn of(index: &SharedIndex, name: &str) -> Result<Self, IndexError> {
        let (family, slot) = match name {
            "blobs" => (Family::Blobs, None),
            "log" => (Family::Log, None),
            other => (Family::Stores, Some(slot_of(index, other)?)),
        };
        Ok(Self { index: index.clone(), family, slot })
    }

    /// The index it is a part of.
    pub const fn index(&self) -> &SharedIndex {
        &self.index
    }

    fn key(&self, id: &[u8]) -> Vec<u8> {
        [self.slot.as_ref().map_or(&[][..], |slot| &slot[..]), id].concat()
    }

    /// The values of ids, in their order.
    pub fn multi_get<K: AsRef<[u8]>>(&self, ids: &[K]) -> Result<Vec<Option<Vec<u8>>>, IndexError> {
        if self.slot.is_none() {
            return self.index.multi_get(self.family, ids);
        }
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| self.key(id.as_ref())).collect();
        self.index.multi_get(self.family, &keys)
    }

    /// At most `max` ids and their values behind an id (`None`: from the first), in the order of the ids.
    pub fn page(&self, after: Option<&[u8]>, max: usize) -> Result<Vec<Pair>, IndexError> {
        let from = after.map_or_else(|| self.key(&[]), |after| self.key(&[after, &[0]].concat()));
        let mut page = self.index.scan(self.family, &from, &self.key(&END), max)?;
        if self.slot.is_some() {
            for (key, _) in &mut page {
                *key = key[SLOT_BYTES..].into();
            }
        }
        Ok(page)
    }

    /// Sets the value of an id.
    pub fn put(&self, batch: &mut Batch<'_>, id: &[u8], value: &[u8]) {
        batch.put(self.family, &self.key(id), value);
    }

    /// Removes an id.
    pub fn delete(&self, batch: &mut Batch<'_>, id: &[u8]) {
        batch.delete(self.family, &self.key(id));
    }
}

/// Held by whoever looks for a free slot: stores are opened side by side.
static ALLOTTING: Mutex<()> = Mutex::new(());

fn slot_of(index: &Index, name: &str) -> Result<[u8; SLOT_BYTES], IndexError> {
    let key = keys::slot(name);
    let _one_at_a_time = ALLOTTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = index.get(Family::State, &key)?.and_then(|slot| slot.as_slice().try_into().ok()) {
        return Ok(slot);
    }
    let last = index.get(Family::State, keys::SLOTS)?.and_then(|slot| slot.as_slice().try_into().ok());
    let slot = last.map_or(0, u16::from_be_bytes).checked_add(1).expect("a stack has few stores").to_be_bytes();
    let mut batch = index.batch();
    batch.put(Family::State, &key, &slot);
    batch.put(Family::State, keys::SLOTS, &slot);
    index.write(batch)?;
    Ok(slot)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ids(space: &Space, max: usize) -> Vec<Box<[u8]>> {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = space.page(after.as_deref(), max).unwrap();
            let Some((last, _)) = page.last() else { return ids };
            after = Some(last.clone());
            ids.extend(page.into_iter().map(|(id, _)| id));
        }
    }

    #[test]
    fn stores_that_are_opened_at_once_get_slots_of_their_own() {
        const STORES: usize = 16;
        let dir = tempfile::tempdir().unwrap();
        let index = Arc::new(Index::open(dir.path()).unwrap());
        let start = std::sync::Barrier::new(STORES);
        let slots: std::collections::HashSet<_> = std::thread::scope(|scope| {
            let opened = |number: usize| {
                let (index, start) = (&index, &start);
                move || {
                    start.wait();
                    Space::of(index, &format!("store {number}")).unwrap().slot
                }
            };
            let threads: Vec<_> = (0..STORES).map(|number| scope.spawn(opened(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(slots.len(), STORES);
    }

    #[test]
    fn each_store_sees_its_own_entries_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let index = Arc::new(Index::open(dir.path()).unwrap());
        let names = ["blobs", "log", "s3://bucket/a", "blobsfile:/b", "s3://bucket/a/"];
        let spaces = names.map(|name| Space::of(&index, name).unwrap());
        for (number, space) in (0..).zip(&spaces) {
            let mut batch = index.batch();
            for id in 0..=number {
                space.put(&mut batch, &[id; 20], &[number]);
            }
            index.write(batch).unwrap();
        }
        // A name that is met again has the place it had.
        let again = names.map(|name| Space::of(&index, name).unwrap());
        for (number, space) in (0..).zip(&again) {
            let expected: Vec<Box<[u8]>> = (0..=number).map(|id| Box::from([id; 20])).collect();
            assert_eq!(ids(space, 2), expected);
            assert_eq!(space.multi_get(&[[number; 20], [number + 1; 20]]).unwrap(), [Some(vec![number]), None]);
            let mut batch = index.batch();
            space.delete(&mut batch, &[number; 20]);
            index.write(batch).unwrap();
            assert_eq!(ids(space, 100).len(), usize::from(number));
        }
    }
}
