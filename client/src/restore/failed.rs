//! Entries that were told to have failed, so that they are not told again when everything is read back.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::merge::{Mark, mark};

/// So many are remembered; the rest is told twice.
const FAILED_MAX: usize = 1 << 20;

/// Their paths, as marks of 16 bytes.
#[derive(Debug, Default)]
pub struct Failed(Mutex<HashSet<Mark>>);

impl Failed {
    /// One more.
    pub fn add(&self, path: &[u8]) {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() < FAILED_MAX {
            failed.insert(mark(path));
        }
    }

    /// Whether it failed.
    pub fn contains(&self, path: &[u8]) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&mark(path))
    }
}
