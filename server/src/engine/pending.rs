//! Objects that are accepted but not in the log yet: checked, held in memory, found by those that name them.
//!
//! They are gathered in parts of at most `LOG_PART_BYTES`, however many batches come at once: a part that has no room for the
//! next object is closed, and another begun. Parts go to the committer in the order in which they were filled, so that in
//! the log, too, children come first. If anything that a part relies on could not be made durable, all of them
//! are forgotten and the epoch moves on: what was validated in an older epoch is refused by the committer.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use datadb::{ObjectKey, limits, object::Encoded};

/// A part of the log in the making.
#[derive(Debug, Default)]
pub struct Part {
    /// Encodings in the order of acceptance, children first.
    pub objects: Vec<Bytes>,
    by_key: HashMap<ObjectKey, Encoded>,
    metas: HashMap<ObjectKey, [u8; 16]>,
    /// Encoded bytes.
    pub bytes: usize,
}

impl Part {
    /// The keys of its objects.
    pub fn keys(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        self.by_key.keys().copied()
    }
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    open: Part,
    /// Parts that take no more, the oldest first.
    full: VecDeque<Part>,
    flying: Vec<Arc<Part>>,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It waits for the log.
    Waits,
    /// Another object with its key does.
    Conflict,
    /// It was validated in an older epoch.
    Stale,
}

/// The objects of all sessions that are not in the log yet.
#[derive(Debug, Default)]
pub struct Pending {
    state: Mutex<State>,
    /// Held by whoever takes parts until the committer has them, so that none overtakes another.
    pub handing_over: tokio::sync::Mutex<()>,
}

impl Pending {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current epoch. What is validated must be inserted in the same one.
    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// The objects with these keys, as far as they wait here.
    pub fn objects(&self, keys: &[ObjectKey]) -> Vec<Option<Encoded>> {
        let state = self.state();
        let find = |key| state.parts().find_map(|part| part.by_key.get(key).cloned());
        keys.iter().map(find).collect()
    }

    /// The fingerprints of the metas with these keys, as far as they wait here.
    pub fn metas(&self, keys: &[ObjectKey]) -> Vec<Option<[u8; 16]>> {
        let state = self.state();
        let find = |key| state.parts().find_map(|part| part.metas.get(key).copied());
        keys.iter().map(find).collect()
    }

    /// Adds an accepted object with the fingerprints of the metas in it.
    pub fn insert(&self, epoch: u64, object: Encoded, metas: Vec<(ObjectKey, [u8; 16])>) -> Inserted {
        let mut state = self.state();
        if state.epoch != epoch {
            return Inserted::Stale;
        }
        if let Some(known) = state.parts().find_map(|part| part.by_key.get(&object.object.key)) {
            return if known.object == object.object { Inserted::Waits } else { Inserted::Conflict };
        }
        if !state.open.objects.is_empty() && state.open.bytes + object.bytes.len() > limits::LOG_PART_BYTES {
            let full = std::mem::take(&mut state.open);
            state.full.push_back(full);
        }
        let part = &mut state.open;
        part.bytes += object.bytes.len();
        part.objects.push(object.bytes.clone());
        part.metas.extend(metas);
        part.by_key.insert(object.object.key, object);
        Inserted::Waits
    }

    /// Takes the oldest part that is full, or else the open one if it has at least so many bytes; it stays visible until it
    /// has `landed`. To be called again until there is none, while `handing_over` is held.
    pub fn take(&self, bytes_min: usize) -> Option<(u64, Arc<Part>)> {
        let mut state = self.state();
        let part = match state.full.pop_front() {
            Some(full) => full,
            None if state.open.objects.is_empty() || state.open.bytes < bytes_min => return None,
            None => std::mem::take(&mut state.open),
        };
        let part = Arc::new(part);
        state.flying.push(part.clone());
        Some((state.epoch, part))
    }

    /// The part is in the log and in the index now.
    pub fn landed(&self, part: &Arc<Part>) {
        self.state().flying.retain(|flying| !Arc::ptr_eq(flying, part));
    }

    /// Something could not be made durable: forgets everything.
    pub fn reset(&self) {
        let mut state = self.state();
        let epoch = state.epoch + 1;
        *state = State { epoch, ..State::default() };
    }
}

impl State {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.open).chain(&self.full).chain(self.flying.iter().map(Arc::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use datadb::ObjectRef;
    use proptest::prelude::*;

    use super::*;

    fn object(number: u64, len: usize) -> Encoded {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(len.max(8), 7);
        Encoded { object: ObjectRef::of(&bytes), bytes: bytes.into() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// However much comes before anybody takes a part: none is longer than what a record of the log has room for, and
        /// together they are all objects in their order.
        #[test]
        fn parts_stay_bounded_and_in_order(
            lens in prop::collection::vec(prop_oneof![8usize..100, 1usize << 20..(4 << 20) + 1], 1..40), bytes_min in 0usize..2
        ) {
            let pending = Pending::default();
            let objects: Vec<Encoded> = (0..).zip(&lens).map(|(number, len)| object(number, *len)).collect();
            for object in &objects {
                prop_assert_eq!(pending.insert(0, object.clone(), Vec::new()), Inserted::Waits);
            }
            let keys: Vec<ObjectKey> = objects.iter().map(|object| object.object.key).collect();
            prop_assert!(pending.objects(&keys).iter().all(Option::is_some));
            let mut taken = Vec::new();
            while let Some((_, part)) = pending.take(bytes_min) {
                prop_assert!(part.bytes <= limits::LOG_PART_BYTES, "{} bytes", part.bytes);
                prop_assert_eq!(part.bytes, part.objects.iter().map(Bytes::len).sum::<usize>());
                taken.extend(part.objects.iter().cloned());
            }
            prop_assert_eq!(taken, objects.into_iter().map(|object| object.bytes).collect::<Vec<_>>());
            prop_assert!(pending.objects(&keys).iter().all(Option::is_some), "until they have landed");
        }
    }
}
