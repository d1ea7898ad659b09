//! An entry on its way into the archive.

use std::{cell::Cell, collections::HashMap, rc::Rc};

use datadb::{FileType, Meta, meta::Content};

/// The first name of a file with several.
#[derive(Debug)]
pub struct First {
    /// Its path.
    pub path: Vec<u8>,
    /// It is not in the archive, or not whole; its other names then are not either.
    pub is_lost: Cell<bool>,
}

/// Whether a file has several names.
#[derive(Clone, Debug)]
pub enum Link {
    /// It has not, or that does not count.
    None,
    /// This is the first of them.
    First(Rc<First>),
    /// This is one more name.
    Another(Rc<First>),
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path below the root, beginning with `/`.
    pub path: Vec<u8>,
    /// As it is in the backup.
    pub meta: Meta,
    /// Whether it is another name of one before.
    pub link: Link,
    /// Whether it is all that the archive holds, and no directory.
    pub is_alone: bool,
}

impl Entry {
    /// The first name of the same file, if that came before.
    pub fn another(&self) -> Option<&First> {
        match &self.link {
            Link::Another(first) => Some(first),
            Link::None | Link::First(_) => None,
        }
    }

    /// What of it is to be fetched.
    pub fn content(&self) -> Content {
        match (self.meta.file_type, &self.link) {
            (FileType::File, Link::None | Link::First(_)) => self.meta.content,
            _ => Content::None,
        }
    }
}

/// Finds names of the same file. Memory: the path of each file of which not all names have come.
#[derive(Debug, Default)]
pub struct Links(HashMap<[u8; 16], (Rc<First>, u64)>);

impl Links {
    /// Of the next entry.
    pub fn meet(&mut self, path: &[u8], meta: &Meta) -> Link {
        let Some(link) = meta.link else { return Link::None };
        if let Some((first, left)) = self.0.get_mut(&link.id) {
            let first = Rc::clone(first);
            *left -= 1;
            if *left == 0 {
                self.0.remove(&link.id);
            }
            return Link::Another(first);
        }
        let first = Rc::new(First { path: path.to_vec(), is_lost: Cell::new(false) });
        self.0.insert(link.id, (Rc::clone(&first), link.nlink.saturating_sub(1).max(1)));
        Link::First(first)
    }
}
