//! What two versions of a file can differ in.

/// A part of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Permission bits.
    Mode,
    /// User or group, number or name.
    Owner,
    /// Time of the last modification.
    Mtime,
    /// Where a symlink points.
    Target,
    /// Which device it is.
    Device,
    /// Extended attributes and ACLs.
    Xattrs,
    /// Number of names. (The file's identity among them says nothing across backups.)
    Links,
    /// Where holes lie, in bytes that are the same. (Between two backups other holes are other content.)
    Holes,
    /// Why it could not be read.
    Error,
}

impl Field {
    /// As people and programs read it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Mtime => "mtime",
            Self::Target => "target",
            Self::Device => "device",
            Self::Xattrs => "xattrs",
            Self::Links => "links",
            Self::Holes => "holes",
            Self::Error => "error",
        }
    }
}
