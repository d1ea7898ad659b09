//! What the kernel tells about a file, as far as a backup needs it.

use datadb::meta::{FileType, Timestamp};
use rustix::{
    fd::AsFd,
    fs::{AtFlags, StatxFlags, StatxTimestamp, statx},
    io,
};

/// Device (major and minor number) and inode number.
pub type FileId = ((u32, u32), u64);

/// Attributes of one file at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `None` is a socket (or something that this program doesn't know).
    pub file_type: Option<FileType>,
    /// Permission bits.
    pub mode: u32,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// 512-byte blocks on disk; fewer than the size asks for where there are holes.
    pub blocks: u64,
    /// Major and minor number of the device that the file is.
    pub rdev: (u32, u32),
    /// Major and minor number of the device that the file is on.
    pub dev: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last change of content or attributes.
    pub ctime: Timestamp,
}

impl Stat {
    /// Of a name in a directory; a symlink is not followed.
    pub fn at<Fd: AsFd>(dir: Fd, name: &[u8]) -> io::Result<Self> {
        Self::ask(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    /// Of something open.
    pub fn of<Fd: AsFd>(fd: Fd) -> io::Result<Self> {
        Self::ask(fd, b"", AtFlags::EMPTY_PATH)
    }

    fn ask<Fd: AsFd>(fd: Fd, name: &[u8], flags: AtFlags) -> io::Result<Self> {
        let x = statx(fd, name, flags, StatxFlags::BASIC_STATS)?;
        use rustix::fs::FileType as Kind;
        let file_type = match Kind::from_raw_mode(u32::from(x.stx_mode)) {
            Kind::RegularFile => Some(FileType::File),
            Kind::Directory => Some(FileType::Dir),
            Kind::Symlink => Some(FileType::Symlink),
            Kind::Fifo => Some(FileType::Fifo),
            Kind::CharacterDevice => Some(FileType::CharDevice),
            Kind::BlockDevice => Some(FileType::BlockDevice),
            _ => None,
        };
        let time = |time: StatxTimestamp| Timestamp { seconds: time.tv_sec, nanos: time.tv_nsec };
        Ok(Self {
            file_type,
            mode: u32::from(x.stx_mode) & 0o7777,
            nlink: x.stx_nlink,
            uid: x.stx_uid,
            gid: x.stx_gid,
            size: x.stx_size,
            blocks: x.stx_blocks,
            rdev: (x.stx_rdev_major, x.stx_rdev_minor),
            dev: (x.stx_dev_major, x.stx_dev_minor),
            inode: x.stx_ino,
            mtime: time(x.stx_mtime),
            ctime: time(x.stx_ctime),
        })
    }

    /// What tells it from every other file: its device and inode number.
    pub const fn id(&self) -> FileId {
        (self.dev, self.inode)
    }

    /// Whether both tell of the same content of the same file.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.file_type, self.size, self.mtime, self.ctime, self.inode)
            == (other.file_type, other.size, other.mtime, other.ctime, other.inode)
    }

    /// Whether so few blocks hold the file that there must be holes (or compression; looking for holes then costs little).
    pub const fn may_have_holes(&self) -> bool {
        self.blocks < self.size.div_ceil(512)
    }

    /// Whether the last change lies long enough before `now` that another one would show in the ctime.
    pub const fn is_settled(&self, now: Timestamp) -> bool {
        let age = now.seconds.saturating_sub(self.ctime.seconds);
        age > SETTLED_SECONDS || (age == SETTLED_SECONDS && now.nanos >= self.ctime.nanos)
    }
}

/// File systems tick in steps of up to two seconds (FAT); a younger ctime may hide a later change.
const SETTLED_SECONDS: i64 = 2;
