//! Directories that were listed, by their sets: what never changes, and is the same in many backups.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use datadb::{Fault, ObjectKey, meta::Name};
use lru::LruCache;

use super::{patient::Patient, walks::Walks};
use crate::entry::Entry;

/// Entries kept in all directories together, some 250 bytes each: 64 MiB.
const ENTRIES_MAX: usize = 1 << 18;

/// Entries of one directory that is kept; a larger one is listed page by page, each time anew.
pub const DIR_ENTRIES_MAX: usize = 1 << 15;

/// A directory's entries in the order of names.
#[derive(Debug, Default)]
pub struct Dir {
    entries: Vec<(Name, Arc<Entry>)>,
    /// The one that a walk comes to next.
    behind: OnceLock<ObjectKey>,
}

impl Dir {
    /// Takes entries in the order of names.
    pub const fn new(entries: Vec<(Name, Arc<Entry>)>) -> Self {
        Self { entries, behind: OnceLock::new() }
    }

    /// All of them.
    pub fn entries(&self) -> &[(Name, Arc<Entry>)] {
        &self.entries
    }

    /// The number of one of them.
    pub fn place(&self, name: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|(known, _)| known.as_bytes().cmp(name)).ok()
    }

    /// One of them.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        Some(&self.entries[self.place(name)?].1)
    }
}

/// What a listing gave.
#[derive(Debug)]
pub enum Listed {
    /// All of it.
    Whole(Arc<Dir>),
    /// The beginning of a directory that is too large to keep.
    Begun(Vec<(Name, Arc<Entry>)>),
}

#[derive(Debug)]
struct Kept {
    dirs: LruCache<ObjectKey, Arc<Dir>>,
    entries: usize,
}

/// Directories in memory.
#[derive(Debug)]
pub struct Dirs {
    kept: Mutex<Kept>,
    /// Who walks through them.
    pub(super) walks: Walks,
}

impl Default for Dirs {
    fn default() -> Self {
        Self { kept: Mutex::new(Kept { dirs: LruCache::unbounded(), entries: 0 }), walks: Walks::default() }
    }
}

/// What a directory counts, however small it is.
fn weight(dir: &Dir) -> usize {
    dir.entries.len() + 1
}

impl Dirs {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory that is in memory.
    pub fn get(&self, set: &ObjectKey) -> Option<Arc<Dir>> {
        self.lock().dirs.get(set).cloned()
    }

    /// A walk comes from one directory to another.
    pub fn follows(&self, before: &ObjectKey, set: ObjectKey) {
        if let Some(before) = self.lock().dirs.peek(before) {
            // A directory that lies in several places keeps the neighbour that it had first.
            before.behind.get_or_init(|| set);
        }
    }

    /// The directory that a walk comes to next, if it is in memory.
    pub fn behind(&self, set: &ObjectKey) -> Option<(ObjectKey, Arc<Dir>)> {
        let kept = self.lock();
        let behind = kept.dirs.peek(set)?.behind.get()?;
        Some((*behind, kept.dirs.peek(behind)?.clone()))
    }

    /// Keeps a directory.
    pub fn put(&self, set: ObjectKey, dir: Arc<Dir>) {
        let mut kept = self.lock();
        kept.entries += weight(&dir);
        if let Some(old) = kept.dirs.put(set, dir) {
            kept.entries -= weight(&old);
        }
        while kept.entries > ENTRIES_MAX
            && let Some((_, old)) = kept.dirs.pop_lru()
        {
            kept.entries -= weight(&old);
        }
    }

    /// A directory from memory or, with one call, from the server.
    pub async fn list(&self, server: &Patient, set: &ObjectKey) -> Result<Listed, Fault> {
        if let Some(dir) = self.get(set) {
            return Ok(Listed::Whole(dir));
        }
        let listed = server.ask(|connection| async move {
            let mut listing = server.within(connection.list_with_holes(set, None)).await?;
            let mut entries = Vec::new();
            while let Some(page) = server.within(listing.page_with_holes()).await? {
                entries.extend(page.into_iter().filter_map(|(_, mut meta, holes)| {
                    let name = meta.name.take()?;
                    Some((name, Arc::new(Entry::new(meta, holes))))
                }));
                if entries.len() > DIR_ENTRIES_MAX {
                    return Ok(Listed::Begun(entries));
                }
            }
            Ok(Listed::Whole(Arc::new(Dir::new(entries))))
        });
        let listed = listed.await?;
        if let Listed::Whole(dir) = &listed {
            self.put(*set, dir.clone());
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::{FileType, Meta};

    fn dir(entries: usize) -> Arc<Dir> {
        let entry = Arc::new(Entry::new(Meta::bare(None, FileType::File), 0));
        let name = |number| Name::new(format!("{number:08}").as_bytes()).unwrap();
        Arc::new(Dir::new((0..entries).map(|number| (name(number), entry.clone())).collect()))
    }

    #[test]
    fn an_entry_is_found_by_its_name() {
        let dir = dir(100);
        assert!(dir.get(b"00000042").is_some());
        assert!(dir.get(b"00000100").is_none() && dir.get(b"").is_none());
    }

    #[test]
    fn no_more_entries_are_kept_than_may_be() {
        let dirs = Dirs::default();
        let large = dir(DIR_ENTRIES_MAX);
        let set = |number: u8| ObjectKey::new([number; 20]);
        for number in 0..20 {
            dirs.put(set(number), large.clone());
            dirs.put(set(number), large.clone());
        }
        assert!(dirs.get(&set(19)).is_some() && dirs.get(&set(0)).is_none());
        let kept = dirs.lock();
        assert!(kept.entries <= ENTRIES_MAX);
        assert_eq!(kept.entries, kept.dirs.iter().map(|(_, dir)| weight(dir)).sum::<usize>());
    }
}
