//! The metadata of one file, directory, link or special file, and its canonical encoding.
//!
//! # Format (kind 1 of the objects, version 1)
//! `salt u8 · kind u8 = 1 · type u8 · mode · uid · gid · mtime seconds (zigzag) · nanoseconds · size · name · user ·
//! group`, numbers as varints, texts behind their lengths; then the optional fields, each behind its tag, tags
//! ascending: 1 target, 2 device (major, minor), 3 xattr (once each, names ascending; value inline or a blob id),
//! 4 blob, 5 ref, 6 digest, 7 nlink, 8 link, 9 error. There is exactly one encoding of a meta; its SHA-1 is the meta's
//! key. A reader refuses tags and types that it doesn't know.

use std::fmt;

use crate::{
    blob::{BlobId, Digest},
    codec::{DecodeError, Reader, Writer},
    key::ObjectKey,
    limits,
};

/// The second byte of a meta's encoding, which tells it from other objects.
pub const KIND_META: u8 = 1;

/// A file name: bytes, not UTF-8. Never empty, `.` or `..`, without `/` and NUL, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks the rules above.
    pub fn new(bytes: &[u8]) -> Result<Self, DecodeError> {
        let rule = |rule| Err(DecodeError::rule("name", rule));
        match bytes {
            b"" => rule("is empty"),
            b"." | b".." => rule("is . or .."),
            long if long.len() > limits::NAME_BYTES_MAX => rule("is longer than 255 bytes"),
            other if other.iter().any(|byte| matches!(byte, 0 | b'/')) => rule("holds / or NUL"),
            good => Ok(Self(good.into())),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// What kind of file it is. Sockets are not backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileType {
    /// A regular file.
    File = 1,
    /// A directory.
    Dir = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A named pipe.
    Fifo = 4,
    /// A character device.
    CharDevice = 5,
    /// A block device.
    BlockDevice = 6,
}

impl FileType {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::CharDevice => "chardev",
            Self::BlockDevice => "blockdev",
        }
    }
}

impl TryFrom<u8> for FileType {
    type Error = DecodeError;
    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte {
            1 => Self::File,
            2 => Self::Dir,
            3 => Self::Symlink,
            4 => Self::Fifo,
            5 => Self::CharDevice,
            6 => Self::BlockDevice,
            other => return Err(DecodeError::Unknown { field: "file type", value: u64::from(other) }),
        })
    }
}

/// A point in time with nanoseconds; seconds may be negative (before 1970), nanoseconds count forward from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Unix seconds.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What a file or directory consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: empty, or of a type without content.
    None,
    /// A file that is one blob from 0 to its size.
    Blob(BlobId),
    /// A file's list, or a directory's set.
    Ref(ObjectKey),
}

/// The value of an extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XattrValue {
    /// The value itself.
    Inline(Vec<u8>),
    /// A long value, kept as a blob.
    Blob(BlobId),
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Its name with the name space (`user.`, `security.`, `system.`, `trusted.`).
    pub name: Vec<u8>,
    /// Its value.
    pub value: XattrValue,
}

/// How a file with several names is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardLink {
    /// Link count when it was read; at least 2.
    pub nlink: u64,
    /// Keyed hash of device and inode: equal values within one backup are one file.
    pub id: [u8; 16],
}

/// The metadata of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// 0, unless another meta with the same SHA-1 got there first.
    pub salt: u8,
    /// `None` for the root of a backup.
    pub name: Option<Name>,
    /// What it is.
    pub file_type: FileType,
    /// Permission bits with setuid, setgid and sticky (0 to 07777).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Owner's name, empty where there is none.
    pub user: String,
    /// Group's name, empty where there is none.
    pub group: String,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Bytes of a file, holes counted; 0 for everything else.
    pub size: u64,
    /// Where a symlink points.
    pub target: Option<Vec<u8>>,
    /// Major and minor number of a device.
    pub rdev: Option<(u32, u32)>,
    /// By name, ascending.
    pub xattrs: Vec<Xattr>,
    /// What it consists of.
    pub content: Content,
    /// Of files with content, see [`crate::blob::FileDigest`].
    pub digest: Option<Digest>,
    /// Only of files with more than one link.
    pub link: Option<HardLink>,
    /// Why it could not be read; such an entry is never trusted as unchanged.
    pub error: Option<String>,
}

impl Meta {
    /// An entry of this name and type with nothing else known.
    pub fn bare(name: Option<Name>, file_type: FileType) -> Self {
        Self {
            salt: 0,
            name,
            file_type,
            mode: 0,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            mtime: Timestamp::default(),
            size: 0,
            target: None,
            rdev: None,
            xattrs: Vec::new(),
            content: Content::None,
            digest: None,
            link: None,
            error: None,
        }
    }

