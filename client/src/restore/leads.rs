//! Where a tree has to be looked at so that everything is found that patterns choose: `/home/*/.ssh` says that `/`,
//! `/home` and each directory in it lead there, and that nothing else does.

use datadb::Fault;

use crate::glob::{Case, Globs};

/// The directories above what patterns may match.
#[derive(Debug, Default)]
pub struct Leads {
    /// There are patterns.
    is_any: bool,
    /// Something may match anywhere.
    everywhere: bool,
    /// These, by their whole path.
    single: Globs,
    /// These and all below them.
    whole: Globs,
}

impl Leads {
    /// Those of patterns that make sense. What only takes back choices leads nowhere.
    pub fn new(patterns: &[String]) -> Result<Self, Fault> {
        let (mut everywhere, mut single, mut whole) = (false, Vec::new(), Vec::new());
        for pattern in patterns.iter().filter(|pattern| !pattern.starts_with('!')) {
            let Some(rooted) = pattern.strip_prefix('/') else {
                everywhere = true;
                continue;
            };
            let names: Vec<&str> = rooted.trim_end_matches('/').split('/').collect();
            let mut above = String::new();
            for (i, name) in names.iter().enumerate() {
                if reaches_beyond(name) {
                    everywhere |= above.is_empty();
                    whole.extend([above.clone(), format!("{above}/**")]);
                    break;
                }
                if i + 1 < names.len() {
                    above = format!("{above}/{name}");
                    single.push(above.clone());
                }
            }
        }
        whole.retain(|lead| lead.starts_with('/') && lead != "/**");
        let globs = |leads: &[String]| Globs::new(leads.iter().map(|lead| (&lead[..], Case::Sensitive)));
        match (globs(&single), globs(&whole)) {
            (Ok(single), Ok(whole)) => Ok(Self { is_any: !patterns.is_empty(), everywhere, single, whole }),
            // A pattern can make sense whose parts don't. Then everything is looked at.
            _ => Ok(Self { is_any: true, everywhere: true, ..Self::default() }),
        }
    }

    /// Whether something below this directory may match; the root's path is empty.
    pub fn is_above(&self, path: &[u8]) -> bool {
        self.is_any && (path.is_empty() || self.is_everywhere(path) || self.single.is_match(path, true))
    }

    /// Whether it may match anywhere below this directory.
    pub fn is_everywhere(&self, path: &[u8]) -> bool {
        self.everywhere || self.whole.is_match(path, true)
    }
}

/// Whether a part of a pattern may stand for more than one name, or is only a part because braces hold a slash.
fn reaches_beyond(name: &str) -> bool {
    let count = |c: char| name.matches(c).count();
    name.contains("**") || name.contains('\\') || count('{') != count('}') || count('[') != count(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(patterns: &[&str]) -> Leads {
        Leads::new(&patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>()).expect("patterns")
    }

    #[test]
    fn a_whole_path_is_found_by_the_directories_above_it() {
        let leads = leads(&["/home/*/.ssh/", "/etc"]);
        for above in [&b""[..], b"/home", b"/home/me"] {
            assert!(leads.is_above(above) && !leads.is_everywhere(above), "{}", above.escape_ascii());
        }
        for beside in [&b"/etc"[..], b"/usr", b"/home/me/.ssh", b"/home/me/mail", b"/usr/home"] {
            assert!(!leads.is_above(beside), "{}", beside.escape_ascii());
        }
    }

    #[test]
    fn a_name_and_two_stars_may_be_anywhere() {
        let name = leads(&["*.jpg"]);
        assert!(name.is_above(b"/a/b") && name.is_everywhere(b"") && name.is_everywhere(b"/a"));
        let below = leads(&["/home/**/x"]);
        assert!(below.is_above(b"") && !below.is_everywhere(b""));
        assert!(below.is_everywhere(b"/home") && below.is_everywhere(b"/home/a/b") && !below.is_above(b"/usr"));
        assert!(leads(&["/**/x"]).is_everywhere(b"/usr"));
    }

    #[test]
    fn braces_that_hold_a_slash_are_looked_through_whole() {
        assert!(leads(&["/{a/b,c}/d"]).is_everywhere(b"/a/b"));
        let plain = leads(&["/{a,b}/[cd]/e"]);
        assert!(plain.is_above(b"/b/c") && !plain.is_above(b"/b/e") && !plain.is_everywhere(b"/b"));
    }

    #[test]
    fn no_patterns_and_what_takes_back_lead_nowhere() {
        assert!(!leads(&[]).is_above(b""));
        assert!(!leads(&["/a/b", "!/c/d"]).is_above(b"/c"));
    }
}
