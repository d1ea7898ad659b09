//! The entries of a tree in the order of the tree: a directory, then what is in it. Whoever asks for the next entry may
//! enter the directory that came last; if not, what lies below it is passed over.
//!
//! As a rule one stream brings everything. Where only a few directories are looked into, each is listed alone. A stream
//! that is busy with what is passed over is given up after a while, and a new one begins behind that. There is never
//! more than one stream, so that none lies half read and takes the room of what is downloaded beside it; directories
//! that were left for others below them go on where they stopped.

use std::collections::VecDeque;

use datadb::{Fault, FileType, Kind, Meta, Name, ObjectKey, meta::Content};
use tokio::runtime::Handle;

use crate::{
    connection::{Connection, Listing},
    exit,
};

/// Entries that are passed over before the stream is given up: about what is on its way already.
const PASSED_MAX: usize = 4096;

/// The set that a directory holds; an empty one, or what is none, has none.
pub const fn set_of(meta: &Meta) -> Option<ObjectKey> {
    match (meta.file_type, meta.content) {
        (FileType::Dir, Content::Ref(set)) => Some(set),
        _ => None,
    }
}

/// How a directory is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// With everything below it.
    Whole,
    /// Its own entries.
    Alone,
}

/// A directory that was entered.
#[derive(Debug)]
struct Level {
    set: ObjectKey,
    look: Look,
    /// The last entry that came.
    last: Option<Name>,
    /// Entries that were there already when a directory below was entered.
    ahead: VecDeque<Meta>,
    /// There is nothing behind those.
    is_read: bool,
}

#[derive(Debug)]
struct Stream {
    /// Which level it lists.
    base: usize,
    look: Look,
    listing: Listing,
    page: VecDeque<(u32, Meta)>,
}

/// A walk through a tree.
#[derive(Debug)]
pub struct Tree<'a> {
    handle: &'a Handle,
    connection: &'a Connection,
    /// From the root to the directory of the last entry.
    levels: Vec<Level>,
    stream: Option<Stream>,
    /// The last entry was a directory that was not entered so far.
    is_left_out: bool,
    passed: usize,
}

impl<'a> Tree<'a> {
    /// A walk through what this set holds.
    pub fn new(handle: &'a Handle, connection: &'a Connection, set: ObjectKey, look: Look) -> Self {
        let mut tree = Self { handle, connection, levels: Vec::new(), stream: None, is_left_out: false, passed: 0 };
        tree.push(set, look);
        tree
    }

    fn push(&mut self, set: ObjectKey, look: Look) {
        self.levels.push(Level { set, look, last: None, ahead: VecDeque::new(), is_read: false });
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        self.handle.block_on(exit::unless_interrupted(work))
    }

    /// Looks into the directory that came last. Below a whole one everything comes by itself.
    pub fn enter(&mut self, set: ObjectKey, look: Look) -> Result<(), Fault> {
        if self.stream.as_ref().is_some_and(|stream| stream.look == Look::Alone) {
            self.park()?;
        }
        self.push(set, look);
        self.is_left_out = false;
        Ok(())
    }

    /// Ends a stream that lists a directory alone. One more page is read first: as a rule there is none, and nothing to
    /// ask for again.
    fn park(&mut self) -> Result<(), Fault> {
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let more = self.wait(stream.listing.page())?;
        if let Some(level) = self.levels.last_mut() {
            level.is_read = more.is_none();
            level.ahead.extend(stream.page.into_iter().chain(more.into_iter().flatten()).map(|(_, meta)| meta));
        }
        Ok(())
    }

    /// The next entry and its depth, 0 for those of the root; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(usize, Meta)>, Fault> {
        while let Some((depth, meta)) = self.pull()? {
            if depth >= self.levels.len() {
                self.pass_over()?;
                continue;
            }
            let Some(name) = meta.name.clone() else {
                return Err(Fault::new(Kind::Unsupported, "the server's listing holds an entry without a name"));
            };
            self.levels.truncate(depth + 1);
            self.levels[depth].last = Some(name);
            (self.is_left_out, self.passed) = (meta.file_type == FileType::Dir, 0);
            return Ok(Some((depth, meta)));
        }
        Ok(None)
    }

    fn pass_over(&mut self) -> Result<(), Fault> {
        if !self.is_left_out {
            return Err(Fault::new(Kind::Unsupported, "the server's listing skips a level"));
        }
        self.passed += 1;
        if self.passed >= PASSED_MAX {
            // The directory that holds what is passed over goes on behind it.
            (self.stream, self.passed) = (None, 0);
        }
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<(usize, Meta)>, Fault> {
        loop {
            if let Some(stream) = &mut self.stream {
                if let Some((below, meta)) = stream.page.pop_front() {
                    return Ok(Some((stream.base + below as usize, meta)));
                }
                let page = self.handle.block_on(exit::unless_interrupted(stream.listing.page()))?;
                match page {
                    Some(page) => stream.page = page.into(),
                    None => {
                        self.levels.truncate(stream.base);
                        self.stream = None;
                    }
                }
                continue;
            }
            let Some(base) = self.levels.len().checked_sub(1) else { return Ok(None) };
            let level = &mut self.levels[base];
            if let Some(meta) = level.ahead.pop_front() {
                return Ok(Some((base, meta)));
            }
            if level.is_read {
                self.levels.pop();
                continue;
            }
            self.open(base)?;
        }
    }

    fn open(&mut self, base: usize) -> Result<(), Fault> {
        let Level { set, look, last, .. } = &self.levels[base];
        let listing = self.wait(self.connection.list_from(set, *look == Look::Whole, last.as_ref()))?;
        self.stream = Some(Stream { base, look: *look, listing, page: VecDeque::new() });
        Ok(())
    }
}
