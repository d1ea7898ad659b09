//! The difference of a backup and a tree on this machine. The walk through the one and the listing of the other, a single
//! stream, go side by side: both are in the order of names, a directory before what is in it.
//!
//! What is needlessly read is nothing: another size is other content, the same size and mtime are the same content (unless
//! all is to be read), and only where the mtime alone differs the file is read, and its chunks compared by their digests
//! with the backup's. What cannot be read is told, counted, and never passes for other content.
//!
//! In memory: the open directories down to the present place, and a few bytes for each file with several names.

use std::{
    cmp::Ordering,
    collections::{HashMap, hash_map::Entry as Slot},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use datadb::{Fault, FileType, Meta, meta::Content};
use rustix::{
    fs::{Advice, CWD, OFlags, fadvise, readlinkat},
    io::Errno,
};
use tokio::runtime::Handle;

use super::{Change, Each, compare, place::Place};
use crate::{
    connection::Connection,
    exit,
    fetch::{
        chunks::{Source, is_of_the_file},
        reading::{Reading, Stop},
        tree::{Look, Tree, set_of},
    },
    field::Field,
    fs::{Stat, open_quietly, words},
    fs::{holes::Holes, owners::Owners, xattrs},
    report::{Report, count, get},
    select::Selection,
    snapshot::described,
    walk::{Entry, Past, Step, Walk},
};

/// How to compare with a local tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Read every file that has the backup's size, whatever its mtime says.
    pub checksum: bool,
    /// The local tree is the older side.
    pub is_before: bool,
}

/// Compares what a backup holds with what lies at a canonical absolute path; every difference is handed on as it is found.
/// Gives the number of files that were read. Trouble with single entries is counted by the report.
pub fn with_local<'a>(
    (handle, connection): (&'a Handle, &'a Connection),
    stored: &Meta,
    path: &Path,
    how: How,
    report: &'a Report,
    each: &'a mut Each<'a>,
) -> Result<u64, Fault> {
    let everything = Selection::default();
    let mut walk = Walking::start(Walk::start(path, Past::default(), &everything, report)?);
    let mut backup = Backup::start(handle, connection, stored.clone());
    let mut judge = Judge {
        handle,
        connection,
        how,
        report,
        owners: Owners::read(),
        xattrs: xattrs::Reader::default(),
        links: Links::default(),
        buffer: Vec::new(),
        files_read: 0,
    };
    let mut tell = Teller { is_before: how.is_before, each };
    loop {
        if exit::is_interrupted() {
            return Err(exit::interrupted());
        }
        let order = match (&backup.next, &walk.next) {
            (None, None) => return Ok(judge.files_read),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), Some(_)) => backup.place.compare(&walk.place),
        };
        let (stored, entry) = (backup.next.take(), walk.next.take());
        match (order, stored, entry) {
            (Ordering::Less, Some(stored), entry) => {
                walk.next = entry;
                let is_hidden = get(&report.counters.errors) > 0 && is_hidden(path, &backup.place);
                if !is_hidden {
                    tell.stored(&backup.place, &stored)?;
                }
                backup.advance(&stored, !is_hidden)?;
            }
            (Ordering::Greater, stored, Some(entry)) => {
                backup.next = stored;
                tell.local(&walk.place, &judge.describe(&entry))?;
                walk.advance();
            }
            (Ordering::Equal, Some(stored), Some(entry)) => {
                let is_listed = !matches!(entry.open, Some(Err(_)));
                judge.both(&walk.place, &stored, &entry, &mut tell)?;
                backup.advance(&stored, is_listed)?;
                walk.advance();
            }
            _ => return Ok(judge.files_read),
        }
    }
}

/// Whether the walk may have missed what is there, because it could not be looked at (of which it told).
fn is_hidden(root: &Path, place: &Place) -> bool {
    let path = [root.as_os_str().as_bytes(), &place.path()].concat();
    let is_gone = |error| matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG);
    Stat::at(CWD, &path).is_err_and(|error| !is_gone(error))
}

/// The backup's side.
struct Backup<'a> {
    tree: Option<Tree<'a>>,
    place: Place,
    next: Option<Meta>,
}

impl<'a> Backup<'a> {
    fn start(handle: &'a Handle, connection: &'a Connection, root: Meta) -> Self {
        let tree = set_of(&root).map(|set| Tree::new(handle, connection, set, Look::Whole));
        Self { tree, place: Place::root(), next: Some(root) }
    }

