//! Pulse: whether a medium still answers.
//!
//! A call to a file system either returns, with an error at worst, or it hangs: a stuck mount, a dying disk. Nobody can end
//! such a call. But each is felt from its beginning to its end, so that whoever waits for a medium can see for how long it
//! has been silent, and need not go on waiting. What takes long because much is to be done is not silence: one call after
//! the other returns.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::disk::{DirIdentity, Disk, DiskFile};

/// Calls to a medium that are under way. Clones are the same pulse.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    calls: Arc<Mutex<Calls>>,
}

/// By number, so that the oldest is the first. There are never more than the threads of the leaves that they come from.
#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: BTreeMap<u64, Instant>,
}

struct Felt<'a>(&'a Pulse, u64);

impl Drop for Felt<'_> {
    fn drop(&mut self) {
        self.0.calls().under_way.remove(&self.1);
    }
}

impl Pulse {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call to the medium.
    pub fn feel<T>(&self, call: impl FnOnce() -> T) -> T {
        let number = {
            let mut calls = self.calls();
            calls.next += 1;
            let number = calls.next;
            calls.under_way.insert(number, Instant::now());
            number
        };
        let _felt = Felt(self, number);
        call()
    }

    /// For how long the oldest call that is under way has not returned.
    pub fn silent_for(&self) -> Duration {
        self.calls().under_way.values().next().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// A disk whose calls are felt.
    pub fn of_disk(&self, inner: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(Felted { inner, pulse: self.clone() })
    }
}

/// A disk, or a file of one, each call of which is felt.
#[derive(Debug)]
struct Felted<T> {
    inner: T,
    pulse: Pulse,
}

impl Felted<Arc<dyn Disk>> {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(Felted { inner: file, pulse: self.pulse.clone() })
    }
}

impl DiskFile for Felted<Arc<dyn DiskFile>> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.pulse.feel(|| self.inner.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.pulse.feel(|| self.inner.write_at(buf, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.pulse.feel(|| self.inner.sync())
    }

    fn size(&self) -> io::Result<u64> {
        self.pulse.feel(|| self.inner.size())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.pulse.feel(|| self.inner.truncate(len))
    }
}

impl Disk for Felted<Arc<dyn Disk>> {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.pulse.feel(|| self.inner.create(path)).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.pulse.feel(|| self.inner.open(path)).map(|file| self.file(file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        self.pulse.feel(|| self.inner.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.pulse.feel(|| self.inner.create_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pulse.feel(|| self.inner.sync_dir(dir))
    }

    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        self.pulse.feel(|| self.inner.free_bytes(dir))
    }

    fn identity(&self, dir: &Path) -> io::Result<Option<DirIdentity>> {
        self.pulse.feel(|| self.inner.identity(dir))
    }
}
