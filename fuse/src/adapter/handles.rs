//! What the kernel holds open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fuser::FileHandle;

#[derive(Debug)]
struct Open<T> {
    next: u64,
    open: HashMap<u64, Arc<T>>,
}

/// Things by the numbers that the kernel was given for them.
#[derive(Debug)]
pub struct Handles<T>(Mutex<Open<T>>);

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self(Mutex::new(Open { next: 1, open: HashMap::new() }))
    }
}

impl<T> Handles<T> {
    fn lock(&self) -> MutexGuard<'_, Open<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens something.
    pub fn open(&self, what: T) -> FileHandle {
        let mut handles = self.lock();
        let number = handles.next;
        handles.next += 1;
        handles.open.insert(number, Arc::new(what));
        FileHandle(number)
    }

    /// What is open under a number.
    pub fn get(&self, handle: FileHandle) -> Option<Arc<T>> {
        self.lock().open.get(&handle.0).cloned()
    }

    /// Closes it.
    pub fn close(&self, handle: FileHandle) {
        let closed = self.lock().open.remove(&handle.0);
        drop(closed);
    }
}
