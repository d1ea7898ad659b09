//! Dumping: a backup, or a path in it, as an archive. `plan` brings the entries in the order of the tree, `ahead` fetches
//! what those that come next hold, and an `archive`, `tar` or `zip`, is written entry by entry. The same backup gives
//! the same bytes.
//!
//! Every byte is verified before it is written. A file of up to `WHOLE_BYTES` is fetched before its header is written;
//! one that is damaged is named and left out. The header of a larger one is out by then: what is damaged of it is named
//! and becomes zeros, so that the archive stays readable; a zip then does not list the file. The other names of such a
//! file are left out.
//!
//! Memory: what `ahead` bounds, one file of up to `WHOLE_BYTES`, and the path of each file that has several names.

mod ahead;
mod archive;
mod entry;
mod plan;
mod tar;
mod zip;

use datadb::{Fault, FileType, Kind, Meta, blob::FileDigest, meta::Content};
use tokio::runtime::Handle;

use crate::{
    connection::Connection,
    exit,
    fetch::content::{Lost, Piece, fetch_xattrs},
    report::{Report, count, escape},
    restore::{Options, wanted::is_lost},
};
use ahead::{Ahead, Map};
pub use archive::Out;
use archive::{Archive, zeros};
use entry::{Entry, Link};
use plan::Plan;

/// Bytes of a file that are fetched before its header is written.
const WHOLE_BYTES: u64 = 8 << 20;

/// Which archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// With everything that a backup holds
    Tar,
    /// Without owners' names, attributes, devices and fifos; hard links become files of their own, holes zeros
    Zip,
}

impl Format {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Zip => "zip",
        }
    }
}

/// What to dump.
#[derive(Clone, Debug)]
pub struct Request {
    /// The directory, file or whatever the path in the backup is.
    pub meta: Meta,
    /// Its name, if it is not a directory.
    pub name: Vec<u8>,
    /// Which archive.
    pub format: Format,
    /// What is chosen; nothing else of it counts.
    pub options: Options,
}

/// What a dump came to. Errors are counted by the report.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Entries that are in the archive. Directories don't count.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What the format can't hold, a few words for a kind of it.
    pub lacks: Vec<String>,
}

/// Writes the archive. Everything blocks; must not be called on one of the runtime's own threads.
pub fn dump(
    (handle, connection): (&Handle, &Connection),
    request: &Request,
    report: &Report,
    out: Out<'_>,
) -> Result<Summary, Fault> {
    let _entered = handle.enter();
    let mut archive: Box<dyn Archive + '_> = match request.format {
        Format::Tar => Box::new(tar::Tar::new(out)),
        Format::Zip => Box::new(zip::Zip::new(out)),
    };
    let is_alone = request.meta.file_type != FileType::Dir;
    let plan = Plan::new((handle, connection), request)?;
    let keeps = (archive.keeps_links(), archive.keeps_holes());
    let ahead = Ahead::new((handle, connection), plan, is_alone, keeps);
    let mut dump = Dump { connection, report, ahead, summary: Summary::default() };
    while let Some(entry) = dump.ahead.next()? {
        if exit::is_interrupted() {
            return Err(exit::interrupted());
        }
        dump.entry(&mut *archive, entry)?;
    }
    dump.ahead.judge(report)?;
    archive.finish()?;
    dump.summary.lacks = archive.lacks();
    Ok(dump.summary)
}

struct Dump<'a> {
    connection: &'a Connection,
    report: &'a Report,
    ahead: Ahead<'a>,
    summary: Summary,
}