    /// The name's bytes, empty for a root.
    pub fn name_bytes(&self) -> &[u8] {
        self.name.as_ref().map_or(b"", Name::as_bytes)
    }

    /// The one encoding of this meta, described at the top of this file.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(128);
        w.u8(self.salt).u8(KIND_META).u8(self.file_type as u8);
        w.varint(u64::from(self.mode)).varint(u64::from(self.uid)).varint(u64::from(self.gid));
        w.signed(self.mtime.seconds).varint(u64::from(self.mtime.nanos)).varint(self.size);
        w.bytes(self.name_bytes()).bytes(self.user.as_bytes()).bytes(self.group.as_bytes());
        if let Some(target) = &self.target {
            w.u8(TAG_TARGET).bytes(target);
        }
        if let Some((major, minor)) = self.rdev {
            w.u8(TAG_RDEV).varint(u64::from(major)).varint(u64::from(minor));
        }
        for xattr in &self.xattrs {
            w.u8(TAG_XATTR).bytes(&xattr.name);
            match &xattr.value {
                XattrValue::Inline(value) => w.u8(0).bytes(value),
                XattrValue::Blob(id) => w.u8(1).raw(id.as_bytes()),
            };
        }
        match &self.content {
            Content::None => &mut w,
            Content::Blob(id) => w.u8(TAG_BLOB).raw(id.as_bytes()),
            Content::Ref(key) => w.u8(TAG_REF).raw(key.as_bytes()),
        };
        if let Some(digest) = &self.digest {
            w.u8(TAG_DIGEST).raw(digest.as_bytes());
        }
        if let Some(link) = &self.link {
            w.u8(TAG_NLINK).varint(link.nlink).u8(TAG_LINK).raw(&link.id);
        }
        if let Some(error) = &self.error {
            w.u8(TAG_ERROR).bytes(error.as_bytes());
        }
        w.finish()
    }

    /// Reads an encoding and checks every rule, so that `encode` gives the same bytes again.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > limits::META_BYTES_MAX {
            return Err(DecodeError::rule("meta", "is longer than its limit"));
        }
        let mut r = Reader::new(bytes);
        let salt = r.u8("salt")?;
        match r.u8("kind")? {
            KIND_META => {}
            other => return Err(DecodeError::Unknown { field: "object kind", value: u64::from(other) }),
        }
        let file_type = FileType::try_from(r.u8("file type")?)?;
        let mut meta = Self::bare(None, file_type);
        meta.salt = salt;
        meta.mode = r.varint32("mode")?;
        meta.uid = r.varint32("uid")?;
        meta.gid = r.varint32("gid")?;
        meta.mtime.seconds = r.signed("mtime seconds")?;
        meta.mtime.nanos = r.varint32("mtime nanoseconds")?;
        meta.size = r.varint("size")?;
        let name = r.bytes("name", limits::NAME_BYTES_MAX)?;
        meta.name = if name.is_empty() { None } else { Some(Name::new(name)?) };
        meta.user = r.text("user", limits::OWNER_BYTES_MAX)?.to_owned();
        meta.group = r.text("group", limits::OWNER_BYTES_MAX)?.to_owned();
        meta.decode_options(&mut r)?;
        r.end()?;
        meta.checked()
    }

    /// The name in an encoding that was accepted once, without reading what stands behind it.
    pub(crate) fn encoded_name(bytes: &[u8]) -> Result<Option<Name>, DecodeError> {
        let mut r = Reader::new(bytes);
        for field in ["salt", "kind", "file type"] {
            r.u8(field)?;
        }
        for field in ["mode", "uid", "gid"] {
            r.varint32(field)?;
        }
        r.signed("mtime seconds")?;
        r.varint32("mtime nanoseconds")?;
        r.varint("size")?;
        let name = r.bytes("name", limits::NAME_BYTES_MAX)?;
        if name.is_empty() { Ok(None) } else { Name::new(name).map(Some) }
    }

    fn decode_options(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut last = 0;
        while r.remaining() > 0 {
            let tag = r.u8("tag")?;
            if tag < last || (tag == last && tag != TAG_XATTR) {
                return Err(DecodeError::rule("tag", "is out of order"));
            }
            last = tag;
            match tag {
                TAG_TARGET => self.target = Some(r.bytes("target", limits::PATH_BYTES_MAX)?.to_vec()),
                TAG_RDEV => self.rdev = Some((r.varint32("major")?, r.varint32("minor")?)),
                TAG_XATTR => self.xattrs.push(decode_xattr(r)?),
                TAG_BLOB => self.content = Content::Blob(BlobId::new(r.array("blob")?)),
                TAG_REF if self.content == Content::None => {
                    self.content = Content::Ref(ObjectKey::new(r.array("ref")?));
                }
                TAG_REF => return Err(DecodeError::rule("content", "is both a blob and a ref")),
                TAG_DIGEST => self.digest = Some(Digest::new(r.array("digest")?)),
                TAG_NLINK => {
                    let nlink = r.varint("nlink")?;
                    if r.u8("tag")? != TAG_LINK {
                        return Err(DecodeError::rule("nlink", "stands without link"));
                    }
                    last = TAG_LINK;
                    self.link = Some(HardLink { nlink, id: r.array("link")? });
                }
                TAG_ERROR => self.error = Some(r.text("error", limits::ERROR_BYTES_MAX)?.to_owned()),
                other => return Err(DecodeError::Unknown { field: "meta tag", value: u64::from(other) }),
            }
        }
        Ok(())
    }

    /// The rules between fields, which hold for metas from the wire and from disk alike.
    pub fn checked(self) -> Result<Self, DecodeError> {
        let rule = |field, rule| Err(DecodeError::rule(field, rule));
        let is_file = self.file_type == FileType::File;
        let is_device = matches!(self.file_type, FileType::CharDevice | FileType::BlockDevice);
        if self.mode > 0o7777 {
            return rule("mode", "holds more than permission bits");
        }
        if self.mtime.nanos > 999_999_999 {
            return rule("mtime nanoseconds", "are a second or more");
        }
        if self.user.len() > limits::OWNER_BYTES_MAX || self.group.len() > limits::OWNER_BYTES_MAX {
            return rule("owner's name", "is longer than its limit");
        }
        if self.target.as_ref().is_some_and(|target| target.is_empty() || target.len() > limits::PATH_BYTES_MAX) {
            return rule("target", "is empty or longer than its limit");
        }
        if self.error.as_ref().is_some_and(|error| error.is_empty() || error.len() > limits::ERROR_BYTES_MAX) {
            return rule("error", "is empty or longer than its limit");
        }
        self.xattrs.iter().try_for_each(check_xattr)?;
        if self.xattrs.len() > limits::XATTRS_MAX {
            return rule("xattrs", "are more than a file may have");
        }
        if !self.xattrs.is_sorted_by(|a, b| a.name < b.name) {
            return rule("xattrs", "are not in ascending order");
        }
        if !is_file && self.size != 0 {
            return rule("size", "belongs to files alone");
        }
        if self.target.is_some() != (self.file_type == FileType::Symlink) && self.error.is_none() {
            return rule("target", "belongs to symlinks, and every symlink has one");
        }
        if self.rdev.is_some() != is_device && self.error.is_none() {
            return rule("device number", "belongs to devices, and every device has one");
        }
        match self.content {
            Content::Blob(_) if !is_file => return rule("blob", "belongs to files alone"),
            Content::Ref(_) if !is_file && self.file_type != FileType::Dir => {
                return rule("ref", "belongs to files and directories alone");
            }
            _ => {}
        }
        let has_bytes = is_file && self.content != Content::None;
        if self.digest.is_some() != has_bytes {
            return rule("digest", "belongs to files with content, and each of them has one");
        }
        if is_file && self.content == Content::None && self.size != 0 && self.error.is_none() {
            return rule("content", "is missing");
        }
        Ok(self)
    }
}

