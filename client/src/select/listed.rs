//! The paths of `--files-from`: all in one piece of memory, sorted as the walk goes.
//!
//! A slash is kept as a zero, which no name holds and which is less than every byte of a name: so paths in byte order are
//! paths in the order of the walk, and what lies below a directory is one range.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

use datadb::{
    Fault, Kind,
    limits::{LISTED_BYTES_MAX, LISTED_PATHS_MAX},
};

/// Where a list is, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFile {
    /// `-` is stdin.
    pub path: PathBuf,
    /// Paths end with NUL whatever they hold; else they do so where there is a NUL, and lines are paths where there is none.
    pub null: bool,
    /// The root of the backup, in each way an absolute path of the list may begin with it.
    pub roots: Vec<Vec<u8>>,
}

/// A path in `text`.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    len: u32,
}

/// Paths below a root.
#[derive(Clone, Debug)]
pub struct Listed {
    text: Vec<u8>,
    places: Vec<Place>,
}

/// What the list says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// It is listed, or lies below what is: all of it is wanted.
    pub whole: bool,
    /// Listed paths below it.
    places: Range<usize>,
    /// Bytes of each of them that lead to it.
    prefix: usize,
}

impl Wanted {
    /// Whether listed paths lie below it.
    pub fn leads_on(&self) -> bool {
        !self.places.is_empty()
    }

    /// What is wanted because it is listed itself, not because it lies below what is.
    pub fn in_part(&self) -> Self {
        Self { whole: false, ..self.clone() }
    }
}

impl Listed {
    /// Reads a list. Errors name the file and the line (or the number of the path).
    pub fn read(file: &ListFile) -> Result<Self, Fault> {
        let mut text = Vec::new();
        let max = LISTED_BYTES_MAX as u64 + 1;
        let read = if file.path == Path::new("-") {
            io::stdin().lock().take(max).read_to_end(&mut text)
        } else {
            File::open(&file.path).and_then(|file| file.take(max).read_to_end(&mut text))
        };
        read.map_err(|error| super::unreadable(&file.path, &error))?;
        let invalid = |why| Fault::new(Kind::Invalid, format!("{}{why}", file.path.display()));
        Self::parse(text, file).map_err(invalid)
    }

    fn parse(mut text: Vec<u8>, file: &ListFile) -> Result<Self, String> {
        if text.len() > LISTED_BYTES_MAX {
            return Err(format!(": longer than {} MiB", LISTED_BYTES_MAX >> 20));
        }
        let end = if file.null || text.contains(&0) { 0 } else { b'\n' };
        let (mut places, mut number, mut at, mut to) = (Vec::new(), 0_u64, 0, 0);
        while at < text.len() {
            number += 1;
            let len = text[at..].iter().position(|byte| *byte == end).unwrap_or(text.len() - at);
            let line = at..at + len;
            at = line.end + 1;
            if line.is_empty() {
                continue;
            }
            if places.len() == LISTED_PATHS_MAX {
                return Err(format!(": more than {LISTED_PATHS_MAX} paths"));
            }
            let skip = behind_root(&text[line.clone()], &file.roots);
            let skip =
                skip.map_err(|why| format!(":{number}: {}: {why}", String::from_utf8_lossy(&text[line.clone()])))?;
            let start = to;
            to = pack(&mut text, line.start + skip..line.end, start);
            // Both fit: the text is no longer than LISTED_BYTES_MAX.
            places.push(Place { start: start as u32, len: (to - start) as u32 });
        }
        if places.is_empty() {
            return Err(": lists no path".to_owned());
        }
        text.truncate(to);
        text.shrink_to_fit();
        Ok(Self::sorted(text, places))
    }

    fn sorted(text: Vec<u8>, mut places: Vec<Place>) -> Self {
        let path = |place: &Place| &text[place.start as usize..][..place.len as usize];
        places.sort_unstable_by(|a, b| path(a).cmp(path(b)));
        places.dedup_by(|next, last| path(next) == path(last));
        places.shrink_to_fit();
        Self { text, places }
    }

    fn path(&self, index: usize) -> &[u8] {
        let Place { start, len } = self.places[index];
        &self.text[start as usize..][..len as usize]
    }

    /// What is wanted of the root.
    pub fn root(&self) -> Wanted {
        let whole = self.path(0).is_empty();
        Wanted { whole, places: usize::from(whole)..self.places.len(), prefix: 0 }
    }

    /// What is wanted of a name in a directory; `None` if it is not wanted.
    pub fn below(&self, dir: &Wanted, name: &[u8]) -> Option<Wanted> {
        let name_at = |index: usize| next_name(&self.path(index)[dir.prefix..]);
        let mut places = dir.places.clone();
        places.start += partition(&places, |index| name_at(index) < name);
        places.end = places.start + partition(&places, |index| name_at(index) == name);
        if places.is_empty() && !dir.whole {
            return None;
        }
        let len = dir.prefix + name.len();
        let is_listed = !places.is_empty() && self.path(places.start).len() == len;
        places.start += usize::from(is_listed);
        Some(Wanted { whole: dir.whole || is_listed, places, prefix: len + 1 })
    }

