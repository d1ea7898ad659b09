//! The file layer of packs in a bucket: staged in a local file, sent as one object when synced, read by range from then on.
//!
//! # Objects
//! `PREFIX/%016x-%08x.pack`: the pack's number and the fencing number of the lease (see [`super::lease`]) under which it was
//! written; the bytes are those of any pack. So a key is only ever written by one run of one server, always with the same
//! bytes, and a request that arrives late, after its sender died, can't replace what a later run wrote. Where two objects
//! have the same number, the one of the later run counts: it was written by somebody who did not see the other, so nothing
//! in the log relies on that one. All else below the prefix is left alone.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use datadb::Fault;

use super::{
    ahead::{Object, ReadAhead, to_io},
    client::Client,
    error::Failure,
    lease::Lease,
    upload,
};
use crate::store::disk::{Disk, DiskFile};

/// A prefix of a bucket as a directory of packs.
#[derive(Debug)]
pub(super) struct S3Disk {
    bucket: Arc<Bucket>,
    /// By name, as packs are called elsewhere.
    files: Mutex<HashMap<String, Arc<S3File>>>,
}

/// What all files share.
#[derive(Debug)]
struct Bucket {
    client: Client,
    cache: Arc<ReadAhead>,
    lease: Arc<Lease>,
    staging: PathBuf,
}

#[derive(Debug)]
struct S3File {
    bucket: Arc<Bucket>,
    name: String,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
enum State {
    /// It is here, and nowhere else.
    Staged(Arc<File>),
    /// It was sent once, maybe in vain: its bytes stay what they are.
    Offered(Arc<File>),
    /// The store has it.
    Stored(Object),
}

impl S3Disk {
    /// What an earlier run left in the staging directory was never relied on, and goes.
    pub(super) fn new(client: Client, lease: Arc<Lease>, staging: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(staging)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "pack") {
                fs::remove_file(path)?;
            }
        }
        let cache = Arc::new(ReadAhead::new(client.clone()));
        let bucket = Arc::new(Bucket { client, cache, lease, staging: staging.to_owned() });
        Ok(Self { bucket, files: Mutex::default() })
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, Arc<S3File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: String, state: State) -> Arc<S3File> {
        Arc::new(S3File { bucket: self.bucket.clone(), name, state: Mutex::new(state) })
    }
}

/// The name of an object that holds this pack, written under this lease.
pub(super) fn object_name(pack: &str, fence: u64) -> Option<String> {
    Some(format!("{}-{fence:08x}.pack", pack.strip_suffix(".pack")?))
}

/// The pack's name and the fencing number, if this is the name of a pack's object.
pub(super) fn parse_object_name(name: &str) -> Option<(String, u64)> {
    let (number, fence) = name.strip_suffix(".pack")?.split_once('-')?;
    let (pack, fence) = (format!("{number}.pack"), u64::from_str_radix(fence, 16).ok()?);
    (object_name(&pack, fence).as_deref() == Some(name)).then_some((pack, fence))
}

fn name_of(path: &Path) -> io::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(ToOwned::to_owned).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Disk for S3Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.bucket.lease.check()?;
        let name = name_of(path)?;
        let mut files = self.files();
        if files.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let staged =
            OpenOptions::new().read(true).write(true).create_new(true).open(self.bucket.staging.join(&name))?;
        let file = self.file(name.clone(), State::Staged(Arc::new(staged)));
        files.insert(name, file.clone());
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.files().get(&name_of(path)?).cloned();
        file.map(|file| file as Arc<dyn DiskFile>).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<(String, u64)>> {
        let client = self.bucket.client.clone();
        let listed = self.bucket.client.wait(async move { client.list().await }).map_err(to_io)?;
        let mut newest: HashMap<String, (u64, Object)> = HashMap::new();
        for object in listed {
            let Some((pack, fence)) = parse_object_name(&object.name) else { continue };
            let key = self.bucket.client.key(&object.name).into();
            match newest.get(&pack) {
                Some((known, _)) if *known > fence => {}
                _ => drop(newest.insert(pack, (fence, Object { key, len: object.len }))),
            }
        }
        let mut files = self.files();
        let mut names = Vec::with_capacity(newest.len());
        for (name, (_, object)) in newest {
            names.push((name.clone(), object.len));
            files.entry(name.clone()).or_insert_with(|| self.file(name, State::Stored(object)));
        }
        Ok(names)
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
            State::Offered(_) | State::Stored(_) => {
                Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "an object does not change"))
            }
        }
    }

    fn send(&self, file: &Arc<File>) -> io::Result<Object> {
        let Bucket { client, lease, .. } = &*self.bucket;
        let len = file.metadata()?.len();
        let name = object_name(&self.name, lease.fence()).ok_or(io::ErrorKind::InvalidInput)?;
        let key: Arc<str> = client.key(&name).into();
        let (sender, file, to) = (client.clone(), file.clone(), key.clone());
        client.wait(async move { upload::send(&sender, &to, file, len).await }).map_err(to_io)?;
        Ok(Object { key, len })
    }
}

impl DiskFile for S3File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (file, object) = match &*self.state() {
            State::Staged(file) | State::Offered(file) => (Some(file.clone()), None),
            State::Stored(object) => (None, Some(object.clone())),
        };
        let mut done = 0;
        match (file, object) {
            (Some(file), _) => {
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
            (None, Some(object)) => self.bucket.cache.read_at(&object, buf, offset),
            (None, None) => Ok(0),
        }
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
            State::Stored(_) => return Ok(()),
            State::Staged(file) | State::Offered(file) => file.clone(),
        };
        self.bucket.lease.check()?;
        *self.state() = State::Offered(file.clone());
        let object = self.send(&file).map_err(in_doubt)?;
        // Whoever took the lease meanwhile may not have seen it.
        self.bucket.lease.check()?;
        *self.state() = State::Stored(object);
        let staged = self.bucket.staging.join(&self.name);
        if let Err(error) = fs::remove_file(&staged) {
            tracing::warn!(file = %staged.display(), %error, "a staged pack that the store has can't be removed");
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        match &*self.state() {
            State::Staged(file) | State::Offered(file) => Ok(file.metadata()?.len()),
            State::Stored(object) => Ok(object.len),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.changeable()?.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_name_tells_its_pack_and_lease_and_no_other_name_does() {
        let name = object_name("000000000000001f.pack", 7).unwrap();
        assert_eq!(name, "000000000000001f-00000007.pack");
        assert_eq!(parse_object_name(&name), Some(("000000000000001f.pack".to_owned(), 7)));
        let long = object_name("000000000000001f.pack", 1 << 40).unwrap();
        assert_eq!(parse_object_name(&long), Some(("000000000000001f.pack".to_owned(), 1 << 40)));
        for other in ["000000000000001f.pack", "1f-7.pack", "lease", "000000000000001f-00000007.pack.new", "-.pack"] {
            assert_eq!(parse_object_name(other), None, "{other}");
        }
    }
}
