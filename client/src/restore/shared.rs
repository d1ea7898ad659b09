//! What all threads of a restore share.

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicU64};

use datadb::{Fault, Kind};
use rustix::io::Errno;

use super::{Options, Summary, decide::Act, failed::Failed, open_dirs::OpenDirs, rights::Rights, untrusted::Untrusted};
use crate::{
    exit,
    fs::words,
    report::{Report, count, get},
};

/// What happens to files that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Overwrite {
    /// Files with the same size and mtime are left as they are (other metadata is put right), others replaced
    #[default]
    IfChanged,
    /// Every file is written anew
    Always,
    /// What is there stays
    Never,
}

/// Which time the tree is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// To tell what would be done.
    Rehearse,
    /// To do it.
    Restore,
    /// To read it back; what differs is told, and restored again if that is wanted.
    Verify {
        /// Whether what differs is restored again.
        repairs: bool,
    },
}

/// The state of one pass.
#[derive(Debug)]
pub struct Shared {
    /// What this pass is for.
    pub pass: Pass,
    /// What happens to files that are there.
    pub overwrite: Overwrite,
    /// Where trouble and counts go.
    pub report: Arc<Report>,
    /// What may be set.
    pub rights: Rights,
    /// What is left out of a backup that is not trusted.
    pub untrusted: Untrusted,
    /// The entries that were told of, in this pass and those before it.
    pub failed: Arc<Failed>,
    /// The directories that are open.
    pub open_dirs: OpenDirs,
    /// Entries whose owner could not be set.
    pub owners_lost: AtomicU64,
    /// Attributes that could not be set.
    pub xattrs_lost: AtomicU64,
    /// Entries that were not as in the backup when they were read back.
    pub differing: AtomicU64,
    acts: [AtomicU64; 4],
    files: AtomicU64,
    bytes: AtomicU64,
    fatal: Mutex<Option<Fault>>,
}

impl Shared {
    /// Nothing done yet.
    pub fn new(pass: Pass, options: &Options, report: Arc<Report>, failed: Arc<Failed>) -> Self {
        Self {
            pass,
            // What was written or left is not written once more because it is read back.
            overwrite: if matches!(pass, Pass::Verify { .. }) { Overwrite::IfChanged } else { options.overwrite },
            report,
            rights: Rights::of_process(!options.no_owner),
            untrusted: Untrusted::new(options.untrusted),
            failed,
            open_dirs: OpenDirs::new(),
            owners_lost: AtomicU64::new(0),
            xattrs_lost: AtomicU64::new(0),
            differing: AtomicU64::new(0),
            acts: Default::default(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            fatal: Mutex::new(None),
        }
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
        exit::is_interrupted() || self.fatal.lock().unwrap_or_else(PoisonError::into_inner).is_some()
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
        let words = match error {
            Errno::NOTEMPTY => "a directory that is not empty is in its place: move it away".to_owned(),
            error => words(error),
        };
        self.trouble(path, &if what.is_empty() { words } else { format!("{what}: {words}") });
    }

    /// Tells of an entry with which something is wrong.
    pub fn trouble(&self, path: &[u8], what: &str) {
        self.failed.add(path);
        self.report.error(path, what);
    }

    /// One more entry is as it should be, or would be.
    pub fn done(&self, act: Act) {
        count(&self.acts[act.number()], 1);
    }

    /// The same of an entry that is not a directory, and of its bytes.
    pub fn done_file(&self, act: Act, bytes: u64) {
        self.done_rest(act, bytes, bytes);
    }

    /// The same of a file whose bytes were shown while they came, but for a rest.
    pub fn done_rest(&self, act: Act, bytes: u64, rest: u64) {
        self.done(act);
        count(&self.files, 1);
        count(&self.bytes, bytes);
        count(&self.report.counters.files, 1);
        count(&self.report.counters.bytes, rest);
    }

    /// The counts so far.
    pub fn summary(&self) -> Summary {
        let [created, replaced, metadata, unchanged] = [0, 1, 2, 3].map(|act| get(&self.acts[act]));
        Summary {
            files: get(&self.files),
            bytes: get(&self.bytes),
            created,
            replaced,
            metadata,
            unchanged,
            repaired: get(&self.differing),
            owners_lost: get(&self.owners_lost),
            xattrs_lost: get(&self.xattrs_lost),
            withheld: self.untrusted.withheld(),
            ..Summary::default()
        }
    }
}
