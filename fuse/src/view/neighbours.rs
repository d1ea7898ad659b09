//! Who reads one small file after the other, in the order of the tree, will read the next ones, too: they are asked for
//! together. Whoever reads a single file pays for that alone.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use datadb::{BlobId, FileType, ObjectKey, meta::Content};
use lru::LruCache;

use super::{View, ino::Ino, node::Node};
use crate::cache::dirs::{Dir, Dirs};
use crate::entry::Entry;

/// Bytes asked for ahead at first, and at most.
const WINDOW_MIN: u64 = 128 << 10;
const WINDOW_MAX: u64 = 8 << 20;

/// What a file costs, however small it is.
const FILE_BYTES_MIN: u64 = 1 << 10;

/// Larger files are read ahead one by one.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Entries looked at each time.
const STEPS_MAX: usize = 4096;

/// Files that may be left out between two that are read in order.
const GAP_MAX: usize = 16;

/// Backups whose readers are remembered.
const READERS_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// A place in the order of the tree.
#[derive(Clone, Debug)]
struct Place {
    set: ObjectKey,
    dir: Arc<Dir>,
    index: usize,
}

/// Somebody who reads.
#[derive(Debug)]
struct Reader {
    last: Place,
    /// How much to ask for; 0 of somebody who jumps.
    window: u64,
    /// Up to where it was asked for, and how much of that was not read yet.
    asked: Place,
    ahead_bytes: u64,
}

/// Who reads in which backup.
#[derive(Debug)]
pub(super) struct Neighbours(Mutex<LruCache<Ino, Reader>>);

impl Default for Neighbours {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(READERS_MAX)))
    }
}

fn cost(entry: &Entry) -> u64 {
    entry.size.max(FILE_BYTES_MIN)
}

/// Whether a walk comes from one directory to another soon.
fn leads_to(dirs: &Dirs, from: &ObjectKey, to: &ObjectKey) -> bool {
    let mut at = *from;
    for _ in 0..GAP_MAX {
        match dirs.behind(&at) {
            Some((next, _)) if next == *to => return true,
            Some((next, _)) => at = next,
            None => return false,
        }
    }
    false
}

/// The blob of a small file.
fn small(entry: &Entry) -> Option<(BlobId, u64)> {
    match (entry.file_type, entry.content) {
        (FileType::File, Content::Blob(id)) if entry.size <= FILE_BYTES_MAX => Some((id, entry.size)),
        _ => None,
    }
}

impl Reader {
    fn new(place: Place) -> Self {
        Self { last: place.clone(), window: 0, asked: place, ahead_bytes: 0 }
    }

    /// A file is opened; gives what to ask for.
    fn opened(&mut self, dirs: &Dirs, place: Place, entry: &Entry) -> Vec<(BlobId, u64)> {
        let is_same = self.last.set == place.set;
        let is_next = is_same && place.index > self.last.index && place.index - self.last.index <= GAP_MAX;
        // Into another directory one comes from the end of the last one, or by way of one of its subdirectories.
        let goes_on = is_next || (!is_same && (self.window > 0 || leads_to(dirs, &self.last.set, &place.set)));
        if !goes_on {
            *self = Self::new(place);
            return Vec::new();
        }
        self.ahead_bytes = self.ahead_bytes.saturating_sub(cost(entry));
        let is_behind = !is_same && self.asked.set == self.last.set;
        if self.window == 0 || is_behind || (self.asked.set == place.set && self.asked.index < place.index) {
            // What was asked for lies behind.
            (self.asked, self.ahead_bytes) = (Place { index: place.index + 1, ..place.clone() }, 0);
        }
        self.last = place;
        self.window = self.window.max(WINDOW_MIN);
        if self.ahead_bytes > self.window / 2 {
            return Vec::new();
        }
        let wanted = self.more(dirs);
        self.window = (self.window * 2).min(WINDOW_MAX);
        wanted
    }

    fn more(&mut self, dirs: &Dirs) -> Vec<(BlobId, u64)> {
        let mut wanted = Vec::new();
        // Equal directories are one, so the way from one to the next may go round.
        for _ in 0..STEPS_MAX {
            if self.ahead_bytes >= self.window {
                break;
            }
            match self.asked.dir.entries().get(self.asked.index) {
                Some((_, entry)) => {
                    self.asked.index += 1;
                    if let Some(blob) = small(entry) {
                        self.ahead_bytes += cost(entry);
                        wanted.push(blob);
                    }
                }
                None => {
                    let Some((set, dir)) = dirs.behind(&self.asked.set) else { break };
                    self.asked = Place { set, dir, index: 0 };
                }
            }
        }
        wanted
    }
}

