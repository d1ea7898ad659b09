//! Comparing the bytes of a file with the backup without fetching them: the list tells where chunks begin and where
//! holes are, and the digests of all chunks must give the file's.

use datadb::{Digest, Fault, Meta, blob::FileDigest, limits, object::Chunk};
use rustix::{
    fd::OwnedFd,
    fs::{SeekFrom, seek},
    io::{Errno, pread},
};

use super::chunks::{Chunks, Source};
use crate::fs::holes::Holes;

/// Why nobody can tell whether a file is the same.
#[derive(Debug)]
pub enum Stop {
    /// It can't be read.
    Disk(Errno),
    /// Its list can't be read.
    Server(Fault),
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Self::Disk(error)
    }
}

/// A file on disk being read.
#[derive(Debug)]
pub struct Reading<'a> {
    file: &'a OwnedFd,
    offset: u64,
    digest: FileDigest,
    buffer: &'a mut Vec<u8>,
    /// Set where it matters in which places there are holes.
    holes: Option<Holes>,
}

impl<'a> Reading<'a> {
    /// From its beginning. A hole and zeros are the same.
    pub fn new(file: &'a OwnedFd, buffer: &'a mut Vec<u8>) -> Self {
        Self { file, offset: 0, digest: FileDigest::new(), buffer, holes: None }
    }

    /// Compares holes, too.
    pub fn with_holes(self, holes: Holes) -> Self {
        Self { holes: Some(holes), ..self }
    }

    /// Whether the file, which is as long as the backup says, has its bytes. Reads until `is_over`; cut short, it says no.
    pub fn is_same(&mut self, meta: &Meta, source: &mut Source, is_over: &dyn Fn() -> bool) -> Result<bool, Stop> {
        let is_whole = match source {
            Source::Nothing => true,
            Source::Blob(id) => self.chunk(&Chunk { len: meta.size, blob: Some(*id) })?,
            Source::List(chunks) => self.list(chunks, is_over)?,
        };
        let is_same = is_whole && self.offset == meta.size;
        Ok(is_same && meta.digest.is_none_or(|digest| digest == self.digest.finish()))
    }

    /// Whether holes lie where the backup has them, as far as was read.
    pub fn has_same_holes(&self) -> bool {
        self.holes.as_ref().is_none_or(Holes::are_alike)
    }

    fn list(&mut self, chunks: &mut Chunks, is_over: &dyn Fn() -> bool) -> Result<bool, Stop> {
        while let Some(batch) = chunks.next().map_err(Stop::Server)? {
            for chunk in batch {
                if is_over() || !self.chunk(&chunk)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the file is long enough for the chunk, and empty where that is a hole.
    fn chunk(&mut self, chunk: &Chunk) -> Result<bool, Errno> {
        if let Some(holes) = &mut self.holes {
            holes.compare(self.file, self.offset, chunk)?;
        }
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
            self.offset = match seek(self.file, SeekFrom::Data(self.offset)) {
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
            match pread(self.file, &mut self.buffer[filled..], self.offset) {
                Ok(0) => return Ok(false),
                Ok(n) => (filled, self.offset) = (filled + n, self.offset + n as u64),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
