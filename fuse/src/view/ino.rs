//! Inode numbers. They are made of what a thing is called, so that the same name has the same number for the life of a
//! mount, and no table of all numbers is needed.

use std::fmt;

use datadb::BackupKey;

/// An inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The mount's root, whose number the kernel gives.
    pub const ROOT: Self = Self(1);

    /// An entry of a directory by its name.
    pub fn of_name(parent: Self, name: &[u8]) -> Self {
        Self::hashed(b"name", parent, name, b"")
    }

    /// A backup where it stands under a name; another backup under the same name is something else.
    pub fn of_backup(parent: Self, name: &[u8], backup: &BackupKey) -> Self {
        Self::hashed(b"back", parent, name, backup.as_bytes())
    }

    /// A file with several names in one backup.
    pub fn of_link(top: Self, link: &[u8; 16]) -> Self {
        Self::hashed(b"link", top, b"", link)
    }

    /// Another number, for the one whose number somebody else has.
    pub fn next(self) -> Self {
        Self::hashed(b"next", self, b"", b"")
    }

    /// 63 bits, because some programs take them as signed; neither 0 nor the root's.
    fn hashed(how: &[u8; 4], above: Self, name: &[u8], what: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(how).update(&above.0.to_be_bytes()).update(&(name.len() as u64).to_be_bytes());
        let hash = hasher.update(name).update(what).finalize();
        let first = hash.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Self((first >> 1).max(Self::ROOT.0 + 1))
    }
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_has_the_same_number_and_no_other() {
        let (a, b) = (Ino::of_name(Ino::ROOT, b"a"), Ino::of_name(Ino::ROOT, b"b"));
        assert_eq!(a, Ino::of_name(Ino::ROOT, b"a"));
        let key = BackupKey::new([7; 20]);
        let all =
            [a, b, Ino::of_name(a, b"a"), Ino::of_backup(Ino::ROOT, b"a", &key), Ino::of_link(a, &[0; 16]), a.next()];
        let distinct: std::collections::BTreeSet<Ino> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
        assert!(all.iter().all(|ino| ino.0 > 1 && i64::try_from(ino.0).is_ok()));
    }
}