impl Dump<'_> {
    fn entry(&mut self, archive: &mut dyn Archive, mut entry: Entry) -> Result<(), Fault> {
        self.report.at(|| entry.path.clone());
        let report = self.report;
        if let Some(error) = &entry.meta.error {
            let error = escape(error.as_bytes());
            report.error(&entry.path, &format!("could not be read when it was backed up: {error}"));
        }
        if let Some(first) = entry.another().filter(|first| first.is_lost.get()) {
            let line = format!("is the same file as {}, which is not in the archive as it was", escape(&first.path));
            report.error(&entry.path, &line);
            return Ok(());
        }
        let is_whole = if is_lost(&entry.meta) {
            false
        } else if !archive.holds_path(&entry.path) {
            report.error(&entry.path, "its path is longer than the archive can hold; left out");
            false
        } else {
            let Entry { path, meta, .. } = &mut entry;
            fetch_xattrs(self.connection, meta, &mut |what| report.error(path, what))?;
            self.write(archive, &entry)?
        };
        if !is_whole && let Link::First(first) = &entry.link {
            first.is_lost.set(true);
        }
        Ok(())
    }

    /// Whether it is in the archive as it was.
    fn write(&mut self, archive: &mut dyn Archive, entry: &Entry) -> Result<bool, Fault> {
        if entry.content() == Content::None {
            if archive.entry(entry)? {
                self.done(entry, 0);
            }
            return Ok(true);
        }
        let map = self.ahead.map()?;
        let stored = map.as_ref().map_or(entry.meta.size, |map| map.measure.data);
        let written = if stored <= WHOLE_BYTES {
            self.write_whole(archive, entry, map.as_ref())?
        } else {
            self.write_through(archive, entry, map.as_ref())?
        };
        match &written {
            Ok(()) => self.done(entry, entry.meta.size),
            Err(what) => self.report.error(&entry.path, what),
        }
        Ok(written.is_ok())
    }

    /// A file that is fetched before anything of it is written.
    fn write_whole(&mut self, archive: &mut dyn Archive, entry: &Entry, map: Option<&Map>) -> Written {
        let (mut pieces, mut check) = (Vec::new(), Check::default());
        while let Some(found) = self.ahead.piece()? {
            match found {
                Ok(piece) => {
                    check.add(&piece);
                    pieces.push(piece);
                }
                Err(lost) => check.fail(&lost.what),
            }
        }
        if let Err(what) = check.finish(&entry.meta, self.ahead.trouble()) {
            return Ok(Err(format!("{what}; left out")));
        }
        self.begin(archive, entry, map)?;
        pieces.iter().try_for_each(|piece| put(archive, piece))?;
        archive.end(true).map(Ok)
    }

    /// A file that is written as it comes.
    fn write_through(&mut self, archive: &mut dyn Archive, entry: &Entry, map: Option<&Map>) -> Written {
        self.begin(archive, entry, map)?;
        let mut check = Check::default();
        while let Some(found) = self.ahead.piece()? {
            if exit::is_interrupted() {
                return Err(exit::interrupted());
            }
            match found {
                Ok(piece) => {
                    put(archive, &piece)?;
                    check.add(&piece);
                }
                Err(Lost { len, what }) => {
                    zeros(len, &mut |bytes| archive.bytes(bytes))?;
                    check.at += len;
                    check.fail(&what);
                }
            }
        }
        let left = entry.meta.size.saturating_sub(check.at);
        if left > 0 && map.is_some() {
            // Where its holes were to be is not known any more.
            let (path, what) = (escape(&entry.path), self.ahead.trouble().unwrap_or("it ends early"));
            return Err(Fault::new(Kind::Damaged, format!("{path}: {what}: the archive breaks off")));
        }
        zeros(left, &mut |bytes| archive.bytes(bytes))?;
        let checked = check.finish(&entry.meta, self.ahead.trouble());
        archive.end(checked.is_ok())?;
        Ok(checked.map_err(|what| format!("{what}; {}", archive.damaged())))
    }

    fn begin(&self, archive: &mut dyn Archive, entry: &Entry, map: Option<&Map>) -> Result<(), Fault> {
        archive.begin(entry, map.map(|map| &map.measure))?;
        map.map_or(Ok(()), |map| self.ahead.runs(map, &mut |run| archive.run(run)))
    }

    /// One more entry is in the archive.
    fn done(&mut self, entry: &Entry, bytes: u64) {
        if entry.meta.file_type == FileType::Dir {
            self.summary.dirs += 1;
            return;
        }
        self.summary.files += 1;
        self.summary.bytes += bytes;
        count(&self.report.counters.files, 1);
        count(&self.report.counters.bytes, bytes);
    }
}

/// What was wrong with a file that was written or left out, if anything was.
type Written = Result<Result<(), String>, Fault>;

fn put(archive: &mut dyn Archive, piece: &Piece) -> Result<(), Fault> {
    match piece {
        Piece::Bytes(bytes, _) => archive.bytes(bytes),
        Piece::Hole(len) => archive.hole(*len),
    }
}

/// Whether what came is the file.
#[derive(Debug, Default)]
struct Check {
    at: u64,
    digest: FileDigest,
    trouble: Option<String>,
}

impl Check {
    fn add(&mut self, piece: &Piece) {
        self.at += piece.len();
        if let Piece::Bytes(_, digest) = piece {
            self.digest.chunk(digest);
        }
    }

    fn fail(&mut self, what: &str) {
        self.trouble.get_or_insert_with(|| what.to_owned());
    }

    fn finish(self, meta: &Meta, list: Option<&str>) -> Result<(), String> {
        match (self.trouble, list) {
            (Some(what), _) => Err(what),
            (None, Some(what)) => Err(what.to_owned()),
            _ if self.at != meta.size => Err("its list does not end at its size".to_owned()),
            _ if meta.digest != Some(self.digest.finish()) => Err("does not match its digest".to_owned()),
            _ => Ok(()),
        }
    }
}
