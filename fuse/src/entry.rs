//! What is kept of a backed-up entry: its meta without name, owner's names and digest, because millions of them may be held.

use datadb::{
    FileType, Meta,
    meta::{Content, Timestamp, Xattr},
};

/// Blocks of `stat` are of so many bytes.
const BLOCK_BYTES: u64 = 512;

/// A backed-up file, directory, link or special file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub file_type: FileType,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Names of the file, 1 or more. Of a directory always 1, which tells `find` that its subdirectories are not counted.
    pub nlink: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Bytes of a file, holes counted; of a symlink those of its target.
    pub size: u64,
    /// Bytes of a file that are holes.
    pub hole_bytes: u64,
    /// What it consists of.
    pub content: Content,
    /// Equal values within one backup are one file.
    pub link: Option<[u8; 16]>,
    /// What few entries have.
    pub rare: Option<Box<Rare>>,
}

/// What few entries have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// Where a symlink points.
    pub target: Option<Vec<u8>>,
    /// Major and minor number of a device.
    pub rdev: Option<(u32, u32)>,
    /// By name, ascending.
    pub xattrs: Vec<Xattr>,
    /// Why it could not be read.
    pub error: Option<String>,
}

impl Entry {
    /// What is kept of a meta, of whose file so many bytes are holes.
    pub fn new(meta: Meta, hole_bytes: u64) -> Self {
        let rare = Rare { target: meta.target, rdev: meta.rdev, xattrs: meta.xattrs, error: meta.error };
        let size = rare.target.as_ref().map_or(meta.size, |target| target.len() as u64);
        Self {
            file_type: meta.file_type,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            nlink: meta.link.as_ref().map_or(1, |link| u32::try_from(link.nlink).unwrap_or(u32::MAX)),
            mtime: meta.mtime,
            size,
            hole_bytes,
            content: meta.content,
            link: meta.link.map(|link| link.id),
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        }
    }

    /// Blocks that its data takes, as `stat` counts them.
    pub fn blocks(&self) -> u64 {
        match self.file_type {
            FileType::File => self.size.saturating_sub(self.hole_bytes).div_ceil(BLOCK_BYTES),
            _ => 0,
        }
    }

    /// Why it could not be read when it was backed up, if nothing of it is there.
    pub fn error(&self) -> Option<&str> {
        let error = self.rare.as_ref()?.error.as_deref()?;
        (self.content == Content::None).then_some(error)
    }

    /// Its extended attributes, by name.
    pub fn xattrs(&self) -> &[Xattr] {
        self.rare.as_ref().map_or(&[], |rare| &rare.xattrs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::{Name, meta::HardLink};

    fn meta(file_type: FileType) -> Meta {
        Meta::bare(Some(Name::new(b"name").unwrap()), file_type)
    }

    #[test]
    fn holes_take_no_blocks() {
        let sparse = Entry::new(Meta { size: 10_000, ..meta(FileType::File) }, 8192);
        assert_eq!((sparse.size, sparse.blocks()), (10_000, 4));
        assert_eq!(Entry::new(meta(FileType::Dir), 0).blocks(), 0);
    }

    #[test]
    fn a_plain_entry_has_nothing_rare_and_one_name() {
        let plain = Entry::new(meta(FileType::File), 0);
        assert_eq!((plain.rare, plain.nlink, plain.link), (None, 1, None));
        let link = Some(HardLink { nlink: 3, id: [5; 16] });
        let linked = Entry::new(Meta { link, ..meta(FileType::File) }, 0);
        assert_eq!((linked.nlink, linked.link), (3, Some([5; 16])));
    }

    #[test]
    fn a_symlink_is_as_long_as_its_target() {
        let target = Some(b"../there".to_vec());
        assert_eq!(Entry::new(Meta { target, ..meta(FileType::Symlink) }, 0).size, 8);
    }

    #[test]
    fn an_error_counts_where_nothing_could_be_read() {
        let error = Some("denied".to_owned());
        let nothing = Meta { error, ..meta(FileType::File) };
        assert_eq!(Entry::new(nothing.clone(), 0).error(), Some("denied"));
        let some = Meta { content: Content::Blob(datadb::BlobId::of(b"x")), ..nothing };
        assert_eq!(Entry::new(some, 0).error(), None);
    }
}
