//! What files hold, in order: chunks are asked for in windows ahead of their turn, verified as they come, and handed out
//! one after the other. Holes come as lengths.
//!
//! [`Pieces`] does so with any chunks, of one file or of many small ones, which then share a request; [`Reader`] with one
//! file or a range of its bytes; a whole file is compared with its digest at the end. Memory: the window that is handed
//! out, and two more that are on their way.

use std::{collections::VecDeque, ops::Range};

use datadb::{
    Digest, Fault, Kind, Meta,
    blob::FileDigest,
    meta::{Content, XattrValue},
    object::Chunk,
};
use tokio::runtime::Handle;

use super::{
    chunks::Chunks,
    window::{Fetching, Window},
};
use crate::connection::{Connection, Downloads};

/// Windows that are asked for before the first one is taken.
const WINDOWS_MAX: usize = 2;

/// Chunks of one window, holes among them.
const CHUNKS_MAX: usize = 1024;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes that are zero and were not stored.
    Hole(u64),
    /// Verified bytes, and the digest of the chunk that they are of.
    Bytes(Vec<u8>, Digest),
}

impl Piece {
    /// Bytes of the file that it stands for.
    pub fn len(&self) -> u64 {
        match self {
            Self::Hole(len) => *len,
            Self::Bytes(bytes, _) => bytes.len() as u64,
        }
    }

    /// Whether it stands for nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts off what is behind so many bytes.
    fn truncate(&mut self, max: u64) {
        match self {
            Self::Hole(len) => *len = max.min(*len),
            Self::Bytes(bytes, _) => bytes.truncate(usize::try_from(max).unwrap_or(usize::MAX)),
        }
    }
}

/// A part of a file that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its bytes.
    pub len: u64,
    /// What is wrong with it.
    pub what: String,
}

/// A piece, or why there is none.
pub type Found = Result<Piece, Lost>;

#[derive(Clone, Copy, Debug)]
struct Wanted {
    chunk: Chunk,
    /// Only its last bytes are wanted, as many as the chunk is long.
    is_tail: bool,
}

/// Chunks on their way, in order.
#[derive(Debug)]
pub struct Pieces {
    downloads: Downloads,
    window: Window<usize>,
    /// What will be asked for next.
    gathered: Vec<Wanted>,
    asked: VecDeque<(Vec<Wanted>, Option<Fetching<usize>>)>,
    ready: VecDeque<Found>,
}

impl Pieces {
    /// None so far. Must be called within a runtime.
    pub fn new(connection: &Connection) -> Self {
        let downloads = connection.downloads();
        let (window, gathered) = (Window::default(), Vec::new());
        Self { downloads, window, gathered, asked: VecDeque::new(), ready: VecDeque::new() }
    }

    /// Whether more should be pushed before the next piece is taken.
    pub fn has_room(&self) -> bool {
        self.asked.len() < WINDOWS_MAX
    }

    /// One more chunk; it is asked for when a window is full, or when nothing else is left to be taken.
    pub fn push(&mut self, chunk: Chunk) {
        self.want(Wanted { chunk, is_tail: false });
    }

    fn want(&mut self, wanted: Wanted) {
        if let Some(id) = wanted.chunk.blob {
            self.window.push(id, wanted.chunk.len, self.gathered.len());
        }
        self.gathered.push(wanted);
        if self.window.is_full() || self.gathered.len() >= CHUNKS_MAX {
            self.ask();
        }
    }

    fn ask(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let window = std::mem::take(&mut self.window);
        let fetching = (!window.is_empty()).then(|| window.request(&self.downloads));
        self.asked.push_back((std::mem::take(&mut self.gathered), fetching));
    }

    /// The next piece; `None` if none was pushed. Blocks. A broken connection is an error.
    pub fn take(&mut self) -> Result<Option<Found>, Fault> {
        while self.ready.is_empty() {
            if self.asked.is_empty() {
                self.ask();
            }
            let Some((wanted, fetching)) = self.asked.pop_front() else { return Ok(None) };
            self.ready = fetch(&wanted, fetching)?;
        }
        Ok(self.ready.pop_front())
    }
}

/// Fetches the long values of extended attributes, which are rare, one after the other; from then on they stand inline.
/// `trouble` is told of each that can't be had. Must be called within a runtime; blocks.
pub fn fetch_xattrs(connection: &Connection, meta: &mut Meta, trouble: &mut dyn FnMut(&str)) -> Result<(), Fault> {
    for xattr in &mut meta.xattrs {
        let XattrValue::Blob(id) = xattr.value else { continue };
        let mut window = Window::default();
        window.push(id, 0, ());
        let mut value = Err(String::new());
        let mut fetching = window.request(&connection.downloads());
        fetching.drain(|(), found| value = found.map(|(_, bytes)| bytes.to_vec()))?;
        match value {
            Ok(value) => xattr.value = XattrValue::Inline(value),
            Err(what) => trouble(&what),
        }
    }
    Ok(())
}

