//! Snapshots: from a path on disk to a backup on the server.
//!
//! `dispatch` (the walk) -> `read` (workers) -> `ask` -> `assemble` -> `bundle` (compress, upload) and `objects` -> commit.
//! Every stage has its threads and a bounded queue to the next; order is kept throughout. When a stage ends early the
//! queues close one after the other, and `run` says why. Nothing here grows with the number of files, but for the names
//! of the directories that are open from the root to the present place.

mod ask;
mod assemble;
mod attempt;
mod bundle;
mod dispatch;
mod item;
mod missing;
mod objects;
mod read;
mod run;
mod source;

use std::{collections::BTreeMap, sync::Arc};

use datadb::{Backup, Fault, HostName, Kind, TreePath};
use tokio::runtime::Handle;

pub(crate) use read::described;
pub use source::Source;

use crate::{
    connection::{Connection, Session},
    report::Report,
    select::Selection,
};

/// How often a run starts again when the server turns out to miss what it had, or a key is taken.
const ATTEMPTS_MAX: u32 = 4;

/// What to back up, and how to call it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the bytes come from.
    pub source: Source,
    /// Whose path it is.
    pub host: HostName,
    /// What the backup's path will be.
    pub path: TreePath,
    /// Unix seconds; `None` is now.
    pub time: Option<i64>,
    /// The user's own words.
    pub tags: BTreeMap<String, String>,
    /// What of it to take.
    pub selection: Arc<Selection>,
    /// How to go about it.
    pub how: How,
}

/// How to go about a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Read everything, whatever the cache of the last backup says.
    pub force: bool,
    /// Make no backup if it would equal the last one of its path.
    pub skip_if_unchanged: bool,
    /// Read and compare, but send nothing and make no backup.
    pub dry_run: bool,
    /// Name every file that is read.
    pub verbose: bool,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// A backup.
    Backup,
    /// None: it would have equalled the last one, which the summary names.
    Nothing,
    /// None: it was a dry run. The summary tells of a backup that is not there.
    Plan,
}

/// What a snapshot came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What became of it.
    pub made: Made,
    /// The backup.
    pub backup: Backup,
    /// Files whose bytes were read.
    pub files_read: u64,
    /// Blobs that were new to the repository.
    pub blobs_new: u64,
    /// Bytes of bundles and objects sent.
    pub bytes_uploaded: u64,
    /// Messages sent to the server.
    pub requests: u64,
    /// What the server's stores were asked meanwhile: requests by kind. Empty where none is asked by requests.
    pub store_requests: BTreeMap<String, u64>,
    /// Entries that the selection left out; a directory is one, with all that is in it.
    pub excluded: u64,
}

/// Makes a backup. Blocks; must not be called on one of the runtime's own threads. Several may share a session: it is
/// opened by the first, and left for the next.
pub fn take(
    handle: &Handle,
    connection: &Connection,
    request: &Request,
    report: &Report,
    session: &mut Option<Session>,
) -> Result<Summary, Fault> {
    let mut taken = run::Taken::new();
    let mut last = String::new();
    for number in 0..ATTEMPTS_MAX {
        let trusting = number == 0 && !request.how.force;
        let mut attempt = attempt::Attempt { handle, connection, request, report, trusting, taken: &taken, session };
        match attempt.run() {
            Ok(summary) => return Ok(summary),
            Err(run::Trouble::Fault(fault)) => return Err(fault),
            Err(run::Trouble::Again { reason, .. }) if !matches!(request.source, Source::Path(_)) => {
                let line = format!("{reason}; a stream can't be read again: run the same once more");
                return Err(Fault::new(Kind::Internal, line));
            }
            Err(run::Trouble::Again { reason, taken: more }) => {
                report.line(&format!("starting again, and reading everything: {reason}"));
                taken.extend(more);
                last = reason;
            }
        }
    }
    Err(Fault::new(Kind::Internal, format!("gave up after {ATTEMPTS_MAX} attempts: {last}")))
}

#[cfg(test)]
mod tests;
