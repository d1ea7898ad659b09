//! A directory that is a side of a mirror carries a mark, so that an unmounted disk never passes for a wiped side.
//!
//! # Format (version 1)
//! The file `side`, one line: `datadb side` and 32 hex digits by chance. The index keeps the same digits, and whether the
//! directory was a mount point. A directory that is missing, another's, or no mount point any more is *away*. One that is
//! there without the file, though it is known, was wiped: it gets a new mark, and its packs count as lost. The one
//! directory of the data directory's own, `blobs`, is made again if it is missing: no disk is mounted there.
//!
//! The wrapper looks after each flush whether the directory that was opened is still in its place, for a file system would
//! go on for ever with files that have lost their names. It prints itself as what is inside.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};

use super::{
    BlobStore, Cursor, Durable, Item, Presence, Put, SharedStore, StoreError, StoreStats, Stored, pulse::Pulse,
    threads::Threads,
};
use crate::db::{Family, Index, keys};

const FILE: &str = "side";
const WORDS: &str = "datadb side ";

/// Hex digits of a mark.
const DIGITS: usize = 32;

/// What looking at a directory found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is what it was, or it is new.
    Same,
    /// It lost everything.
    Wiped,
}

/// What may be done about a directory that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is made if nothing is known of it yet.
    MadeIfNew,
    /// It is made again.
    MadeAgain,
    /// It is away.
    Away,
}

/// Looks whether a directory is the side of this name, and marks it where it is new or wiped.
pub fn look(index: &Index, name: &str, dir: &Path, missing: Missing) -> Result<Seen, StoreError> {
    let io = |source| StoreError::io(dir.display(), source);
    let away = |what: &str| StoreError::Away { place: dir.display().to_string(), what: what.to_owned() };
    let known = index.get(Family::State, &keys::side(name))?;
    let known = known.as_deref().and_then(|known| Some((known.first()? == &1, known.get(1..)?.to_vec())));
    if !dir.is_dir() {
        match (missing, &known) {
            (Missing::MadeAgain, _) | (Missing::MadeIfNew, None) => fs::create_dir_all(dir).map_err(io)?,
            _ => {
                return Err(away(
                    "the directory is missing: mount its disk, or make it, empty, to have it filled anew",
                ));
            }
        }
    }
    let found = read_mark(dir).map_err(io)?;
    let is_mount = is_mount_point(dir).map_err(io)?;
    match (&known, &found) {
        (Some((true, _)), None) if !is_mount => {
            return Err(away("the directory was a mount point and is none now: mount its disk"));
        }
        (Some((_, known)), Some(found)) if known != found => {
            return Err(away("the directory is another's: its file `side` is not the one that was here"));
        }
        _ => {}
    }
    let mark = match &found {
        Some(mark) => mark.clone(),
        None => write_mark(dir).map_err(io)?,
    };
    let mut batch = index.batch();
    batch.put(Family::State, &keys::side(name), &[&[u8::from(is_mount)][..], &mark].concat());
    index.write(batch)?;
    Ok(if known.is_some() && found.is_none() { Seen::Wiped } else { Seen::Same })
}

