//! What `--strip` lets come together: the content of several directories in one. Directories of one path are one; a
//! second file of one path is an error, never an overwrite.
//!
//! In memory are 16 bytes for each entry, and there is a limit. Where only one directory's content comes to lie in the
//! target, nothing can meet, and nothing of this is needed.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use datadb::{Digest, Fault, FileType, Kind};
use tokio::runtime::Handle;

use super::{
    Request,
    choice::{Choice, Pick},
    dir::Dir,
};
use crate::connection::Connection;
use crate::fetch::tree::{Look, Tree, set_of};

/// Entries that are remembered: 150 MiB or so.
const ENTRIES_MAX: usize = 4 << 20;

/// How a path meets those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// It is new.
    First,
    /// Both are directories.
    Joins,
    /// It can't be there twice.
    Collides,
}

/// The paths so far.
#[derive(Debug, Default)]
pub struct Merge {
    files: HashSet<Mark>,
    dirs: HashSet<Mark>,
    /// Directories into which somebody may still write, by their path below the target.
    live: HashMap<Vec<u8>, Weak<Dir>>,
}

/// Stands for a path: half of a digest is enough to tell paths apart.
pub type Mark = [u8; 16];

/// The mark of a path.
pub fn mark(path: &[u8]) -> Mark {
    *Digest::of(path).as_bytes().first_chunk().expect("a digest has 32 bytes")
}

impl Merge {
    /// Takes a path below the target.
    pub fn take(&mut self, path: &[u8], file_type: FileType) -> Result<Meeting, Fault> {
        let mark = mark(path);
        let (own, other) = match file_type {
            FileType::Dir => (&mut self.dirs, &self.files),
            _ => (&mut self.files, &self.dirs),
        };
        if other.contains(&mark) {
            return Ok(Meeting::Collides);
        }
        if !own.insert(mark) {
            return Ok(if file_type == FileType::Dir { Meeting::Joins } else { Meeting::Collides });
        }
        if self.files.len() + self.dirs.len() > ENTRIES_MAX {
            let line = format!(
                "--strip lets more than {ENTRIES_MAX} entries of several directories come together: restore these one by one"
            );
            return Err(Fault::new(Kind::Invalid, line));
        }
        Ok(Meeting::First)
    }

    /// A directory that was taken before, if it is still open to changes.
    pub fn live(&self, path: &[u8]) -> Option<Arc<Dir>> {
        self.live.get(path).and_then(Weak::upgrade)
    }

    /// A directory of a path.
    pub fn opened(&mut self, path: Vec<u8>, dir: &Arc<Dir>) {
        if self.live.len() == self.live.capacity() {
            self.live.retain(|_, dir| dir.strong_count() > 0);
        }
        self.live.insert(path, Arc::downgrade(dir));
    }
}

/// Whether the content of several directories comes to lie in the target.
pub fn is_needed(handle: &Handle, connection: &Connection, request: &Request) -> Result<bool, Fault> {
    let (Some(set), strip @ 1..) = (set_of(&request.meta), request.options.strip) else { return Ok(false) };
    let mut choice = Choice::new(&request.options)?;
    let mut tree = Tree::new(handle, connection, set, Look::Alone);
    let mut levels = vec![(choice.root(), 0)];
    let (mut path, mut found) = (Vec::new(), 0);
    while let Some((depth, meta)) = tree.next()? {
        let Some(below) = set_of(&meta) else { continue };
        levels.truncate(depth + 1);
        let (parent, path_len) = levels[depth];
        path.truncate(path_len);
        path.push(b'/');
        path.extend_from_slice(meta.name_bytes());
        let pick = choice.pick(&path, true, parent);
        if pick == Pick::Out {
            continue;
        }
        if depth + 1 < strip {
            levels.push((pick, path.len()));
            tree.enter(below, Look::Alone)?;
            continue;
        }
        found += 1;
        if found > 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_join_and_everything_else_collides() {
        let mut merge = Merge::default();
        let mut take = |path: &[u8], file_type| merge.take(path, file_type).expect("few");
        assert_eq!(take(b"a", FileType::Dir), Meeting::First);
        assert_eq!(take(b"a", FileType::Dir), Meeting::Joins);
        assert_eq!(take(b"a", FileType::File), Meeting::Collides);
        assert_eq!(take(b"a/b", FileType::File), Meeting::First);
        assert_eq!(take(b"a/b", FileType::Symlink), Meeting::Collides);
        assert_eq!(take(b"a/b", FileType::Dir), Meeting::Collides);
    }
}
