//! What the process that restores may set, and what it shall set.

use datadb::Meta;
use rustix::process::{getegid, geteuid, getgroups};

/// Rights and wishes.
#[derive(Debug)]
pub struct Rights {
    /// Whether what can't be set is an error, or a matter of permission.
    pub is_root: bool,
    sets_owner: bool,
    uid: u32,
    groups: Vec<u32>,
}

/// What may be set on one's own files without being root.
fn is_plain(xattr: &[u8]) -> bool {
    xattr.starts_with(b"user.") || xattr.starts_with(b"system.posix_acl_")
}

impl Rights {
    /// Those of this process. Unless it `sets_owner`, everything is left to whoever restores.
    pub fn of_process(sets_owner: bool) -> Self {
        let mut groups = vec![getegid().as_raw()];
        // Where the others can't be told the kernel decides when it comes to that.
        groups.extend(getgroups().unwrap_or_default().iter().map(|group| group.as_raw()));
        Self { is_root: geteuid().is_root(), sets_owner, uid: geteuid().as_raw(), groups }
    }

    /// Whether owners are set at all.
    pub const fn sets_owner(&self) -> bool {
        self.sets_owner
    }

    /// Whether a file of this user is one's own.
    pub const fn is_own(&self, uid: u32) -> bool {
        self.uid == uid
    }

    /// The user and group that something will have, as far as they may be set.
    pub fn owner(&self, now: (u32, u32), meta: &Meta) -> (u32, u32) {
        if !self.sets_owner {
            now
        } else if self.is_root {
            (meta.uid, meta.gid)
        } else if now.0 == self.uid && self.groups.contains(&meta.gid) {
            (now.0, meta.gid)
        } else {
            now
        }
    }

    /// Whether this is the owner that the backup names.
    pub fn is_owner(&self, owner: (u32, u32), meta: &Meta) -> bool {
        self.sets_owner && owner == (meta.uid, meta.gid)
    }

    /// The mode; without setuid and setgid where they would lend the rights of another than the backup's owner.
    pub const fn mode(&self, meta: &Meta, is_owner: bool) -> u32 {
        if is_owner { meta.mode } else { meta.mode & !0o6000 }
    }

    /// Whether an extended attribute can be set.
    pub fn sets_xattr(&self, name: &[u8]) -> bool {
        self.is_root || is_plain(name)
    }

    /// Whether an extended attribute that the backup does not hold is taken off. Labels of the system's own (`security.`)
    /// come by themselves and stay, but for capabilities.
    pub fn removes_xattr(&self, name: &[u8]) -> bool {
        is_plain(name) || self.is_root && (name.starts_with(b"trusted.") || name == b"security.capability")
    }
}
