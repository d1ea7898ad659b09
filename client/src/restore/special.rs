//! What has no content: symlinks, fifos, devices.

use datadb::{FileType, Meta};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{FileType as Node, Mode, makedev, mknodat, symlinkat},
    io::Errno,
};

use super::{
    metadata::{apply_to_new, strip_acls},
    place::Place,
    shared::Shared,
    wanted::Wanted,
};
use crate::fs::at::At;

/// Makes one with all its metadata, in the place of whatever has its name.
pub fn make(shared: &Shared, wanted: &Wanted) -> Result<(), Errno> {
    let Wanted { dir, name, meta } = wanted;
    let (place, ()) = Place::make(dir, name, |fd, at| bare(fd, at, meta))?;
    let fd = dir.fd()?;
    let at = At::Name(fd.as_fd(), &place.name);
    if dir.has_default_acl && meta.file_type != FileType::Symlink {
        strip_acls(at);
    }
    apply_to_new(shared, at, meta, &|| wanted.path());
    place.keep(dir, name)
}

fn bare(dir: &OwnedFd, name: &[u8], meta: &Meta) -> Result<(), Errno> {
    let device = meta.rdev.map_or(0, |(major, minor)| makedev(major, minor));
    let node = |kind| mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device);
    match meta.file_type {
        FileType::Symlink => symlinkat(meta.target.as_deref().unwrap_or_default(), dir, name),
        FileType::Fifo => node(Node::Fifo),
        FileType::CharDevice => node(Node::CharacterDevice),
        FileType::BlockDevice => node(Node::BlockDevice),
        FileType::File | FileType::Dir => Err(Errno::INVAL),
    }
}
