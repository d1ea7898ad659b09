//! Restoring. `tree` brings the entries, `choice` picks, `plan` finds where each comes to lie, `decide` compares it with
//! what is there, and `make` makes it: directories, links and special files itself; files wait in a `queue` until their
//! lists are there, a `window` gathers what is to be fetched, and `work`ers download, verify and write. A file or
//! directory gets its metadata when the last one who had to write below it is done.
//!
//! The same way is gone to tell what would be done (`rehearse`), and to read everything back (`check` and `reading`
//! compare bytes).
//!
//! Every call is relative to a directory that was opened without following symlinks, so nothing is ever written outside
//! the target, whatever the backup or the target holds. Memory: the windows under way, the directories from the target
//! down to the present place, and the path of each file that has several names (hard links are found again by them).

mod check;
pub(crate) mod choice;
mod decide;
mod dir;
mod failed;
mod file;
mod leads;
mod links;
mod make;
mod merge;
mod metadata;
mod open_dirs;
mod place;
mod plan;
mod queue;
mod rights;
mod shared;
mod special;
mod untrusted;
pub(crate) mod wanted;
mod work;

use std::{num::NonZero, path::PathBuf, sync::Arc, thread};

use crossbeam_channel::bounded;
use datadb::{Fault, Kind, Meta};
use rustix::{
    fs::{Mode, OFlags, open, syncfs},
    io::Errno,
};
use tokio::runtime::Handle;

use crate::{connection::Connection, exit, fs::words, report::Report};
use failed::Failed;
use plan::Planned;
use shared::{Pass, Shared};

pub use decide::Act;
pub use shared::Overwrite;
pub use untrusted::Withheld;

/// How to restore.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What happens to files that are there.
    pub overwrite: Overwrite,
    /// Patterns of [`crate::glob`]: nothing but what they match, and what lies below that, is restored. None: everything.
    pub include: Vec<String>,
    /// Patterns: what they match is not restored, nor what lies below it.
    pub exclude: Vec<String>,
    /// So many names are dropped at the beginning of each path.
    pub strip: usize,
    /// Whether everything belongs to whoever restores.
    pub no_owner: bool,
    /// Whether the backup may have been made by somebody who is not trusted: what lends rights is left out.
    pub untrusted: bool,
}

impl Options {
    /// Whether everything is restored as it is.
    pub(crate) fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.strip == 0
    }

    /// What chooses, as it was given.
    pub(crate) fn choice(&self) -> String {
        let flag = |flag: &'static str| move |pattern: &String| format!("--{flag} {pattern}");
        let patterns = self.include.iter().map(flag("include")).chain(self.exclude.iter().map(flag("exclude")));
        let strip = (self.strip > 0).then(|| format!("--strip {}", self.strip));
        patterns.chain(strip).collect::<Vec<_>>().join(" ")
    }
}

/// What to bring back, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The directory, file or whatever the path in the backup is.
    pub meta: Meta,
    /// Its name below the target, if it is not a directory.
    pub name: Vec<u8>,
    /// The directory to restore into; made if it is not there.
    pub target: PathBuf,
    /// How.
    pub options: Options,
}

/// What a restore came to. Errors are counted by the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Entries restored, or found as they should be. Directories don't count.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Entries that were not there before, directories among them.
    pub created: u64,
    /// Entries that took the place of something else, or of other content.
    pub replaced: u64,
    /// Entries of which only metadata were changed.
    pub metadata: u64,
    /// Entries that were not touched.
    pub unchanged: u64,
    /// Entries without a name, once those at the beginning of the path were dropped.
    pub stripped: u64,
    /// Entries that were restored again.
    repaired: u64,
    /// Entries whose owner could not be set, for want of permission.
    pub owners_lost: u64,
    /// Attributes that could not be set, for want of permission.
    pub xattrs_lost: u64,
    /// What was left out because the backup is not trusted.
    pub withheld: Withheld,
}

/// What reading back came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    /// Entries found as they should be, directories among them.
    pub same: u64,
    /// Entries that were not, and were restored again.
    pub repaired: u64,
}

