//! A place in a tree, in an order that is the tree's.

use std::{borrow::Cow, cmp::Ordering};

/// A path below the root. A NUL, which no name holds, stands before each name: so the order of bytes is that of the tree,
/// where all that is in `a` comes before `a-b`.
#[derive(Debug)]
pub struct Place {
    bytes: Vec<u8>,
    /// Where the path of each depth ends, from the root on.
    ends: Vec<usize>,
}

impl Place {
    /// The root's.
    pub fn root() -> Self {
        Self { bytes: Vec::new(), ends: vec![0] }
    }

    /// Which of two comes first.
    pub fn compare(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }

    /// Goes to a name in the directory that is at the present place, or above it; 0 is the root, which has no name.
    pub fn go(&mut self, depth: usize, name: &[u8]) {
        self.ends.truncate(depth);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
        if depth > 0 {
            self.bytes.push(0);
            self.bytes.extend_from_slice(name);
        }
        self.ends.push(self.bytes.len());
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The path; `/` for the root.
    pub fn path(&self) -> Cow<'_, [u8]> {
        if self.is_root() {
            return Cow::Borrowed(b"/");
        }
        self.bytes.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_sort_as_a_walk_meets_them() {
        let steps: [(usize, &[u8]); 6] = [(0, b""), (1, b"a"), (2, b"z"), (3, b"y"), (1, b"a-b"), (1, b"b")];
        let mut place = Place::root();
        let mut met = Vec::new();
        for (depth, name) in steps {
            place.go(depth, name);
            met.push((place.bytes.clone(), place.path().into_owned()));
        }
        assert!(met.is_sorted());
        let paths: Vec<&[u8]> = met.iter().map(|(_, path)| &path[..]).collect();
        assert_eq!(paths, [&b"/"[..], b"/a", b"/a/z", b"/a/z/y", b"/a-b", b"/b"]);
    }
}
