//! Writing a new cache beside the old one; it takes the old one's place after the commit.

use std::{
    fs::File,
    io::{self, BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use datadb::{
    BackupKey, Fault,
    meta::{Content, FileType},
};

use super::{
    block::{self, BLOCK_BYTES, HEAD_BYTES},
    io_fault, record,
};
use crate::fs::Stat;

/// A cache in the making. Dropped before `finish`, it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    block: Vec<u8>,
    number: u64,
    failed: Option<io::Error>,
    finished: bool,
}

impl Writer {
    /// Starts a cache that will lie at `path`; its directory is made, private to its owner.
    pub fn create(path: &Path) -> Result<Self, Fault> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let fault = |error| io_fault(path, &error);
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fault)?;
        }
        let temporary = path.with_extension(format!("new.{}", std::process::id()));
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(fault)?;
        let mut out = BufWriter::with_capacity(256 << 10, file);
        out.write_all(&[0; HEAD_BYTES]).map_err(fault)?;
        let block = Vec::with_capacity(BLOCK_BYTES + 4096);
        Ok(Self { path: path.to_owned(), temporary, out, block, number: 0, failed: None, finished: false })
    }

    /// Adds the next entry of the walk. `trusted` as in [`super::Known`]; a directory's `meta` has no ref.
    pub fn entry(&mut self, name: &[u8], stat: &Stat, file_type: FileType, trusted: bool, meta: &[u8]) {
        record::entry(&mut self.block, name, stat, file_type, trusted, meta);
        self.flush_full();
    }

    /// Ends the present directory.
    pub fn leave(&mut self, content: &Content) {
        record::leave(&mut self.block, content);
        self.flush_full();
    }

    fn flush_full(&mut self) {
        if self.block.len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = block::write(&mut self.out, self.number, &self.block).err();
        }
        self.number += 1;
        self.block.clear();
    }

    /// Puts the cache in its place, as that of this backup. Errors of all earlier calls show here.
    pub fn finish(mut self, repository: &[u8; 16], backup: BackupKey) -> Result<(), Fault> {
        if !self.block.is_empty() {
            self.flush();
        }
        let written = match self.failed.take() {
            Some(error) => Err(error),
            None => self.put_in_place(repository, backup),
        };
        written.map_err(|error| io_fault(&self.path, &error))
    }

    fn put_in_place(&mut self, repository: &[u8; 16], backup: BackupKey) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&block::head(repository, backup))?;
        self.out.flush()?;
        std::fs::rename(&self.temporary, &self.path)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            drop(std::fs::remove_file(&self.temporary));
        }
    }
}