    /// The listed names in a directory, and those that lead to what is listed, in order.
    pub fn names(&self, dir: &Wanted) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for index in dir.places.clone() {
            let name = next_name(&self.path(index)[dir.prefix..]);
            if names.last().is_none_or(|last| last != name) {
                names.push(name.to_vec());
            }
        }
        names
    }

    /// The listed paths below a directory, relative to it.
    pub fn paths(&self, dir: &Wanted) -> impl Iterator<Item = Vec<u8>> {
        let with_slashes = |byte: &u8| if *byte == 0 { b'/' } else { *byte };
        dir.places.clone().map(move |index| self.path(index)[dir.prefix..].iter().map(with_slashes).collect())
    }
}

/// How many of a range, from its start, fulfil what its first ones fulfil.
fn partition(range: &Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low - range.start
}

fn next_name(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == 0).next().unwrap_or(path)
}

/// Where the part below the root begins in a line.
fn behind_root(line: &[u8], roots: &[Vec<u8>]) -> Result<usize, &'static str> {
    if line.split(|byte| *byte == b'/').any(|name| name == b"..") {
        return Err("holds `..`: write the path without it");
    }
    if !line.starts_with(b"/") {
        return Ok(0);
    }
    roots.iter().find_map(|root| behind(line, root)).ok_or("is not below the PATH to back up")
}

/// Where a path goes on behind the names of another.
fn behind(path: &[u8], above: &[u8]) -> Option<usize> {
    let mut at = 0;
    for name in above.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        at += path[at..].iter().take_while(|byte| **byte == b'/').count();
        let rest = path[at..].strip_prefix(name)?;
        if rest.first().is_some_and(|byte| *byte != b'/') {
            return None;
        }
        at += name.len();
    }
    Some(at)
}

/// Moves the names of a path down to `to`, parted by zeros, without empty ones and `.`; gives their end.
fn pack(text: &mut [u8], path: Range<usize>, to: usize) -> usize {
    let (start, mut to, mut at) = (to, to, path.start);
    while at < path.end {
        let len = text[at..path.end].iter().position(|byte| *byte == b'/').unwrap_or(path.end - at);
        let name = at..at + len;
        at = name.end + 1;
        if name.is_empty() || &text[name.clone()] == b"." {
            continue;
        }
        if to > start {
            text[to] = 0;
            to += 1;
        }
        text.copy_within(name, to);
        to += len;
    }
    to
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Listed, String> {
        let file = ListFile { path: "list".into(), null: false, roots: vec![b"/home/me".to_vec(), b"/me".to_vec()] };
        Listed::parse(text.as_bytes().to_vec(), &file)
    }

    fn all(listed: &Listed) -> Vec<String> {
        listed.paths(&listed.root()).map(|path| String::from_utf8(path).expect("text")).collect()
    }

    #[test]
    fn lines_become_paths_below_the_root_in_the_order_of_the_walk() {
        let listed = parse("b\n./a//x/\n\na-b\n/home/me/c/d\n//me/e\na/x/y\nb\n").expect("a list");
        assert_eq!(all(&listed), ["a/x", "a/x/y", "a-b", "b", "c/d", "e"]);
        assert_eq!(all(&parse("a\nb\0c\nd").expect("a list")), ["a\nb", "c\nd"], "a NUL anywhere parts paths");
        for whole in [".", "./", "/home/me", "/me/", "a\n.\nb"] {
            assert!(parse(whole).expect("a list").root().whole, "{whole:?}");
        }
    }

    #[test]
    fn what_is_no_path_below_the_root_is_named_with_its_line() {
        assert_eq!(parse("a\n\n/home/mean/x").unwrap_err(), ":3: /home/mean/x: is not below the PATH to back up");
        assert_eq!(parse("a\n/home").unwrap_err(), ":2: /home: is not below the PATH to back up");
        assert_eq!(parse("a/../b").unwrap_err(), ":1: a/../b: holds `..`: write the path without it");
        assert_eq!(parse("\n\n").unwrap_err(), ": lists no path");
    }

    /// What the list wants whole, met by walking it.
    fn walked(listed: &Listed, dir: &Wanted, path: &str, met: &mut BTreeSet<String>) {
        for name in listed.names(dir) {
            let path = format!("{path}{}", String::from_utf8_lossy(&name));
            let wanted = listed.below(dir, &name).expect("a name of the list");
            if wanted.whole {
                met.insert(path.clone());
            }
            walked(listed, &wanted, &format!("{path}/"), met);
        }
    }

    proptest! {
        #[test]
        fn walking_a_list_meets_what_is_listed(
            paths in prop::collection::btree_set("[ab-]{1,2}(/[ab-]{1,2}){0,3}", 1..12)
        ) {
            let listed = parse(&paths.iter().rev().cloned().collect::<Vec<_>>().join("\n")).expect("a list");
            let mut met = BTreeSet::new();
            walked(&listed, &listed.root(), "", &mut met);
            let leads_to_whole = |path: &String| paths.iter().any(|other| path.starts_with(&format!("{other}/")));
            prop_assert!(paths.is_subset(&met));
            prop_assert!(met.difference(&paths).all(leads_to_whole));
            prop_assert!(listed.below(&listed.root(), b"c").is_none());
        }
    }
}
