//! What an archive is to whoever fills it.

use std::ops::Range;

use datadb::Fault;

use super::{entry::Entry, tar::Measure};

/// Takes the archive's bytes as they come.
pub type Out<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Fault>;

/// An archive being written, entry by entry.
pub trait Archive {
    /// Whether a file with several names comes once, and its other names as links to that.
    fn keeps_links(&self) -> bool;

    /// Whether holes are left out; whoever writes a file with holes must then say where they are beforehand.
    fn keeps_holes(&self) -> bool;

    /// Whether it can hold a path as long as this.
    fn holds_path(&self, _: &[u8]) -> bool {
        true
    }

    /// Anything without bytes: all but files, another name of a file, an empty file. `false` if it can't be held.
    fn entry(&mut self, entry: &Entry) -> Result<bool, Fault>;

    /// A file whose bytes follow, as many as it is long.
    fn begin(&mut self, entry: &Entry, holes: Option<&Measure>) -> Result<(), Fault>;

    /// The next run of data of a file with holes; all are told before its first byte.
    fn run(&mut self, run: &Range<u64>) -> Result<(), Fault>;

    /// The file's next bytes.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault>;

    /// The next so many bytes are a hole.
    fn hole(&mut self, len: u64) -> Result<(), Fault>;

    /// Ends the file. One that is not whole is taken out again, where that can be done.
    fn end(&mut self, is_whole: bool) -> Result<(), Fault>;

    /// What becomes of a file that was found not to be whole.
    fn damaged(&self) -> &'static str;

    /// Ends the archive.
    fn finish(&mut self) -> Result<(), Fault>;

    /// What could not be held, a few words for a kind of it.
    fn lacks(&self) -> Vec<String> {
        Vec::new()
    }
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Hands on so many zeros.
pub fn zeros(mut count: u64, each: &mut dyn FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    while count > 0 {
        let next = count.min(ZEROS.len() as u64);
        each(&ZEROS[..next as usize])?;
        count -= next;
    }
    Ok(())
}
