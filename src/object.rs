//! Objects: a meta, a directory's set of metas, a file's list of blobs. Immutable, named by the SHA-1 of their encoding.
//!
//! # Format (version 1)
//! `salt u8 · kind u8 · content`. Kinds: 1 a meta (see [`crate::meta`]); 2 a set: `count`, then each meta's encoding
//! behind its length, names ascending; 3 a set's head: `count`, then per segment its key (20), its entries and its first
//! name; 4 a list: `count`, then per chunk its length and `1 · blob id` or `0` for a hole; 5 a list's head: `count`, then
//! per segment its key (20), its chunks and its length in bytes. Numbers are varints. The salt is 0 unless another object
//! with the same SHA-1 got there first. A reader refuses kinds that it doesn't know.
//!
//! # The cutting rule (part of the format)
//! A segment ends after an entry when it then has `SEGMENT_ENTRIES_MAX` entries or `SEGMENT_BYTES_MAX` encoded bytes, or
//! has at least `SEGMENT_ENTRIES_MIN` entries and the entry's mark is 0 modulo 512. The mark of a directory's entry is
//! the first four bytes of the BLAKE3 of its name, that of a chunk the first four bytes of its id (a hole has none). A
//! directory or file of one segment has no head. So a change rewrites the segment around it, and versions share the rest.

use bytes::Bytes;

use crate::{
    blob::{BlobId, Digest},
    codec::{DecodeError, Reader, Writer},
    limits,
    meta::{Content, KIND_META, Meta, Name, XattrValue},
};

pub use crate::key::{ObjectKey, ObjectRef};

const KIND_SET: u8 = 2;
const KIND_SET_HEAD: u8 = 3;
const KIND_LIST: u8 = 4;
const KIND_LIST_HEAD: u8 = 5;

/// A run of bytes of a file: a blob, or a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Length in bytes; never 0.
    pub len: u64,
    /// `None` is a hole.
    pub blob: Option<BlobId>,
}

/// A segment of a large directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSegment {
    /// The set that holds its entries.
    pub key: ObjectKey,
    /// How many entries.
    pub entries: u64,
    /// The name of the first.
    pub first: Name,
}

/// A segment of a large file's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListSegment {
    /// The list that holds its chunks.
    pub key: ObjectKey,
    /// How many chunks.
    pub chunks: u64,
    /// Their lengths added up.
    pub len: u64,
}

/// An object, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A meta that stands alone: the root of a backup.
    Meta(Box<Meta>),
    /// The entries of a directory, or of a segment of one, in name order.
    Set(Vec<Meta>),
    /// The segments of a large directory.
    SetHead(Vec<SetSegment>),
    /// The chunks of a file, or of a segment of one.
    List(Vec<Chunk>),
    /// The segments of a large file's list.
    ListHead(Vec<ListSegment>),
}

impl Object {
    /// The one encoding with this salt. (A meta's salt is its own.)
    pub fn encode(&self, salt: u8) -> Vec<u8> {
        let mut w = Writer::with_capacity(256);
        match self {
            Self::Meta(meta) => return meta.encode(),
            Self::Set(metas) => return encode_set(salt, metas.iter().map(Meta::encode)),
            Self::SetHead(segments) => {
                w.u8(salt).u8(KIND_SET_HEAD).varint(segments.len() as u64);
                for segment in segments {
                    w.raw(segment.key.as_bytes()).varint(segment.entries).bytes(segment.first.as_bytes());
                }
            }
            Self::List(chunks) => {
                w.u8(salt).u8(KIND_LIST).varint(chunks.len() as u64);
                for chunk in chunks {
                    w.varint(chunk.len);
                    match &chunk.blob {
                        Some(id) => w.u8(1).raw(id.as_bytes()),
                        None => w.u8(0),
                    };
                }
            }
            Self::ListHead(segments) => {
                w.u8(salt).u8(KIND_LIST_HEAD).varint(segments.len() as u64);
                for segment in segments {
                    w.raw(segment.key.as_bytes()).varint(segment.chunks).varint(segment.len);
                }
            }
        }
        w.finish()
    }

