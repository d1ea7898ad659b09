//! Objects that are accepted but not in the log yet: checked, held in memory, found by those that name them.
//!
//! They are gathered in parts of bounded size. If anything that a part relies on could not be made durable, all of them
//! are forgotten and the epoch moves on: what was validated in an older epoch is refused by the committer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use datadb::{ObjectKey, object::Encoded};

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
    flying: Vec<Arc<Part>>,
}

/// The objects of all sessions that are not in the log yet.
#[derive(Debug, Default)]
pub struct Pending {
    state: Mutex<State>,
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

    /// The marks of the metas with these keys, as far as they wait here.
    pub fn metas(&self, keys: &[ObjectKey]) -> Vec<Option<[u8; 16]>> {
        let state = self.state();
        let find = |key| state.parts().find_map(|part| part.metas.get(key).copied());
        keys.iter().map(find).collect()
    }

    /// Adds an accepted object with the marks of the metas in it, unless the epoch has changed. Gives the bytes that wait
    /// in the open part.
    pub fn insert(&self, epoch: u64, object: Encoded, metas: Vec<(ObjectKey, [u8; 16])>) -> Option<usize> {
        let mut state = self.state();
        if state.epoch != epoch {
            return None;
        }
        if state.parts().any(|part| part.by_key.contains_key(&object.object.key)) {
            return Some(state.open.bytes);
        }
        let part = &mut state.open;
        part.bytes += object.bytes.len();
        part.objects.push(object.bytes.clone());
        part.metas.extend(metas);
        part.by_key.insert(object.object.key, object);
        Some(part.bytes)
    }

    /// Takes the open part if it has at least so many bytes; it stays visible until it has `landed`.
    pub fn take(&self, bytes_min: usize) -> Option<(u64, Arc<Part>)> {
        let mut state = self.state();
        if state.open.objects.is_empty() || state.open.bytes < bytes_min {
            return None;
        }
        let part = Arc::new(std::mem::take(&mut state.open));
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
        std::iter::once(&self.open).chain(self.flying.iter().map(Arc::as_ref))
    }
}
