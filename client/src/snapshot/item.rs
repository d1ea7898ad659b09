//! What flows from the readers to the assembler, in the order of the walk.

use bytes::Bytes;
use datadb::{
    BlobRef, FileType, Meta, Name,
    meta::{Content, Timestamp},
};

use crate::fs::Stat;

/// A thing on its way.
#[derive(Debug)]
pub enum Item {
    /// The next chunk of the file whose `Leaf` follows.
    Blob(BlobRef, Bytes),
    /// A hole of the file whose `Leaf` follows, in bytes.
    Hole(u64),
    /// A long xattr value of the entry that follows.
    Xattr(BlobRef, Bytes),
    /// A file, symlink, fifo or device, after all of its chunks.
    Leaf(Box<Taken>),
    /// A directory.
    Enter(Box<Taken>),
    /// The end of a directory, and what it consists of if nothing in it changed.
    Leave(Option<Content>),
}

/// An entry as it was read, or found unchanged.
#[derive(Debug)]
pub struct Taken {
    /// Its name; `None` for the root.
    pub name: Option<Name>,
    /// As it was when it was read.
    pub stat: Stat,
    /// When it was read.
    pub seen: Timestamp,
    /// What it is.
    pub file_type: FileType,
    /// Its meta.
    pub state: State,
    /// Whether it changed while it was read.
    pub changed: bool,
    /// Whether its bytes were read.
    pub read: bool,
}

/// The meta of an entry.
#[derive(Debug)]
pub enum State {
    /// As in the last backup: its encoding (a directory's without its ref).
    Unchanged(Vec<u8>),
    /// As read; content and digest come from the chunks.
    Fresh(Box<Meta>),
}

/// A batch of items, and how many plain bytes they carry.
#[derive(Debug, Default)]
pub struct Items {
    /// In order.
    pub items: Vec<Item>,
    /// Plain bytes of all chunks.
    pub bytes: usize,
}
