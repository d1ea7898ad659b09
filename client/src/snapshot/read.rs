//! Reading: a worker turns a batch of steps into items. It opens, reads around holes, cuts, hashes both ways while the
//! bytes are in the cache, and notices what changed meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use datadb::{
    BlobRef, FileType, Meta,
    meta::{HardLink, Timestamp},
};
use rustix::{
    buffer::spare_capacity,
    fd::{AsFd, OwnedFd},
    fs::{OFlags, SeekFrom, readlinkat, seek},
    io::{Errno, pread},
};

use super::item::{Item, Items, State, Taken};
use crate::{
    chunker::Chunker,
    connection::Capabilities,
    fs::owners::Owners,
    fs::xattrs,
    fs::{Stat, open_quietly, words},
    report::{Report, escape},
    walk::{Entry, Step},
};

/// Bytes of a large file that are read at once, and carried by one batch of items.
const BLOCK_BYTES: usize = 4 << 20;

/// Steps to take, and where the items go.
#[derive(Debug)]
pub struct Job {
    /// In the order of the walk.
    pub steps: Vec<Step>,
    /// Batches of items, in order; closed when the job is done.
    pub out: Sender<Items>,
}

/// What all workers share.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Chunker parameters and the link secret.
    pub capabilities: &'a Capabilities,
    /// Names of users and groups.
    pub owners: Arc<Owners>,
    /// Where trouble is told.
    pub report: &'a Report,
    /// Whether to name every file that is read.
    pub verbose: bool,
}

/// Works until there are no more jobs, or nobody wants the items.
pub fn work(reading: &Reading<'_>, jobs: &Receiver<Job>) {
    let chunker = Chunker::new(reading.capabilities.chunker);
    let mut xattrs = xattrs::Reader::default();
    for Job { steps, out } in jobs {
        let items = Items { items: Vec::with_capacity(steps.len() * 2), bytes: 0 };
        let mut worker = Worker { reading, chunker: &chunker, xattrs: &mut xattrs, items, out };
        for step in steps {
            worker.step(step);
        }
        worker.flush();
    }
}

struct Worker<'a> {
    reading: &'a Reading<'a>,
    chunker: &'a Chunker,
    xattrs: &'a mut xattrs::Reader,
    items: Items,
    out: Sender<Items>,
}

