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
mod owners;
mod read;
mod run;
pub mod xattrs;

use std::{collections::BTreeMap, path::PathBuf};

use datadb::{Backup, Fault, HostName, Kind, TreePath};
use tokio::runtime::Handle;

use crate::{connection::Connection, report::Report};

/// How often a run starts again when the server turns out to miss what it had, or a key is taken.
const ATTEMPTS_MAX: u32 = 4;

/// What to back up, and how to call it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Canonical absolute path on this machine; a directory or a file.
    pub source: PathBuf,
    /// Whose path it is.
    pub host: HostName,
    /// What the backup's path will be.
    pub path: TreePath,
    /// Unix seconds; `None` is now.
    pub time: Option<i64>,
    /// The user's own words.
    pub tags: BTreeMap<String, String>,
}

/// What a snapshot came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The backup.
    pub backup: Backup,
    /// Files whose bytes were read.
    pub files_read: u64,
    /// Blobs that were new to the repository.
    pub blobs_new: u64,
    /// Bytes of bundles and objects sent.
    pub bytes_uploaded: u64,
}

/// Makes a backup. Blocks; must not be called on one of the runtime's own threads.
pub fn snapshot(
    handle: &Handle,
    connection: &Connection,
    request: &Request,
    report: &Report,
) -> Result<Summary, Fault> {
    let mut taken = run::Taken::new();
    let mut last = String::new();
    for number in 0..ATTEMPTS_MAX {
        match attempt::attempt(handle, connection, request, report, number == 0, &taken) {
            Ok(summary) => return Ok(summary),
            Err(run::Trouble::Fault(fault)) => return Err(fault),
            Err(run::Trouble::Again { reason, taken: more }) => {
                report.line(&format!("starting again, and reading everything: {reason}"));
                taken.extend(more);
                last = reason;
            }
        }
    }
    Err(Fault::new(Kind::Internal, format!("gave up after {ATTEMPTS_MAX} attempts: {last}")))
}
