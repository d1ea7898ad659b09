//! Patterns that choose paths, as `--exclude`, `--include` and `find` take them.
//!
//! `*` and `?` stand for bytes of one name, `[a-z]` for one of them, `{a,b}` for either, `**` for any number of whole
//! names; a backslash takes the meaning away. A pattern that begins with `/` is the whole path; every other one may begin
//! at any name of it, so `*.o` is a name anywhere, `build/out` two names in a row. With `/` at its end it means
//! directories only. `!` at its beginning takes back what earlier patterns chose: the last one that matches counts.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Fault, Kind};

/// Whether `A` and `a` are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// They differ.
    Sensitive,
    /// They are alike.
    Ignored,
}

/// What a pattern says of what it matches.
#[derive(Clone, Copy, Debug)]
struct Rule {
    is_negated: bool,
    dirs_only: bool,
}

/// Patterns in their order.
#[derive(Clone, Debug)]
pub struct Globs {
    set: GlobSet,
    rules: Vec<Rule>,
}

impl Default for Globs {
    fn default() -> Self {
        Self { set: GlobSet::empty(), rules: Vec::new() }
    }
}

impl Globs {
    /// Understands patterns; one that makes no sense is a fault that names it.
    pub fn new<'a>(patterns: impl IntoIterator<Item = (&'a str, Case)>) -> Result<Self, Fault> {
        let (mut set, mut rules) = (GlobSetBuilder::new(), Vec::new());
        for (text, case) in patterns {
            let invalid = |why: &dyn std::fmt::Display| Fault::new(Kind::Invalid, format!("the pattern {text}: {why}"));
            let (is_negated, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
            let (dirs_only, rest) = rest.strip_suffix('/').map_or((false, rest), |rest| (true, rest));
            if rest.is_empty() {
                return Err(invalid(&"matches nothing"));
            }
            let names = rest.strip_prefix('/').unwrap_or(rest);
            if let Some(name) = names.split('/').find(|name| matches!(*name, "" | "." | "..")) {
                return Err(invalid(&format!("matches nothing, as no path holds the name {name:?}: leave it out")));
            }
            let whole = if rest.starts_with('/') { names.to_owned() } else { format!("**/{names}") };
            let glob = GlobBuilder::new(&whole)
                .literal_separator(true)
                .backslash_escape(true)
                .case_insensitive(case == Case::Ignored)
                .build()
                .map_err(|error| invalid(error.kind()))?;
            set.add(glob);
            rules.push(Rule { is_negated, dirs_only });
        }
        let set = set.build().map_err(|error| Fault::new(Kind::Invalid, format!("the patterns: {error}")))?;
        Ok(Self { set, rules })
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the last pattern that matches says: `true` chooses, `false` takes back, `None` is no match. The path begins
    /// with `/`; what lies above it is not looked at.
    pub fn verdict(&self, path: &[u8], is_dir: bool) -> Option<bool> {
        if self.is_empty() {
            return None;
        }
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let matching = self.set.matches(OsStr::from_bytes(path));
        let rules = matching.into_iter().rev().filter_map(|i| self.rules.get(i));
        rules.filter(|rule| is_dir || !rule.dirs_only).map(|rule| !rule.is_negated).next()
    }

    /// Whether the path is chosen.
    pub fn is_match(&self, path: &[u8], is_dir: bool) -> bool {
        self.verdict(path, is_dir) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns.iter().map(|&pattern| (pattern, Case::Sensitive))).unwrap()
    }

    #[test]
    fn a_name_matches_anywhere_a_path_with_its_slash_only_there() {
        let name = globs(&["*.o"]);
        assert!(name.is_match(b"/a.o", false) && name.is_match(b"/src/deep/a.o", false));
        assert!(!name.is_match(b"/a.o/b", false), "what lies below is for the walk to leave out");
        let rooted = globs(&["/var/cache"]);
        assert!(rooted.is_match(b"/var/cache", true) && !rooted.is_match(b"/home/var/cache", true));
        let two = globs(&["build/out"]);
        assert!(two.is_match(b"/build/out", true) && two.is_match(b"/x/build/out", true));
        assert!(!two.is_match(b"/build/x/out", true) && !two.is_match(b"/xbuild/out", true));
    }

    #[test]
    fn stars_stop_at_slashes_and_two_do_not() {
        let one = globs(&["/home/*/tmp"]);
        assert!(one.is_match(b"/home/me/tmp", true) && !one.is_match(b"/home/a/b/tmp", true));
        let two = globs(&["/home/**/tmp"]);
        assert!(two.is_match(b"/home/tmp", true) && two.is_match(b"/home/a/b/tmp", true));
        assert!(globs(&["cache/**"]).is_match(b"/x/cache/a/b", false));
    }

    #[test]
    fn a_slash_at_the_end_means_directories() {
        let dirs = globs(&["target/"]);
        assert!(dirs.is_match(b"/a/target", true) && !dirs.is_match(b"/a/target", false));
    }

    #[test]
    fn the_last_match_counts() {
        let kept = globs(&["*.log", "!keep.log"]);
        assert!(kept.is_match(b"/a.log", false) && !kept.is_match(b"/keep.log", false));
        assert_eq!(kept.verdict(b"/keep.log", false), Some(false));
        assert_eq!(kept.verdict(b"/other", false), None);
        assert!(globs(&["!keep.log", "*.log"]).is_match(b"/keep.log", false));
    }

    #[test]
    fn names_need_not_be_utf8_and_case_can_be_ignored() {
        assert!(globs(&["*.bak"]).is_match(b"/\xff\xfe.bak", false));
        assert!(globs(&["a?c"]).is_match(b"/a\xffc", false));
        let ignored = Globs::new([("*.JPG", Case::Ignored)]).unwrap();
        assert!(ignored.is_match(b"/a.jpg", false) && ignored.is_match(b"/a.JpG", false));
        assert!(!globs(&["*.JPG"]).is_match(b"/a.jpg", false));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for pattern in ["[a", "", "!", "/", "{a", "./a", "a/../b", "//a", "a//"] {
            let fault = Globs::new([(pattern, Case::Sensitive)]).unwrap_err();
            assert!(fault.message.contains(&format!("pattern {pattern}:")), "{}", fault.message);
        }
    }
}
