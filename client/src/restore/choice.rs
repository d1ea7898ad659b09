//! What of a tree is restored: `--include`, `--exclude`, `--strip`.
//!
//! Paths begin with `/` and are below the path that is restored, as they appear below the target, before names are
//! stripped. What is excluded is out, whatever includes it, and a directory with all below it. Where something is
//! included, nothing else is restored, but for the directories above it.

use datadb::Fault;

use super::{Options, leads::Leads};
use crate::fetch::tree::Look;
use crate::glob::{Case, Globs};

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// It is restored, and what lies below it unless that is excluded.
    In,
    /// A directory that is needed if something below it is restored.
    Above,
    /// Neither it nor anything below it.
    Out,
}

/// The patterns, understood.
#[derive(Debug)]
pub struct Choice {
    include: Globs,
    exclude: Globs,
    to_included: Leads,
    to_excluded: Leads,
    /// Includes that have matched nothing yet.
    unmatched: Vec<(String, Globs)>,
    /// Names to drop at the beginning of each path.
    pub strip: usize,
}

impl Choice {
    /// Understands the options. A pattern that makes no sense is a fault that names it.
    pub fn new(options: &Options) -> Result<Self, Fault> {
        let globs = |patterns: &[String]| Globs::new(patterns.iter().map(|pattern| (&pattern[..], Case::Sensitive)));
        let positive = options.include.iter().filter(|pattern| !pattern.starts_with('!'));
        let alone = |pattern: &String| Ok((pattern.clone(), globs(std::slice::from_ref(pattern))?));
        Ok(Self {
            include: globs(&options.include)?,
            exclude: globs(&options.exclude)?,
            to_included: Leads::new(&options.include)?,
            to_excluded: Leads::new(&options.exclude)?,
            unmatched: positive.map(alone).collect::<Result<_, Fault>>()?,
            strip: options.strip,
        })
    }

    /// What becomes of the directory that is restored.
    pub fn root(&self) -> Pick {
        if self.include.is_empty() { Pick::In } else { Pick::Above }
    }

    /// What becomes of an entry in a directory of which `parent` is known.
    pub fn pick(&mut self, path: &[u8], is_dir: bool, parent: Pick) -> Pick {
        if self.exclude.is_match(path, is_dir) {
            return Pick::Out;
        }
        let is_in = self.include.verdict(path, is_dir).unwrap_or(parent == Pick::In);
        if is_in {
            self.unmatched.retain(|(_, glob)| !glob.is_match(path, is_dir));
            Pick::In
        } else if is_dir && self.to_included.is_above(path) {
            Pick::Above
        } else {
            Pick::Out
        }
    }

    /// How to look into a directory: alone, where only some of those below it are looked into as well. The root's path
    /// is empty.
    pub fn look(&self, path: &[u8], pick: Pick) -> Look {
        let some_are_out = !self.to_excluded.is_everywhere(path) && self.to_excluded.is_above(path);
        let few_are_in = pick != Pick::In && !self.to_included.is_everywhere(path);
        if some_are_out || few_are_in { Look::Alone } else { Look::Whole }
    }

    /// The includes that matched nothing.
    pub fn unmatched(&self) -> impl Iterator<Item = &str> {
        self.unmatched.iter().map(|(pattern, _)| &pattern[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(include: &[&str], exclude: &[&str]) -> Choice {
        let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Choice::new(&Options { include: owned(include), exclude: owned(exclude), ..Options::default() }).expect("valid")
    }

    #[test]
    fn without_patterns_everything_is_in_and_looked_at_at_once() {
        let mut all = choice(&[], &[]);
        assert_eq!((all.root(), all.look(b"", Pick::In)), (Pick::In, Look::Whole));
        assert_eq!(all.pick(b"/a", false, Pick::In), Pick::In);
    }

    #[test]
    fn what_is_included_is_in_with_all_below_it() {
        let mut one = choice(&["/src/main.c", "docs"], &["*.bak"]);
        assert_eq!(one.root(), Pick::Above);
        assert_eq!(one.pick(b"/src/main.c", false, Pick::Above), Pick::In);
        assert_eq!(one.pick(b"/src/other.c", false, Pick::Above), Pick::Out);
        assert_eq!(one.pick(b"/x/docs", true, Pick::Above), Pick::In);
        assert_eq!(one.pick(b"/x/docs/page", false, Pick::In), Pick::In);
        assert_eq!(one.pick(b"/x/docs/page.bak", false, Pick::In), Pick::Out, "excludes win");
        assert_eq!(one.unmatched().count(), 0);
    }

    #[test]
    fn an_include_that_matched_nothing_is_known() {
        let mut two = choice(&["/ect/passwd", "*.c"], &[]);
        assert_eq!(two.pick(b"/a.c", false, Pick::Above), Pick::In);
        assert_eq!(two.unmatched().collect::<Vec<_>>(), ["/ect/passwd"]);
    }

    #[test]
    fn a_tree_is_looked_at_directory_by_directory_where_patterns_are_whole_paths() {
        let one = choice(&["/etc/passwd"], &[]);
        assert_eq!((one.look(b"", Pick::Above), one.look(b"/etc", Pick::Above)), (Look::Alone, Look::Alone));
        assert_eq!(choice(&["*.c"], &[]).look(b"", Pick::Above), Look::Whole);
        assert_eq!(choice(&["/etc"], &[]).look(b"/etc", Pick::In), Look::Whole);
        let most = choice(&[], &["/home/*/.cache"]);
        assert_eq!((most.look(b"", Pick::In), most.look(b"/home/me", Pick::In)), (Look::Alone, Look::Alone));
        assert_eq!(most.look(b"/usr", Pick::In), Look::Whole);
        assert_eq!(choice(&["*.c"], &["*.o"]).look(b"", Pick::Above), Look::Whole);
    }
}