    /// Reads an encoding and checks every rule that can be checked without other objects.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > limits::OBJECT_BYTES_MAX {
            return Err(DecodeError::rule("object", "is longer than its limit"));
        }
        let mut r = Reader::new(bytes);
        r.u8("salt")?;
        let object = match r.u8("kind")? {
            KIND_META => return Meta::decode(bytes).map(Box::new).map(Self::Meta),
            KIND_SET => Self::Set(decode_set(&mut r)?),
            KIND_SET_HEAD => Self::SetHead(decode_set_head(&mut r)?),
            KIND_LIST => Self::List(decode_list(&mut r)?),
            KIND_LIST_HEAD => Self::ListHead(decode_list_head(&mut r)?),
            other => return Err(DecodeError::Unknown { field: "object kind", value: u64::from(other) }),
        };
        r.end()?;
        Ok(object)
    }

    /// The blobs that this object itself names, in order.
    pub fn blobs(&self) -> Vec<BlobId> {
        match self {
            Self::Meta(meta) => meta_blobs(meta).collect(),
            Self::Set(metas) => metas.iter().flat_map(meta_blobs).collect(),
            Self::List(chunks) => chunks.iter().filter_map(|chunk| chunk.blob).collect(),
            Self::SetHead(_) | Self::ListHead(_) => Vec::new(),
        }
    }

    /// The objects that this object itself names, in order.
    pub fn children(&self) -> Vec<ObjectKey> {
        let of_meta = |meta: &Meta| match meta.content {
            Content::Ref(key) => Some(key),
            Content::None | Content::Blob(_) => None,
        };
        match self {
            Self::Meta(meta) => of_meta(meta).into_iter().collect(),
            Self::Set(metas) => metas.iter().filter_map(of_meta).collect(),
            Self::SetHead(segments) => segments.iter().map(|segment| segment.key).collect(),
            Self::ListHead(segments) => segments.iter().map(|segment| segment.key).collect(),
            Self::List(_) => Vec::new(),
        }
    }
}

/// What whoever names an object must know of it, be it ever so long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Summary {
    /// A meta that stands alone.
    Meta,
    /// The entries of a directory, or of a segment of one.
    Set {
        /// How many.
        entries: u64,
        /// The name of the first.
        first: Option<Name>,
    },
    /// The segments of a large directory.
    SetHead,
    /// The chunks of a file, or of a segment of one.
    List {
        /// How many.
        chunks: u64,
        /// Their lengths added up.
        len: u64,
    },
    /// The segments of a large file's list.
    ListHead {
        /// Their lengths added up.
        len: u64,
    },
}

impl Summary {
    /// Of an encoding that was accepted once; takes no memory but for a name, and reads no further than it must.
    pub fn of(encoding: &[u8]) -> Result<Self, DecodeError> {
        let too_long = || DecodeError::rule("length", "does not fit 64 bits");
        let mut r = Reader::new(encoding);
        r.u8("salt")?;
        Ok(match r.u8("kind")? {
            KIND_META => Self::Meta,
            KIND_SET => {
                let entries = r.count("entries", 1)? as u64;
                Self::Set { entries, first: Meta::encoded_name(r.bytes("meta", limits::META_BYTES_MAX)?)? }
            }
            KIND_SET_HEAD => Self::SetHead,
            KIND_LIST => {
                let chunks = r.count("chunks", 2)? as u64;
                let mut len = 0u64;
                for _ in 0..chunks {
                    len = len.checked_add(r.varint("length")?).ok_or_else(too_long)?;
                    if r.u8("chunk form")? == 1 {
                        r.raw("blob", BlobId::LEN)?;
                    }
                }
                Self::List { chunks, len }
            }
            KIND_LIST_HEAD => {
                let mut len = 0u64;
                for _ in 0..r.count("segments", 22)? {
                    r.raw("segment", BlobId::LEN)?;
                    r.varint("chunks")?;
                    len = len.checked_add(r.varint("length")?).ok_or_else(too_long)?;
                }
                Self::ListHead { len }
            }
            other => return Err(DecodeError::Unknown { field: "object kind", value: u64::from(other) }),
        })
    }

    /// Whether a directory's `ref` may name it.
    pub const fn is_directory(&self) -> bool {
        matches!(self, Self::Set { .. } | Self::SetHead)
    }

    /// How long a file is whose `ref` names it; `None` if none may.
    pub const fn file_len(&self) -> Option<u64> {
        match self {
            Self::List { len, .. } | Self::ListHead { len } => Some(*len),
            Self::Meta | Self::Set { .. } | Self::SetHead => None,
        }
    }
}

fn meta_blobs(meta: &Meta) -> impl Iterator<Item = BlobId> + '_ {
    let content = match meta.content {
        Content::Blob(id) => Some(id),
        Content::None | Content::Ref(_) => None,
    };
    let long_xattrs = meta.xattrs.iter().filter_map(|xattr| match xattr.value {
        XattrValue::Blob(id) => Some(id),
        XattrValue::Inline(_) => None,
    });
    content.into_iter().chain(long_xattrs)
}

/// A set's encoding from the encodings of its metas.
fn encode_set<I: ExactSizeIterator<Item = Vec<u8>>>(salt: u8, metas: I) -> Vec<u8> {
    let mut w = Writer::with_capacity(256);
    w.u8(salt).u8(KIND_SET).varint(metas.len() as u64);
    for meta in metas {
        w.bytes(&meta);
    }
    w.finish()
}

