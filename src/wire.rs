//! Between the API's messages and the domain: checked conversions, packed ids, and the one table of errors and statuses.

mod database;
mod expected;
pub mod metadata;
mod monitor;

use bytes::Bytes;
use tonic::{Code, Status, metadata::MetadataValue};

pub use crate::api::METHODS;
use crate::{
    api,
    backup::{Backup, BackupKey, BackupTime, Counts, HostName, TreePath},
    blob::{BlobId, BlobRef, Digest},
    bundle::{Bundle, BundleError, Codec},
    chunking::ChunkerParams,
    codec::DecodeError,
    error::{Fault, Kind},
    meta::{Content, FileType, HardLink, Meta, Name, Timestamp, Xattr, XattrValue},
    object::{ObjectKey, ObjectRef},
    terminal::escape,
    version::{Moment, Version},
};

/// Name of the metadata entry that tells kinds apart which share a gRPC code.
const KIND_KEY: &str = "datadb-kind";

/// Kind, gRPC code, and the word in the metadata.
pub const KINDS: [(Kind, Code, &str); 11] = [
    (Kind::NotFound, Code::NotFound, "not-found"),
    (Kind::Ambiguous, Code::InvalidArgument, "ambiguous"),
    (Kind::Invalid, Code::InvalidArgument, "invalid"),
    (Kind::Missing, Code::FailedPrecondition, "missing"),
    (Kind::Conflict, Code::AlreadyExists, "conflict"),
    (Kind::Damaged, Code::DataLoss, "damaged"),
    (Kind::Full, Code::ResourceExhausted, "full"),
    (Kind::Unavailable, Code::Unavailable, "unavailable"),
    (Kind::Expired, Code::FailedPrecondition, "expired"),
    (Kind::Unsupported, Code::FailedPrecondition, "unsupported"),
    (Kind::Internal, Code::Internal, "internal"),
];

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let (_, code, word) = KINDS.iter().find(|(kind, ..)| *kind == fault.kind).unwrap_or(&KINDS[10]);
        let mut status = Self::new(*code, fault.message);
        status.metadata_mut().insert(KIND_KEY, MetadataValue::from_static(word));
        status
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let word = status.metadata().get(KIND_KEY).and_then(|word| word.to_str().ok());
        let by_word = KINDS.iter().find(|(_, _, known)| Some(*known) == word);
        let by_code = || KINDS.iter().find(|(_, code, _)| *code == status.code());
        let kind = by_word.or_else(by_code).map_or(Kind::Internal, |(kind, ..)| *kind);
        // Whoever shows it, on a terminal or in a log, need not think of who worded it.
        Self::new(kind, escape(status.message().as_bytes()))
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::new(Kind::Invalid, error.to_string())
    }
}

/// The fields of a message that must be there.
fn required<T>(field: &'static str, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Short { field })
}

/// Splits packed ids of 20 bytes each.
pub fn unpack_ids(packed: &[u8]) -> Result<impl ExactSizeIterator<Item = BlobId> + '_, DecodeError> {
    match packed.as_chunks::<20>() {
        (ids, []) => Ok(ids.iter().map(|id| BlobId::new(*id))),
        _ => Err(DecodeError::rule("ids", "are not a whole number of 20 bytes")),
    }
}

/// Puts ids one after the other.
pub fn pack_ids<'a>(ids: impl IntoIterator<Item = &'a BlobId>) -> Bytes {
    ids.into_iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>().into()
}

/// Packs a question: SHA-1 and BLAKE3 one after the other, 52 bytes each.
pub fn pack_question<'a>(refs: impl IntoIterator<Item = (&'a [u8; 20], &'a Digest)>) -> Bytes {
    let mut packed = Vec::new();
    for (id, digest) in refs {
        packed.extend_from_slice(id);
        packed.extend_from_slice(digest.as_bytes());
    }
    packed.into()
}

fn unpack_question(packed: &[u8]) -> Result<impl ExactSizeIterator<Item = ([u8; 20], Digest)> + '_, DecodeError> {
    let (questions, []) = packed.as_chunks::<52>() else {
        return Err(DecodeError::rule("question", "is not a whole number of 52 bytes"));
    };
    Ok(questions.iter().map(|question| {
        let (id, digest) = question.split_at(20);
        let fixed = "an array of 52 bytes splits into 20 and 32";
        (id.try_into().expect(fixed), Digest::new(digest.try_into().expect(fixed)))
    }))
}

/// Splits a question about blobs.
pub fn unpack_blob_question(
    packed: &[u8],
) -> Result<impl ExactSizeIterator<Item = (BlobId, Digest)> + '_, DecodeError> {
    Ok(unpack_question(packed)?.map(|(id, digest)| (BlobId::new(id), digest)))
}