/// Takes an entry's path below the target, what would be done with it, and how it is in the backup; a fault ends the
/// rehearsal.
pub type Each<'a> = dyn FnMut(&[u8], Act, &Meta) -> Result<(), Fault> + 'a;

/// One restore, which goes through the tree once or several times. Everything blocks; nothing may be called on one of the
/// runtime's own threads.
pub struct Restore<'a> {
    handle: &'a Handle,
    connection: &'a Connection,
    request: &'a Request,
    failed: Arc<Failed>,
}

impl<'a> Restore<'a> {
    /// One that has not begun.
    pub fn new(handle: &'a Handle, connection: &'a Connection, request: &'a Request) -> Self {
        Self { handle, connection, request, failed: Arc::default() }
    }

    /// Tells `each` entry that would be made or changed, in the order of the tree. Writes nothing.
    pub fn rehearse(&self, report: &Arc<Report>, each: &mut Each<'_>) -> Result<Summary, Fault> {
        self.go_through(Pass::Rehearse, report, each)
    }

    /// Restores.
    pub fn restore(&self, report: &Arc<Report>) -> Result<Summary, Fault> {
        self.go_through(Pass::Restore, report, &mut |_, _, _| Ok(()))
    }

    /// Reads back what was restored or left. What differs is restored again, if anything may be overwritten, and then
    /// read once more. What failed before is not told again.
    pub fn verify(&self, report: &Arc<Report>) -> Result<Verified, Fault> {
        let mut verified = Verified::default();
        let mut repairs = self.request.options.overwrite != Overwrite::Never;
        loop {
            self.sync()?;
            let read = self.go_through(Pass::Verify { repairs }, report, &mut |_, _, _| Ok(()))?;
            verified.same = read.unchanged;
            verified.repaired += read.repaired;
            if read.repaired == 0 {
                return Ok(verified);
            }
            repairs = false;
        }
    }

    /// Sees to it that the disk has what was written, so that it is what will be read.
    fn sync(&self) -> Result<(), Fault> {
        let target = &self.request.target;
        let synced = open(target, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).and_then(syncfs);
        synced.map_err(|error: Errno| {
            Fault::new(Kind::Internal, format!("{}: can't be synced: {}", target.display(), words(error)))
        })
    }

    fn go_through(&self, pass: Pass, report: &Arc<Report>, each: &mut Each<'_>) -> Result<Summary, Fault> {
        let _entered = self.handle.enter();
        let shared = Shared::new(pass, &self.request.options, Arc::clone(report), Arc::clone(&self.failed));
        let shared = Arc::new(shared);
        let available = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8);
        let threads = if pass == Pass::Rehearse { 0 } else { available };
        let planned = thread::scope(|scope| {
            let (jobs, todo) = bounded(1);
            for _ in 0..threads {
                let (todo, downloads, shared) = (todo.clone(), self.connection.downloads(), &*shared);
                scope.spawn(move || work::work(&todo, &downloads, shared));
            }
            drop(todo);
            plan::plan((self.handle, self.connection), self.request, &shared, jobs, each)
        });
        if exit::is_interrupted() {
            return Err(exit::interrupted());
        }
        if let Some(fault) = shared.fatal() {
            return Err(fault);
        }
        let planned = planned?;
        if !matches!(pass, Pass::Verify { .. }) {
            self.judge(&planned, report)?;
        }
        Ok(Summary { stripped: planned.stripped, ..shared.summary() })
    }

    /// A choice that chose nothing must not look like success, nor a pattern that did.
    fn judge(&self, planned: &Planned, report: &Report) -> Result<(), Fault> {
        let options = &self.request.options;
        if planned.chosen == 0 && !options.is_all() {
            let line = format!(
                "nothing is left to restore by {}: `datadb-client ls -R BACKUP[:PATH]` shows what is there",
                crate::report::escape(options.choice().as_bytes())
            );
            return Err(Fault::new(Kind::NotFound, line));
        }
        for pattern in &planned.unmatched {
            report.error(format!("--include {pattern}").as_bytes(), "matches nothing that is restored");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