fn decode_xattr(r: &mut Reader<'_>) -> Result<Xattr, DecodeError> {
    let name = r.bytes("xattr name", limits::XATTR_NAME_BYTES_MAX)?.to_vec();
    let value = match r.u8("xattr form")? {
        0 => XattrValue::Inline(r.bytes("xattr value", limits::XATTR_INLINE_BYTES_MAX)?.to_vec()),
        1 => XattrValue::Blob(BlobId::new(r.array("xattr blob")?)),
        other => return Err(DecodeError::Unknown { field: "xattr form", value: u64::from(other) }),
    };
    Ok(Xattr { name, value })
}

fn check_xattr(xattr: &Xattr) -> Result<(), DecodeError> {
    let name = &xattr.name;
    if name.is_empty() || name.contains(&0) || name.len() > limits::XATTR_NAME_BYTES_MAX {
        return Err(DecodeError::rule("xattr name", "is empty, holds NUL, or is longer than its limit"));
    }
    match &xattr.value {
        XattrValue::Inline(value) if value.len() > limits::XATTR_INLINE_BYTES_MAX => {
            Err(DecodeError::rule("xattr value", "is longer than may stand inline"))
        }
        XattrValue::Inline(_) | XattrValue::Blob(_) => Ok(()),
    }
}

const TAG_TARGET: u8 = 1;
const TAG_RDEV: u8 = 2;
const TAG_XATTR: u8 = 3;
const TAG_BLOB: u8 = 4;
const TAG_REF: u8 = 5;
const TAG_DIGEST: u8 = 6;
const TAG_NLINK: u8 = 7;
const TAG_LINK: u8 = 8;
const TAG_ERROR: u8 = 9;
