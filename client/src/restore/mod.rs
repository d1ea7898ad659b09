//! Restoring: `plan` reads the listing and makes directories, links and special files; `window` gathers what is to be
//! fetched; `work`ers download, verify and write; a file or directory gets its metadata when the last one who had to
//! write below it is done.
//!
//! Every call is relative to a directory that was opened without following symlinks, so nothing is ever written outside
//! the target, whatever the backup or the target holds. Memory: the windows under way, the open directories, and the
//! path of each file that has several names (hard links are found again by them).

mod dir;
mod file;
mod links;
mod metadata;
mod place;
mod plan;
mod shared;
pub mod window;
mod work;

use std::{num::NonZero, path::PathBuf, sync::Arc, thread};

use crossbeam_channel::bounded;
use datadb::{Fault, Meta};
use tokio::runtime::Handle;

use crate::{connection::Connection, exit, report::Report};

pub use shared::Overwrite;

/// What to bring back, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The directory, file or whatever the path in the backup is.
    pub meta: Meta,
    /// Its name below the target, if it is not a directory.
    pub name: Vec<u8>,
    /// The directory to restore into; made if it is not there.
    pub target: PathBuf,
    /// What happens to files that are there.
    pub overwrite: Overwrite,
}

/// What a restore came to. Errors are counted by the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Entries restored, or found as they should be.
    pub files: u64,
    /// Bytes of files restored.
    pub bytes: u64,
    /// Entries whose owner could not be set, for want of permission.
    pub owners_lost: u64,
    /// Attributes that could not be set, for want of permission.
    pub xattrs_lost: u64,
}

/// Restores. Blocks; must not be called on one of the runtime's own threads.
pub fn restore(
    handle: &Handle,
    connection: &Connection,
    request: &Request,
    report: &Arc<Report>,
) -> Result<Summary, Fault> {
    let _entered = handle.enter();
    let shared = Arc::new(shared::Shared::new(request.overwrite, Arc::clone(report)));
    let threads = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8);
    let planned = thread::scope(|scope| {
        let (windows, todo) = bounded(1);
        for _ in 0..threads {
            let (todo, downloads, shared) = (todo.clone(), connection.downloads(), &*shared);
            scope.spawn(move || work::work(&todo, &downloads, shared));
        }
        drop(todo);
        plan::plan(handle, connection, request, &shared, windows)
    });
    if exit::is_interrupted() {
        return Err(exit::interrupted());
    }
    if let Some(fault) = shared.fatal() {
        return Err(fault);
    }
    planned?;
    Ok(shared.summary())
}

#[cfg(test)]
mod tests;
