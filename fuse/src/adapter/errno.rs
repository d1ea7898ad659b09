//! The one table from what can go wrong to what the kernel understands.

use fuser::Errno;

use crate::view::trouble::Trouble;

impl From<&Trouble> for Errno {
    fn from(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Absent => Self::ENOENT,
            Trouble::NotDir => Self::ENOTDIR,
            Trouble::OtherType => Self::EINVAL,
            Trouble::NoAttribute => Self::ENODATA,
            Trouble::BehindEnd => Self::ENXIO,
            Trouble::Unread(_) | Trouble::Lost { .. } | Trouble::Server(_) => Self::EIO,
        }
    }
}
