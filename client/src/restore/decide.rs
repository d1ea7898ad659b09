//! What is to be done with an entry: it is compared with what is there, and nothing is changed.

use datadb::{FileType, Meta};
use rustix::{fd::AsFd, fs::readlinkat, io::Errno};

use super::{
    metadata::{self, Unlike},
    shared::{Overwrite, Shared},
    wanted::Wanted,
};
use crate::{
    fs::at::At,
    fs::xattrs::Reader,
    fs::{FileId, Stat},
};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing is there: it is made.
    Create,
    /// Something else is there, or other content: it is made anew and takes the name.
    Replace,
    /// Only these differ.
    Metadata(Unlike),
    /// Nothing.
    Leave,
}

impl Act {
    /// 0 to 3, for counting.
    pub const fn number(self) -> usize {
        match self {
            Self::Create => 0,
            Self::Replace => 1,
            Self::Metadata(_) => 2,
            Self::Leave => 3,
        }
    }

    /// Whether something is made.
    pub const fn makes(self) -> bool {
        matches!(self, Self::Create | Self::Replace)
    }
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// What is to be done.
    pub act: Act,
    /// What is there.
    pub stat: Option<Stat>,
}

/// Looks at what is there.
pub fn decide(shared: &Shared, wanted: &Wanted, reader: &mut Reader) -> Result<Found, Errno> {
    const NOTHING: Found = Found { act: Act::Create, stat: None };
    let Wanted { dir, name, meta } = wanted;
    if dir.is_new {
        return Ok(NOTHING);
    }
    let fd = dir.fd()?;
    let stat = match Stat::at(&fd, name) {
        Err(Errno::NOENT) => return Ok(NOTHING),
        other => other?,
    };
    let at = At::Name(fd.as_fd(), name);
    let act = match shared.overwrite {
        Overwrite::Never => Act::Leave,
        Overwrite::Always if meta.file_type != FileType::Dir => Act::Replace,
        _ if !is_same(at, &stat, meta)? => Act::Replace,
        _ => metadata_only(shared, at, &stat, meta, reader),
    };
    Ok(Found { act, stat: Some(stat) })
}

/// Looks at one more name of a file, the first of which is kept as it is and is this one, or is made anew.
pub fn decide_link(shared: &Shared, wanted: &Wanted, kept: Option<FileId>) -> Result<Act, Errno> {
    let Wanted { dir, name, .. } = wanted;
    if dir.is_new {
        return Ok(Act::Create);
    }
    match Stat::at(dir.fd()?, name) {
        Err(Errno::NOENT) => Ok(Act::Create),
        Err(error) => Err(error),
        Ok(_) if shared.overwrite == Overwrite::Never => Ok(Act::Leave),
        Ok(stat) if kept == Some(stat.id()) => Ok(Act::Leave),
        Ok(_) => Ok(Act::Replace),
    }
}

/// Compares the metadata of something that is as it should be otherwise.
pub fn metadata_only(shared: &Shared, at: At<'_>, stat: &Stat, meta: &Meta, reader: &mut Reader) -> Act {
    let unlike = metadata::unlike(&shared.rights, at, stat, meta, reader);
    if unlike.is_any() { Act::Metadata(unlike) } else { Act::Leave }
}

/// Whether it is the same but for its metadata. Of a file, size and mtime stand for the bytes. What has other names here,
/// and had none in the backup, is not the same: a change of it would change those too.
fn is_same(at: At<'_>, stat: &Stat, meta: &Meta) -> Result<bool, Errno> {
    if stat.file_type != Some(meta.file_type) {
        return Ok(false);
    }
    let is_alone = stat.nlink <= 1 || meta.link.is_some();
    Ok(match (meta.file_type, at) {
        (FileType::Dir, _) => true,
        (FileType::File, _) => is_alone && (stat.size, stat.mtime) == (meta.size, meta.mtime),
        (FileType::Symlink, At::Name(dir, name)) => {
            is_alone && Some(readlinkat(dir, name, Vec::new())?.as_bytes()) == meta.target.as_deref()
        }
        (FileType::CharDevice | FileType::BlockDevice, _) => is_alone && Some(stat.rdev) == meta.rdev,
        (FileType::Fifo | FileType::Symlink, _) => is_alone,
    })
}
