//! A zip archive, as Info-ZIP writes and reads it: files, directories and symlinks with mode, time (seconds) and numeric
//! owner; names in a form that leads nowhere else on other systems (`name`). Written from beginning to end, so that it can go through a pipe: of a large file the sizes follow its bytes.
//!
//! The directory at the end grows in a temporary file that has no name. A file that turned out to be damaged is not
//! listed in it.

mod header;
mod name;

use std::{
    io::{self, Read as _, Seek as _, Write as _},
    ops::Range,
};

use datadb::{Fault, FileType, Kind};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::{
    WHOLE_BYTES,
    archive::{Archive, Out, zeros},
    entry::Entry,
    tar::Measure,
};
use crate::report::many;
use header::{Member, Method, end};

/// Compressed bytes that are written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Of the directory, what is kept in memory.
const DIRECTORY_BYTES: usize = 1 << 20;

/// From this size on, compressed bytes may need more than 32 bits to be counted.
const LONG_BYTES: u64 = 0xf000_0000;

/// The level of compression.
const LEVEL: u32 = 6;

/// A file being written.
struct Open {
    member: Member,
    deflate: Compress,
    crc: Crc,
    /// Plain and compressed bytes of a file that is written when all of them are there.
    whole: Option<(Vec<u8>, Vec<u8>)>,
}

/// How many of what could not be held.
#[derive(Default)]
struct Lacks {
    special: u64,
    xattrs: u64,
    links: u64,
    holes: u64,
    names: u64,
}

/// The archive.
pub struct Zip<'a> {
    out: Out<'a>,
    at: u64,
    directory: tempfile::SpooledTempFile,
    members: u64,
    open: Option<Open>,
    lacks: Lacks,
}

impl<'a> Zip<'a> {
    /// An empty one.
    pub fn new(out: Out<'a>) -> Self {
        let directory = tempfile::spooled_tempfile(DIRECTORY_BYTES);
        Self { out, at: 0, directory, members: 0, open: None, lacks: Lacks::default() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.at += bytes.len() as u64;
        (self.out)(bytes)
    }

    fn member(&self, entry: &Entry) -> Member {
        let meta = &entry.meta;
        let (kind, after) = match meta.file_type {
            FileType::Dir => (0o040_000, &b"/"[..]),
            FileType::Symlink => (0o120_000, &b""[..]),
            _ => (0o100_000, &b""[..]),
        };
        Member {
            name: [&name::portable(&entry.path), after].concat(),
            mode: kind | meta.mode,
            owner: (meta.uid, meta.gid),
            mtime: meta.mtime,
            method: Method::Stored,
            crc: 0,
            stored: 0,
            plain: 0,
            offset: self.at,
            has_descriptor: false,
            is_long: false,
        }
    }

    /// Counts what goes lost of an entry that is held.
    fn lose(&mut self, entry: &Entry) {
        self.lacks.xattrs += entry.meta.xattrs.len() as u64;
        self.lacks.links += u64::from(entry.meta.link.is_some());
        let name = entry.path.strip_prefix(b"/").unwrap_or(&entry.path);
        self.lacks.names += u64::from(*name::portable(&entry.path) != *name);
    }

    /// One whose bytes are all there.
    fn put_whole(&mut self, member: &Member, bytes: &[u8]) -> Result<(), Fault> {
        self.put(&member.local())?;
        self.put(bytes)?;
        self.list(member)
    }

    fn list(&mut self, member: &Member) -> Result<(), Fault> {
        self.members += 1;
        self.directory.write_all(&member.central()).map_err(|error| no_directory(&error))
    }

    /// Compresses the next bytes of the open file, or its end.
    fn compress(&mut self, mut bytes: &[u8], flush: FlushCompress) -> Result<(), Fault> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        loop {
            let before = open.deflate.total_in();
            let status = open.deflate.compress_vec(bytes, &mut buffer, flush);
            let status = status.map_err(|error| Fault::new(Kind::Internal, format!("can't compress: {error}")))?;
            bytes = &bytes[(open.deflate.total_in() - before) as usize..];
            let has_room = buffer.len() < buffer.capacity();
            match &mut open.whole {
                Some((_, compressed)) => compressed.extend_from_slice(&buffer),
                None => self.put(&buffer)?,
            }
            open.member.stored += buffer.len() as u64;
            buffer.clear();
            let is_through = bytes.is_empty() && has_room && flush == FlushCompress::None;
            if is_through || status == Status::StreamEnd {
                break;
            }
        }
        self.open = Some(open);
        Ok(())
    }
}