/// Whether an encoding is that of a set (or of a segment of one).
pub fn is_set(encoding: &[u8]) -> bool {
    encoding.get(1) == Some(&KIND_SET)
}

/// The encodings of the metas in a set's encoding, in order; for whoever needs their keys.
pub fn set_members(encoding: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let mut r = Reader::new(encoding);
    r.u8("salt")?;
    if r.u8("kind")? != KIND_SET {
        return Err(DecodeError::rule("object", "is not a set"));
    }
    let count = r.count("entries", 1)?;
    (0..count).map(|_| r.bytes("meta", limits::META_BYTES_MAX)).collect()
}

fn decode_set(r: &mut Reader<'_>) -> Result<Vec<Meta>, DecodeError> {
    let count = r.count("entries", 12)?;
    if count == 0 || count > limits::SEGMENT_ENTRIES_MAX {
        return Err(DecodeError::rule("entries", "are none, or more than a segment holds"));
    }
    let mut metas: Vec<Meta> = Vec::with_capacity(count);
    for _ in 0..count {
        let meta = Meta::decode(r.bytes("meta", limits::META_BYTES_MAX)?)?;
        if meta.name.is_none() {
            return Err(DecodeError::rule("name", "is empty"));
        }
        if metas.last().is_some_and(|last| last.name >= meta.name) {
            return Err(DecodeError::rule("entries", "are not in ascending order of names"));
        }
        metas.push(meta);
    }
    Ok(metas)
}

fn decode_set_head(r: &mut Reader<'_>) -> Result<Vec<SetSegment>, DecodeError> {
    let count = r.count("segments", 23)?;
    if count < 2 {
        return Err(DecodeError::rule("segments", "are fewer than two"));
    }
    let mut segments: Vec<SetSegment> = Vec::with_capacity(count);
    for _ in 0..count {
        let key = ObjectKey::new(r.array("segment")?);
        let entries = r.varint("entries")?;
        let first = Name::new(r.bytes("first name", limits::NAME_BYTES_MAX)?)?;
        if segments.last().is_some_and(|last| last.first >= first) {
            return Err(DecodeError::rule("segments", "are not in ascending order of names"));
        }
        segments.push(SetSegment { key, entries, first });
    }
    Ok(segments)
}

fn decode_list(r: &mut Reader<'_>) -> Result<Vec<Chunk>, DecodeError> {
    let count = r.count("chunks", 2)?;
    if count == 0 || count > limits::SEGMENT_ENTRIES_MAX {
        return Err(DecodeError::rule("chunks", "are none, or more than a segment holds"));
    }
    let mut total = 0u64;
    (0..count)
        .map(|_| {
            let len = r.varint("length")?;
            total = total.checked_add(len).ok_or(DecodeError::rule("length", "does not fit 64 bits"))?;
            if len == 0 {
                return Err(DecodeError::rule("length", "is 0"));
            }
            let blob = match r.u8("chunk form")? {
                0 => None,
                1 => Some(BlobId::new(r.array("blob")?)),
                other => return Err(DecodeError::Unknown { field: "chunk form", value: u64::from(other) }),
            };
            Ok(Chunk { len, blob })
        })
        .collect()
}

fn decode_list_head(r: &mut Reader<'_>) -> Result<Vec<ListSegment>, DecodeError> {
    let count = r.count("segments", 22)?;
    if count < 2 {
        return Err(DecodeError::rule("segments", "are fewer than two"));
    }
    let mut total = 0u64;
    (0..count)
        .map(|_| {
            let key = ObjectKey::new(r.array("segment")?);
            let segment = ListSegment { key, chunks: r.varint("chunks")?, len: r.varint("length")? };
            total = total.checked_add(segment.len).ok_or(DecodeError::rule("length", "does not fit 64 bits"))?;
            Ok(segment)
        })
        .collect()
}

/// An object on its way to the server: its key, its digest, and its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Key and digest of the encoding.
    pub object: ObjectRef,
    /// The encoding.
    pub bytes: Bytes,
}

impl Encoded {
    /// Encodes with the first salt from 0 whose key `taken` does not claim.
    ///
    /// `taken` says whether a key is known to belong to other content; as a rule it never does.
    pub fn with_salt(taken: &dyn Fn(&ObjectKey) -> bool, encode: impl Fn(u8) -> Vec<u8>) -> Self {
        let mut salt = 0;
        loop {
            let bytes = encode(salt);
            let object = ObjectRef::of(&bytes);
            if salt == u8::MAX || !taken(&object.key) {
                return Self { object, bytes: bytes.into() };
            }
            salt += 1;
        }
    }
}

