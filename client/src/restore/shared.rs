//! What all threads of a restore share.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use datadb::{Fault, Kind};
use rustix::{io::Errno, process::geteuid};

use super::Summary;
use crate::{
    exit,
    report::{Report, count, get},
    walk::words,
};

/// What happens to files that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Overwrite {
    /// Files with the same size and mtime are left as they are, others replaced
    #[default]
    IfChanged,
    /// Every file is written anew
    Always,
    /// What is there stays
    Never,
}

/// The state of one restore.
#[derive(Debug)]
pub struct Shared {
    /// What happens to files that are there.
    pub overwrite: Overwrite,
    /// Where trouble and counts go.
    pub report: Arc<Report>,
    /// Whether what can't be set is an error (for root), or a matter of permission.
    pub is_root: bool,
    /// Entries whose owner could not be set.
    pub owners_lost: AtomicU64,
    /// Attributes that could not be set.
    pub xattrs_lost: AtomicU64,
    fatal: Mutex<Option<Fault>>,
}

impl Shared {
    /// Nothing done yet.
    pub fn new(overwrite: Overwrite, report: Arc<Report>) -> Self {
        let is_root = geteuid().is_root();
        let (owners_lost, xattrs_lost) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { overwrite, report, is_root, owners_lost, xattrs_lost, fatal: Mutex::new(None) }
    }

    /// Ends the restore as soon as everybody notices; the first fault counts.
    pub fn fail(&self, fault: Fault) {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }

    /// Why the restore can't go on, if it can't.
    pub fn fatal(&self) -> Option<Fault> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether to stop.
    pub fn is_over(&self) -> bool {
        exit::is_interrupted() || self.fatal().is_some()
    }

    /// Tells of an entry that could not be restored. A full disk ends the restore: everything else would fail, too.
    pub fn error(&self, path: &[u8], what: &str, error: Errno) {
        if matches!(error, Errno::NOSPC | Errno::DQUOT) {
            let path = crate::report::escape(path);
            let line = format!(
                "{path}: no space left on the device: free some, and run the same restore again (what is there already is kept)"
            );
            return self.fail(Fault::new(Kind::Full, line));
        }
        let words = words(error);
        self.report.error(path, &if what.is_empty() { words } else { format!("{what}: {words}") });
    }

    /// One more entry is as it should be.
    pub fn done(&self, bytes: u64) {
        count(&self.report.counters.files, 1);
        count(&self.report.counters.bytes, bytes);
    }

    /// The counts so far.
    pub fn summary(&self) -> Summary {
        Summary {
            files: get(&self.report.counters.files),
            bytes: get(&self.report.counters.bytes),
            owners_lost: self.owners_lost.load(Ordering::Relaxed),
            xattrs_lost: self.xattrs_lost.load(Ordering::Relaxed),
        }
    }
}
