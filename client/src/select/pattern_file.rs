//! Small files of the tree that say what to leave out, read whole. Nothing in a tree can make the reader wait (a fifo), or
//! hold much (a huge file).

use rustix::{
    buffer::spare_capacity,
    fd::AsFd,
    fs::OFlags,
    io::{Errno, read as read_some},
};

use datadb::{FileType, limits::PATTERN_FILE_BYTES_MAX};

use crate::{
    fs::{Stat, open_quietly, words},
    report::{Report, escape},
};

/// What to do about a symlink at the end of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It is followed.
    Followed,
    /// It is an error.
    Refused,
}

/// The content of a file by its path from a directory. `None` if there is no such file, or if it can't be used, which is
/// told of the path `shown`.
pub fn read<Fd: AsFd>(dir: Fd, path: &[u8], links: Links, shown: &[u8], report: &Report) -> Option<Vec<u8>> {
    try_read(dir, path, links).unwrap_or_else(|why| {
        report.line(&format!("{}: {why}: its rules are not used", escape(shown)));
        None
    })
}

fn try_read<Fd: AsFd>(dir: Fd, path: &[u8], links: Links) -> Result<Option<Vec<u8>>, String> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if links == Links::Refused {
        flags |= OFlags::NOFOLLOW;
    }
    let fd = match open_quietly(dir, path, flags) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(Errno::LOOP) if links == Links::Refused => return Err("a symlink, which is not followed".to_owned()),
        Err(error) => return Err(words(error)),
    };
    if Stat::of(&fd).map_err(words)?.file_type != Some(FileType::File) {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::with_capacity(8 << 10);
    while bytes.len() <= PATTERN_FILE_BYTES_MAX {
        bytes.reserve(4 << 10);
        match read_some(&fd, spare_capacity(&mut bytes)) {
            Ok(0) => return Ok(Some(bytes)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(words(error)),
        }
    }
    Err(format!("longer than {} KiB", PATTERN_FILE_BYTES_MAX >> 10))
}