impl Worker<'_> {
    fn flush(&mut self) {
        // If nobody listens, the run has failed elsewhere, and the jobs will end.
        drop(self.out.send(std::mem::take(&mut self.items)));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Leave(content) => self.items.items.push(Item::Leave(content)),
            Step::Enter(entry) => {
                let taken = self.directory(entry);
                self.items.items.push(Item::Enter(Box::new(taken)));
            }
            Step::Leaf(entry) => {
                if let Some(taken) = self.leaf(entry) {
                    self.items.items.push(Item::Leaf(Box::new(taken)));
                }
            }
        }
    }

    fn directory(&mut self, mut entry: Entry) -> Taken {
        if let Some(meta) = entry.unchanged.take() {
            return taken(&entry, State::Unchanged(meta));
        }
        let mut meta = self.meta(&entry, &entry.stat);
        let xattrs = match (&entry.open, &entry.parent) {
            (Some(Ok(dir)), _) => {
                self.xattrs.of_open(dir.fd(), &mut |blob, bytes| self.items.items.push(Item::Xattr(blob, bytes)))
            }
            (_, Some(parent)) => self
                .xattrs
                .of_name(parent.fd(), &entry.name, &mut |blob, bytes| self.items.items.push(Item::Xattr(blob, bytes))),
            (_, None) => Ok(Vec::new()),
        };
        match xattrs {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => self.error(&entry, &mut meta, error),
        }
        if let Some(Err(error)) = &entry.open {
            self.error(&entry, &mut meta, *error);
        }
        taken(&entry, State::Fresh(Box::new(meta)))
    }

    fn leaf(&mut self, mut entry: Entry) -> Option<Taken> {
        if let Some(meta) = entry.unchanged.take() {
            return Some(taken(&entry, State::Unchanged(meta)));
        }
        if entry.file_type == FileType::File {
            return self.file(&entry);
        }
        let mut meta = self.meta(&entry, &entry.stat);
        let parent = entry.parent.as_ref()?;
        if entry.file_type == FileType::Symlink {
            match readlinkat(parent.fd(), &entry.name[..], Vec::new()) {
                Ok(target) => meta.target = Some(target.into_bytes()),
                Err(error) => return self.unreadable(&entry, error, meta),
            }
        }
        if matches!(entry.file_type, FileType::CharDevice | FileType::BlockDevice) {
            meta.rdev = Some(entry.stat.rdev);
        }
        match self
            .xattrs
            .of_name(parent.fd(), &entry.name, &mut |blob, bytes| self.items.items.push(Item::Xattr(blob, bytes)))
        {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => self.error(&entry, &mut meta, error),
        }
        Some(taken(&entry, State::Fresh(Box::new(meta))))
    }

    fn file(&mut self, entry: &Entry) -> Option<Taken> {
        let parent = entry.parent.as_ref()?;
        self.reading.report.at(|| entry.path());
        if self.reading.verbose {
            self.reading.report.line(&format!("reading {}", escape(&entry.path())));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = open_quietly(parent.fd(), &entry.name, flags).and_then(|fd| Ok((Stat::of(&fd)?, fd)));
        let (stat, fd) = match opened {
            Ok((stat, _)) if stat.file_type != Some(FileType::File) => {
                return self.unreadable(entry, Errno::NOENT, self.meta(entry, &entry.stat));
            }
            Ok(opened) => opened,
            Err(error) => {
                let mut meta = self.meta(entry, &entry.stat);
                meta.size = entry.stat.size;
                return self.unreadable(entry, error, meta);
            }
        };
        let mut meta = self.meta(entry, &stat);
        match self.xattrs.of_open(&fd, &mut |blob, bytes| self.items.items.push(Item::Xattr(blob, bytes))) {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => self.error(entry, &mut meta, error),
        }
        let mut size = 0;
        if let Err(error) = self.content(&fd, &stat, &mut size) {
            self.error(entry, &mut meta, error);
        }
        meta.size = size;
        let changed = Stat::of(&fd).map_or(true, |after| !after.is_same(&stat));
        if changed {
            self.reading.report.line(&format!("{}: changed while it was read", escape(&entry.path())));
        }
        let seen = entry.seen;
        let (name, state) = (entry.backup_name(), State::Fresh(Box::new(meta)));
        Some(Taken { name, stat, seen, file_type: FileType::File, state, changed, read: true })
    }

    /// An entry that vanished is only told of; everything else stays in the backup with its error.
    fn unreadable(&self, entry: &Entry, error: Errno, mut meta: Meta) -> Option<Taken> {
        if error == Errno::NOENT && !entry.is_root {
            self.reading.report.line(&format!("{}: vanished", escape(&entry.path())));
            return None;
        }
        self.error(entry, &mut meta, error);
        Some(taken(entry, State::Fresh(Box::new(meta))))
    }

    fn error(&self, entry: &Entry, meta: &mut Meta, error: Errno) {
        let words = words(error);
        self.reading.report.error(&entry.path(), &words);
        meta.error.get_or_insert(words);
    }

    fn meta(&self, entry: &Entry, stat: &Stat) -> Meta {
        described(entry, stat, &self.reading.owners, self.reading.capabilities)
    }

    /// Reads a file up to the size that it had when it was opened; `size` grows with what was got.
    fn content(&mut self, fd: &OwnedFd, stat: &Stat, size: &mut u64) -> Result<(), Errno> {
        if !stat.may_have_holes() {
            return self.run(fd, size, stat.size);
        }
        while *size < stat.size {
            let data = match seek(fd, SeekFrom::Data(*size)) {
                Ok(data) => data.min(stat.size),
                // Nothing but a hole up to the end, which may have come nearer.
                Err(Errno::NXIO) => Stat::of(fd)?.size.min(stat.size),
                Err(Errno::INVAL | Errno::NOTSUP) => return self.run(fd, size, stat.size),
                Err(error) => return Err(error),
            };
            if data > *size {
                self.items.items.push(Item::Hole(data - *size));
                *size = data;
            }
            let end = match seek(fd, SeekFrom::Hole(data)) {
                Ok(end) => end.min(stat.size),
                Err(Errno::NXIO) => return Ok(()),
                Err(error) => return Err(error),
            };
            self.run(fd, size, end)?;
            if *size < end {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads and cuts the run of data from `at` to `end`; stops early where the file ends.
    fn run(&mut self, fd: &OwnedFd, at: &mut u64, end: u64) -> Result<(), Errno> {
        let block_bytes = BLOCK_BYTES.max(2 * self.chunker.bytes_max());
        let mut rest = Bytes::new();
        let mut is_end = *at >= end;
        while !is_end {
            let behind = *at + rest.len() as u64;
            let want = usize::try_from(end - behind).unwrap_or(usize::MAX).min(block_bytes - rest.len());
            let mut block = Vec::with_capacity(rest.len() + want);
            block.extend_from_slice(&rest);
            let got = fill(fd, &mut block, behind, want);
            is_end = behind + (block.len() - rest.len()) as u64 >= end || !matches!(got, Ok(true));
            rest = self.cut(block.into(), is_end, at);
            got?;
        }
        Ok(())
    }

    /// Cuts chunks off a block; gives back what needs more bytes to be cut.
    fn cut(&mut self, mut block: Bytes, is_end: bool, at: &mut u64) -> Bytes {
        while !block.is_empty() {
            let Some(len) = self.chunker.cut(&block, is_end) else { break };
            let chunk = block.split_to(len);
            *at += len as u64;
            self.items.bytes += len;
            self.items.items.push(Item::Blob(BlobRef::of(&chunk), chunk));
        }
        if self.items.bytes >= BLOCK_BYTES / 2 && !is_end {
            self.flush();
        }
        block
    }
}

/// Reads `want` bytes behind what is in `block`; `Ok(false)` if the file ended before.
fn fill<Fd: AsFd>(fd: Fd, block: &mut Vec<u8>, from: u64, want: usize) -> Result<bool, Errno> {
    let (start, goal) = (block.len(), block.len() + want);
    while block.len() < goal {
        let offset = from + (block.len() - start) as u64;
        match pread(&fd, spare_capacity(block), offset) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(goal);
    Ok(true)
}

fn taken(entry: &Entry, state: State) -> Taken {
    Taken {
        name: entry.backup_name(),
        stat: entry.stat,
        seen: entry.seen,
        file_type: entry.file_type,
        state,
        changed: false,
        read: false,
    }
}

/// What `stat` tells of an entry. Size, target, device number and attributes are still missing.
pub fn described(entry: &Entry, stat: &Stat, owners: &Owners, capabilities: &Capabilities) -> Meta {
    let mut meta = Meta::bare(entry.backup_name(), entry.file_type);
    meta.mode = stat.mode;
    (meta.uid, meta.gid) = (stat.uid, stat.gid);
    meta.user = owners.user(stat.uid);
    meta.group = owners.group(stat.gid);
    meta.mtime = Timestamp { seconds: stat.mtime.seconds, nanos: stat.mtime.nanos.min(999_999_999) };
    if stat.nlink > 1 && entry.file_type != FileType::Dir {
        let id = link_id(&capabilities.link_secret, stat);
        meta.link = Some(HardLink { nlink: u64::from(stat.nlink), id });
    }
    meta
}

/// Names of one file share this; nobody without the secret learns inode numbers from it.
fn link_id(secret: &[u8; 32], stat: &Stat) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(&rustix::fs::makedev(stat.dev.0, stat.dev.1).to_be_bytes());
    hasher.update(&stat.inode.to_be_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}