/// Splits a question about objects.
pub fn unpack_object_question(packed: &[u8]) -> Result<impl ExactSizeIterator<Item = ObjectRef> + '_, DecodeError> {
    Ok(unpack_question(packed)?.map(|(key, digest)| ObjectRef { key: ObjectKey::new(key), digest }))
}

/// What the server says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// It is there, the very same bytes.
    Have = 1,
    /// It is not there; always a permitted answer.
    Missing = 2,
    /// The id belongs to other bytes.
    Conflict = 3,
}

impl TryFrom<u8> for Answer {
    type Error = DecodeError;
    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Have),
            2 => Ok(Self::Missing),
            3 => Ok(Self::Conflict),
            other => Err(DecodeError::Unknown { field: "answer", value: u64::from(other) }),
        }
    }
}

impl From<&Bundle> for api::Bundle {
    fn from(bundle: &Bundle) -> Self {
        Self {
            codec: bundle.codec() as i32,
            plain_bytes: bundle.plain_bytes(),
            table: bundle.table().clone(),
            data: bundle.data().clone(),
        }
    }
}

impl TryFrom<api::Bundle> for Bundle {
    type Error = BundleError;
    fn try_from(bundle: api::Bundle) -> Result<Self, BundleError> {
        let codec = Codec::try_from(u8::try_from(bundle.codec).unwrap_or(u8::MAX))?;
        Self::new(codec, bundle.plain_bytes, bundle.table, bundle.data)
    }
}

impl From<ChunkerParams> for api::Chunker {
    fn from(params: ChunkerParams) -> Self {
        let ChunkerParams { bytes_min, bytes_avg, bytes_max, seed } = params;
        Self { bytes_min, bytes_avg, bytes_max, seed }
    }
}

impl TryFrom<api::Chunker> for ChunkerParams {
    type Error = DecodeError;
    fn try_from(chunker: api::Chunker) -> Result<Self, DecodeError> {
        let api::Chunker { bytes_min, bytes_avg, bytes_max, seed } = chunker;
        Self { bytes_min, bytes_avg, bytes_max, seed }.checked()
    }
}

/// File types by the API's numbers, which are those of the encoding.
pub fn file_type(number: i32) -> Result<FileType, DecodeError> {
    FileType::try_from(u8::try_from(number).unwrap_or(u8::MAX))
}

impl From<&Backup> for api::Backup {
    fn from(backup: &Backup) -> Self {
        Self {
            key: Bytes::copy_from_slice(backup.key().as_bytes()),
            snapshot: Bytes::copy_from_slice(backup.snapshot().as_bytes()),
            host: backup.host.as_str().to_owned(),
            path: Bytes::copy_from_slice(backup.path.as_bytes()),
            time: backup.time.seconds(),
            root: Bytes::copy_from_slice(backup.root.as_bytes()),
            r#type: backup.file_type as i32,
            files: backup.counts.files,
            dirs: backup.counts.dirs,
            bytes: backup.counts.bytes,
            errors: backup.counts.errors,
            changed: backup.counts.changed,
            tags: backup.tags.clone().into_iter().collect(),
        }
    }
}