fn read_mark(dir: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read_to_string(dir.join(FILE)) {
        Ok(text) => {
            let mark = text.trim_end().strip_prefix(WORDS).filter(|mark| mark.len() == DIGITS);
            let bad = || io::Error::new(io::ErrorKind::InvalidData, "the file `side` is damaged: remove it");
            mark.map(|mark| Some(mark.as_bytes().to_vec())).ok_or_else(bad)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_mark(dir: &Path) -> io::Result<Vec<u8>> {
    let bytes: [u8; DIGITS / 2] = crate::random::bytes()?;
    let mark: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let new = dir.join("side.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{WORDS}{mark}")?;
    file.sync_all()?;
    fs::rename(&new, dir.join(FILE))?;
    File::open(dir)?.sync_all()?;
    Ok(mark.into_bytes())
}

/// Whether another file system begins at a directory.
fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let dir = dir.canonicalize()?;
    match dir.parent() {
        Some(parent) => Ok(fs::metadata(&dir)?.dev() != fs::metadata(parent)?.dev()),
        None => Ok(true),
    }
}

/// Device and inode.
fn identity(dir: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(dir)?;
    Ok((meta.dev(), meta.ino()))
}

/// A leaf in a directory that may be taken away. See the module.
#[derive(Debug)]
pub struct Marked {
    inner: SharedStore,
    dir: PathBuf,
    identity: (u64, u64),
    threads: Threads,
    pulse: Pulse,
}

impl Marked {
    /// Around a leaf whose packs are in this directory, with the threads and the pulse of that leaf.
    pub fn around(inner: SharedStore, dir: &Path, threads: Threads, pulse: Pulse) -> Result<Self, StoreError> {
        let identity = pulse.feel(|| identity(dir)).map_err(|source| StoreError::io(dir.display(), source))?;
        Ok(Self { inner, dir: dir.to_owned(), identity, threads, pulse })
    }

    async fn check(&self) -> Result<(), StoreError> {
        let (dir, pulse) = (self.dir.clone(), self.pulse.clone());
        let what = match self.threads.run(move || pulse.feel(|| identity(&dir))).await {
            Ok(found) if found == self.identity => return Ok(()),
            Ok(_) => "another directory is in its place".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(StoreError::Gone { place: self.dir.display().to_string(), what })
    }
}

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BlobStore for Marked {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        self.inner.put(bundle, label).await
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        self.inner.find(ids).await
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        self.inner.get(id).await
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        self.check().await?;
        let durable = self.inner.flush().await?;
        self.check().await?;
        Ok(durable)
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        self.inner.enumerate(after, max).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.inner.stats().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (tempfile::TempDir, Index, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let index = Index::open(&root.path().join("index")).unwrap();
        let dir = root.path().join("side");
        (root, index, dir)
    }

    #[test]
    fn a_new_side_is_made_and_a_known_one_that_is_missing_is_away() {
        let (_root, index, dir) = scene();
        assert_eq!(look(&index, "a", &dir, Missing::MadeIfNew).unwrap(), Seen::Same);
        assert_eq!(look(&index, "a", &dir, Missing::MadeIfNew).unwrap(), Seen::Same);
        fs::remove_dir_all(&dir).unwrap();
        let error = look(&index, "a", &dir, Missing::MadeIfNew).unwrap_err();
        assert!(matches!(error, StoreError::Away { .. }) && error.to_string().contains("missing"), "{error}");
        assert_eq!(look(&index, "a", &dir, Missing::MadeAgain).unwrap(), Seen::Wiped);
    }

    #[test]
    fn an_empty_directory_in_a_known_ones_place_is_wiped_and_another_sides_is_refused() {
        let (root, index, dir) = scene();
        look(&index, "a", &dir, Missing::MadeIfNew).unwrap();
        fs::remove_file(dir.join("side")).unwrap();
        assert_eq!(look(&index, "a", &dir, Missing::MadeIfNew).unwrap(), Seen::Wiped);
        assert_eq!(look(&index, "a", &dir, Missing::MadeIfNew).unwrap(), Seen::Same);
        let other = root.path().join("other");
        look(&index, "b", &other, Missing::MadeIfNew).unwrap();
        fs::copy(other.join("side"), dir.join("side")).unwrap();
        let error = look(&index, "a", &dir, Missing::MadeIfNew).unwrap_err();
        assert!(error.to_string().contains("another's"), "{error}");
    }

    #[test]
    fn a_mount_point_that_is_none_any_more_is_away_even_if_it_is_empty() {
        let (_root, index, dir) = scene();
        look(&index, "a", &dir, Missing::MadeIfNew).unwrap();
        // As if a disk had been mounted there.
        let mut known = index.get(Family::State, &keys::side("a")).unwrap().unwrap();
        known[0] = 1;
        let mut batch = index.batch();
        batch.put(Family::State, &keys::side("a"), &known);
        index.write(batch).unwrap();
        fs::remove_file(dir.join("side")).unwrap();
        let error = look(&index, "a", &dir, Missing::MadeIfNew).unwrap_err();
        assert!(error.to_string().contains("mount point"), "{error}");
    }
}
