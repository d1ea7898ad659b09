//! The file layer of packs in a bucket: staged in a local file, sent as one object when synced, read by range from then on.
//!
//! An object never changes (see [`super::layout`]), but a pack may be read from another one after it was merged.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use datadb::Fault;

use super::{
    ahead::{Object, to_io},
    bucket::{Bucket, Place},
    error::Failure,
    layout::Name,
    upload,
};
use crate::store::{
    blobsfile::pack,
    disk::{DirIdentity, Disk, DiskFile},
};

/// A prefix of a bucket as a directory of packs.
#[derive(Debug)]
pub(super) struct S3Disk {
    bucket: Arc<Bucket>,
    /// Those that the store does not have yet, by number; of what it has, the bucket knows.
    files: Mutex<HashMap<u64, Arc<S3File>>>,
}

#[derive(Debug)]
struct S3File {
    bucket: Arc<Bucket>,
    number: u64,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
enum State {
    /// It is here, and nowhere else.
    Staged(Arc<File>),
    /// It was sent once, maybe in vain: its bytes stay what they are.
    Offered(Arc<File>),
    /// The store has it.
    Stored,
}

impl S3Disk {
    /// What an earlier run left in the staging directory was never relied on, and goes.
    pub(super) fn new(bucket: Arc<Bucket>) -> io::Result<Self> {
        for entry in fs::read_dir(&bucket.staging)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "pack") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { bucket, files: Mutex::default() })
    }

    fn files(&self) -> MutexGuard<'_, HashMap<u64, Arc<S3File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, number: u64, state: State) -> Arc<S3File> {
        Arc::new(S3File { bucket: self.bucket.clone(), number, state: Mutex::new(state) })
    }
}

fn number_of(path: &Path) -> io::Result<u64> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(pack::parse_file_name).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Disk for S3Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.bucket.lease.check()?;
        let number = number_of(path)?;
        let mut files = self.files();
        files.retain(|_, file| !matches!(*file.state(), State::Stored));
        if files.contains_key(&number) || self.bucket.place(number).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let staged = self.bucket.staging.join(pack::file_name(number));
        let staged = OpenOptions::new().read(true).write(true).create_new(true).open(staged)?;
        let file = self.file(number, State::Staged(Arc::new(staged)));
        files.insert(number, file.clone());
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let number = number_of(path)?;
        let file = self.files().get(&number).cloned();
        let stored = || self.bucket.place(number).map(|_| self.file(number, State::Stored));
        file.or_else(stored).map(|file| file as Arc<dyn DiskFile>).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<(String, u64)>> {
        let bucket = self.bucket.clone();
        self.bucket.client.wait(async move { bucket.look().await }).map_err(to_io)?;
        Ok(self.bucket.packs().into_iter().map(|(number, len)| (pack::file_name(number), len)).collect())
    }

    fn identity(&self, _: &Path) -> io::Result<Option<DirIdentity>> {
        // A prefix is there as soon as it is named.
        Ok(Some(DirIdentity { device: 0, inode: 0, is_mount_point: false }))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        // A prefix needs no making.
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        // An object that is there is listed.
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.bucket.staging).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl S3File {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The staged file, if its bytes may still change.
    fn changeable(&self) -> io::Result<Arc<File>> {
        match &*self.state() {
            State::Staged(file) => Ok(file.clone()),
            State::Offered(_) | State::Stored => {
                Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "an object does not change"))
            }
        }
    }

    fn send(&self, file: &Arc<File>) -> io::Result<Place> {
        let Bucket { client, lease, .. } = &*self.bucket;
        let (len, fence) = (file.metadata()?.len(), lease.fence());
        let key: Arc<str> = client.key(&Name::Pack { number: self.number, fence }.to_string()).into();
        let (sender, file, to) = (client.clone(), file.clone(), key.clone());
        client.wait(async move { upload::send(&sender, &to, file, len).await }).map_err(to_io)?;
        Ok(Place { object: Object { key, len }, base: 0, len, fence })
    }

    /// Reads what the store has. An object that is gone may have been merged away, be it by a run that lost its lease and
    /// does not know yet: then its packs are somewhere else.
    fn read_stored(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut looked_for = None;
        loop {
            let Some(place) = self.bucket.place(self.number) else { return Err(io::ErrorKind::NotFound.into()) };
            let Place { object, base, len, .. } = &place;
            let wanted = buf.len().min(usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX));
            match self.bucket.cache.read_at(object, &mut buf[..wanted], base + offset) {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
                    let key = object.key.clone();
                    if looked_for.as_ref() == Some(&key) {
                        return Err(gone);
                    }
                    looked_for = Some(key);
                    let bucket = self.bucket.clone();
                    self.bucket.client.wait(async move { bucket.look().await }).map_err(to_io)?;
                }
                other => return other,
            }
        }
    }
}

impl DiskFile for S3File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = match &*self.state() {
            State::Staged(file) | State::Offered(file) => Some(file.clone()),
            State::Stored => None,
        };
        let Some(file) = file else { return self.read_stored(buf, offset) };
        let mut done = 0;
        while done < buf.len() {
            match file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.changeable()?.write_all_at(buf, offset)
    }

    /// Sends all of it, once; from the first try on it takes no more. Whatever goes wrong, nothing is lost: what was staged
    /// stays as it is.
    fn sync(&self) -> io::Result<()> {
        let in_doubt = |error: io::Error| match error.downcast::<Fault>() {
            Ok(fault) => io::Error::other(fault),
            Err(error) => to_io(Failure::unreachable(error.to_string())),
        };
        let file = match &*self.state() {
            State::Stored => return Ok(()),
            State::Staged(file) | State::Offered(file) => file.clone(),
        };
        self.bucket.lease.check()?;
        *self.state() = State::Offered(file.clone());
        let place = self.send(&file).map_err(in_doubt)?;
        // Whoever took the lease meanwhile may not have seen it.
        self.bucket.lease.check()?;
        self.bucket.sent(self.number, place);
        *self.state() = State::Stored;
        let staged = self.bucket.staging.join(pack::file_name(self.number));
        if let Err(error) = fs::remove_file(&staged) {
            tracing::warn!(file = %staged.display(), %error, "a staged pack that the store has can't be removed");
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        match &*self.state() {
            State::Staged(file) | State::Offered(file) => Ok(file.metadata()?.len()),
            State::Stored => {
                self.bucket.place(self.number).map(|place| place.len).ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.changeable()?.set_len(len)
    }
}
