//! Reading a file that is open: any bytes of it, and ahead of those who read in order.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use datadb::BlobId;

use super::{
    View,
    map::{self, Map, Part, Run},
    node::Node,
    trouble::Trouble,
};
use crate::cache::blobs::Loss;
use crate::entry::Entry;

/// Bytes that are read ahead of somebody who begins to read in order, and of somebody who goes on doing so.
const AHEAD_BYTES_MIN: u64 = 1 << 20;
const AHEAD_BYTES_MAX: u64 = 16 << 20;

/// The kernel asks in order, but its questions overtake each other by so many bytes.
const SLIP_BYTES: u64 = 2 << 20;

/// How far somebody reads in order.
#[derive(Debug, Default)]
struct Ahead {
    /// Where the next byte is read, if it goes on in order.
    next: u64,
    /// How much to read ahead; 0 of somebody who jumps.
    window: u64,
    /// Up to where it was asked for.
    asked: u64,
}

impl Ahead {
    /// Somebody reads a range; gives what to ask for ahead.
    fn read(&mut self, range: &Range<u64>, size: u64) -> Option<Range<u64>> {
        let is_in_order = range.start <= self.next + SLIP_BYTES && range.end + SLIP_BYTES >= self.next;
        if !is_in_order {
            *self = Self { next: range.end, window: 0, asked: range.end };
            return None;
        }
        let has_gone_on = range.start > 0 && range.end > self.next;
        self.next = self.next.max(range.end);
        self.asked = self.asked.max(self.next);
        if has_gone_on && self.window == 0 {
            self.window = AHEAD_BYTES_MIN;
        }
        let end = (self.next + self.window).min(size);
        // Not for every little bit more: several blobs make a request.
        if self.window == 0 || self.asked >= size || self.asked > self.next + self.window / 2 {
            return None;
        }
        let start = self.asked;
        self.asked = end;
        self.window = (self.window * 2).min(AHEAD_BYTES_MAX);
        (start < end).then_some(start..end)
    }

    /// There was room for less.
    fn asked_only(&mut self, until: u64) {
        self.asked = until.max(self.next);
        self.window = (self.window / 2).max(AHEAD_BYTES_MIN);
    }
}

/// A file that is open.
#[derive(Debug)]
pub struct File {
    node: Arc<Node>,
    entry: Arc<Entry>,
    map: Mutex<Map>,
    ahead: Mutex<Ahead>,
}

/// Bytes that were read: one piece of a blob as a rule.
pub type Data = Bytes;

impl File {
    /// Opens a file of a backup.
    pub fn new(node: Arc<Node>, entry: Arc<Entry>) -> Self {
        let map = Mutex::new(Map::new(&entry));
        Self { node, entry, map, ahead: Mutex::default() }
    }

    fn known(&self, offset: u64) -> Option<Arc<Part>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).get(offset)
    }

    /// The part of the list that holds a byte.
    async fn part(&self, view: &View, offset: u64) -> Result<Arc<Part>, Trouble> {
        if let Some(part) = self.known(offset) {
            return Ok(part);
        }
        let part = map::ask(&view.server, &self.entry, offset).await?;
        let part = Arc::new(part.ok_or_else(|| Trouble::Unread("its content is not known".to_owned()))?);
        self.map.lock().unwrap_or_else(PoisonError::into_inner).put(part.clone());
        Ok(part)
    }

    fn clamped(&self, offset: u64, len: u32) -> Range<u64> {
        offset.min(self.entry.size)..offset.saturating_add(u64::from(len)).min(self.entry.size)
    }

    /// Bytes that are in memory.
    pub fn read_now(&self, view: &View, offset: u64, len: u32) -> Option<Data> {
        let range = self.clamped(offset, len);
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let part = self.known(range.start)?;
        let runs = part.runs(range.clone());
        if runs.last()?.end < range.end {
            return None;
        }
        let blob = |run: &Run| match run.blob {
            Some(id) => view.blobs.get_now(&id).map(Some),
            None => Some(None),
        };
        let blobs: Vec<Option<Bytes>> = runs.iter().map(blob).collect::<Option<_>>()?;
        self.read_ahead(view, &range);
        cut(runs, &blobs, &range).ok()
    }

    /// Bytes from an offset, fewer than asked for at the file's end.
    pub async fn read(&self, view: &View, offset: u64, len: u32) -> Result<Data, Trouble> {
        let range = self.clamped(offset, len);
        if let Some(error) = self.entry.error() {
            return Err(Trouble::Unread(error.to_owned()));
        }
        self.read_ahead(view, &range);
        let mut parts: Vec<Data> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let part = self.part(view, at).await?;
            let runs = part.runs(at..range.end);
            let end = runs.last().map_or(range.end, |run| run.end.min(range.end));
            let blobs = self.fetch(view, runs).await?;
            parts.push(cut(runs, &blobs, &(at..end)).map_err(|id| self.too_short(view, id))?);
            at = end;
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { parts.concat().into() })
    }

    async fn fetch(&self, view: &View, runs: &[Run]) -> Result<Vec<Option<Bytes>>, Trouble> {
        let wanted: Vec<(BlobId, u64)> = runs.iter().filter_map(|run| Some((run.blob?, run.len))).collect();
        if wanted.len() > 1 {
            view.blobs.expect(&wanted);
        }
        let mut blobs = Vec::with_capacity(runs.len());
        for run in runs {
            blobs.push(match run.blob {
                Some(id) => Some(view.blobs.get(id, run.len).await.map_err(|loss| self.lost(view, id, loss))?),
                None => None,
            });
        }
        Ok(blobs)
    }

    fn too_short(&self, view: &View, id: BlobId) -> Trouble {
        self.lost(view, id, Loss::Gone("it is shorter than its file says".to_owned()))
    }

    fn lost(&self, view: &View, id: BlobId, loss: Loss) -> Trouble {
        match loss {
            Loss::Gone(what) => {
                view.losses.tell(&self.node, &id, &what);
                Trouble::Lost { id, what }
            }
            Loss::Server(fault) => Trouble::Server(fault),
        }
    }

    /// Asks for what somebody who reads in order will want.
    fn read_ahead(&self, view: &View, range: &Range<u64>) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wanted) = ahead.read(range, self.entry.size) else { return };
        let Some(part) = self.known(wanted.start) else {
            ahead.asked_only(wanted.start);
            return;
        };
        let runs = part.runs(wanted);
        let blobs: Vec<(BlobId, u64)> = runs.iter().filter_map(|run| Some((run.blob?, run.len))).collect();
        let taken = view.blobs.expect(&blobs);
        if taken < blobs.len()
            && let Some(first) = runs.iter().filter(|run| run.blob.is_some()).nth(taken)
        {
            ahead.asked_only(first.start());
        }
    }

    /// The next place at or behind an offset that is data, or a hole, as asked for; the end of the file is one.
    pub async fn seek(&self, view: &View, offset: u64, to_hole: bool) -> Result<u64, Trouble> {
        let size = self.entry.size;
        if offset >= size {
            return Err(Trouble::BehindEnd);
        }
        let mut at = offset;
        while at < size && self.entry.hole_bytes > 0 {
            let part = self.part(view, at).await?;
            let runs = part.runs(at..size);
            if let Some(run) = runs.iter().find(|run| run.blob.is_none() == to_hole) {
                return Ok(run.start().max(offset));
            }
            at = runs.last().map_or(size, |run| run.end);
        }
        match (to_hole, self.entry.hole_bytes) {
            (true, _) => Ok(size),
            (false, 0) => Ok(offset),
            (false, _) => Err(Trouble::BehindEnd),
        }
    }
}

