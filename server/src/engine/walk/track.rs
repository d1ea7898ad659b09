//! What becomes of one name over the backups of a snapshot.

use std::ops::Range;

use datadb::{FileType, Meta, ObjectKey, meta::Content, version};

/// Values, each from the backup of a number on until the next; `None` where there is nothing.
#[derive(Clone, Debug)]
pub struct Runs<T>(Vec<(u32, Option<T>)>);

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Runs<T> {
    /// Notes the value from a backup on, which must not be older than those before; tells whether it is another one.
    fn note(&mut self, number: u32, value: Option<T>, is_same: impl Fn(&T, &T) -> bool) -> bool {
        let is_known = match (self.0.last().and_then(|(_, last)| last.as_ref()), &value) {
            (Some(last), Some(value)) => is_same(last, value),
            (last, value) => last.is_none() && value.is_none(),
        };
        if !is_known {
            self.0.push((number, value));
        }
        !is_known
    }

    /// Whether there never was a value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_open(&self) -> bool {
        self.0.last().is_some_and(|(_, value)| value.is_some())
    }

    /// The values with the numbers of the backups that show them, of so many backups.
    pub fn until(self, end: u32) -> impl Iterator<Item = (Range<u32>, T)> {
        let ends: Vec<u32> = self.0.iter().skip(1).map(|(number, _)| *number).chain([end]).collect();
        self.0.into_iter().zip(ends).filter_map(|((start, value), end)| Some((start..end, value?)))
    }

    /// Bytes (roughly) in memory, without what values point to.
    pub fn bytes(&self) -> usize {
        self.0.len() * size_of::<(u32, Option<T>)>()
    }
}

impl Runs<ObjectKey> {
    /// Every state with the number of its first backup.
    pub fn starts(&self) -> Vec<(u32, Option<ObjectKey>)> {
        self.0.clone()
    }
}

/// One name over the backups.
#[derive(Debug, Default)]
pub struct Track {
    /// What of it are hits, without their xattrs.
    pub hits: Runs<Box<Meta>>,
    /// The sets that it had as a directory.
    pub sets: Runs<ObjectKey>,
    /// The last backup in which it was looked at.
    pub seen: u32,
    /// Bytes (roughly) in memory.
    pub bytes: usize,
}

impl Track {
    /// Notes what it is from a backup on; as a hit if its path is given, under which it will be told.
    pub fn note(&mut self, number: u32, meta: Option<&Meta>, hit: Option<&[u8]>) {
        self.seen = number;
        let hit_bytes = meta.zip(hit).map_or(0, |(meta, path)| memory_bytes(meta) + path.len());
        let hit = meta.filter(|_| hit.is_some()).map(bare);
        if self.hits.note(number, hit, |one, other| version::is_same(one, other)) {
            self.bytes += size_of::<(u32, Option<Box<Meta>>)>() + hit_bytes;
        }
        if self.sets.note(number, meta.and_then(directory_set), ObjectKey::eq) {
            self.bytes += size_of::<(u32, Option<ObjectKey>)>();
        }
    }

    /// Whether it was there at last.
    pub fn is_open(&self) -> bool {
        self.hits.is_open() || self.sets.is_open()
    }
}

/// The set of a directory that is not empty.
pub fn directory_set(meta: &Meta) -> Option<ObjectKey> {
    match (meta.file_type, meta.content) {
        (FileType::Dir, Content::Ref(set)) => Some(set),
        _ => None,
    }
}

fn bare(meta: &Meta) -> Box<Meta> {
    Box::new(Meta { xattrs: Vec::new(), ..meta.clone() })
}

fn memory_bytes(meta: &Meta) -> usize {
    let texts = meta.name_bytes().len() + meta.user.len() + meta.group.len();
    let long = meta.target.as_ref().map_or(0, Vec::len) + meta.error.as_ref().map_or(0, String::len);
    size_of::<Meta>() + texts + long
}
