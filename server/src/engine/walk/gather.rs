//! Reads the states of one directory one after the other and notes what becomes of its names.
//!
//! A segment that the state before had too holds the same names as before, and is not read again. A name of a segment
//! that is gone, and that no new segment holds, is gone.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    ops::Bound,
};

use datadb::{Kind, Meta, Object, ObjectKey};

use super::{
    NameBytes, Visit,
    track::{Track, directory_set},
};
use crate::{
    engine::{EngineError, browse::object},
    index::Index,
};

/// Bytes (roughly) that a name costs in memory beside its own length.
const NAME_BYTES: usize = 96;

/// A segment: its key, and the names from its first one to that of the next. A directory of one segment has all names.
#[derive(Clone, Debug)]
struct Segment {
    key: ObjectKey,
    first: NameBytes,
    end: Option<NameBytes>,
}

/// The names of a directory from one on, as many as fit.
#[derive(Debug)]
pub struct Gather {
    states: VecDeque<(u32, Option<ObjectKey>)>,
    from: NameBytes,
    /// The first name that did not fit.
    end: Option<NameBytes>,
    names: BTreeMap<NameBytes, Track>,
    bytes: usize,
    bytes_max: usize,
    /// Number of the backup whose state is being read.
    number: u32,
    segments: Vec<Segment>,
    unread: VecDeque<Segment>,
    gone: Vec<Segment>,
}

impl Gather {
    /// Starts with the states of a directory, each from the backup of a number on.
    pub fn new(states: Vec<(u32, Option<ObjectKey>)>, from: NameBytes, bytes_max: usize) -> Self {
        Self {
            states: states.into(),
            from,
            end: None,
            names: BTreeMap::new(),
            bytes: 0,
            bytes_max,
            number: 0,
            segments: Vec::new(),
            unread: VecDeque::new(),
            gone: Vec::new(),
        }
    }

    /// Reads the next object; tells whether there was one. `path` is the directory's own.
    pub fn step(&mut self, index: &Index, path: &[u8], visit: &mut dyn Visit) -> Result<bool, EngineError> {
        if let Some(segment) = self.unread.pop_front() {
            // Since it was noted, names may have turned out to be too many.
            if self.is_in_reach(&segment) {
                let Object::Set(metas) = object(index, &segment.key)? else { return Err(no_set(&segment.key)) };
                self.look(index, path, &metas, visit)?;
            }
        } else if let Some((number, set)) = self.states.pop_front() {
            self.number = number;
            self.open(index, set, path, visit)?;
        } else {
            return Ok(false);
        }
        if self.unread.is_empty() {
            self.settle();
        }
        Ok(true)
    }

    /// The names with what became of them, and the first one that did not fit.
    pub fn finish(self) -> (BTreeMap<NameBytes, Track>, Option<NameBytes>) {
        (self.names, self.end)
    }

    /// Begins with the next state: what of it is new, and what is gone.
    fn open(
        &mut self,
        index: &Index,
        set: Option<ObjectKey>,
        path: &[u8],
        visit: &mut dyn Visit,
    ) -> Result<(), EngineError> {
        let (mut segments, mut only) = (Vec::new(), None);
        if let Some(key) = set {
            match object(index, &key)? {
                Object::Set(metas) => {
                    segments.push(Segment { key, first: Box::default(), end: None });
                    only = Some(metas);
                }
                Object::SetHead(heads) => {
                    let name = |at: usize| heads.get(at).map(|head| NameBytes::from(head.first.as_bytes()));
                    let segment = |(at, head): (usize, &datadb::object::SetSegment)| Segment {
                        key: head.key,
                        first: head.first.as_bytes().into(),
                        end: name(at + 1),
                    };
                    segments = heads.iter().enumerate().map(segment).collect();
                }
                _ => return Err(no_set(&key)),
            }
        }
        let keys = |segments: &[Segment]| segments.iter().map(|segment| segment.key).collect::<HashSet<_>>();
        let (before, now) = (keys(&self.segments), keys(&segments));
        let unread = segments.iter().filter(|segment| self.is_in_reach(segment) && !before.contains(&segment.key));
        let gone = self.segments.iter().filter(|segment| self.is_in_reach(segment) && !now.contains(&segment.key));
        (self.unread, self.gone) = (unread.cloned().collect(), gone.cloned().collect());
        self.segments = segments;
        // The only segment was read to learn that it is the only one.
        match only {
            Some(metas) if self.unread.pop_front().is_some() => self.look(index, path, &metas, visit),
            _ => Ok(()),
        }
    }

    fn is_in_reach(&self, segment: &Segment) -> bool {
        let starts_before_end = self.end.as_ref().is_none_or(|end| segment.first < *end);
        starts_before_end && segment.end.as_ref().is_none_or(|end| *end > self.from)
    }

    fn look(&mut self, index: &Index, path: &[u8], metas: &[Meta], visit: &mut dyn Visit) -> Result<(), EngineError> {
        let mut full = [path, b"/"].concat();
        for meta in metas {
            let name = meta.name_bytes();
            if *name < *self.from || self.end.as_ref().is_some_and(|end| *name >= **end) {
                continue;
            }
            full.truncate(path.len() + 1);
            full.extend_from_slice(name);
            let is_hit = visit.visit(index, &full, meta)?;
            if is_hit || directory_set(meta).is_some() || self.names.contains_key(name) {
                self.note(&full, name, meta, is_hit);
            }
        }
        Ok(())
    }

    fn note(&mut self, path: &[u8], name: &[u8], meta: &Meta, is_hit: bool) {
        let is_new = !self.names.contains_key(name);
        let track = self.names.entry(name.into()).or_default();
        let before = track.bytes;
        track.note(self.number, Some(meta), is_hit.then_some(path));
        self.bytes += track.bytes - before + if is_new { NAME_BYTES + name.len() } else { 0 };
        while self.bytes > self.bytes_max
            && self.names.len() > 1
            && let Some((name, track)) = self.names.pop_last()
        {
            self.bytes -= track.bytes + NAME_BYTES + name.len();
            self.end = Some(name);
        }
    }

    /// Ends a state: names that were there before, in segments that are gone, and were not met again are gone.
    fn settle(&mut self) {
        for segment in std::mem::take(&mut self.gone) {
            let end = segment.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            for (_, track) in self.names.range_mut::<[u8], _>((Bound::Included(&*segment.first), end)) {
                if track.seen != self.number && track.is_open() {
                    let before = track.bytes;
                    track.note(self.number, None, None);
                    self.bytes += track.bytes - before;
                }
            }
        }
    }
}

fn no_set(key: &ObjectKey) -> EngineError {
    EngineError::refused(Kind::Internal, format!("{key} is no directory's set"))
}