/// The bytes of a range out of the blobs of its runs; the blob that is too short, if one is.
fn cut(runs: &[Run], blobs: &[Option<Bytes>], range: &Range<u64>) -> Result<Data, BlobId> {
    let piece = |run: &Run, blob: &Bytes, id: BlobId| {
        let (from, to) = (range.start.max(run.start()), range.end.min(run.end));
        // A run is the end of its blob.
        let place = |offset: u64| (blob.len() as u64).checked_sub(run.end - offset).map(|place| place as usize);
        let (from, to) = place(from).zip(place(to)).ok_or(id)?;
        Ok(blob.slice(from..to))
    };
    if let ([run], [Some(blob)], Some(id)) = (runs, blobs, runs.first().and_then(|run| run.blob)) {
        return piece(run, blob, id);
    }
    let mut data = Vec::with_capacity((range.end - range.start) as usize);
    for (run, blob) in runs.iter().zip(blobs) {
        match (blob, run.blob) {
            (Some(blob), Some(id)) => data.extend_from_slice(&piece(run, blob, id)?),
            _ => data.resize(data.len() + (range.end.min(run.end) - range.start.max(run.start())) as usize, 0),
        }
    }
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::object::Chunk;

    #[test]
    fn a_range_is_cut_out_of_blobs_and_holes() {
        let (a, b) = (Bytes::from_static(b"abcdef"), Bytes::from_static(b"0123456789"));
        let (id_a, id_b) = (BlobId::of(&a), BlobId::of(&b));
        let chunk = |len, blob| Chunk { len, blob };
        // The first run is only the end of its blob, as a list that begins inside a chunk tells it.
        let part = Part::from_chunks(100, &[chunk(4, Some(id_a)), chunk(3, None), chunk(10, Some(id_b))]);
        let blobs = [Some(a), None, Some(b)];
        let text = |range: Range<u64>| {
            let runs = part.runs(range.clone());
            let first = runs[0].end;
            let from = [104, 107, 117].iter().position(|end| *end == first).unwrap();
            cut(runs, &blobs[from..from + runs.len()], &range).unwrap()
        };
        assert_eq!(&text(100..104)[..], b"cdef");
        assert_eq!(&text(101..103)[..], b"de");
        assert_eq!(&text(103..109)[..], b"f\0\0\x0001");
        assert_eq!(&text(116..117)[..], b"9");
        let short = [Some(Bytes::from_static(b"x"))];
        assert_eq!(cut(part.runs(100..101), &short, &(100..101)), Err(id_a));
    }

    #[test]
    fn who_reads_in_order_is_read_ahead_of_and_who_jumps_is_not() {
        const SIZE: u64 = 1 << 30;
        let step = 128 << 10;
        let mut ahead = Ahead::default();
        let mut asked = 0;
        assert_eq!(ahead.read(&(0..step), SIZE), None, "it may stay the only one");
        for number in 1..800 {
            if let Some(range) = ahead.read(&(number * step..(number + 1) * step), SIZE) {
                assert!(range.start >= asked, "nothing is asked for twice");
                asked = range.end;
                assert!(asked - number * step <= AHEAD_BYTES_MAX + step);
            }
            assert!(number < 2 || asked > (number + 1) * step, "it stays ahead");
        }
        assert_eq!(ahead.window, AHEAD_BYTES_MAX);
        let mut jumping = Ahead::default();
        for number in [500, 100, 900, 3, 700] {
            assert_eq!(jumping.read(&(number << 20..(number << 20) + 4096), SIZE), None);
        }
    }
}
