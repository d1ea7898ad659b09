//! Records of the cache: an entry, or the end of a directory.

use std::ops::Range;

use datadb::{
    ObjectKey,
    codec::{DecodeError, Reader, Writer},
    limits,
    meta::{Content, FileType, Timestamp},
};

use crate::fs::Stat;

/// An entry of the last backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it was.
    pub file_type: FileType,
    /// Whether it may count as unchanged at all: it was read without an error, and was not too young.
    pub trusted: bool,
    /// Bytes.
    pub size: u64,
    /// Last modification then.
    pub mtime: Timestamp,
    /// Last change then.
    pub ctime: Timestamp,
    /// Inode number then.
    pub inode: u64,
    /// Encoding of its meta; a directory's without its ref.
    pub meta: Vec<u8>,
}

impl Known {
    /// Whether it still looks the same. (Owner and mode come with the ctime. The size of a directory means nothing.)
    pub fn is_unchanged(&self, stat: &Stat) -> bool {
        self.trusted
            && stat.file_type == Some(self.file_type)
            && (self.size == stat.size || self.file_type != FileType::File)
            && (self.mtime, self.ctime, self.inode) == (stat.mtime, stat.ctime, stat.inode)
    }
}

/// A record in a block: names and metas stay where they are.
#[derive(Clone, Debug)]
pub enum Record {
    /// An entry; its `meta` is empty here, the ranges tell where name and meta are.
    Entry { known: Known, name: Range<usize>, meta: Range<usize> },
    /// The end of a directory.
    Leave(Content),
}

/// Appends an entry.
pub fn entry(out: &mut Vec<u8>, name: &[u8], stat: &Stat, file_type: FileType, trusted: bool, meta: &[u8]) {
    let mut w = Writer::with_capacity(64 + name.len() + meta.len());
    w.u8(1).u8(file_type as u8).u8(u8::from(trusted)).varint(stat.size);
    for time in [stat.mtime, stat.ctime] {
        w.signed(time.seconds).varint(u64::from(time.nanos));
    }
    w.varint(stat.inode).bytes(name).bytes(meta);
    out.extend_from_slice(&w.finish());
}

/// Appends the end of a directory.
pub fn leave(out: &mut Vec<u8>, content: &Content) {
    out.push(2);
    match content {
        Content::Ref(key) => {
            out.push(2);
            out.extend_from_slice(key.as_bytes());
        }
        Content::None | Content::Blob(_) => out.push(0),
    }
}

/// Reads the record at `start` of a block; gives the place behind it, too.
pub fn parse(block: &[u8], start: usize) -> Result<(Record, usize), DecodeError> {
    let mut r = Reader::new(&block[start..]);
    let at = |r: &Reader<'_>| block.len() - r.remaining();
    let record = match r.u8("record")? {
        1 => {
            let file_type = FileType::try_from(r.u8("type")?)?;
            let trusted = r.u8("trusted")? == 1;
            let size = r.varint("size")?;
            let mut times = [Timestamp::default(); 2];
            for time in &mut times {
                *time = Timestamp { seconds: r.signed("seconds")?, nanos: r.varint32("nanoseconds")? };
            }
            let inode = r.varint("inode")?;
            let len = r.bytes("name", limits::NAME_BYTES_MAX)?.len();
            let name = at(&r) - len..at(&r);
            let len = r.bytes("meta", limits::META_BYTES_MAX)?.len();
            let meta = at(&r) - len..at(&r);
            let [mtime, ctime] = times;
            let known = Known { file_type, trusted, size, mtime, ctime, inode, meta: Vec::new() };
            Record::Entry { known, name, meta }
        }
        2 => Record::Leave(match r.u8("content")? {
            0 => Content::None,
            2 => Content::Ref(ObjectKey::new(r.array("ref")?)),
            other => return Err(DecodeError::Unknown { field: "content", value: u64::from(other) }),
        }),
        other => return Err(DecodeError::Unknown { field: "record", value: u64::from(other) }),
    };
    Ok((record, at(&r)))
}
