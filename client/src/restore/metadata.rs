//! Metadata: telling what differs, and setting it. The owner comes first, because that clears setuid and capabilities;
//! times last, because all else moves them. What is as it should be is not touched.

use datadb::{
    FileType, Meta,
    meta::{Xattr, XattrValue},
};
use rustix::{
    fs::{Gid, Uid},
    io::Errno,
};

use super::{rights::Rights, shared::Shared};
use crate::{field::Field, fs::Stat, fs::at::At, fs::xattrs::Reader, report::count};

/// Which parts of the metadata differ, or are to be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlike {
    /// User or group.
    pub owner: bool,
    /// Permission bits.
    pub mode: bool,
    /// Extended attributes and ACLs.
    pub xattrs: bool,
    /// Time of the last modification.
    pub mtime: bool,
}

impl Unlike {
    /// Whether anything differs.
    pub const fn is_any(self) -> bool {
        self.owner || self.mode || self.xattrs || self.mtime
    }

    /// What differs, for people.
    pub fn fields(self) -> Vec<Field> {
        let all = [
            (Field::Mode, self.mode),
            (Field::Owner, self.owner),
            (Field::Mtime, self.mtime),
            (Field::Xattrs, self.xattrs),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
    }
}

/// What differs and can be set.
pub fn unlike(rights: &Rights, at: At<'_>, stat: &Stat, meta: &Meta, reader: &mut Reader) -> Unlike {
    let now = (stat.uid, stat.gid);
    let owner = rights.owner(now, meta);
    let mode = rights.mode(meta, rights.is_owner(owner, meta));
    Unlike {
        owner: owner != now,
        mode: meta.file_type != FileType::Symlink && stat.mode != mode,
        // What can't be read is set, and it shows then what is wrong.
        xattrs: at.xattrs(reader).map_or(true, |have| !is_like(rights, &have, &meta.xattrs)),
        mtime: stat.mtime != meta.mtime,
    }
}

fn is_like(rights: &Rights, have: &[Xattr], want: &[Xattr]) -> bool {
    let counts = |xattr: &&Xattr| {
        rights.removes_xattr(&xattr.name) || rights.sets_xattr(&xattr.name) && find(want, &xattr.name).is_some()
    };
    have.iter().filter(counts).eq(want.iter().filter(|xattr| rights.sets_xattr(&xattr.name)))
}

fn find<'a>(xattrs: &'a [Xattr], name: &[u8]) -> Option<&'a Xattr> {
    xattrs.iter().find(|xattr| xattr.name == name)
}

/// Sets everything on what was just made and has no metadata of others. Trouble is told, under the path that is asked for
/// then.
pub fn apply_to_new(shared: &Shared, at: At<'_>, meta: &Meta, path: &dyn Fn() -> Vec<u8>) {
    let all = Unlike { owner: true, mode: true, xattrs: true, mtime: true };
    set(shared, at, meta, all, path);
}

/// Sets what differs, and takes off what is not in the backup.
pub fn apply(shared: &Shared, at: At<'_>, meta: &Meta, unlike: Unlike, path: &dyn Fn() -> Vec<u8>) {
    if unlike.xattrs {
        remove_xattrs(shared, at, meta);
    }
    set(shared, at, meta, unlike, path);
}

fn set(shared: &Shared, at: At<'_>, meta: &Meta, unlike: Unlike, path: &dyn Fn() -> Vec<u8>) {
    let told = |what: &str, result: Result<(), Errno>| {
        if let Err(error) = result {
            shared.error(&path(), what, error);
        }
    };
    if unlike.owner || unlike.mode {
        let is_owner =
            if unlike.owner { set_owner(shared, at, meta, path) } else { has_owner(&shared.rights, at, meta) };
        if meta.file_type != FileType::Symlink {
            told("mode", at.chmod(shared.rights.mode(meta, is_owner)));
        }
    }
    // A change of owner takes capabilities off.
    if unlike.xattrs || unlike.owner {
        set_xattrs(shared, at, meta, path);
    }
    if unlike.mtime {
        told("mtime", at.set_mtime(meta.mtime));
    }
}

/// Takes off what something just made inherited from its directory.
pub fn strip_acls(at: At<'_>) {
    for name in [&b"system.posix_acl_access"[..], b"system.posix_acl_default"] {
        // As a rule it has none; what is not taken off here the comparison with the backup finds.
        at.remove_xattr(name).ok();
    }
}

fn has_owner(rights: &Rights, at: At<'_>, meta: &Meta) -> bool {
    at.stat().is_ok_and(|stat| rights.is_owner((stat.uid, stat.gid), meta))
}

/// Whether owner and group are as in the backup afterwards.
fn set_owner(shared: &Shared, at: At<'_>, meta: &Meta, path: &dyn Fn() -> Vec<u8>) -> bool {
    if !shared.rights.sets_owner() {
        return false;
    }
    let (uid, gid) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    match at.chown(uid, gid) {
        Ok(()) => true,
        Err(error) if shared.rights.is_root && error != Errno::PERM => {
            shared.error(&path(), "owner", error);
            false
        }
        Err(_) => {
            count(&shared.owners_lost, 1);
            // The group alone, where we are a member of it.
            at.chown(None, gid).ok();
            false
        }
    }
}

fn remove_xattrs(shared: &Shared, at: At<'_>, meta: &Meta) {
    let have = at.xattrs(&mut Reader::default()).unwrap_or_default();
    for xattr in have.iter().filter(|xattr| shared.rights.removes_xattr(&xattr.name)) {
        if find(&meta.xattrs, &xattr.name).is_none() {
            // What can't be taken off stays: the file is not ours then, which its owner and mode tell.
            at.remove_xattr(&xattr.name).ok();
        }
    }
}

fn set_xattrs(shared: &Shared, at: At<'_>, meta: &Meta, path: &dyn Fn() -> Vec<u8>) {
    for xattr in &meta.xattrs {
        // A long value that could not be fetched was told of.
        let XattrValue::Inline(value) = &xattr.value else { continue };
        match at.set_xattr(&xattr.name, value) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) if !shared.rights.is_root => {
                count(&shared.xattrs_lost, 1);
            }
            Err(error) => shared.error(&path(), &crate::report::escape(&xattr.name), error),
        }
    }
}
