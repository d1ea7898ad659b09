//! The server's TOML file: the trees of backends, as plain data. Nothing here opens anything.
//!
//! `[blobs]` holds the tree of the blob store, `[meta]` that of the log; without `[meta]` the log lives in the tree of
//! `[blobs]`, below `meta/` of each leaf. Secrets are never in the file: it names files, variables of the environment, or
//! credentials of systemd.

mod fields;
mod tree;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

pub use self::tree::{KeySource, Side, Tree};
use self::{
    fields::{Fields, Source},
    tree::read_tree,
};

/// A file of more bytes is no config.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where blobs and log are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The tree of the blob store.
    pub blobs: Tree,
    /// The tree of the log, if it has one of its own.
    pub meta: Option<Tree>,
}

/// Why a file can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no TOML.
    #[error("{file}:{line}: {what}", file = file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A key is unknown, missing, or has a value that makes no sense.
    #[error("{file}:{line}: {key}: {what}", file = file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key with all that it is in.
        key: String,
        /// What is wrong, and the way out.
        what: String,
    },
}

impl Config {
    /// What a data directory holds where nobody says otherwise: one directory of packs, and the log beside it.
    pub fn embedded() -> Self {
        Self { blobs: Tree::BlobsFile { path: "blobs".into() }, meta: None }
    }

    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::Io { file: file.to_owned(), source };
        if fs::metadata(file).map_err(io)?.len() > FILE_BYTES_MAX {
            return Err(io(io::Error::other("is too large for a config")));
        }
        Self::parse(file, &fs::read_to_string(file).map_err(io)?)
    }

    /// Reads the text of a file; its name is for errors.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source { file, text };
        let table = source.parse()?;
        let mut fields = Fields::top(&source, table.get_ref());
        let blobs = fields.need_table("blobs")?;
        let blobs_line = blobs.line();
        let blobs = read_tree(blobs, 0)?;
        let meta = fields.table("meta")?;
        let meta_line = meta.as_ref().map_or(blobs_line, Fields::line);
        let meta = meta.map(|fields| read_tree(fields, 0)).transpose()?;
        fields.end()?;
        let mut places = blobs.places();
        places.extend(meta.iter().flat_map(Tree::places));
        places.sort();
        if let Some(twice) = places.windows(2).find(|two| two[0] == two[1]) {
            let what = format!("{} is named twice: each leaf needs a place of its own", twice[0]);
            return Err(source.refuse(meta_line, "blobs", what));
        }
        Ok(Self { blobs, meta })
    }

    /// The tree of the log.
    pub fn log(&self) -> &Tree {
        self.meta.as_ref().unwrap_or(&self.blobs)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
