//! What of a tree is backed up: everything, unless somebody says otherwise.
//!
//! [`Options`] are what a person (or a configuration) asks for, a [`Selection`] is that, understood; a [`Selector`] goes
//! along with one walk and is asked for every name before anything else is done with it, so that what is left out is
//! never opened, and what the last backup had of it counts as gone.
//!
//! The root of a backup is always taken, whatever it is called and whatever it holds. Patterns that the user gives win
//! over git's: `!name` takes back what a `.gitignore` leaves out.

mod exclude_file;
mod gitignore;
mod listed;
mod markers;
mod pattern_file;
mod selector;

use std::path::{Path, PathBuf};

use datadb::{Fault, Kind, Name};

pub use self::{listed::ListFile, selector::Selector};
use self::{listed::Listed, markers::Markers};
use crate::glob::{Case, Globs};

/// Patterns, as they are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// What it matches is left out.
    Exclude(String),
    /// The same, whether letters are large or small.
    ExcludeAnyCase(String),
    /// A file of patterns.
    File(PathBuf),
}

/// What to leave out, and what to take. The default takes everything.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Patterns of whole paths on this machine; the last one that matches counts.
    pub patterns: Vec<Pattern>,
    /// A directory that holds one of these names stays, without its content.
    pub if_present: Vec<Name>,
    /// A directory with a valid `CACHEDIR.TAG` stays, with nothing but its tag.
    pub caches: bool,
    /// Regular files of more bytes are left out.
    pub bytes_max: Option<u64>,
    /// What git would ignore is left out.
    pub gitignore: bool,
    /// Directories of other file systems stay, without their content.
    pub one_file_system: bool,
    /// Only these paths are taken, with the directories that lead to them.
    pub list: Option<ListFile>,
}

/// Options, understood.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    globs: Globs,
    markers: Markers,
    bytes_max: Option<u64>,
    gitignore: bool,
    one_file_system: bool,
    listed: Option<Listed>,
}

impl Selection {
    /// Understands options, and reads the files that they name. A fault names the pattern or the file, and its line.
    pub fn new(options: &Options) -> Result<Self, Fault> {
        let mut patterns: Vec<(String, Case)> = Vec::new();
        for pattern in &options.patterns {
            match pattern {
                Pattern::Exclude(text) => patterns.push((text.clone(), Case::Sensitive)),
                Pattern::ExcludeAnyCase(text) => patterns.push((text.clone(), Case::Ignored)),
                Pattern::File(path) => {
                    patterns.extend(exclude_file::read(path)?.into_iter().map(|text| (text, Case::Sensitive)));
                }
            }
        }
        Ok(Self {
            globs: Globs::new(patterns.iter().map(|(text, case)| (&**text, *case)))?,
            markers: Markers { names: options.if_present.clone(), caches: options.caches },
            bytes_max: options.bytes_max,
            gitignore: options.gitignore,
            one_file_system: options.one_file_system,
            listed: options.list.as_ref().map(Listed::read).transpose()?,
        })
    }

    /// Whether everything is taken.
    fn is_everything(&self) -> bool {
        self.globs.is_empty()
            && self.markers.names.is_empty()
            && !self.markers.caches
            && self.bytes_max.is_none()
            && !self.gitignore
            && !self.one_file_system
            && self.listed.is_none()
    }
}

/// The fault of a file that a person named and that can't be read.
fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Internal };
    Fault::new(kind, format!("{}: {}", path.display(), crate::fs::io_words(error)))
}
