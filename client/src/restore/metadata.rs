//! Setting metadata: the owner first, because that clears setuid and capabilities; times last, because all else moves
//! them.

use std::sync::atomic::Ordering;

use datadb::{
    FileType, Meta,
    meta::{Timestamp, XattrValue},
};
use rustix::{
    fd::AsFd,
    fs::{
        AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
        flistxattr, fremovexattr, fsetxattr, futimens, lsetxattr, utimensat,
    },
    io::Errno,
};

use super::shared::Shared;
use crate::pipeline::xattrs::by_descriptor;

/// Sets everything on an open file or directory.
pub fn apply_open<Fd: AsFd>(shared: &Shared, fd: Fd, meta: &Meta, path: &[u8]) {
    let owned = set_owner(shared, path, |uid, gid| fchown(&fd, uid, gid), meta);
    told(shared, path, "mode", fchmod(&fd, mode(meta, owned)));
    set_xattrs(shared, path, meta, |name, value| fsetxattr(&fd, name, value, XattrFlags::empty()));
    told(shared, path, "mtime", futimens(&fd, &times(meta.mtime)));
}

/// Sets everything on a name in a directory that is not to be followed: symlinks, fifos, devices, files left as they are.
pub fn apply_name<Fd: AsFd>(shared: &Shared, dir: Fd, name: &[u8], meta: &Meta, path: &[u8]) {
    let chown = |uid, gid| chownat(&dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
    let owned = set_owner(shared, path, chown, meta);
    if meta.file_type != FileType::Symlink {
        told(shared, path, "mode", chmodat(&dir, name, mode(meta, owned), AtFlags::empty()));
    }
    let by_name = by_descriptor(&dir, name);
    set_xattrs(shared, path, meta, |name, value| lsetxattr(&by_name[..], name, value, XattrFlags::empty()));
    told(shared, path, "mtime", utimensat(&dir, name, &times(meta.mtime), AtFlags::SYMLINK_NOFOLLOW));
}

/// Takes ACLs and user attributes off a directory that was there already, so that nothing made in it inherits them and
/// only what the backup holds is on it in the end.
pub fn strip_xattrs<Fd: AsFd>(fd: Fd) {
    let mut buffer = vec![0; 64 << 10];
    let Ok(len) = flistxattr(&fd, &mut buffer[..]) else { return };
    for name in buffer[..len].split(|byte| *byte == 0) {
        if name.starts_with(b"system.posix_acl_") || name.starts_with(b"user.") {
            // What can't be taken off stays; the directory is not ours then.
            fremovexattr(&fd, name).ok();
        }
    }
}

/// Whether owner and group are as they should be afterwards.
fn set_owner(
    shared: &Shared,
    path: &[u8],
    chown: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    meta: &Meta,
) -> bool {
    let (uid, gid) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    match chown(uid, gid) {
        Ok(()) => true,
        Err(error) if shared.is_root && error != Errno::PERM => {
            shared.error(path, "owner", error);
            false
        }
        Err(_) => {
            shared.owners_lost.fetch_add(1, Ordering::Relaxed);
            // The group alone, where we are a member of it.
            chown(None, gid).ok();
            false
        }
    }
}

/// The mode; without setuid and setgid where they would lend somebody else's rights.
fn mode(meta: &Meta, owned: bool) -> Mode {
    Mode::from_raw_mode(if owned { meta.mode } else { meta.mode & !0o6000 })
}

fn set_xattrs(shared: &Shared, path: &[u8], meta: &Meta, set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>) {
    for xattr in &meta.xattrs {
        let XattrValue::Inline(value) = &xattr.value else { continue };
        match set(&xattr.name, value) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) if !shared.is_root => {
                shared.xattrs_lost.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => shared.error(path, &crate::report::escape(&xattr.name), error),
        }
    }
}

fn told(shared: &Shared, path: &[u8], what: &str, result: Result<(), Errno>) {
    if let Err(error) = result {
        shared.error(path, what, error);
    }
}

/// The mtime; the atime stays as it is.
fn times(mtime: Timestamp) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps {
        last_access: omit,
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) },
    }
}
