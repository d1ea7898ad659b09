//! A tar archive in the pax format, as GNU tar writes and reads it: times to the nanosecond, names and numbers of any
//! size, extended attributes (`SCHILY.xattr.*`), ACLs as attributes and as text (`SCHILY.acl.*`), hard links to the first
//! name, and holes.
//!
//! What lies in a directory has a name below `./`, as `tar -C DIR .` gives it; a file alone has its name.

mod acl;
mod header;
mod sparse;

use std::ops::Range;

use datadb::{Fault, FileType, Meta, meta::XattrValue};

use super::{
    archive::{Archive, Out, zeros},
    entry::Entry,
};
use header::{BLOCK_BYTES, Header, Kind};
use sparse::Holes;
pub use sparse::{Measure, Runs};

/// Attributes that are written as text, too.
const ACLS: [(&[u8], &[u8]); 2] =
    [(b"system.posix_acl_access", b"SCHILY.acl.access"), (b"system.posix_acl_default", b"SCHILY.acl.default")];

/// The archive.
pub struct Tar<'a> {
    out: Out<'a>,
    /// Of the file being written, bytes since the last block began.
    partial: usize,
    /// Of a file with holes.
    holes: Option<Holes>,
    is_in_map: bool,
}

impl<'a> Tar<'a> {
    /// An empty one.
    pub fn new(out: Out<'a>) -> Self {
        Self { out, partial: 0, holes: None, is_in_map: false }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.partial = (self.partial + bytes.len()) % BLOCK_BYTES;
        (self.out)(bytes)
    }

    fn put_zeros(&mut self, count: u64) -> Result<(), Fault> {
        zeros(count, &mut |bytes| self.put(bytes))
    }

    /// Ends a block that was begun.
    fn pad(&mut self) -> Result<(), Fault> {
        let left = (BLOCK_BYTES - self.partial) % BLOCK_BYTES;
        self.put_zeros(left as u64)
    }

    /// Ends the map, if it was not ended.
    fn end_map(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.is_in_map) { self.pad() } else { Ok(()) }
    }

    fn gap(&mut self, gap: &sparse::Gap) -> Result<(), Fault> {
        self.put_zeros(gap.before + gap.behind)
    }

    fn header(&mut self, entry: &Entry, kind: Kind, size: u64, sparse: Option<u64>) -> Result<(), Fault> {
        let meta = &entry.meta;
        let first = entry.another().map(|first| name(&first.path, false, entry.is_alone));
        let is_link = kind == Kind::HardLink;
        let target = first.as_deref().filter(|_| is_link).or(meta.target.as_deref()).unwrap_or_default();
        let header = Header {
            name: &name(&entry.path, meta.file_type == FileType::Dir, entry.is_alone),
            kind,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            user: &meta.user,
            group: &meta.group,
            size,
            mtime: meta.mtime,
            target,
            rdev: meta.rdev.unwrap_or_default(),
            sparse,
        };
        // What a link leads to has its attributes already.
        let attributes = if is_link { Vec::new() } else { attributes(meta) };
        self.put(&header.encode(&attributes))
    }
}

impl Archive for Tar<'_> {
    fn keeps_links(&self) -> bool {
        true
    }

    fn keeps_holes(&self) -> bool {
        true
    }

    fn entry(&mut self, entry: &Entry) -> Result<bool, Fault> {
        let kind = match entry.meta.file_type {
            _ if entry.another().is_some() => Kind::HardLink,
            FileType::File => Kind::File,
            FileType::Dir => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::CharDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
        };
        self.header(entry, kind, 0, None).map(|()| true)
    }

    fn begin(&mut self, entry: &Entry, holes: Option<&Measure>) -> Result<(), Fault> {
        let size = entry.meta.size;
        let Some(measure) = holes else { return self.header(entry, Kind::File, size, None) };
        self.header(entry, Kind::File, measure.map() + measure.data, Some(size))?;
        (self.holes, self.is_in_map) = (Some(Holes::new(size)), true);
        self.put(sparse::first_line(measure.runs).as_bytes())
    }

    fn run(&mut self, run: &Range<u64>) -> Result<(), Fault> {
        self.put(sparse::line(run).as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.end_map()?;
        if let Some(holes) = &mut self.holes {
            let gap = holes.data(bytes.len() as u64);
            self.gap(&gap)?;
        }
        self.put(bytes)
    }

    fn hole(&mut self, len: u64) -> Result<(), Fault> {
        self.end_map()?;
        match &mut self.holes {
            Some(holes) => {
                holes.hole(len);
                Ok(())
            }
            None => self.put_zeros(len),
        }
    }

    fn end(&mut self, _: bool) -> Result<(), Fault> {
        self.end_map()?;
        if let Some(mut holes) = self.holes.take() {
            let gap = holes.end();
            self.gap(&gap)?;
        }
        self.pad()
    }

    fn damaged(&self) -> &'static str {
        "the archive has zeros in place of what is missing"
    }

    fn finish(&mut self) -> Result<(), Fault> {
        self.put_zeros(2 * BLOCK_BYTES as u64)
    }
}

/// The name in the archive of a path below the root.
fn name(path: &[u8], is_dir: bool, is_alone: bool) -> Vec<u8> {
    let below = path.strip_prefix(b"/").unwrap_or(path);
    let (before, after) = (if is_alone { "" } else { "./" }, if is_dir && !below.is_empty() { "/" } else { "" });
    [before.as_bytes(), below, after.as_bytes()].concat()
}

fn attributes(meta: &Meta) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    for xattr in &meta.xattrs {
        // A long value that could not be fetched was told of.
        let XattrValue::Inline(value) = &xattr.value else { continue };
        let text = ACLS.iter().find(|(name, _)| *name == xattr.name);
        if let Some((keyword, text)) = text.and_then(|(_, keyword)| Some((keyword, acl::text(value)?))) {
            records.push((keyword.to_vec(), text.into_bytes()));
        }
        records.push((keyword(&xattr.name), value.clone()));
    }
    records
}

/// The keyword of an attribute; GNU tar writes the bytes that would end it like this.
fn keyword(name: &[u8]) -> Vec<u8> {
    let mut keyword = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => keyword.extend(b"%3D"),
            b'%' => keyword.extend(b"%25"),
            byte => keyword.push(*byte),
        }
    }
    keyword
}