impl TryFrom<api::Backup> for Backup {
    type Error = DecodeError;
    fn try_from(backup: api::Backup) -> Result<Self, DecodeError> {
        Self {
            host: HostName::new(&backup.host)?,
            path: TreePath::new(&backup.path)?,
            time: BackupTime::new(backup.time)?,
            root: ObjectKey::try_from(&backup.root[..])?,
            file_type: file_type(backup.r#type)?,
            counts: Counts {
                files: backup.files,
                dirs: backup.dirs,
                bytes: backup.bytes,
                errors: backup.errors,
                changed: backup.changed,
            },
            tags: backup.tags.into_iter().collect(),
            token: [0; 16],
        }
        .checked()
    }
}

/// A meta as a message; `key` is the SHA-1 of its encoding where the caller knows it.
pub fn meta_to_api(meta: &Meta, key: Option<ObjectKey>) -> api::Meta {
    let key = key.unwrap_or_else(|| ObjectKey::of(&meta.encode()));
    let (rdev_major, rdev_minor) = meta.rdev.unwrap_or_default();
    api::Meta {
        key: Bytes::copy_from_slice(key.as_bytes()),
        name: Bytes::copy_from_slice(meta.name_bytes()),
        r#type: meta.file_type as i32,
        size: meta.size,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        user: meta.user.clone(),
        group: meta.group.clone(),
        mtime_seconds: meta.mtime.seconds,
        mtime_nanos: meta.mtime.nanos,
        target: meta.target.clone().unwrap_or_default().into(),
        rdev_major,
        rdev_minor,
        xattrs: meta.xattrs.iter().map(xattr_to_api).collect(),
        content: match &meta.content {
            Content::None => None,
            Content::Blob(id) => Some(api::meta::Content::Blob(Bytes::copy_from_slice(id.as_bytes()))),
            Content::Ref(key) => Some(api::meta::Content::Ref(Bytes::copy_from_slice(key.as_bytes()))),
        },
        digest: meta.digest.map(|digest| Bytes::copy_from_slice(digest.as_bytes())).unwrap_or_default(),
        nlink: meta.link.map_or(0, |link| link.nlink),
        link: meta.link.map(|link| Bytes::copy_from_slice(&link.id)).unwrap_or_default(),
        error: meta.error.clone().unwrap_or_default(),
    }
}

fn xattr_to_api(xattr: &Xattr) -> api::Xattr {
    let content = match &xattr.value {
        XattrValue::Inline(value) => api::xattr::Content::Value(value.clone().into()),
        XattrValue::Blob(id) => api::xattr::Content::Blob(Bytes::copy_from_slice(id.as_bytes())),
    };
    api::Xattr { name: xattr.name.clone().into(), content: Some(content) }
}

impl TryFrom<api::Meta> for Meta {
    type Error = DecodeError;
    fn try_from(meta: api::Meta) -> Result<Self, DecodeError> {
        let file_type = file_type(meta.r#type)?;
        let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        let is_link = file_type == FileType::Symlink && !meta.target.is_empty();
        let filled = |text: String| (!text.is_empty()).then_some(text);
        Self {
            salt: 0,
            name: if meta.name.is_empty() { None } else { Some(Name::new(&meta.name)?) },
            file_type,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            user: meta.user,
            group: meta.group,
            mtime: Timestamp { seconds: meta.mtime_seconds, nanos: meta.mtime_nanos },
            size: meta.size,
            target: is_link.then(|| meta.target.to_vec()),
            rdev: is_device.then_some((meta.rdev_major, meta.rdev_minor)),
            xattrs: meta.xattrs.into_iter().map(xattr_from_api).collect::<Result<_, _>>()?,
            content: match meta.content {
                None => Content::None,
                Some(api::meta::Content::Blob(id)) => Content::Blob(BlobId::try_from(&id[..])?),
                Some(api::meta::Content::Ref(key)) => Content::Ref(ObjectKey::try_from(&key[..])?),
            },
            digest: if meta.digest.is_empty() { None } else { Some(Digest::try_from(&meta.digest[..])?) },
            link: match &meta.link[..] {
                [] => None,
                id => Some(HardLink {
                    nlink: meta.nlink,
                    id: id.try_into().map_err(|_| DecodeError::rule("link", "is not 16 bytes long"))?,
                }),
            },
            error: filled(meta.error),
        }
        .checked()
    }
}

fn xattr_from_api(xattr: api::Xattr) -> Result<Xattr, DecodeError> {
    let value = match required("xattr content", xattr.content)? {
        api::xattr::Content::Value(value) => XattrValue::Inline(value.to_vec()),
        api::xattr::Content::Blob(id) => XattrValue::Blob(BlobId::try_from(&id[..])?),
    };
    Ok(Xattr { name: xattr.name.to_vec(), value })
}

impl From<Moment> for api::Moment {
    fn from(moment: Moment) -> Self {
        Self { backup: Bytes::copy_from_slice(moment.backup.as_bytes()), time: moment.time.seconds() }
    }
}

impl TryFrom<Option<api::Moment>> for Moment {
    type Error = DecodeError;
    fn try_from(moment: Option<api::Moment>) -> Result<Self, DecodeError> {
        let api::Moment { backup, time } = required("moment", moment)?;
        Ok(Self { backup: BackupKey::try_from(&backup[..])?, time: BackupTime::new(time)? })
    }
}

impl From<&Version> for api::Version {
    fn from(version: &Version) -> Self {
        Self {
            path: Bytes::copy_from_slice(version.path.as_bytes()),
            first: Some(version.first.into()),
            last: Some(version.last.into()),
            backups: version.backups,
            meta: version.meta.as_ref().map(|meta| meta_to_api(meta, None)),
        }
    }
}

impl TryFrom<api::Version> for Version {
    type Error = DecodeError;
    fn try_from(version: api::Version) -> Result<Self, DecodeError> {
        Ok(Self {
            path: TreePath::new(&version.path)?,
            first: Moment::try_from(version.first)?,
            last: Moment::try_from(version.last)?,
            backups: version.backups,
            meta: version.meta.map(Meta::try_from).transpose()?,
        })
    }
}

/// A blob's place in a bundle's table together with its id; for callers that look for wanted ids.
pub fn find_in_table(bundle: &Bundle, id: &BlobId) -> Option<BlobRef> {
    bundle.refs().find(|blob| blob.id == *id)
}
