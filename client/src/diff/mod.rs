//! The difference of two trees: both are listed side by side, a directory at a time, in the order of names. What has the
//! same key on both sides is the same, so equal subtrees are never listed, however large they are.
//!
//! [`with_local`] compares a backup with a tree on this machine.
//!
//! In memory: the directories open from the root to the present place, of each side the pages not looked at yet.

mod compare;
mod entries;
mod local;
mod place;

use datadb::{Fault, FileType, Meta, meta::Content};
use tokio::runtime::Handle;

use crate::{connection::Connection, exit};
pub use compare::{Unlike, compare};
use entries::Entries;
pub use local::{How, with_local};

/// One difference. `path` is below the compared roots, begins with `/`, and is `/` for the roots themselves.
#[derive(Debug)]
pub enum Change<'a> {
    /// Only the newer tree has it.
    Added(&'a Meta),
    /// Only the older tree has it.
    Removed(&'a Meta),
    /// Both have it, of one type, but not alike.
    Changed {
        /// As it was.
        before: &'a Meta,
        /// As it is.
        after: &'a Meta,
        /// In what they differ.
        unlike: Unlike,
    },
}

/// Takes a difference and the path that it is at; a fault ends the comparison.
pub type Each<'a> = dyn FnMut(&[u8], Change<'_>) -> Result<(), Fault> + 'a;

/// Compares two trees; every difference is handed on as it is found. Gives the number of directories that were listed.
pub fn diff<'a>(
    handle: &'a Handle,
    connection: &Connection,
    before: &Meta,
    after: &Meta,
    each: &'a mut Each<'a>,
) -> Result<u64, Fault> {
    let mut diff = Diff { handle, each, path: Vec::new(), open: Vec::new(), listed: 0 };
    diff.pair(Some(before), Some(after))?;
    while let Some(pair) = diff.open.last_mut() {
        if exit::is_interrupted() {
            return Err(exit::interrupted());
        }
        let (before, after) = pair.next(handle, connection)?;
        if before.is_none() && after.is_none() {
            diff.path.truncate(pair.path_len);
            diff.open.pop();
            continue;
        }
        let len = diff.path.len();
        let name = after.as_ref().or(before.as_ref()).map_or(&b""[..], Meta::name_bytes);
        diff.path.push(b'/');
        diff.path.extend_from_slice(name);
        let depth = diff.open.len();
        diff.pair(before.as_ref(), after.as_ref())?;
        if diff.open.len() == depth {
            diff.path.truncate(len);
        } else if let Some(opened) = diff.open.get_mut(depth) {
            opened.path_len = len;
        }
    }
    Ok(diff.listed)
}

struct Diff<'a> {
    handle: &'a Handle,
    each: &'a mut Each<'a>,
    /// The present path, without the slash that the root has.
    path: Vec<u8>,
    open: Vec<Pair>,
    listed: u64,
}

impl Diff<'_> {
    fn tell(&mut self, change: Change<'_>) -> Result<(), Fault> {
        (self.each)(if self.path.is_empty() { b"/" } else { &self.path }, change)
    }

    /// Tells how the two differ, and opens them if there may be more differences below.
    fn pair(&mut self, before: Option<&Meta>, after: Option<&Meta>) -> Result<(), Fault> {
        match (before, after) {
            (Some(before), Some(after)) if before.file_type == after.file_type => {
                let unlike = compare(before, after);
                if unlike.is_any() {
                    self.tell(Change::Changed { before, after, unlike })?;
                }
                if before.content == after.content { Ok(()) } else { self.open(Some(before), Some(after)) }
            }
            _ => {
                if let Some(before) = before {
                    self.tell(Change::Removed(before))?;
                }
                if let Some(after) = after {
                    self.tell(Change::Added(after))?;
                }
                self.open(before, after)
            }
        }
    }

    fn open(&mut self, before: Option<&Meta>, after: Option<&Meta>) -> Result<(), Fault> {
        let set = |meta: Option<&Meta>| match meta {
            Some(Meta { file_type: FileType::Dir, content: Content::Ref(set), .. }) => Some(*set),
            _ => None,
        };
        let (before, after) = (set(before), set(after));
        if before.is_none() && after.is_none() {
            return Ok(());
        }
        if let Some(above) = self.open.last_mut() {
            self.handle.block_on(above.before.pause())?;
            self.handle.block_on(above.after.pause())?;
        }
        self.listed += u64::from(before.is_some()) + u64::from(after.is_some());
        self.open.push(Pair { before: Entries::of(before), after: Entries::of(after), path_len: 0 });
        Ok(())
    }
}

/// Two directories side by side; one of them may not be there.
struct Pair {
    before: Entries,
    after: Entries,
    /// Length of the path before this directory's name was added.
    path_len: usize,
}

impl Pair {
    /// The entries of the next name.
    fn next(&mut self, handle: &Handle, connection: &Connection) -> Result<(Option<Meta>, Option<Meta>), Fault> {
        let before = handle.block_on(self.before.peek(connection))?.map(|meta| meta.name.clone());
        let after = handle.block_on(self.after.peek(connection))?.map(|meta| meta.name.clone());
        Ok(match (before, after) {
            (Some(before), Some(after)) if before < after => (self.before.take(), None),
            (Some(before), Some(after)) if before > after => (None, self.after.take()),
            _ => (self.before.take(), self.after.take()),
        })
    }
}
