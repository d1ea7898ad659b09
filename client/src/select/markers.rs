//! Directories that say of themselves that what is in them is not to be kept.

use datadb::{FileType, Name};
use rustix::{
    fs::OFlags,
    io::{Errno, read},
};

use crate::fs::{Dir, Stat, open_quietly};

/// The name that the Cache Directory Tagging Specification (<https://bford.info/cachedir/>) gives the tag.
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
/// What a tag begins with.
const CACHE_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What makes a directory one whose content is left out.
#[derive(Clone, Debug, Default)]
pub struct Markers {
    /// A name that it holds, whatever that is.
    pub names: Vec<Name>,
    /// A valid tag of caches.
    pub caches: bool,
}

impl Markers {
    /// If the directory is marked: which of its sorted names stay.
    pub fn kept(&self, dir: &Dir, names: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
        let holds = |wanted: &[u8]| names.binary_search_by(|name| (**name).cmp(wanted)).is_ok();
        if self.names.iter().any(|name| holds(name.as_bytes())) {
            return Some(Vec::new());
        }
        (self.caches && holds(CACHE_TAG) && is_cache_tag(dir)).then(|| vec![CACHE_TAG.to_vec()])
    }
}

/// A tag that can't be read marks nothing; it is then a file of the backup, whose error is told when it is read.
fn is_cache_tag(dir: &Dir) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(fd) = open_quietly(dir.fd(), CACHE_TAG, flags) else { return false };
    if !Stat::of(&fd).is_ok_and(|stat| stat.file_type == Some(FileType::File)) {
        return false;
    }
    let (mut start, mut have) = ([0; CACHE_SIGNATURE.len()], 0);
    while have < start.len() {
        match read(&fd, &mut start[have..]) {
            Ok(0) => return false,
            Ok(more) => have += more,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    &start == CACHE_SIGNATURE
}
