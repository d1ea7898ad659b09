//! Comparing the bytes of a file with the backup without fetching them: the list tells where chunks begin and where
//! holes are, and the digests of all chunks must give the file's.

use crossbeam_channel::Sender;
use datadb::{Digest, Fault, blob::FileDigest, limits, object::Chunk};
use rustix::{
    fd::OwnedFd,
    fs::{Advice, OFlags, SeekFrom, fadvise, seek},
    io::{Errno, pread},
};

use super::{
    chunks::{Chunks, is_of_the_file},
    decide::Act,
    queue::Source,
    shared::Shared,
    wanted::Wanted,
};
use crate::walk::{Stat, open_quietly, words};

/// A file to be compared.
#[derive(Debug)]
pub struct Check {
    /// As it should be.
    pub wanted: Wanted,
    /// Its chunks.
    pub source: Source,
    /// Where it goes if it differs.
    pub differing: Sender<Differing>,
}

/// A file that is not as it should be.
#[derive(Debug)]
pub struct Differing {
    /// As it should be.
    pub wanted: Wanted,
    /// In what it differs.
    pub what: String,
}

/// Why a file is not known to be right.
#[derive(Debug)]
pub enum Trouble {
    /// It is wrong, or can't be read.
    File(String),
    /// Nobody can tell now.
    Server(Fault),
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Self::File(format!("can't be read back: {}", words(error)))
    }
}

impl Check {
    /// The list that has to be read first.
    pub const fn list(&self) -> Option<&Chunks> {
        match &self.source {
            Source::List(chunks) => Some(chunks),
            _ => None,
        }
    }

    /// Compares the file; tells whoever waits if it differs.
    pub fn run(mut self, shared: &Shared, buffer: &mut Vec<u8>) {
        if shared.is_over() {
            return;
        }
        match self.compare(shared, buffer) {
            // Cut short, it says nothing.
            _ if shared.is_over() => {}
            Ok(()) => shared.done_file(Act::Leave, self.wanted.meta.size),
            Err(Trouble::Server(fault)) => self.tell(shared, fault),
            Err(Trouble::File(what)) => {
                // The planner waits for all of them.
                drop(self.differing.send(Differing { wanted: self.wanted, what }));
            }
        }
    }

    /// Tells that nobody knows whether the file differs.
    pub fn tell(&self, shared: &Shared, fault: Fault) {
        if is_of_the_file(&fault) {
            shared.trouble(&self.wanted.path(), &format!("can't be compared: {}", fault.message));
        } else {
            shared.fail(fault);
        }
    }

    /// Reads the file and compares it.
    pub fn compare(&mut self, shared: &Shared, buffer: &mut Vec<u8>) -> Result<(), Trouble> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open_quietly(self.wanted.dir.fd()?, &self.wanted.name, flags)?;
        let different = || Trouble::File("its content differs".to_owned());
        if Stat::of(&file)?.size != self.wanted.meta.size {
            return Err(different());
        }
        // What the disk has is meant, not what the kernel remembers. Where that is no disk it is the same.
        fadvise(&file, 0, None, Advice::DontNeed)?;
        fadvise(&file, 0, None, Advice::Sequential)?;
        let mut reading = Reading { file, offset: 0, digest: FileDigest::new(), buffer };
        let is_whole = match &mut self.source {
            Source::Nothing => true,
            Source::Blob(id) => reading.chunk(&Chunk { len: self.wanted.meta.size, blob: Some(*id) })?,
            Source::List(chunks) => reading.list(chunks, shared)?,
        };
        let is_same = is_whole && reading.offset == self.wanted.meta.size;
        let digest = self.wanted.meta.digest.is_none_or(|digest| digest == reading.digest.finish());
        if is_same && digest { Ok(()) } else { Err(different()) }
    }
}

struct Reading<'a> {
    file: OwnedFd,
    offset: u64,
    digest: FileDigest,
    buffer: &'a mut Vec<u8>,
}

impl Reading<'_> {
    fn list(&mut self, chunks: &mut Chunks, shared: &Shared) -> Result<bool, Trouble> {
        while let Some(batch) = chunks.next().map_err(Trouble::Server)? {
            for chunk in batch {
                if shared.is_over() || !self.chunk(&chunk)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the file is long enough for the chunk, and empty where that is a hole.
    fn chunk(&mut self, chunk: &Chunk) -> Result<bool, Errno> {
        if chunk.blob.is_none() {
            return self.hole(chunk.len);
        }
        if chunk.len > limits::BLOB_BYTES_MAX as u64 || !self.fill(chunk.len as usize)? {
            return Ok(false);
        }
        self.digest.chunk(&Digest::of(self.buffer));
        Ok(true)
    }

    fn hole(&mut self, len: u64) -> Result<bool, Errno> {
        let end = self.offset + len;
        while self.offset < end {
            // Where there are data they must be zeros.
            self.offset = match seek(&self.file, SeekFrom::Data(self.offset)) {
                Ok(data) => data.min(end),
                Err(Errno::NXIO) => end,
                Err(error) => return Err(error),
            };
            let step = (end - self.offset).min(limits::BLOB_BYTES_MAX as u64);
            if !self.fill(step as usize)? || self.buffer.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads so many bytes, if there are so many.
    fn fill(&mut self, len: usize) -> Result<bool, Errno> {
        self.buffer.resize(len, 0);
        let mut filled = 0;
        while filled < len {
            match pread(&self.file, &mut self.buffer[filled..], self.offset) {
                Ok(0) => return Ok(false),
                Ok(n) => (filled, self.offset) = (filled + n, self.offset + n as u64),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