    /// Goes on behind an entry; into it, if it is a directory and that is wanted.
    fn advance(&mut self, last: &Meta, enters: bool) -> Result<(), Fault> {
        if self.place.is_root() && !enters {
            self.tree = None;
        }
        let Some(tree) = &mut self.tree else { return Ok(()) };
        if let (Some(set), true, false) = (set_of(last), enters, self.place.is_root()) {
            tree.enter(set, Look::Whole)?;
        }
        self.next = tree.next()?.map(|(depth, meta)| {
            self.place.go(depth + 1, meta.name_bytes());
            meta
        });
        Ok(())
    }
}

/// This machine's side.
struct Walking<'a> {
    walk: Walk<'a>,
    place: Place,
    depth: usize,
    next: Option<Entry>,
}

impl<'a> Walking<'a> {
    fn start(walk: Walk<'a>) -> Self {
        let mut walking = Self { walk, place: Place::root(), depth: 0, next: None };
        walking.advance();
        walking
    }

    fn advance(&mut self) {
        self.next = loop {
            let entry = match self.walk.step() {
                None => break None,
                Some(Step::Leave(_)) => {
                    self.depth -= 1;
                    continue;
                }
                Some(Step::Leaf(entry) | Step::Enter(entry)) => entry,
            };
            self.place.go(self.depth, &entry.name);
            self.depth += usize::from(entry.file_type == FileType::Dir);
            break Some(entry);
        };
    }
}

/// Whoever tells differences, the older side first.
struct Teller<'a> {
    is_before: bool,
    each: &'a mut Each<'a>,
}

impl Teller<'_> {
    fn stored(&mut self, place: &Place, meta: &Meta) -> Result<(), Fault> {
        (self.each)(&place.path(), if self.is_before { Change::Added(meta) } else { Change::Removed(meta) })
    }

    fn local(&mut self, place: &Place, meta: &Meta) -> Result<(), Fault> {
        (self.each)(&place.path(), if self.is_before { Change::Removed(meta) } else { Change::Added(meta) })
    }
}

/// Whoever looks at single entries.
struct Judge<'a> {
    handle: &'a Handle,
    connection: &'a Connection,
    how: How,
    report: &'a Report,
    owners: Owners,
    xattrs: xattrs::Reader,
    links: Links,
    buffer: Vec<u8>,
    files_read: u64,
}

