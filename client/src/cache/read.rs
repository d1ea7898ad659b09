//! Reading a cache beside the walk: a cursor that goes forward only and holds one block.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use datadb::{
    BackupKey,
    meta::{Content, FileType},
};

use super::{
    block::{self, HEAD_BYTES},
    record::{self, Known, Record},
};

/// What looking for a child found.
#[derive(Debug, Default)]
pub struct Seek {
    /// The entry of that name.
    pub known: Option<Known>,
    /// Whether entries were passed by that the walk does not have any more.
    pub skipped: bool,
}

/// The place in the old backup that belongs to the place of the walk. It must be told of every directory that the walk
/// enters (`descend` right after its entry was found, else its entries are passed by) and leaves.
#[derive(Debug)]
pub struct Cursor<R = BufReader<File>> {
    input: R,
    base: BackupKey,
    block: Vec<u8>,
    number: u64,
    next: usize,
    peeked: Option<(Record, usize)>,
    /// The last entry found was a directory that nobody descended into yet.
    pending: bool,
    broken: bool,
}

impl Cursor {
    /// Opens the cache at `path`. `Ok(None)` if there is none, a reason if it can't be used.
    pub fn open(path: &Path, repository: &[u8; 16]) -> Result<Option<Self>, String> {
        match File::open(path) {
            Ok(file) => Self::new(BufReader::new(file), repository).map(Some).map_err(str::to_owned),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl<R: Read> Cursor<R> {
    /// Reads the head.
    pub fn new(mut input: R, repository: &[u8; 16]) -> Result<Self, &'static str> {
        let mut head = [0; HEAD_BYTES];
        input.read_exact(&mut head).map_err(|_| "it is cut short")?;
        let base = block::read_head(&head, repository)?;
        let (block, peeked) = (Vec::new(), None);
        Ok(Self { input, base, block, number: 0, next: 0, peeked, pending: false, broken: false })
    }

    /// The backup that the cache is of.
    pub const fn base(&self) -> BackupKey {
        self.base
    }

    /// Whether damage ended the reading.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// The root's entry; to be asked for once, first.
    pub fn root(&mut self) -> Option<Known> {
        let known = self.take_entry()?;
        self.pending = known.file_type == FileType::Dir;
        Some(known)
    }

    /// Looks for a child of the present directory; names must be asked for in ascending order.
    pub fn seek_child(&mut self, wanted: &[u8]) -> Seek {
        self.pass_by_pending();
        let mut skipped = false;
        loop {
            let Some(Record::Entry { known, name, .. }) = self.peek() else { return Seek { known: None, skipped } };
            let (is_dir, name) = (known.file_type == FileType::Dir, name.clone());
            match self.block[name].cmp(wanted) {
                std::cmp::Ordering::Greater => return Seek { known: None, skipped },
                std::cmp::Ordering::Equal => {
                    self.pending = is_dir;
                    return Seek { known: self.take_entry(), skipped };
                }
                std::cmp::Ordering::Less => {
                    skipped = true;
                    self.take_entry();
                    self.pending = is_dir;
                    self.pass_by_pending();
                }
            }
        }
    }

    /// Goes into the directory that was found last; false if what was found last is none.
    pub fn descend(&mut self) -> bool {
        std::mem::take(&mut self.pending)
    }

    /// Leaves the present directory; gives what it consisted of, if the walk has met all of its entries.
    pub fn leave(&mut self) -> Option<Content> {
        self.pass_by_pending();
        let mut content = None;
        let is_whole = matches!(self.peek(), Some(Record::Leave(_)));
        self.pass_by(|left| content = Some(left));
        content.filter(|_| is_whole)
    }

    fn pass_by_pending(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.pass_by(|_| ());
        }
    }

    /// Passes by everything up to and with the end of the present directory.
    fn pass_by(&mut self, end: impl FnOnce(Content)) {
        let mut depth = 0u64;
        loop {
            match self.take() {
                None => return,
                Some(Record::Entry { known, .. }) if known.file_type == FileType::Dir => depth += 1,
                Some(Record::Entry { .. }) => {}
                Some(Record::Leave(content)) if depth == 0 => return end(content),
                Some(Record::Leave(_)) => depth -= 1,
            }
        }
    }

    fn take_entry(&mut self) -> Option<Known> {
        match self.take()? {
            Record::Entry { mut known, meta, .. } => {
                known.meta = self.block[meta].to_vec();
                Some(known)
            }
            Record::Leave(_) => {
                self.broken = true;
                None
            }
        }
    }

    /// The next record; its ranges hold until the following call.
    fn take(&mut self) -> Option<Record> {
        self.peek()?;
        let (record, end) = self.peeked.take()?;
        self.next = end;
        Some(record)
    }

    fn peek(&mut self) -> Option<&Record> {
        if self.broken {
            return None;
        }
        if self.peeked.is_none() {
            while self.next == self.block.len() {
                match block::read(&mut self.input, self.number, &mut self.block) {
                    Ok(true) => (self.number, self.next) = (self.number + 1, 0),
                    Ok(false) => return None,
                    Err(_) => {
                        self.broken = true;
                        return None;
                    }
                }
            }
            match record::parse(&self.block, self.next) {
                Ok(found) => self.peeked = Some(found),
                Err(_) => self.broken = true,
            }
        }
        self.peeked.as_ref().map(|(record, _)| record)
    }
}
