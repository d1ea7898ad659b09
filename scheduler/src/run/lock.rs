//! The same path never runs twice at once. Each path has a file, and whoever holds its lock may run it: the scheduler, a
//! `now` beside it, or a child that outlived a scheduler that was killed, for the child's standard input is that file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use datadb::{HostName, SnapshotKey, TreePath};
use tokio::time::sleep;

use super::child::{Stop, stopped};
use crate::config::{Entry, entry::Source};

/// How often to look whether a lock is free; who holds it may be a program that can't say so.
const LOOK: Duration = Duration::from_millis(200);

/// The locks of an entry, in the order of its sources.
#[derive(Debug)]
pub struct Locks(Vec<File>);

impl Locks {
    /// The lock of a source, as the standard input of its child; nothing stands in it.
    pub fn stdin(&self, source: usize) -> io::Result<Stdio> {
        Ok(Stdio::from(self.0[source].try_clone()?))
    }
}

/// A source's file. The name only has to be the same for the same path.
fn file(dir: &Path, source: Source<'_>) -> PathBuf {
    let path = match source {
        Source::Path(path) => path.canonicalize().unwrap_or_else(|_| path.clone()),
        Source::Stream(name, _) => Path::new("/dev/stdin").join(name.trim_start_matches('/')),
    };
    let host = HostName::new("this").expect("a word is a host name");
    let path = TreePath::lenient(path.as_os_str().as_encoded_bytes()).unwrap_or_else(|_| TreePath::root());
    dir.join(SnapshotKey::of(&host, &path).to_string())
}

fn open(file: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file)
}

/// Takes all locks of an entry, in an order that everybody keeps; `None` where the scheduler stops before that. `busy` is
/// called once where somebody else has one.
pub async fn acquire(state: &Path, entry: &Entry, stop: &Stop, busy: impl FnOnce()) -> io::Result<Option<Locks>> {
    let dir = state.join("locks");
    std::fs::create_dir_all(&dir)?;
    let files: Vec<PathBuf> = entry.sources().into_iter().map(|source| file(&dir, source)).collect();
    let mut order: Vec<&PathBuf> = files.iter().collect();
    order.sort();
    order.dedup();
    let (mut held, mut busy) = (Vec::new(), Some(busy));
    for path in order {
        let lock = open(path)?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    if let Some(busy) = busy.take() {
                        busy();
                    }
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stopped(stop) => return Ok(None),
            }
        }
        held.push((path, lock));
    }
    let of = |path: &PathBuf| held.iter().find(|(held, _)| *held == path).map(|(_, lock)| lock.try_clone());
    files.iter().filter_map(of).collect::<io::Result<_>>().map(|locks| Some(Locks(locks)))
}

/// Whether somebody runs one of an entry's sources now.
pub fn is_held(state: &Path, entry: &Entry) -> bool {
    let dir = state.join("locks");
    let is_held = |source| {
        let lock = File::open(file(&dir, source));
        // A lock that nobody ever took has no file. One that is taken here for a moment delays a run by as long.
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    };
    entry.sources().into_iter().any(is_held)
}

/// The lock of the one scheduler that may use a state directory.
#[derive(Debug)]
pub struct Sole {
    _file: File,
}

/// Takes it; `None` where another one has it.
pub fn sole(state: &Path) -> io::Result<Option<Sole>> {
    std::fs::create_dir_all(state)?;
    let lock = open(&state.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(Sole { _file: lock })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a scheduler has it.
pub fn is_sole_held(state: &Path) -> bool {
    let lock = File::open(state.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
