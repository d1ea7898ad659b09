//! What snapshots are called: the last component of their path, and for those who came later to a name that is taken, a
//! part of their key behind it. So a name never changes its meaning.

use std::collections::BTreeMap;

use datadb::{SnapshotKey, TreePath, limits};

/// Hex digits of the key behind a shared name.
const KEY_DIGITS: usize = 8;

/// A snapshot of one host that wants a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its path.
    pub path: TreePath,
    /// Its key.
    pub key: SnapshotKey,
    /// The smaller was there first.
    pub rank: (u64, u32),
}

/// Gives each of a host's snapshots its name.
pub fn assign(mut candidates: Vec<Candidate>) -> BTreeMap<Vec<u8>, TreePath> {
    candidates.sort_by(|a, b| (a.rank, &a.path).cmp(&(b.rank, &b.path)));
    let mut names = BTreeMap::new();
    let mut later = Vec::new();
    for Candidate { path, key, .. } in candidates {
        let plain = path.shown_name().to_vec();
        if plain.len() <= limits::NAME_BYTES_MAX && !names.contains_key(&plain) {
            names.insert(plain, path);
        } else {
            later.push((path, key));
        }
    }
    for (path, key) in later {
        let key = key.to_string();
        // Where even that is taken, by a snapshot that is called so, more digits tell them apart.
        let tries = (KEY_DIGITS..=key.len()).map(|digits| with_key(path.shown_name(), &key[..digits]));
        if let Some(free) = tries.into_iter().find(|name| !names.contains_key(name)) {
            names.insert(free, path);
        }
    }
    names
}

fn with_key(name: &[u8], digits: &str) -> Vec<u8> {
    let room = limits::NAME_BYTES_MAX - digits.len() - 1;
    [&name[..name.len().min(room)], b"@", digits.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::HostName;

    fn candidate(path: &str, record: u64) -> Candidate {
        let path = TreePath::new(path.as_bytes()).unwrap();
        let key = SnapshotKey::of(&HostName::new("desk").unwrap(), &path);
        Candidate { path, key, rank: (record, 0) }
    }

    fn named(names: &BTreeMap<Vec<u8>, TreePath>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        names.iter().map(|(name, path)| (text(name), path.to_string())).collect()
    }

    #[test]
    fn a_name_is_the_last_part_of_the_path_and_root_for_the_root() {
        let names = assign(vec![candidate("/", 1), candidate("/home/me/writing", 2)]);
        let expected = [("root", "/"), ("writing", "/home/me/writing")];
        assert_eq!(named(&names), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn the_first_keeps_the_plain_name_whatever_comes_later() {
        let first = candidate("/z/docs", 1);
        let alone = assign(vec![first.clone()]);
        let later = candidate("/a/docs", 2);
        let both = assign(vec![later.clone(), first]);
        assert_eq!(both[&b"docs"[..]], alone[&b"docs"[..]]);
        let shown = format!("docs@{}", &later.key.to_string()[..8]);
        assert_eq!(both[shown.as_bytes()], later.path);
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn a_snapshot_that_is_called_like_a_shared_name_keeps_its_own() {
        let (first, later) = (candidate("/1/docs", 1), candidate("/2/docs", 2));
        let taken = format!("/docs@{}", &later.key.to_string()[..8]);
        let names = assign(vec![first, later.clone(), candidate(&taken, 3)]);
        assert_eq!(names[&taken.as_bytes()[1..]].to_string(), taken);
        let nine = format!("docs@{}", &later.key.to_string()[..9]);
        assert_eq!(names[nine.as_bytes()], later.path);
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_and_told_apart_by_its_key() {
        let long = candidate(&format!("/{}", "n".repeat(300)), 1);
        let names = assign(vec![long.clone()]);
        let name = names.keys().next().unwrap();
        assert_eq!(name.len(), limits::NAME_BYTES_MAX);
        assert!(name.ends_with(format!("@{}", &long.key.to_string()[..8]).as_bytes()));
    }
}