impl Archive for Zip<'_> {
    fn keeps_links(&self) -> bool {
        false
    }

    fn keeps_holes(&self) -> bool {
        false
    }

    fn holds_path(&self, path: &[u8]) -> bool {
        // One more is for the slash at the end of a directory.
        name::portable(path).len() < usize::from(u16::MAX)
    }

    fn entry(&mut self, entry: &Entry) -> Result<bool, Fault> {
        let bytes = match entry.meta.file_type {
            FileType::File | FileType::Dir => &b""[..],
            FileType::Symlink => entry.meta.target.as_deref().unwrap_or_default(),
            FileType::Fifo | FileType::CharDevice | FileType::BlockDevice => {
                self.lacks.special += 1;
                return Ok(false);
            }
        };
        self.lose(entry);
        // The root has no name, and nothing holds its metadata.
        if entry.path == b"/" {
            return Ok(true);
        }
        let mut crc = Crc::new();
        crc.update(bytes);
        let (len, crc) = (bytes.len() as u64, crc.sum());
        let member = Member { plain: len, stored: len, crc, ..self.member(entry) };
        self.put_whole(&member, bytes).map(|()| true)
    }

    fn begin(&mut self, entry: &Entry, _: Option<&Measure>) -> Result<(), Fault> {
        self.lose(entry);
        let size = entry.meta.size;
        let is_whole = size <= WHOLE_BYTES;
        let mut member = Member { method: Method::Deflate, ..self.member(entry) };
        if !is_whole {
            (member.has_descriptor, member.is_long) = (true, size >= LONG_BYTES);
            self.put(&member.local())?;
        }
        let (deflate, crc) = (Compress::new(Compression::new(LEVEL), false), Crc::new());
        self.open = Some(Open { member, deflate, crc, whole: is_whole.then(Default::default) });
        Ok(())
    }

    fn run(&mut self, _: &Range<u64>) -> Result<(), Fault> {
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.crc.update(bytes);
        open.member.plain += bytes.len() as u64;
        if let Some((plain, _)) = &mut open.whole {
            plain.extend_from_slice(bytes);
        }
        self.compress(bytes, FlushCompress::None)
    }

    fn hole(&mut self, len: u64) -> Result<(), Fault> {
        self.lacks.holes += 1;
        zeros(len, &mut |bytes| self.bytes(bytes))
    }

    fn end(&mut self, is_whole: bool) -> Result<(), Fault> {
        self.compress(b"", FlushCompress::Finish)?;
        let Some(Open { mut member, crc, whole, .. }) = self.open.take() else { return Ok(()) };
        member.crc = crc.sum();
        if let Some((plain, compressed)) = whole {
            if compressed.len() < plain.len() {
                return self.put_whole(&member, &compressed);
            }
            (member.method, member.stored) = (Method::Stored, member.plain);
            return self.put_whole(&member, &plain);
        }
        self.put(&member.descriptor())?;
        if is_whole { self.list(&member) } else { Ok(()) }
    }

    fn damaged(&self) -> &'static str {
        "left out"
    }

    fn finish(&mut self) -> Result<(), Fault> {
        let offset = self.at;
        let mut buffer = vec![0; BUFFER_BYTES];
        self.directory.rewind().map_err(|error| no_directory(&error))?;
        loop {
            match self.directory.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => self.put(&buffer[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(no_directory(&error)),
            }
        }
        let len = self.at - offset;
        self.put(&end(self.members, offset, len))
    }

    fn lacks(&self) -> Vec<String> {
        let Lacks { special, xattrs, links, holes, names } = self.lacks;
        let lines = [
            (special, format!("{} left out", many(special, "special file"))),
            (xattrs, format!("{} left out", many(xattrs, "extended attribute"))),
            (links, format!("{} became files of their own", many(links, "hard link"))),
            (holes, format!("{} became zeros", many(holes, "hole"))),
            (names, format!("{} had to be written otherwise", many(names, "name"))),
        ];
        lines.into_iter().filter(|(count, _)| *count > 0).map(|(_, line)| line).collect()
    }
}

fn no_directory(error: &io::Error) -> Fault {
    let kind = if error.kind() == io::ErrorKind::StorageFull { Kind::Full } else { Kind::Internal };
    Fault::new(kind, format!("can't keep the archive's directory among the temporary files ($TMPDIR): {error}"))
}
