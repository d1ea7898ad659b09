//! What a backup that others may have made must not bring along: rights. Left out are setuid and setgid, devices, and
//! attributes that the system decides by (`security.*`: capabilities, labels). Everything else is restored as it is.

use std::sync::atomic::AtomicU64;

use datadb::{FileType, Meta};

use crate::report::{count, get};

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Entries that lost setuid or setgid.
    pub set_ids: u64,
    /// Devices.
    pub devices: u64,
    /// Attributes whose names begin with `security.`.
    pub attributes: u64,
}

/// Leaves out, and counts.
#[derive(Debug)]
pub struct Untrusted {
    is_on: bool,
    set_ids: AtomicU64,
    devices: AtomicU64,
    attributes: AtomicU64,
}

impl Untrusted {
    /// Nothing left out yet; unless it `is_on`, nothing ever is.
    pub const fn new(is_on: bool) -> Self {
        let (set_ids, devices, attributes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { is_on, set_ids, devices, attributes }
    }

    /// Takes from an entry what lends rights; `false` if the whole entry is left out.
    pub fn admits(&self, meta: &mut Meta) -> bool {
        if !self.is_on {
            return true;
        }
        if matches!(meta.file_type, FileType::CharDevice | FileType::BlockDevice) {
            count(&self.devices, 1);
            return false;
        }
        if meta.mode & 0o6000 != 0 {
            meta.mode &= !0o6000;
            count(&self.set_ids, 1);
        }
        let before = meta.xattrs.len();
        meta.xattrs.retain(|xattr| !xattr.name.starts_with(b"security."));
        count(&self.attributes, (before - meta.xattrs.len()) as u64);
        true
    }

    /// The counts so far.
    pub fn withheld(&self) -> Withheld {
        let Self { set_ids, devices, attributes, .. } = self;
        Withheld { set_ids: get(set_ids), devices: get(devices), attributes: get(attributes) }
    }
}
