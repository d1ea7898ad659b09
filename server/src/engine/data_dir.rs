//! The data directory: who holds it, which version wrote it, and what lies where in it.
//!
//! # Layout
//! `index/` all of RocksDB and nothing else · `blobs/` packs of the blob store · `meta/` packs of the log · `format` one
//! line, `datadb 1`, the version of all formats · `lock` held by the server that runs.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use datadb::FORMAT_VERSION;
use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    io::Errno,
};
use thiserror::Error;

use super::EngineError;
use crate::{
    config::{Config, Tree},
    index::{Index, IndexError, SharedIndex},
    log::LogError,
    stack::proof::Place,
    stack::{Ground, Purpose, Room, local_dirs, name_of, places},
    store::{
        StoreError,
        blobsfile::{BlobsFile, PACK_BYTES},
        disk::Disk,
        mirror::SILENCE,
    },
};

/// Why a data directory can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another server has it.
    #[error("{dir} is in use by another datadb-server: stop it first")]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// It was written by a newer version.
    #[error("{dir} has format {found}, this version knows up to {FORMAT_VERSION}: use a newer datadb-server")]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// The version found.
        found: u32,
    },
    /// The file `format` is not what it should be.
    #[error(
        "{path} does not say `datadb N`: is this a data directory of datadb? Restore the file, or correct it by hand"
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// There are packs or a log, but no complete index.
    #[error("{dir} holds data but no complete index: run `datadb-server rebuild --data-dir {dir}`, with the server's --config if it has one", dir = dir.display())]
    NoIndex {
        /// The data directory.
        dir: PathBuf,
    },
    /// The index can't be opened.
    #[error("{dir}: {source}; run `datadb-server rebuild --data-dir {dir}`", dir = dir.display())]
    BadIndex {
        /// The data directory.
        dir: PathBuf,
        /// What the index engine said.
        source: IndexError,
    },
    /// There is no log where the config says, though the index knows of one.
    #[error(
        "{what}: no log is here, though the index holds one up to record {applied}. Name the place of the log in the config, \
         mount its disk, or put its packs back. If it is lost for good, `datadb-server heal --data-dir {dir} --accept-empty \
         PATH` (with the server's --config, if it has one) takes an empty directory for it, and the server opens read-only",
        dir = dir.display()
    )]
    EmptyLog {
        /// Where it should be.
        what: String,
        /// The last record that the index was told of.
        applied: u64,
        /// The data directory.
        dir: PathBuf,
    },
    /// Sides of a mirror are away, and nobody knows whether they hold a repository.
    #[error("there is no repository yet, and none is made while a side is away that may hold one: {what}")]
    MayExist {
        /// Which sides.
        what: String,
    },
    /// There is no log to rebuild from.
    #[error("{dir} holds no log to rebuild from", dir = dir.display())]
    NoLog {
        /// The data directory.
        dir: PathBuf,
    },
    /// The log does not go on after a record.
    #[error("{source}; the log is readable up to record {last}, written at unix second {time}")]
    Log {
        /// The last good record.
        last: u64,
        /// When it was written.
        time: i64,
        /// What is wrong behind it.
        source: LogError,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file system failed.
    #[error("{place}: {source}", place = place.display())]
    Io {
        /// Which file.
        place: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<IndexError> for OpenError {
    fn from(error: IndexError) -> Self {
        Self::Engine(error.into())
    }
}

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDir {
    pub(super) root: PathBuf,
    pub(super) lock: File,
    disk: Arc<dyn Disk>,
    pack_bytes: u64,
    silence: Duration,
    config: Config,
}

impl DataDir {
    /// Takes hold of a directory, which is made if it is missing.
    pub fn hold(root: &Path, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let io = |place: &Path| {
            let place = place.to_owned();
            move |source| OpenError::Io { place, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(io(root))?;
        let path = root.join("lock");
        let mut options = fs::OpenOptions::new();
        let lock = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(io(&path))?;
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            return Err(match error {
                Errno::WOULDBLOCK => OpenError::Locked { dir: root.to_owned() },
                other => OpenError::Io { place: path, source: other.into() },
            });
        }
        let config = Config::embedded();
        let dir = Self { root: root.to_owned(), lock, disk, pack_bytes: PACK_BYTES, silence: SILENCE, config };
        dir.check_format()?;
        Ok(dir)
    }

    /// Seals packs at this length, so that a test meets many of them.
    #[must_use]
    pub fn with_pack_bytes(self, pack_bytes: u64) -> Self {
        Self { pack_bytes, ..self }
    }

    /// Takes a side of a mirror for one that hangs after so long, so that a test need not wait.
    #[must_use]
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// Refuses a newer format; writes the file where it is missing (the log's first record says the version too).
    fn check_format(&self) -> Result<(), OpenError> {
        let path = self.root.join("format");
        let io = |source| OpenError::Io { place: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let version = text.trim_end().strip_prefix("datadb ").and_then(|version| version.parse::<u32>().ok());
                match version {
                    None | Some(0) => Err(OpenError::Format { path }),
                    Some(found) if found > FORMAT_VERSION => Err(OpenError::Newer { dir: self.root.clone(), found }),
                    Some(_) => Ok(()),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = self.root.join("format.new");
                let mut file = File::create(&new).map_err(io)?;
                writeln!(file, "datadb {FORMAT_VERSION}").and_then(|()| file.sync_all()).map_err(io)?;
                fs::rename(&new, &path).and_then(|()| File::open(&self.root)?.sync_all()).map_err(io)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(OpenError::Format { path }),
            Err(error) => Err(io(error)),
        }
    }

    /// Keeps blobs and log where the config says.
    #[must_use]
    pub fn with_config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// The tree of the log, or that of the blobs.
    pub(super) fn tree(&self, room: Room) -> &Tree {
        match room {
            Room::Blobs => &self.config.blobs,
            Room::Log { .. } => self.config.log(),
        }
    }

    /// What a stack prints itself as.
    pub(super) fn stack_name(&self, room: Room) -> String {
        name_of(self.tree(room), room)
    }

    /// What the log's stack is opened as.
    pub(super) const fn log_room(&self) -> Room {
        Room::Log { has_own_tree: self.config.meta.is_some() }
    }

    pub(super) fn ground(&self, index: &SharedIndex, room: Room, purpose: Purpose) -> Ground {
        let (root, disk, index) = (self.root.clone(), self.disk.clone(), index.clone());
        Ground { root, disk, pack_bytes: self.pack_bytes, index, room, purpose, silence: self.silence }
    }

    /// The directories of packs that a tree needs.
    pub(super) fn places(&self, room: Room) -> Vec<Place> {
        places(self.tree(room), &self.root, room)
    }

    /// Whether anything is kept in more than one place, so that what one lost can come from another.
    pub fn has_copies(&self) -> bool {
        self.config.blobs.copies() > 1 || self.config.log().copies() > 1
    }

    /// The file layer.
    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Whether any directory of packs that a tree needs holds some.
    pub(super) fn holds(&self, room: Room) -> Result<bool, OpenError> {
        for dir in local_dirs(self.tree(room), &self.root, room) {
            if BlobsFile::holds_packs(&*self.disk, &dir)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn open_index(&self, dir: &str) -> Result<SharedIndex, OpenError> {
        let opened = Index::open(&self.root.join(dir));
        opened.map(Arc::new).map_err(|source| OpenError::BadIndex { dir: self.root.clone(), source })
    }
}
/// Puts the new index in the old one's place in one step, so that there is an index at every moment. A file system that
/// can't do that needs two, through `old`.
pub(super) fn replace(new: &Path, current: &Path, old: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, current, RenameFlags::EXCHANGE) {
        Ok(()) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(_) => fs::rename(current, old)?,
    }
    fs::rename(new, current)
}

pub(super) fn remove(dir: &Path) -> Result<(), OpenError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(OpenError::Io { place: dir.to_owned(), source }),
        _ => Ok(()),
    }
}
