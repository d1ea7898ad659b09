//! A selection on its way through one tree.

use std::path::Path;

use datadb::FileType;

use super::{
    Selection,
    gitignore::Gitignore,
    listed::{Listed, Wanted},
};
use crate::{
    fs::{Dir, Stat},
    report::{Report, count},
};

/// An open directory.
#[derive(Debug)]
struct Frame {
    /// Length of the path before this directory's name was added.
    path_len: usize,
    /// What the list wants of it, if there is one.
    wanted: Option<Wanted>,
}

/// Decides about every name that a walk meets. It must be told of every directory that the walk enters and leaves. What is
/// left out is counted in the report; a directory counts one, whatever is in it.
#[derive(Debug)]
pub struct Selector<'a> {
    selection: &'a Selection,
    report: &'a Report,
    git: Option<Gitignore>,
    /// The file system of the root.
    device: (u32, u32),
    /// The whole path of the present directory, with a slash at its end.
    path: Vec<u8>,
    frames: Vec<Frame>,
}

impl<'a> Selector<'a> {
    /// Starts at the root of a walk, a canonical path; `None` where everything is taken and nobody need be asked.
    pub fn start(selection: &'a Selection, root: &Path, stat: &Stat, report: &'a Report) -> Option<Self> {
        use std::os::unix::ffi::OsStrExt as _;
        if selection.is_everything() {
            return None;
        }
        let git = selection.gitignore.then(|| Gitignore::above(root, report));
        let mut path = root.as_os_str().as_bytes().to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        Some(Self { selection, report, git, device: stat.dev, path, frames: Vec::new() })
    }

    /// Whether a name in the present directory is taken. Without a stat (it can't be had) it may be a directory.
    pub fn takes(&mut self, name: &[u8], stat: Option<&Stat>) -> bool {
        let is_dir = stat.is_none_or(|stat| stat.file_type == Some(FileType::Dir));
        if !is_dir && !self.is_wanted_itself(name) {
            return false;
        }
        let len = self.path.len();
        self.path.extend_from_slice(name);
        let is_taken = !self.is_left_out(stat, is_dir);
        self.path.truncate(len);
        if !is_taken {
            count(&self.report.counters.excluded, 1);
        }
        is_taken
    }

    /// About the path in `path`.
    fn is_left_out(&self, stat: Option<&Stat>, is_dir: bool) -> bool {
        let is_large = |stat: &Stat| {
            stat.file_type == Some(FileType::File) && self.selection.bytes_max.is_some_and(|max| stat.size > max)
        };
        if stat.is_some_and(is_large) {
            return true;
        }
        let verdict = self.selection.globs.verdict(&self.path, is_dir);
        verdict.unwrap_or_else(|| self.git.as_ref().is_some_and(|git| git.ignores(&self.path, is_dir)))
    }

    /// Whether a directory below the root is to stay shut: a mount point.
    pub fn keeps_shut(&self, stat: &Stat) -> bool {
        let is_shut = self.selection.one_file_system && stat.dev != self.device;
        if is_shut {
            count(&self.report.counters.excluded, 1);
        }
        is_shut
    }

    /// Goes into the root, or into a directory of this name in the present one; `dir` is `None` where it could not be
    /// opened. Gives the names to go on with, out of all that it holds.
    pub fn enter(&mut self, name: &[u8], dir: Option<&Dir>, names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let (path_len, is_root) = (self.path.len(), self.frames.is_empty());
        let wanted = self.wanted(name);
        if !is_root {
            self.path.extend_from_slice(name);
            self.path.push(b'/');
        }
        if let Some(git) = &mut self.git {
            git.enter(name, dir, Some(&names), self.report);
        }
        let marked = dir.filter(|_| !is_root).and_then(|dir| self.selection.markers.kept(dir, &names));
        let names = match (marked, &wanted, &self.selection.listed) {
            (Some(kept), _, _) => {
                count(&self.report.counters.excluded, u64::from(kept.len() < names.len()));
                kept
            }
            (None, Some(wanted), Some(listed)) if dir.is_some() => self.listed_names(listed, wanted, names),
            _ => names,
        };
        self.frames.push(Frame { path_len, wanted });
        names
    }

    /// Goes back to the directory above.
    pub fn leave(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.path.truncate(frame.path_len);
        }
        if let Some(git) = &mut self.git {
            git.leave();
        }
    }

    /// What the list wants of the root, or of a name in the present directory.
    fn wanted(&self, name: &[u8]) -> Option<Wanted> {
        let listed = self.selection.listed.as_ref()?;
        match self.frames.last() {
            None => Some(listed.root()),
            Some(frame) => listed.below(frame.wanted.as_ref()?, name),
        }
    }

    /// Which names of the present directory the list wants. Each listed path that begins with none of them is an error.
    fn listed_names(&self, listed: &Listed, dir: &Wanted, mut names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let wanted = listed.names(dir);
        let dir_in_part = dir.in_part();
        for name in wanted.iter().filter(|name| names.binary_search(name).is_err()) {
            if let Some(lost) = listed.below(&dir_in_part, name) {
                self.lost(listed, &lost, name, "no such file or directory");
            }
        }
        if !dir.whole {
            names.retain(|name| wanted.binary_search(name).is_ok());
        }
        names
    }

    /// Whether a name that is no directory is wanted. Listed paths below it are errors.
    fn is_wanted_itself(&self, name: &[u8]) -> bool {
        let (Some(listed), Some(wanted)) = (&self.selection.listed, self.wanted(name)) else { return true };
        if wanted.leads_on() {
            self.lost(listed, &wanted.in_part(), name, "what it lies below is not a directory");
        }
        wanted.whole
    }

    /// An error of each listed path at or below a name of the present directory.
    fn lost(&self, listed: &Listed, lost: &Wanted, name: &[u8], why: &str) {
        let path = [&self.path[..], name].concat();
        if lost.whole {
            self.report.error(&path, why);
        }
        for rest in listed.paths(lost) {
            self.report.error(&[&path[..], b"/", &rest].concat(), why);
        }
    }
}