impl Judge<'_> {
    /// A local entry as a backup would hold it, but for its content.
    fn describe(&mut self, entry: &Entry) -> Meta {
        count(&self.report.counters.files, 1);
        self.report.at(|| entry.path());
        let mut meta = described(entry, &entry.stat, &self.owners, self.connection.capabilities());
        // Long values stand as their ids, which is all that a comparison needs.
        let xattrs = match (&entry.open, &entry.parent) {
            (Some(Ok(dir)), _) => self.xattrs.of_open(dir.fd(), &mut |_, _| ()),
            (_, Some(parent)) => self.xattrs.of_name(parent.fd(), &entry.name, &mut |_, _| ()),
            (_, None) => Ok(Vec::new()),
        };
        match xattrs {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => self.error(entry, &mut meta, error),
        }
        match (entry.file_type, &entry.parent) {
            (FileType::File, _) => meta.size = entry.stat.size,
            (FileType::Symlink, Some(parent)) => match readlinkat(parent.fd(), &entry.name[..], Vec::new()) {
                Ok(target) => meta.target = Some(target.into_bytes()),
                Err(error) => self.error(entry, &mut meta, error),
            },
            (FileType::CharDevice | FileType::BlockDevice, _) => meta.rdev = Some(entry.stat.rdev),
            _ => {}
        }
        if let Some(Err(error)) = &entry.open {
            self.error(entry, &mut meta, *error);
        }
        count(&self.report.counters.bytes, meta.size);
        meta
    }

    fn error(&self, entry: &Entry, meta: &mut Meta, error: Errno) {
        self.trouble(entry, meta, words(error));
    }

    /// Tells of an entry; an entry is one trouble.
    fn trouble(&self, entry: &Entry, meta: &mut Meta, what: String) {
        if meta.error.is_none() {
            self.report.error(&entry.path(), &what);
            meta.error = Some(what);
        }
    }

    fn both(&mut self, place: &Place, stored: &Meta, entry: &Entry, tell: &mut Teller<'_>) -> Result<(), Fault> {
        let mut local = self.describe(entry);
        if stored.file_type != local.file_type {
            let (first, second) = if self.how.is_before { (&local, stored) } else { (stored, &local) };
            let path = place.path();
            (tell.each)(&path, Change::Removed(first))?;
            return (tell.each)(&path, Change::Added(second));
        }
        let has_same_holes = self.content(stored, entry, &mut local)?;
        let (before, after) = if self.how.is_before { (&local, stored) } else { (stored, &local) };
        let mut unlike = compare(before, after);
        let is_other_file = !self.links.are_alike(stored, &local);
        if is_other_file && !unlike.fields.contains(&Field::Links) {
            unlike.fields.push(Field::Links);
        }
        if !has_same_holes {
            unlike.fields.push(Field::Holes);
        }
        if unlike.is_any() { (tell.each)(&place.path(), Change::Changed { before, after, unlike }) } else { Ok(()) }
    }

    /// Gives the local file the content of the stored one if it has that; tells whether holes lie in the same places.
    fn content(&mut self, stored: &Meta, entry: &Entry, local: &mut Meta) -> Result<bool, Fault> {
        if stored.file_type != FileType::File || stored.size != local.size {
            return Ok(true);
        }
        let looks_same = stored.mtime == local.mtime && !self.how.checksum;
        if looks_same || stored.content == Content::None {
            local.content = stored.content;
            return Ok(true);
        }
        let (is_same, has_same_holes) = match self.read(stored, entry) {
            Ok(read) => read,
            Err(Stop::Server(fault)) if !is_of_the_file(&fault) => return Err(fault),
            Err(stop) => {
                match stop {
                    Stop::Disk(error) => self.error(entry, local, error),
                    Stop::Server(fault) => self.trouble(entry, local, format!("can't be compared: {}", fault.message)),
                }
                // Nobody knows: no other content is claimed.
                (true, true)
            }
        };
        if is_same {
            local.content = stored.content;
        }
        Ok(has_same_holes || !is_same)
    }

    /// Whether the bytes are the same, and the places of holes.
    fn read(&mut self, stored: &Meta, entry: &Entry) -> Result<(bool, bool), Stop> {
        let Some(parent) = &entry.parent else { return Err(Stop::Disk(Errno::NOENT)) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = open_quietly(parent.fd(), &entry.name, flags)?;
        let stat = Stat::of(&file)?;
        if (stat.file_type, stat.size) != (Some(FileType::File), stored.size) {
            // It became another one since the walk came by.
            return Ok((false, true));
        }
        // It is advice: where it is not taken nothing is lost.
        fadvise(&file, 0, None, Advice::Sequential).ok();
        self.files_read += 1;
        let mut source = Source::of(self.handle, self.connection, &stored.content);
        let mut reading = Reading::new(&file, &mut self.buffer).with_holes(Holes::of(&stat));
        let is_same = reading.is_same(stored, &mut source, &exit::is_interrupted)?;
        if exit::is_interrupted() {
            // Cut short, it says nothing.
            return Err(Stop::Server(exit::interrupted()));
        }
        Ok((is_same, reading.has_same_holes()))
    }
}

/// Which file of the backup is which one here, of those with several names.
#[derive(Default)]
struct Links {
    here: HashMap<[u8; 16], [u8; 16]>,
    there: HashMap<[u8; 16], [u8; 16]>,
}

impl Links {
    /// Whether both are the same files under the names that came before.
    fn are_alike(&mut self, stored: &Meta, local: &Meta) -> bool {
        let (Some(stored), Some(local)) = (stored.link, local.link) else { return true };
        let mut is_known =
            |map: fn(&mut Self) -> &mut HashMap<[u8; 16], [u8; 16]>, from, to| match map(self).entry(from) {
                Slot::Occupied(other) => *other.get() == to,
                Slot::Vacant(free) => {
                    free.insert(to);
                    true
                }
            };
        let is_here = is_known(|links| &mut links.here, stored.id, local.id);
        let is_there = is_known(|links| &mut links.there, local.id, stored.id);
        is_here && is_there
    }
}