impl View {
    /// A file is opened: perhaps its neighbours will be, too.
    pub(super) fn read_neighbours(&self, node: &Arc<Node>, entry: &Entry) {
        let found = || {
            let (top, _) = node.top()?;
            let parent = self.entry_now(node.parent.as_ref()?)?;
            let Content::Ref(set) = parent.content else { return None };
            let dir = self.dirs.get(&set)?;
            let index = dir.place(&node.name)?;
            Some((top.ino, Place { set, dir, index }))
        };
        let Some((top, place)) = found() else { return };
        let wanted = {
            let mut readers = self.neighbours.0.lock().unwrap_or_else(PoisonError::into_inner);
            let reader = readers.get_or_insert_mut(top, || Reader::new(place.clone()));
            reader.opened(&self.dirs, place, entry)
        };
        if !wanted.is_empty() {
            self.blobs.expect(&wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::{Meta, Name};

    fn dir(number: u8, files: usize) -> (ObjectKey, Arc<Dir>) {
        let file = |index: usize| {
            let name = Name::new(format!("{index:04}").as_bytes()).unwrap();
            let content = Content::Blob(BlobId::of(&[number, index as u8]));
            let entry = Entry::new(Meta { size: 4096, content, ..Meta::bare(None, FileType::File) }, 0);
            (name, Arc::new(entry))
        };
        (ObjectKey::new([number; 20]), Arc::new(Dir::new((0..files).map(file).collect())))
    }

    /// Opens files by directory and index; gives how many were asked for each time.
    fn asked(dirs: &Dirs, order: &[(&(ObjectKey, Arc<Dir>), usize)]) -> Vec<usize> {
        let place = |(of, index): (&(ObjectKey, Arc<Dir>), usize)| Place { set: of.0, dir: of.1.clone(), index };
        let mut reader = Reader::new(place(order[0]));
        let mut opened = |at| {
            let place = place(at);
            let entry = place.dir.entries()[place.index].1.clone();
            reader.opened(dirs, place, &entry).len()
        };
        order.iter().map(|at| opened(*at)).collect()
    }

    #[test]
    fn who_reads_in_order_is_read_ahead_of_into_the_next_directory() {
        let (dirs, a, b) = (Dirs::default(), dir(1, 30), dir(2, 100));
        dirs.put(a.0, a.1.clone());
        dirs.put(b.0, b.1.clone());
        dirs.follows(&a.0, b.0);
        let order: Vec<_> = (0..30).map(|index| (&a, index)).chain((0..100).map(|index| (&b, index))).collect();
        let asked = asked(&dirs, &order);
        assert_eq!(asked[0], 0, "it may stay the only one");
        assert!(asked[1] > 28, "the rest of the directory, and some of the next one");
        assert_eq!(asked.iter().sum::<usize>(), 128, "everything behind the second, once");
    }

    #[test]
    fn who_reads_one_file_of_each_directory_reads_in_order_too() {
        let dirs = Dirs::default();
        let all: Vec<(ObjectKey, Arc<Dir>)> = (0..50).map(|number| dir(number, 1)).collect();
        all.iter().for_each(|one| dirs.put(one.0, one.1.clone()));
        all.windows(2).for_each(|pair| dirs.follows(&pair[0].0, pair[1].0));
        let order: Vec<_> = all.iter().map(|one| (one, 0)).collect();
        let asked = asked(&dirs, &order);
        assert_eq!((asked[0], asked.iter().sum::<usize>()), (0, 48));
        assert!(asked[1] >= 10, "{asked:?}");
    }

    #[test]
    fn who_jumps_is_not_read_ahead_of() {
        let (dirs, a) = (Dirs::default(), dir(1, 100));
        assert_eq!(asked(&dirs, &[(&a, 50), (&a, 3), (&a, 90), (&a, 20), (&a, 70)]), [0; 5]);
        assert_eq!(asked(&dirs, &[(&a, 50), (&a, 50), (&a, 50)]), [0; 3]);
    }
}
