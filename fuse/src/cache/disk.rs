//! Blobs on disk, so that what was read once is there after a remount, or without the server.
//!
//! # Format
//! Below the directory, one for each repository (32 hex digits), a file for each blob: `ab/` and its 40 hex digits, of
//! which `ab` are the first. A file holds the blob's BLAKE3 (32 bytes) and its bytes, as they are. It is written beside
//! its place and renamed, and verified with both hashes whenever it is read; one that is not what its name says is
//! removed. Everything may be deleted at any time.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use datadb::{BlobId, BlobRef, Digest};
use lru::LruCache;

/// Space is counted in blocks of a file system.
const BLOCK_BYTES: u64 = 4096;

/// The digest before the bytes.
const HEAD_BYTES: usize = Digest::LEN;

#[derive(Debug)]
struct Kept {
    files: LruCache<BlobId, u64>,
    bytes: u64,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    bytes_max: u64,
    kept: Mutex<Kept>,
    written: AtomicU64,
}

/// The cache on disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Inner>);

fn space(len: u64) -> u64 {
    (len + HEAD_BYTES as u64).next_multiple_of(BLOCK_BYTES)
}

impl Disk {
    /// Opens the cache of a repository, which is made if it is missing, and keeps it below so many bytes.
    pub fn open(dir: &Path, repository: &[u8; 16], bytes_max: u64) -> io::Result<Self> {
        let name: String = repository.iter().map(|byte| format!("{byte:02x}")).collect();
        let dir = dir.join(name);
        fs::create_dir_all(&dir)?;
        let mut found = Vec::new();
        for below in fs::read_dir(&dir)? {
            let below = below?.path();
            if below.is_dir() {
                scan(&below, &mut found)?;
            } else if below.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"new-")) {
                // Of somebody who was interrupted, or who does without it.
                drop(fs::remove_file(below));
            }
        }
        // The ones that were written last are wanted most, as far as anybody knows.
        found.sort();
        let mut kept = Kept { files: LruCache::unbounded(), bytes: 0 };
        for (_, id, len) in found {
            kept.bytes += space(len);
            kept.files.put(id, len);
        }
        let disk = Self(Arc::new(Inner { dir, bytes_max, kept: Mutex::new(kept), written: AtomicU64::new(0) }));
        disk.shrink();
        Ok(disk)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        let name = id.to_string();
        self.0.dir.join(&name[..2]).join(name)
    }

    /// A blob that is there and is what it should be. Blocks.
    pub fn get(&self, id: &BlobId) -> Option<Bytes> {
        self.lock().files.get(id)?;
        let read = fs::read(self.path(id)).ok().filter(|file| file.len() >= HEAD_BYTES).map(Bytes::from);
        let verified = read.and_then(|file| {
            let (digest, bytes) = (Digest::try_from(&file[..HEAD_BYTES]).ok()?, file.slice(HEAD_BYTES..));
            let actual = BlobRef::of(&bytes);
            (actual.id == *id && actual.digest == digest).then_some(bytes)
        });
        if verified.is_none() {
            self.remove(id);
        }
        verified
    }

    /// Keeps a verified blob, if that is possible. Blocks.
    pub fn put(&self, blob: &BlobRef, bytes: &[u8]) {
        if space(bytes.len() as u64) > self.0.bytes_max || self.lock().files.contains(&blob.id) {
            return;
        }
        if self.write(blob, bytes).is_err() {
            // A full or broken disk costs speed, nothing else.
            return;
        }
        {
            let mut kept = self.lock();
            if kept.files.put(blob.id, bytes.len() as u64).is_none() {
                kept.bytes += space(bytes.len() as u64);
            }
        }
        self.shrink();
    }

    fn write(&self, blob: &BlobRef, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(&blob.id);
        let number = self.0.written.fetch_add(1, Ordering::Relaxed);
        let beside = self.0.dir.join(format!("new-{}-{number}", std::process::id()));
        let written = fs::write(&beside, [blob.digest.as_bytes(), bytes].concat())
            .and_then(|()| fs::create_dir_all(path.parent().unwrap_or(&self.0.dir)))
            .and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            drop(fs::remove_file(&beside));
        }
        written
    }

    fn remove(&self, id: &BlobId) {
        {
            let mut kept = self.lock();
            let Some(len) = kept.files.pop(id) else { return };
            kept.bytes -= space(len);
        }
        drop(fs::remove_file(self.path(id)));
    }

    /// Removes what was not read for the longest time, until the rest fits.
    fn shrink(&self) {
        loop {
            let oldest = {
                let kept = self.lock();
                if kept.bytes <= self.0.bytes_max {
                    return;
                }
                kept.files.peek_lru().map(|(id, _)| *id)
            };
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }
}

