//! Where the bytes of a backup come from, and the stream that is one: standard input, or what a command writes. A stream
//! is a backup of one file; it can be read only once, so nothing about it is tried again.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use datadb::{BlobRef, Fault, FileType, Kind, Meta};
use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd as _,
    io::{Errno, read},
    process::{getegid, geteuid},
};

use super::{
    item::{Item, Items, State, Taken},
    run::Run,
};
use crate::{
    chunker::Chunker,
    clock, exit,
    fs::owners::Owners,
    fs::{Stat, io_words, words},
    report::escape,
};

/// Where the bytes come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A canonical absolute path on this machine: a directory or a file.
    Path(PathBuf),
    /// Standard input, to its end.
    Stdin,
    /// What a command (its name and its arguments) writes to standard output; if it fails there is no backup.
    Command(Vec<OsString>),
}

/// Bytes that are read before they are cut.
const BLOCK_BYTES: usize = 4 << 20;

/// How often a stream that brings nothing looks whether anybody still wants it.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    from: OwnedFd,
    command: Option<(String, Child)>,
}

impl Stream {
    /// Standard input.
    pub fn stdin() -> Result<Self, Fault> {
        let from = io::stdin().as_fd().try_clone_to_owned();
        let from = from.map_err(|error| Fault::new(Kind::Internal, format!("standard input: {error}")))?;
        Ok(Self { from, command: None })
    }

    /// Starts a command.
    pub fn command(line: &[OsString]) -> Result<Self, Fault> {
        let Some((program, arguments)) = line.split_first() else {
            return Err(Fault::new(Kind::Invalid, "--stdin-from-command needs a command after --"));
        };
        let name = escape(program.as_bytes());
        let failed = |error: io::Error| Fault::new(Kind::NotFound, format!("can't run {name}: {}", io_words(&error)));
        let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let Some(from) = child.stdout.take() else {
            return Err(Fault::new(Kind::Internal, format!("{name} has no standard output")));
        };
        Ok(Self { from: from.into(), command: Some((name, child)) })
    }

    /// Reads to the end, and hands on what there is as one file. Trouble ends the run.
    pub fn read(mut self, chunker: &Chunker, order: &Sender<Receiver<Items>>, run: &Run) {
        let (out, items) = bounded(1);
        if order.send(items).is_err() {
            return;
        }
        match self.chunks(chunker, &out, run) {
            Ok(Some(size)) => {
                let leaf = Item::Leaf(Box::new(taken(size)));
                // If nobody listens, the run has failed elsewhere.
                drop(out.send(Items { items: vec![leaf], bytes: 0 }));
            }
            Ok(None) => {}
            Err(fault) => run.fail(fault),
        }
    }

    /// Sends all chunks; gives the size, or `None` if nobody wants it any more.
    fn chunks(&mut self, chunker: &Chunker, out: &Sender<Items>, run: &Run) -> Result<Option<u64>, Fault> {
        let block_bytes = BLOCK_BYTES.max(2 * chunker.bytes_max());
        let (mut rest, mut size) = (Bytes::new(), 0);
        loop {
            let mut block = Vec::with_capacity(block_bytes);
            block.extend_from_slice(&rest);
            let Some(is_end) = self.fill(&mut block, block_bytes, run)? else { return Ok(None) };
            if is_end {
                // Before the last bytes are handed on: a command that failed makes no backup.
                self.ended()?;
            }
            rest = block.into();
            let mut items = Items::default();
            while let Some(len) = chunker.cut(&rest, is_end).filter(|_| !rest.is_empty()) {
                let chunk = rest.split_to(len);
                size += len as u64;
                items.bytes += len;
                items.items.push(Item::Blob(BlobRef::of(&chunk), chunk));
            }
            if out.send(items).is_err() {
                return Ok(None);
            }
            if is_end {
                return Ok(Some(size));
            }
        }
    }

    /// Reads until the block is full (`false`) or the stream ends (`true`); `None` if nobody wants it any more.
    fn fill(&self, block: &mut Vec<u8>, goal: usize, run: &Run) -> Result<Option<bool>, Fault> {
        let fault = |error: Errno| Fault::new(Kind::Internal, format!("the stream: {}", words(error)));
        while block.len() < goal {
            if exit::is_interrupted() || run.trouble().is_some() {
                return Ok(None);
            }
            match poll(&mut [PollFd::new(&self.from, PollFlags::IN)], Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(fault(error)),
            }
            match read(&self.from, spare_capacity(block)) {
                Ok(0) => return Ok(Some(true)),
                Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(fault(error)),
            }
        }
        Ok(Some(false))
    }

    /// The command must have ended well.
    fn ended(&mut self) -> Result<(), Fault> {
        let Some((name, mut child)) = self.command.take() else { return Ok(()) };
        let status = child.wait().map_err(|error| Fault::new(Kind::Internal, format!("{name}: {error}")))?;
        if status.success() {
            return Ok(());
        }
        let line = format!("{name} failed ({status}): no backup was made of what it wrote");
        Err(Fault::new(Kind::Internal, line))
    }
}

impl Drop for Stream {
    /// A command that nobody listens to any more is ended.
    fn drop(&mut self) {
        if let Some((_, mut child)) = self.command.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The file that the stream becomes: readable by its owner alone, for nobody knows what is in it.
fn taken(size: u64) -> Taken {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let (owners, now) = (Owners::read(), clock::now());
    let mut meta = Meta::bare(None, FileType::File);
    (meta.mode, meta.uid, meta.gid, meta.mtime, meta.size) = (0o600, uid, gid, now, size);
    (meta.user, meta.group) = (owners.user(uid), owners.group(gid));
    let stat = Stat {
        file_type: Some(FileType::File),
        mode: meta.mode,
        nlink: 1,
        uid,
        gid,
        size,
        blocks: 0,
        rdev: (0, 0),
        dev: (0, 0),
        inode: 0,
        mtime: now,
        ctime: now,
    };
    let state = State::Fresh(Box::new(meta));
    Taken { name: None, stat, seen: now, file_type: FileType::File, state, changed: false, read: true }
}
