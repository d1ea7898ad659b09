//! Attributes as the kernel takes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datadb::{FileType, meta::Timestamp};
use fuser::{FileAttr, INodeNo};

use crate::{entry::Entry, view::ino::Ino};

/// What programs are told to read at once.
const READ_BYTES: u32 = 128 << 10;

/// What never changes is good for ten years: longer than any mount, and far from overflowing anything.
pub const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Names that mean something else with the next backup are good for a second, less what the kernel rounds up.
pub const A_SECOND: Duration = Duration::from_millis(950);

/// The type as the kernel calls it.
pub const fn kind(file_type: FileType) -> fuser::FileType {
    match file_type {
        FileType::File => fuser::FileType::RegularFile,
        FileType::Dir => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::CharDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
    }
}

/// All attributes of an entry. Of its times only that of the last modification is known.
pub fn attr(ino: Ino, entry: &Entry) -> FileAttr {
    let time = time(entry.mtime);
    let rdev = entry.rare.as_ref().and_then(|rare| rare.rdev);
    FileAttr {
        ino: INodeNo(ino.0),
        size: entry.size,
        blocks: entry.blocks(),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(entry.file_type),
        perm: (entry.mode & 0o7777) as u16,
        nlink: entry.nlink,
        uid: entry.uid,
        gid: entry.gid,
        rdev: rdev.map_or(0, device),
        blksize: READ_BYTES,
        flags: 0,
    }
}

/// What stands for an entry of a name that is not there.
pub fn nothing() -> FileAttr {
    attr(Ino(0), &Entry::new(datadb::Meta::bare(None, FileType::File), 0))
}

fn time(at: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(at.seconds.unsigned_abs());
    let whole = if at.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let time = whole.and_then(|whole| whole.checked_add(Duration::from_nanos(u64::from(at.nanos))));
    time.unwrap_or(UNIX_EPOCH)
}

/// A device's number in the form in which it crosses to the kernel: 12 bits for the major, 20 for the minor number.
const fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_lie_before_1970_and_keep_their_nanoseconds() {
        let before = time(Timestamp { seconds: -2, nanos: 999_999_999 });
        assert_eq!(UNIX_EPOCH.duration_since(before).unwrap(), Duration::new(1, 1));
        let after = time(Timestamp { seconds: 1_400_000_000, nanos: 7 });
        assert_eq!(after.duration_since(UNIX_EPOCH).unwrap(), Duration::new(1_400_000_000, 7));
        time(Timestamp { seconds: i64::MIN, nanos: 0 });
        time(Timestamp { seconds: i64::MAX, nanos: 999_999_999 });
    }

    #[test]
    fn a_device_has_the_kernels_form() {
        assert_eq!(device((8, 1)), 0x801);
        assert_eq!(device((259, 0x12345)), 0x1231_0345);
    }
}