/// The files of one directory: when each was written, and the length of what it holds. Others than ours are left alone.
fn scan(dir: &Path, found: &mut Vec<(std::time::SystemTime, BlobId, u64)>) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let file = file?;
        let Some(id) = file.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let meta = file.metadata()?;
        found.push((meta.modified()?, id, meta.len().saturating_sub(HEAD_BYTES as u64)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: [u8; 16] = [0xab; 16];

    fn blob(number: u8, len: usize) -> (BlobRef, Vec<u8>) {
        let bytes = vec![number; len];
        (BlobRef::of(&bytes), bytes)
    }

    #[test]
    fn what_was_put_is_there_after_a_remount() {
        let dir = tempfile::tempdir().unwrap();
        let (one, bytes) = blob(1, 10_000);
        Disk::open(dir.path(), &REPOSITORY, 1 << 20).unwrap().put(&one, &bytes);
        let again = Disk::open(dir.path(), &REPOSITORY, 1 << 20).unwrap();
        assert_eq!(again.get(&one.id).unwrap(), bytes);
        assert_eq!(again.lock().bytes, space(10_000));
        let other = Disk::open(dir.path(), &[1; 16], 1 << 20).unwrap();
        assert!(other.get(&one.id).is_none(), "another repository has its own");
    }

    #[test]
    fn it_stays_below_its_bound_and_the_oldest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), &REPOSITORY, 10 * BLOCK_BYTES).unwrap();
        let blobs: Vec<_> = (0..20).map(|number| blob(number, 100)).collect();
        for (blob, bytes) in &blobs {
            disk.put(blob, bytes);
            disk.get(&blobs[0].0.id).unwrap();
        }
        assert_eq!(disk.lock().bytes, 10 * BLOCK_BYTES);
        assert!(disk.get(&blobs[0].0.id).is_some() && disk.get(&blobs[1].0.id).is_none());
        let (huge, bytes) = blob(99, 100_000);
        disk.put(&huge, &bytes);
        assert!(disk.get(&huge.id).is_none());
        let smaller = Disk::open(dir.path(), &REPOSITORY, 3 * BLOCK_BYTES).unwrap();
        assert_eq!(smaller.lock().files.len(), 3);
    }

    #[test]
    fn a_file_that_was_changed_is_not_believed_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), &REPOSITORY, 1 << 20).unwrap();
        for (number, at) in [(1, 0), (2, HEAD_BYTES), (3, HEAD_BYTES + 99)] {
            let (blob, bytes) = blob(number, 100);
            disk.put(&blob, &bytes);
            let mut file = fs::read(disk.path(&blob.id)).unwrap();
            file[at] ^= 1;
            fs::write(disk.path(&blob.id), &file).unwrap();
            assert!(disk.get(&blob.id).is_none());
            assert!(!disk.path(&blob.id).exists());
        }
        let (gone, bytes) = blob(4, 100);
        disk.put(&gone, &bytes);
        fs::remove_dir_all(disk.0.dir.join(&gone.id.to_string()[..2])).unwrap();
        assert!(disk.get(&gone.id).is_none());
        assert_eq!(disk.lock().bytes, 0);
    }
}
