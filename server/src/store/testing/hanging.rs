//! A disk that hangs as told: calls below a directory don't return until it is released, as on a mount whose server is gone.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use crate::store::disk::{DirIdentity, Disk, DiskFile};

/// What hangs, and how many calls are stuck there.
#[derive(Debug, Default)]
struct Hung {
    below: Vec<PathBuf>,
    stuck: usize,
    most_stuck: usize,
}

/// A disk around another one. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct HangingDisk {
    inner: Arc<dyn Disk>,
    hung: Arc<(Mutex<Hung>, Condvar)>,
}

impl HangingDisk {
    /// A disk that answers.
    pub fn around(inner: Arc<dyn Disk>) -> Self {
        Self { inner, hung: Arc::default() }
    }

    /// From now on calls below a directory don't return.
    pub fn hang(&self, dir: &Path) {
        self.hung.0.lock().unwrap_or_else(PoisonError::into_inner).below.push(dir.to_owned());
    }

    /// All calls go on, those that are stuck among them.
    pub fn release(&self) {
        self.hung.0.lock().unwrap_or_else(PoisonError::into_inner).below.clear();
        self.hung.1.notify_all();
    }

    /// The most calls that were ever stuck at once.
    pub fn most_stuck(&self) -> usize {
        self.hung.0.lock().unwrap_or_else(PoisonError::into_inner).most_stuck
    }

    fn call(&self, path: &Path) {
        let mut hung = self.hung.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_hung = |hung: &Hung| hung.below.iter().any(|dir| path.starts_with(dir));
        if !is_hung(&hung) {
            return;
        }
        hung.stuck += 1;
        hung.most_stuck = hung.most_stuck.max(hung.stuck);
        while is_hung(&hung) {
            hung = self.hung.1.wait(hung).unwrap_or_else(PoisonError::into_inner);
        }
        hung.stuck -= 1;
    }

    fn file(&self, inner: Arc<dyn DiskFile>, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(HangingFile { inner, disk: self.clone(), path: path.to_owned() })
    }
}

#[derive(Debug)]
struct HangingFile {
    inner: Arc<dyn DiskFile>,
    disk: HangingDisk,
    path: PathBuf,
}

impl DiskFile for HangingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.call(&self.path);
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.disk.call(&self.path);
        self.inner.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.call(&self.path);
        self.inner.sync()
    }

    fn size(&self) -> io::Result<u64> {
        self.disk.call(&self.path);
        self.inner.size()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.call(&self.path);
        self.inner.truncate(len)
    }
}

impl Disk for HangingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.call(path);
        Ok(self.file(self.inner.create(path)?, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.call(path);
        Ok(self.file(self.inner.open(path)?, path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        self.call(dir);
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(dir);
        self.inner.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(dir);
        self.inner.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        self.call(dir);
        self.inner.free_bytes(dir)
    }

    fn identity(&self, dir: &Path) -> io::Result<Option<DirIdentity>> {
        self.call(dir);
        self.inner.identity(dir)
    }
}
