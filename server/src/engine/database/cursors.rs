//! Where scans go on. RESP's cursors are numbers, ours are the last element that was shown; the numbers stand here.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use lru::LruCache;

/// Scans that may be under way; the one that waits longest is forgotten first, and has to start again.
const CURSORS_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not 0");

/// The cursors of scans.
#[derive(Debug)]
pub struct Cursors(Mutex<(u64, LruCache<u64, Bytes>)>);

impl Default for Cursors {
    fn default() -> Self {
        // A cursor of an earlier run of the server is not known here, rather than somebody else's.
        let first = u64::from_le_bytes(crate::engine::open::random().unwrap_or([1; 8])) >> 2;
        Self(Mutex::new((first, LruCache::new(CURSORS_MAX))))
    }
}

impl Cursors {
    /// Gives a number to the last element that was shown.
    pub fn keep(&self, last: Bytes) -> u64 {
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.0 += 1;
        let number = cursors.0;
        cursors.1.put(number, last);
        number
    }

    /// The last element that was shown.
    pub fn find(&self, number: u64) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.get(&number).cloned()
    }
}
