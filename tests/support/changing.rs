//! A small tree that changes as chance decides, and fingerprints of trees, so that every state it ever had can be told.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use super::{
    chance::Chance,
    tree::{random_bytes, write},
};

/// What tells two trees apart: names, types, modes, mtimes, sizes, targets, bytes.
pub type Fingerprint = [u8; 32];

/// The fingerprint of a tree, and how many bytes of files it holds.
pub fn fingerprint(root: &Path) -> (Fingerprint, u64) {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.strip_prefix(root).expect("it lies below the root").as_os_str().as_encoded_bytes();
        hasher.update(&(name.len() as u64).to_be_bytes()).update(name).update(&meta.mode().to_be_bytes());
        if !meta.is_symlink() {
            hasher.update(&meta.mtime().to_be_bytes()).update(&meta.mtime_nsec().to_be_bytes());
        }
        let content = if meta.is_dir() {
            let mut below: Vec<PathBuf> = entries(&path);
            below.sort();
            open.extend(below);
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).expect("a target").into_os_string().into_encoded_bytes()
        } else {
            bytes += meta.len();
            fs::read(&path).expect("a file's bytes")
        };
        hasher.update(&(content.len() as u64).to_be_bytes()).update(&content);
    }
    (*hasher.finalize().as_bytes(), bytes)
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
}

/// A tree that changes. It keeps about the same size: 5 directories, some 40 files, a large one.
pub struct Changing {
    root: PathBuf,
    chance: Chance,
}

impl Changing {
    /// Makes the tree.
    pub fn new(root: &Path, seed: u64) -> Self {
        let mut changing = Self { root: root.to_owned(), chance: Chance::new(seed) };
        for _ in 0..40 {
            changing.write_one();
        }
        changing.write_large();
        changing
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A few changes.
    pub fn change(&mut self) {
        for _ in 0..1 + self.chance.below(6) {
            match self.chance.below(10) {
                0 => self.remove_one(),
                1 => self.rename_one(),
                2 => self.append_one(),
                3 => self.link_one(),
                4 => self.write_large(),
                _ => self.write_one(),
            }
        }
    }

    fn write_one(&mut self) {
        let path = self.root.join(format!("dir{}/file{}", self.chance.below(5), self.chance.below(10)));
        // Most are small, some have several chunks, some are empty, and some say what others said.
        let len = match self.chance.below(8) {
            0 => 0,
            1 => self.chance.below(900_000),
            2 | 3 => self.chance.below(100_000),
            _ => self.chance.below(5_000),
        };
        let seed = if self.chance.one_in(5) { self.chance.below(10) } else { self.chance.number() };
        write(path, random_bytes(seed, len as usize));
    }

    fn write_large(&mut self) {
        write(self.root.join("large"), random_bytes(self.chance.number(), 3 << 20));
    }

    fn some_file(&mut self) -> Option<PathBuf> {
        let dir = self.root.join(format!("dir{}", self.chance.below(5)));
        let mut files: Vec<PathBuf> = if dir.exists() { entries(&dir) } else { Vec::new() };
        files.retain(|path| !path.is_symlink());
        files.sort();
        (!files.is_empty()).then(|| self.chance.pick(&files).clone())
    }

    fn remove_one(&mut self) {
        if let Some(path) = self.some_file() {
            fs::remove_file(path).expect("a file is removed");
        }
    }

    fn rename_one(&mut self) {
        if let Some(path) = self.some_file() {
            fs::rename(path, self.root.join(format!("renamed{}", self.chance.below(5)))).expect("a new name");
        }
    }

    fn append_one(&mut self) {
        if let Some(path) = self.some_file() {
            let mut bytes = fs::read(&path).expect("a file");
            bytes.truncate(1 << 20);
            bytes.extend(random_bytes(self.chance.number(), 2_000));
            write(path, bytes);
        }
    }

    fn link_one(&mut self) {
        let path = self.root.join(format!("link{}", self.chance.below(5)));
        if path.is_symlink() {
            fs::remove_file(&path).expect("a link is removed");
        }
        symlink(format!("target {}", self.chance.number()), path).expect("a link is made");
    }
}
