//! A file being restored: pieces come from several threads in any order; when the last one who holds the file lets go,
//! its digest is verified, and it gets its metadata and keeps its name, or it is removed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use datadb::{Digest, blob::FileDigest, meta::Content};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, ftruncate, openat},
    io::{Errno, pwrite},
};

use super::{
    decide::Act,
    links::Link,
    metadata::{apply_to_new, strip_acls},
    place::Place,
    shared::Shared,
    wanted::Wanted,
};
use crate::fs::at::At;
use crate::report::count;

#[derive(Debug, Default)]
struct Progress {
    open: Option<(Arc<OwnedFd>, Place)>,
    /// Digests of chunks that came before their turn, by their number; bounded by the windows under way.
    early: BTreeMap<u64, Digest>,
    next: u64,
    digest: FileDigest,
    /// Bytes that came, and that whoever watches was told of.
    come: u64,
    trouble: Option<String>,
}

/// A file on its way to disk.
#[derive(Debug)]
pub struct File {
    wanted: Wanted,
    act: Act,
    link: Option<Arc<Link>>,
    progress: Mutex<Progress>,
    shared: Arc<Shared>,
}

impl File {
    /// A file of which nothing is there yet.
    pub fn new(shared: &Arc<Shared>, wanted: Wanted, act: Act, link: Option<Arc<Link>>) -> Arc<Self> {
        Arc::new(Self { wanted, act, link, progress: Mutex::default(), shared: Arc::clone(shared) })
    }

    /// Writes the verified bytes of its chunk `number` (holes don't count) at `offset`.
    pub fn write(&self, number: u64, offset: u64, bytes: &[u8], digest: Digest) {
        self.shared.report.at(|| self.wanted.path());
        let fd = {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            if progress.trouble.is_some() {
                return;
            }
            progress.early.insert(number, digest);
            progress.come += bytes.len() as u64;
            let Progress { early, next, digest, .. } = &mut *progress;
            while let Some(ready) = early.remove(next) {
                digest.chunk(&ready);
                *next += 1;
            }
            match self.opened(&mut progress) {
                Ok(fd) => fd,
                Err(error) => {
                    progress.trouble = Some(String::new());
                    drop(progress);
                    return self.shared.error(&self.wanted.path(), "", error);
                }
            }
        };
        if let Err(error) = write_all(&fd, bytes, offset) {
            self.fail_with(String::new());
            self.shared.error(&self.wanted.path(), "", error);
        }
        count(&self.shared.report.counters.bytes, bytes.len() as u64);
    }

    /// The file can't be whole any more. The first trouble is told when it is removed.
    pub fn fail(&self, what: &str) {
        self.fail_with(what.to_owned());
    }

    fn fail_with(&self, what: String) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).trouble.get_or_insert(what);
    }

    fn opened(&self, progress: &mut Progress) -> Result<Arc<OwnedFd>, Errno> {
        if let Some((fd, _)) = &progress.open {
            return Ok(Arc::clone(fd));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |dir: &OwnedFd, name: &[u8]| openat(dir, name, flags, Mode::RUSR | Mode::WUSR);
        let (place, fd) = Place::make(&self.wanted.dir, &self.wanted.name, create)?;
        let fd = Arc::new(fd);
        if self.wanted.dir.has_default_acl {
            strip_acls(At::Open(fd.as_fd()));
        }
        progress.open = Some((Arc::clone(&fd), place));
        // Has holes, or more than one chunk: it gets its whole length at once.
        if matches!(self.wanted.meta.content, Content::Ref(_)) {
            ftruncate(&fd, self.wanted.meta.size)?;
        }
        Ok(fd)
    }

    /// Whether everything that was written is the file.
    fn verify(&self, progress: &Progress) -> Result<(), String> {
        if let Some(trouble) = &progress.trouble {
            return Err(trouble.clone());
        }
        match self.wanted.meta.digest {
            Some(digest) if digest != progress.digest.finish() => Err("does not match its digest".to_owned()),
            _ => Ok(()),
        }
    }

    fn finish(&self, progress: &mut Progress) -> bool {
        let verified = self.verify(progress);
        let opened = verified.and_then(|()| {
            self.opened(progress).map_err(|error| {
                self.shared.error(&self.wanted.path(), "", error);
                String::new()
            })
        });
        let kept = opened.and_then(|fd| {
            apply_to_new(&self.shared, At::Open(fd.as_fd()), &self.wanted.meta, &|| self.wanted.path());
            let kept =
                progress.open.as_ref().map_or(Ok(()), |(_, place)| place.keep(&self.wanted.dir, &self.wanted.name));
            kept.map_err(|error| {
                self.shared.error(&self.wanted.path(), "", error);
                String::new()
            })
        });
        if let Err(trouble) = &kept {
            if let Some((_, place)) = &progress.open
                && let Err(error) = place.discard(&self.wanted.dir)
            {
                self.shared.error(
                    &self.wanted.dir.path_of(&place.name),
                    "could not be removed, and is not whole",
                    error,
                );
            }
            // Empty: told already. When everything ends early, the files under way are no news.
            if !trouble.is_empty() && !self.shared.is_over() {
                self.shared.trouble(&self.wanted.path(), &format!("{trouble}; not restored"));
            }
        }
        kept.is_ok()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let mut progress = std::mem::take(self.progress.get_mut().unwrap_or_else(PoisonError::into_inner));
        let is_whole = self.finish(&mut progress);
        if is_whole {
            let size = self.wanted.meta.size;
            self.shared.done_rest(self.act, size, size.saturating_sub(progress.come));
        }
        if let Some(link) = &self.link {
            link.finish(&self.shared, is_whole);
        }
    }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => (bytes, offset) = (&bytes[n..], offset + n as u64),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
