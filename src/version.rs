//! What one path looked like over several backups: the versions that `history` and `find` tell of.

use crate::{
    backup::{Backup, BackupKey, BackupTime, TreePath},
    meta::{HardLink, Meta},
};

/// A backup and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Which backup.
    pub backup: BackupKey,
    /// When it was made.
    pub time: BackupTime,
}

impl From<&Backup> for Moment {
    fn from(backup: &Backup) -> Self {
        Self { backup: backup.key(), time: backup.time }
    }
}

/// What consecutive backups of one snapshot show alike at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Below the backups' root.
    pub path: TreePath,
    /// The oldest of the backups.
    pub first: Moment,
    /// The newest of them.
    pub last: Moment,
    /// How many they are.
    pub backups: u64,
    /// What lies there; `None` if nothing does.
    pub meta: Option<Meta>,
}

/// Whether two entries of one path are one version. Salts and the identities of hard-linked files say nothing across
/// backups.
pub fn is_same(one: &Meta, other: &Meta) -> bool {
    let plain =
        |meta: &Meta| Meta { salt: 0, link: meta.link.map(|link| HardLink { id: [0; 16], ..link }), ..meta.clone() };
    one == other || (one.size == other.size && one.mtime == other.mtime && plain(one) == plain(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::FileType;

    #[test]
    fn salt_and_identity_make_no_version_anything_else_does() {
        let linked =
            |nlink, id| Meta { link: Some(HardLink { nlink, id: [id; 16] }), ..Meta::bare(None, FileType::File) };
        assert!(is_same(&linked(2, 1), &linked(2, 2)));
        assert!(is_same(&linked(2, 1), &Meta { salt: 7, ..linked(2, 1) }));
        assert!(!is_same(&linked(2, 1), &linked(3, 1)));
        assert!(!is_same(&linked(2, 1), &Meta { mode: 0o600, ..linked(2, 1) }));
    }
}
