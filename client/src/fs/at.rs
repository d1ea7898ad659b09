//! Where metadata is read and set: on something open, or on a name in an open directory, which is never followed.

use datadb::meta::{Timestamp, Xattr};
use rustix::{
    fd::{AsRawFd, BorrowedFd},
    fs::{
        AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat, fchmod,
        fchown, fremovexattr, fsetxattr, futimens, lremovexattr, lsetxattr, openat, utimensat,
    },
    io::Errno,
};

use super::{
    Stat,
    xattrs::{Reader, by_descriptor},
};

/// Something that has metadata.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A name in a directory.
    Name(BorrowedFd<'a>, &'a [u8]),
}

impl At<'_> {
    /// What the kernel tells about it.
    pub fn stat(self) -> Result<Stat, Errno> {
        match self {
            Self::Open(fd) => Stat::of(fd),
            Self::Name(dir, name) => Stat::at(dir, name),
        }
    }

    /// Changes owner and group, where they are given.
    pub fn chown(self, uid: Option<Uid>, gid: Option<Gid>) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fchown(fd, uid, gid),
            Self::Name(dir, name) => chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Changes the mode. Symlinks have none.
    pub fn chmod(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::Name(dir, name) => {
                // The call follows symlinks; by way of what is open it can't.
                let file = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                chmodat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), mode, AtFlags::empty())
            }
        }
    }

    /// Sets the mtime; the atime stays as it is.
    pub fn set_mtime(self, mtime: Timestamp) -> Result<(), Errno> {
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let last_modification = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) };
        let times = Timestamps { last_access: omit, last_modification };
        match self {
            Self::Open(fd) => futimens(fd, &times),
            Self::Name(dir, name) => utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// All extended attributes, as a backup would hold them.
    pub fn xattrs(self, reader: &mut Reader) -> Result<Vec<Xattr>, Errno> {
        // Long values stand as their ids, which is all that a comparison needs.
        match self {
            Self::Open(fd) => reader.of_open(fd, &mut |_, _| ()),
            Self::Name(dir, name) => reader.of_name(dir, name, &mut |_, _| ()),
        }
    }

    /// Sets an extended attribute.
    pub fn set_xattr(self, xattr: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fsetxattr(fd, xattr, value, XattrFlags::empty()),
            Self::Name(dir, name) => lsetxattr(&by_descriptor(dir, name)[..], xattr, value, XattrFlags::empty()),
        }
    }

    /// Takes an extended attribute off.
    pub fn remove_xattr(self, xattr: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fremovexattr(fd, xattr),
            Self::Name(dir, name) => lremovexattr(&by_descriptor(dir, name)[..], xattr),
        }
    }
}
