//! Whether holes of a file lie where the backup has them. Less than a page counts nowhere: file systems round differently.

use datadb::object::Chunk;
use rustix::{
    fd::OwnedFd,
    fs::{SeekFrom, seek},
    io::Errno,
};

use super::Stat;

/// The page size of the file systems in question.
const PAGE_BYTES: u64 = 4096;

/// A comparison of holes, chunk by chunk.
#[derive(Debug)]
pub struct Holes {
    size: u64,
    may_have_any: bool,
    are_alike: bool,
}

impl Holes {
    /// Of a file that is like this.
    pub const fn of(stat: &Stat) -> Self {
        Self { size: stat.size, may_have_any: stat.may_have_holes(), are_alike: true }
    }

    /// Whether no difference was found so far.
    pub const fn are_alike(&self) -> bool {
        self.are_alike
    }

    /// Looks at the place of the next chunk.
    pub fn compare(&mut self, file: &OwnedFd, offset: u64, chunk: &Chunk) -> Result<(), Errno> {
        let end = offset + chunk.len;
        if !self.are_alike || chunk.blob.is_some() && !self.may_have_any {
            return Ok(());
        }
        let differs =
            if chunk.blob.is_none() { self.has_data(file, offset, end)? } else { self.has_hole(file, offset, end)? };
        self.are_alike = !differs;
        Ok(())
    }

    /// Whether data lie within a hole of the backup.
    fn has_data(&self, file: &OwnedFd, start: u64, end: u64) -> Result<bool, Errno> {
        let (from, to) = (up(start), self.down(end));
        let mut at = start;
        while let Some(data) = find(file, SeekFrom::Data(at))?.filter(|data| *data < to) {
            at = find(file, SeekFrom::Hole(data))?.unwrap_or(self.size);
            if from < to && up(at) > from {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a hole lies within data of the backup.
    fn has_hole(&self, file: &OwnedFd, start: u64, end: u64) -> Result<bool, Errno> {
        let mut at = start;
        while let Some(hole) = find(file, SeekFrom::Hole(at))?.filter(|hole| *hole < end) {
            at = find(file, SeekFrom::Data(hole))?.unwrap_or(self.size);
            if up(hole) < up(end).min(self.size) && up(hole) < self.down(at) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whole pages up to here; the last one of a file is whole, however long it is.
    const fn down(&self, at: u64) -> u64 {
        if at >= self.size { self.size } else { at / PAGE_BYTES * PAGE_BYTES }
    }
}

const fn up(at: u64) -> u64 {
    at.next_multiple_of(PAGE_BYTES)
}

fn find(file: &OwnedFd, from: SeekFrom) -> Result<Option<u64>, Errno> {
    match seek(file, from) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error),
    }
}
