//! Listing a directory as a stream, if wished with everything below it, and a file's chunks.

use std::collections::VecDeque;

use datadb::{
    BlobId, FileType, Meta, Name, Object, ObjectKey, limits,
    meta::Content,
    object::{Chunk, set_members},
};

use super::{
    Engine, EngineError,
    browse::{encoding, object},
    holes::hole_bytes,
};
use crate::index::{Index, IndexError};

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 0 for the directory that was asked for, one more for each level below.
    pub depth: u32,
    /// The meta's key.
    pub key: ObjectKey,
    /// The meta.
    pub meta: Meta,
    /// How much of a file is holes, where that was asked for.
    pub hole_bytes: u64,
}

/// What a listing should tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// The entries of each directory follow it.
    pub is_recursive: bool,
    /// Only names of the directory itself behind this one.
    pub after: Option<Name>,
    /// How much of each file is holes.
    pub with_holes: bool,
}

/// A walk through a directory in name order. Holds one segment of each open directory.
#[derive(Debug)]
pub struct Listing {
    levels: Vec<Level>,
    options: ListOptions,
}

/// A directory, behind the entries that were taken.
#[derive(Debug, Default)]
pub(super) struct Level {
    segments: VecDeque<ObjectKey>,
    entries: VecDeque<(ObjectKey, Meta)>,
}

impl Level {
    /// From the segment on that may hold a name.
    pub(super) fn open(index: &Index, set: &ObjectKey, after: Option<&Name>) -> Result<Self, EngineError> {
        let bytes = encoding(index, set)?;
        if datadb::object::is_set(&bytes) {
            return Ok(Self { segments: VecDeque::new(), entries: members(&bytes)? });
        }
        let damaged = IndexError::value("an object");
        match Object::decode(&bytes).map_err(damaged)? {
            Object::SetHead(segments) => {
                let skip = after.map_or(0, |after| segments.partition_point(|segment| segment.first <= *after));
                let segments = segments.into_iter().skip(skip.saturating_sub(1)).map(|segment| segment.key);
                Ok(Self { segments: segments.collect(), entries: VecDeque::new() })
            }
            _ => Err(EngineError::refused(datadb::Kind::Invalid, format!("{set} is not a directory's set"))),
        }
    }

    /// The next entry.
    pub(super) fn next(&mut self, index: &Index) -> Result<Option<(ObjectKey, Meta)>, EngineError> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Ok(Some(entry));
            }
            let Some(segment) = self.segments.pop_front() else { return Ok(None) };
            self.entries = members(&encoding(index, &segment)?)?;
        }
    }
}

fn members(encoding: &[u8]) -> Result<VecDeque<(ObjectKey, Meta)>, EngineError> {
    let members = set_members(encoding).map_err(IndexError::value("an object"))?;
    let member = |bytes| Ok((ObjectKey::of(bytes), Meta::decode(bytes)?));
    let members: Result<_, datadb::codec::DecodeError> = members.into_iter().map(member).collect();
    Ok(members.map_err(IndexError::value("an object"))?)
}

impl Listing {
    fn next_page(&mut self, index: &Index) -> Result<Vec<Entry>, EngineError> {
        let mut page = Vec::new();
        let mut bytes = 0;
        while page.len() < limits::PAGE_ENTRIES_MAX && bytes < limits::PAGE_BYTES {
            let Some(level) = self.levels.last_mut() else { break };
            let Some((key, meta)) = level.next(index)? else {
                self.levels.pop();
                continue;
            };
            let depth = (self.levels.len() - 1) as u32;
            if depth == 0 && self.options.after.is_some() && meta.name <= self.options.after {
                continue;
            }
            if let (true, FileType::Dir, Content::Ref(set)) = (self.options.is_recursive, meta.file_type, meta.content)
            {
                self.levels.push(Level::open(index, &set, None)?);
            }
            bytes += 128 + meta.xattrs.len() * 256;
            let hole_bytes = if self.options.with_holes { hole_bytes(index, &meta)? } else { 0 };
            page.push(Entry { depth, key, meta, hole_bytes });
        }
        Ok(page)
    }
}

/// A walk through the chunks of a file.
#[derive(Debug)]
pub struct ChunkPages {
    segments: VecDeque<(ObjectKey, u64)>,
    start: u64,
    offset: u64,
}

/// A chunk and where it ends in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedChunk {
    /// Offset of the first byte behind it.
    pub end: u64,
    /// Its length.
    pub len: u64,
    /// `None` is a hole.
    pub blob: Option<BlobId>,
}

impl ChunkPages {
    /// Starts with the chunk that holds an offset.
    pub(super) fn open(index: &Index, list: &ObjectKey, offset: u64) -> Result<Self, EngineError> {
        let segments = match object(index, list)? {
            Object::List(_) => VecDeque::from([(*list, 0)]),
            Object::ListHead(segments) => segments.iter().map(|segment| (segment.key, segment.len)).collect(),
            _ => return Err(EngineError::refused(datadb::Kind::Invalid, format!("{list} is not a file's list"))),
        };
        Ok(Self { segments, start: 0, offset })
    }

    /// The next chunks; an empty page is the end.
    pub(super) fn next_page(&mut self, index: &Index) -> Result<Vec<PlacedChunk>, EngineError> {
        while let Some((key, len)) = self.segments.pop_front() {
            let start = self.start;
            self.start = start.saturating_add(len);
            if len > 0 && self.start <= self.offset {
                continue;
            }
            let Object::List(chunks) = object(index, &key)? else {
                return Err(EngineError::refused(datadb::Kind::Invalid, format!("{key} is not a file's list")));
            };
            let placed = place(&chunks, start).filter(|chunk| chunk.end > self.offset);
            return Ok(placed.collect());
        }
        Ok(Vec::new())
    }
}

fn place(chunks: &[Chunk], start: u64) -> impl Iterator<Item = PlacedChunk> + '_ {
    let mut end = start;
    chunks.iter().map(move |chunk| {
        end = end.saturating_add(chunk.len);
        PlacedChunk { end, len: chunk.len, blob: chunk.blob }
    })
}

impl Engine {
    /// Starts to list a directory by its set.
    pub async fn list(&self, set: ObjectKey, options: ListOptions) -> Result<Listing, EngineError> {
        self.with_index(move |index| {
            let levels = vec![Level::open(index, &set, options.after.as_ref())?];
            Ok(Listing { levels, options })
        })
        .await
    }

    /// The next page of a listing; an empty one is the end.
    pub async fn next_entries(&self, mut listing: Listing) -> Result<(Listing, Vec<Entry>), EngineError> {
        self.with_index(move |index| {
            let mut page = listing.next_page(index)?;
            // A page may be empty because all of it was skipped.
            while page.is_empty() && !listing.levels.is_empty() {
                page = listing.next_page(index)?;
            }
            Ok((listing, page))
        })
        .await
    }

    /// Starts to list a file's chunks by its list, from the chunk that holds an offset.
    pub async fn chunks(&self, list: ObjectKey, offset: u64) -> Result<ChunkPages, EngineError> {
        self.with_index(move |index| ChunkPages::open(index, &list, offset)).await
    }

    /// The next chunks; an empty page is the end.
    pub async fn next_chunks(&self, mut pages: ChunkPages) -> Result<(ChunkPages, Vec<PlacedChunk>), EngineError> {
        self.with_index(move |index| {
            let page = pages.next_page(index)?;
            Ok((pages, page))
        })
        .await
    }
}
