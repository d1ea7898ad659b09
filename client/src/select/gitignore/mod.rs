//! What git would ignore, as `git check-ignore --no-index` says it.
//!
//! For each entry the patterns are asked from near to far: the `.gitignore` of its directory, of those above up to the top
//! of the repository, `.git/info/exclude`, and the user's `core.excludesFile`; in each file the last one that matches
//! counts. An ignored directory is not looked into, so nothing below it can be taken back.
//!
//! - Rules apply within a repository only, and start anew in one that lies in another. Its own directory is judged by the
//!   outer one.
//! - `.git` and what is in it is never ignored: without it a backup of a repository is none.
//! - A file that git tracks is ignored nevertheless where a pattern matches it: the index is not read.
//! - The root of the backup is never ignored, nor is what lies below it because of something above it.
//! - A `.gitignore` that is a symlink is not followed, as by git. `core.ignoreCase`, and a `core.excludesFile` that a
//!   repository sets for itself or that is relative, are not looked at.
//!
//! The `ignore` crate's matcher is not used, because it differs from git where that loses files: it understands `{a,b}`,
//! takes `[a` for text, refuses POSIX classes and patterns that are not UTF-8.

mod repository;
mod rules;
mod set;
mod wild;

use std::{os::unix::ffi::OsStrExt, path::Path};

use rustix::fs::{CWD, Mode, OFlags, openat};

use self::rules::Rules;
pub use self::rules::trim_end_spaces;
use super::pattern_file::{self, Links};
use crate::{
    fs::{Dir, words},
    report::{Report, escape},
};

/// What holds in an open directory.
#[derive(Debug)]
enum Level {
    /// No repository.
    Outside,
    /// In a `.git`.
    Inside,
    /// In a repository's tree.
    Tree {
        /// Of its own `.gitignore`.
        rules: Rules,
        /// Of `info/exclude`, if it is the top.
        top: Option<Rules>,
        /// Where the names in it begin in their whole paths.
        names_at: usize,
    },
}

/// The rules of all directories from the root to the present place, and of those above the root that belong to its
/// repository.
#[derive(Debug)]
pub struct Gitignore {
    user: Rules,
    levels: Vec<Level>,
}

impl Gitignore {
    /// Starts above the root of a backup, a canonical path.
    pub fn above(root: &Path, report: &Report) -> Self {
        let mut start = Self { user: repository::of_user(report), levels: Vec::new() };
        for path in root.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let name = path.file_name().map_or(&b""[..], OsStrExt::as_bytes);
            // Only what is in it is opened, for which it need not be readable.
            match openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => {
                    let dir = Dir::new(fd, path.as_os_str().as_bytes().to_vec());
                    start.enter(name, Some(&dir), None, report);
                }
                Err(error) => {
                    let shown = escape(path.as_os_str().as_bytes());
                    report.line(&format!("{shown}: {}: git's rules in it are not used", words(error)));
                    start.enter(name, None, None, report);
                }
            }
        }
        start
    }

    /// Goes into a directory of this name. `names` are all that it holds, sorted; without them everything is looked for.
    pub fn enter(&mut self, name: &[u8], dir: Option<&Dir>, names: Option<&[Vec<u8>]>, report: &Report) {
        let level = self.level(name, dir, names, report);
        self.levels.push(level);
    }

    fn level(&self, name: &[u8], dir: Option<&Dir>, names: Option<&[Vec<u8>]>, report: &Report) -> Level {
        let above = self.levels.last().unwrap_or(&Level::Outside);
        if name == b".git" || matches!(above, Level::Inside) {
            return Level::Inside;
        }
        let Some(dir) = dir else { return Level::Outside };
        let may_hold =
            |wanted: &[u8]| names.is_none_or(|names| names.binary_search_by(|name| (**name).cmp(wanted)).is_ok());
        let top = if may_hold(b".git") { repository::at(dir, report) } else { None };
        if top.is_none() && matches!(above, Level::Outside) {
            return Level::Outside;
        }
        let mut rules = Rules::default();
        if may_hold(b".gitignore") {
            let shown = dir.path_of(b".gitignore");
            let text = pattern_file::read(dir.fd(), b".gitignore", Links::Refused, &shown, report);
            rules = Rules::parse(&text.unwrap_or_default());
        }
        Level::Tree { rules, top, names_at: dir.path_of(b"").len() }
    }

    /// Goes back up.
    pub fn leave(&mut self) {
        self.levels.pop();
    }

    /// Whether git would ignore an entry of the present directory, by its whole path.
    pub fn ignores(&self, path: &[u8], is_dir: bool) -> bool {
        if path.ends_with(b"/.git") {
            return false;
        }
        for level in self.levels.iter().rev() {
            let Level::Tree { rules, top, names_at } = level else { return false };
            let below = &path[*names_at..];
            if let Some(verdict) = rules.verdict(below, is_dir) {
                return verdict;
            }
            if let Some(top) = top {
                let verdict = top.verdict(below, is_dir).or_else(|| self.user.verdict(below, is_dir));
                return verdict.unwrap_or(false);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