fn mark(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(1, |first| u32::from_be_bytes(*first))
}

/// Whether the cutting rule ends a segment here.
fn is_cut(entries: usize, encoded_bytes: usize, mark: impl FnOnce() -> u32) -> bool {
    entries >= limits::SEGMENT_ENTRIES_MAX
        || encoded_bytes >= limits::SEGMENT_BYTES_MAX
        || (entries >= limits::SEGMENT_ENTRIES_MIN && mark().is_multiple_of(512))
}

/// Builds a directory's set from its metas in name order; holds one segment at a time and 50 bytes for each before it.
#[derive(Debug, Default)]
pub struct SetBuilder {
    members: Vec<Vec<u8>>,
    member_bytes: usize,
    first: Option<Name>,
    segments: Vec<SetSegment>,
}

impl SetBuilder {
    /// An empty directory so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next entry by its encoding; gives back a segment where one ends.
    pub fn push(&mut self, name: &Name, encoding: Vec<u8>, taken: &dyn Fn(&ObjectKey) -> bool) -> Option<Encoded> {
        self.first.get_or_insert_with(|| name.clone());
        self.member_bytes += encoding.len();
        self.members.push(encoding);
        let mark = || mark(Digest::of(name.as_bytes()).as_bytes());
        is_cut(self.members.len(), self.member_bytes, mark).then(|| self.cut(taken)).flatten()
    }

    fn cut(&mut self, taken: &dyn Fn(&ObjectKey) -> bool) -> Option<Encoded> {
        let first = self.first.take()?;
        let members = std::mem::take(&mut self.members);
        self.member_bytes = 0;
        let entries = members.len() as u64;
        let encoded = Encoded::with_salt(taken, |salt| encode_set(salt, members.iter().cloned()));
        self.segments.push(SetSegment { key: encoded.object.key, entries, first });
        Some(encoded)
    }

    /// Ends the directory: what remains to be sent (children first), and what the directory's `ref` will be.
    pub fn finish(mut self, taken: &dyn Fn(&ObjectKey) -> bool) -> (Vec<Encoded>, Content) {
        let mut rest: Vec<Encoded> = self.cut(taken).into_iter().collect();
        let content = match self.segments.as_slice() {
            [] => Content::None,
            [only] => Content::Ref(only.key),
            _ => {
                let head = Object::SetHead(self.segments);
                rest.push(Encoded::with_salt(taken, |salt| head.encode(salt)));
                Content::Ref(rest[rest.len() - 1].object.key)
            }
        };
        (rest, content)
    }
}

/// Builds a file's list from its chunks in order; holds one segment at a time and 40 bytes for each before it.
#[derive(Debug, Default)]
pub struct ListBuilder {
    chunks: Vec<Chunk>,
    segments: Vec<ListSegment>,
}

impl ListBuilder {
    /// An empty file so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk; gives back a segment where one ends.
    pub fn push(&mut self, chunk: Chunk, taken: &dyn Fn(&ObjectKey) -> bool) -> Option<Encoded> {
        self.chunks.push(chunk);
        let mark = || chunk.blob.map_or(1, |id| mark(id.as_bytes()));
        is_cut(self.chunks.len(), 0, mark).then(|| self.cut(taken)).flatten()
    }

    fn cut(&mut self, taken: &dyn Fn(&ObjectKey) -> bool) -> Option<Encoded> {
        let chunks = std::mem::take(&mut self.chunks);
        if chunks.is_empty() {
            return None;
        }
        let (count, len) = (chunks.len() as u64, chunks.iter().map(|chunk| chunk.len).sum());
        let list = Object::List(chunks);
        let encoded = Encoded::with_salt(taken, |salt| list.encode(salt));
        self.segments.push(ListSegment { key: encoded.object.key, chunks: count, len });
        Some(encoded)
    }

    /// Ends the file: what remains to be sent (children first), and the file's content. A file that is one blob has no
    /// list; an empty one nothing at all.
    pub fn finish(mut self, taken: &dyn Fn(&ObjectKey) -> bool) -> (Vec<Encoded>, Content) {
        if let (true, [Chunk { blob: Some(id), .. }]) = (self.segments.is_empty(), self.chunks.as_slice()) {
            return (Vec::new(), Content::Blob(*id));
        }
        let mut rest: Vec<Encoded> = self.cut(taken).into_iter().collect();
        let content = match self.segments.as_slice() {
            [] => Content::None,
            [only] => Content::Ref(only.key),
            _ => {
                let head = Object::ListHead(self.segments);
                rest.push(Encoded::with_salt(taken, |salt| head.encode(salt)));
                Content::Ref(rest[rest.len() - 1].object.key)
            }
        };
        (rest, content)
    }
}