fn fetch(wanted: &[Wanted], fetching: Option<Fetching<usize>>) -> Result<VecDeque<Found>, Fault> {
    let hole = |wanted: &Wanted| Ok(Piece::Hole(wanted.chunk.len));
    let mut found: VecDeque<Found> = wanted.iter().map(hole).collect();
    if let Some(mut fetching) = fetching {
        fetching.drain(|i, result| {
            let piece = result.and_then(|(blob, bytes)| match cut(&wanted[i], bytes) {
                Some(bytes) => Ok(Piece::Bytes(bytes.to_vec(), blob.digest)),
                None => Err(format!("blob {} has another length than its file says", blob.id)),
            });
            found[i] = piece.map_err(|what| Lost { len: wanted[i].chunk.len, what });
        })?;
    }
    Ok(found)
}

fn cut<'a>(wanted: &Wanted, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let before = (bytes.len() as u64).checked_sub(wanted.chunk.len)?;
    (wanted.is_tail || before == 0).then(|| &bytes[before as usize..])
}

/// One file being read, or a range of its bytes.
#[derive(Debug)]
pub struct Reader {
    pieces: Pieces,
    chunks: VecDeque<Wanted>,
    list: Option<Chunks>,
    /// Where the next chunk begins; the first one may begin before the range.
    planned: u64,
    /// Where the next piece begins.
    at: u64,
    end: u64,
    /// What the file should come to, and what came so far; none of a range.
    digests: Option<(Option<Digest>, FileDigest)>,
}

impl Reader {
    /// The bytes of this range, which may reach beyond the file's end. Must be called within a runtime.
    pub fn new(handle: &Handle, connection: &Connection, meta: &Meta, range: Range<u64>) -> Self {
        let (start, end) = (range.start.min(meta.size), range.end.min(meta.size));
        let whole = Chunk { len: meta.size.saturating_sub(start), blob: None };
        let (chunks, list) = match meta.content {
            _ if start >= end => (None, None),
            Content::None => (None, None),
            Content::Blob(blob) => (Some(Chunk { blob: Some(blob), ..whole }), None),
            Content::Ref(list) => (None, Some(Chunks::ask_from(handle, connection, &list, start))),
        };
        let chunks = chunks.into_iter().map(|chunk| Wanted { chunk, is_tail: start > 0 }).collect();
        let is_whole = start == 0 && end == meta.size && meta.content != Content::None;
        let digests = is_whole.then(|| (meta.digest, FileDigest::new()));
        Self { pieces: Pieces::new(connection), chunks, list, planned: start, at: start, end, digests }
    }

    /// The next piece; `None` at the end, when the whole file was compared with its digest. Blocks.
    pub fn piece(&mut self) -> Result<Option<Piece>, Fault> {
        while self.pieces.has_room() {
            let Some(wanted) = self.chunk()? else { break };
            self.planned += wanted.chunk.len;
            self.pieces.want(wanted);
        }
        let damaged = |what: String| Fault::new(Kind::Damaged, what);
        let Some(found) = self.pieces.take()? else {
            return self.check().map(|()| None).map_err(damaged);
        };
        let mut piece = found.map_err(|lost| damaged(lost.what))?;
        if let (Piece::Bytes(_, digest), Some((_, come))) = (&piece, &mut self.digests) {
            come.chunk(digest);
        }
        piece.truncate(self.end - self.at);
        self.at += piece.len();
        Ok(Some(piece))
    }

    fn chunk(&mut self) -> Result<Option<Wanted>, Fault> {
        while self.chunks.is_empty() && self.planned < self.end {
            let Some(batch) = self.list.as_mut().map_or(Ok(None), Chunks::next)? else { break };
            // A list from a byte on begins with the chunk that holds it.
            let is_first = self.planned == self.at && self.at > 0;
            let wanted = batch.into_iter().enumerate().map(|(i, chunk)| Wanted { chunk, is_tail: is_first && i == 0 });
            self.chunks.extend(wanted);
        }
        Ok(if self.planned < self.end { self.chunks.pop_front() } else { None })
    }

    fn check(&self) -> Result<(), String> {
        match &self.digests {
            _ if self.at < self.end => Err("its list does not end at its size".to_owned()),
            Some((wanted, come)) if *wanted != Some(come.finish()) => {
                Err("the file does not match its digest: what was written is not to be trusted".to_owned())
            }
            _ => Ok(()),
        }
    }
}
