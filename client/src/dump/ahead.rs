//! Entries in the order of the archive, and the bytes of those that come next: while one is written, the lists and chunks
//! of what follows are on their way, many small files with one request. Bounded by [`ENTRIES_MAX`], [`LISTS_MAX`] and the
//! windows of [`Pieces`].

use std::{collections::VecDeque, ops::Range};

use datadb::{Fault, Kind, ObjectKey, meta::Content, object::Chunk};
use tokio::runtime::Handle;

use super::{
    entry::{Entry, Link, Links},
    plan::Plan,
    tar::{Measure, Runs},
};
use crate::{
    connection::Connection,
    fetch::chunks::{Chunks, is_of_the_file},
    fetch::content::{Found, Pieces},
    report::Report,
};

/// Entries that wait.
const ENTRIES_MAX: usize = 1024;

/// Lists that are asked for at the same time; the server allows 256 streams on a connection.
const LISTS_MAX: usize = 64;

/// Where the holes of a file are.
#[derive(Clone, Debug)]
pub struct Map {
    /// How long the map is.
    pub measure: Measure,
    runs: Where,
}

#[derive(Clone, Debug)]
enum Where {
    Here(Vec<Range<u64>>),
    /// They are too many to be kept: the list is read once more.
    Listed(ObjectKey, u64),
}

#[derive(Debug)]
enum Source {
    /// Everything is in `pending` or was pushed.
    Read,
    List(ObjectKey, Box<Chunks>),
}

/// The bytes of one entry on their way.
#[derive(Debug)]
struct Feed {
    size: u64,
    source: Source,
    pending: VecDeque<Chunk>,
    /// Bytes of all chunks so far.
    listed: u64,
    map: Option<Map>,
    /// Chunks that were pushed, and not taken.
    outstanding: usize,
    trouble: Option<String>,
}

impl Feed {
    fn is_fed(&self) -> bool {
        self.pending.is_empty() && matches!(self.source, Source::Read)
    }

    fn is_waiting(&self) -> bool {
        matches!(&self.source, Source::List(_, chunks) if !chunks.is_here())
    }

    fn fail(&mut self, what: &str) {
        self.trouble.get_or_insert(what.to_owned());
        self.pending.clear();
        self.source = Source::Read;
    }
}

/// What comes next.
pub struct Ahead<'a> {
    handle: &'a Handle,
    connection: &'a Connection,
    plan: Plan<'a>,
    links: Option<Links>,
    keeps_holes: bool,
    is_alone: bool,
    pieces: Pieces,
    /// Those behind the one that was taken.
    entries: VecDeque<Entry>,
    /// Those of the one that was taken and all behind it.
    feeds: VecDeque<Feed>,
    feeding: usize,
}

impl<'a> Ahead<'a> {
    /// At the beginning. Must be called within a runtime.
    pub fn new(
        (handle, connection): (&'a Handle, &'a Connection),
        plan: Plan<'a>,
        is_alone: bool,
        (keeps_links, keeps_holes): (bool, bool),
    ) -> Self {
        let links = keeps_links.then(Links::default);
        let (pieces, entries, feeds) = (Pieces::new(connection), VecDeque::new(), VecDeque::new());
        Self { handle, connection, plan, links, keeps_holes, is_alone, pieces, entries, feeds, feeding: 0 }
    }

    /// The next entry; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Entry>, Fault> {
        self.close()?;
        let mut lists = self.feeds.iter().filter(|feed| matches!(feed.source, Source::List(..))).count();
        while self.entries.len() < ENTRIES_MAX && lists < LISTS_MAX {
            let Some((path, meta)) = self.plan.next()? else { break };
            let link = self.links.as_mut().map_or(Link::None, |links| links.meet(&path, &meta));
            let entry = Entry { path, meta, link, is_alone: self.is_alone };
            let feed = self.feed_of(&entry);
            lists += usize::from(matches!(feed.source, Source::List(..)));
            self.feeds.push_back(feed);
            self.entries.push_back(entry);
        }
        self.feed()?;
        Ok(self.entries.pop_front())
    }

    fn feed_of(&self, entry: &Entry) -> Feed {
        let size = entry.meta.size;
        let (source, chunk) = match entry.content() {
            Content::None => (Source::Read, None),
            Content::Blob(blob) => (Source::Read, Some(Chunk { len: size, blob: Some(blob) })),
            Content::Ref(list) => {
                (Source::List(list, Box::new(Chunks::ask(self.handle, self.connection, &list))), None)
            }
        };
        let pending = chunk.into_iter().collect();
        Feed { size, source, pending, listed: 0, map: None, outstanding: 0, trouble: None }
    }

    /// Leaves the entry that was taken; what of it is still on its way is dropped.
    fn close(&mut self) -> Result<(), Fault> {
        if self.feeds.len() == self.entries.len() {
            return Ok(());
        }
        if let Some(mut feed) = self.feeds.pop_front() {
            for _ in 0..std::mem::take(&mut feed.outstanding) {
                self.pieces.take()?;
            }
        }
        self.feeding = self.feeding.saturating_sub(1);
        Ok(())
    }

    /// Where the holes of the entry that was taken are, if they can be left out; blocks until that is known.
    pub fn map(&mut self) -> Result<Option<Map>, Fault> {
        if self.feeds.front().is_some_and(|feed| feed.listed == 0 && matches!(feed.source, Source::List(..))) {
            self.batch(0)?;
        }
        Ok(self.feeds.front().and_then(|feed| feed.map.clone()))
    }

    /// Hands out the runs of data of a map.
    pub fn runs(&self, map: &Map, each: &mut dyn FnMut(&Range<u64>) -> Result<(), Fault>) -> Result<(), Fault> {
        match &map.runs {
            Where::Here(runs) => runs.iter().try_for_each(each),
            Where::Listed(list, size) => self.read_runs(list, *size, each),
        }
    }

    /// The next piece of the entry that was taken; `None` at the end. Blocks.
    pub fn piece(&mut self) -> Result<Option<Found>, Fault> {
        loop {
            self.feed()?;
            let Some(front) = self.feeds.front_mut() else { return Ok(None) };
            if front.outstanding > 0 {
                front.outstanding -= 1;
                return self.pieces.take();
            }
            if front.is_fed() {
                return Ok(None);
            }
        }
    }

    /// What was wrong with the list of the entry that was taken.
    pub fn trouble(&self) -> Option<&str> {
        self.feeds.front().and_then(|feed| feed.trouble.as_deref())
    }

    /// Asks for chunks in order as long as there is room. A list that is not there is waited for only if the entry that
    /// was taken has nothing else to go on with.
    fn feed(&mut self) -> Result<(), Fault> {
        while self.pieces.has_room() {
            let Some(feed) = self.feeds.get_mut(self.feeding) else { return Ok(()) };
            if let Some(chunk) = feed.pending.pop_front() {
                feed.outstanding += 1;
                self.pieces.push(chunk);
            } else if matches!(feed.source, Source::Read) {
                self.feeding += 1;
            } else if feed.is_waiting() && (self.feeding > 0 || feed.outstanding > 0) {
                return Ok(());
            } else {
                self.batch(self.feeding)?;
            }
        }
        Ok(())
    }

    /// Takes the next batch of a list. Blocks.
    fn batch(&mut self, at: usize) -> Result<(), Fault> {
        let Some(feed) = self.feeds.get_mut(at) else { return Ok(()) };
        let Source::List(list, chunks) = &mut feed.source else { return Ok(()) };
        let (list, is_first) = (*list, feed.listed == 0);
        match chunks.next() {
            Ok(Some(batch)) => {
                let is_all = chunks.is_read();
                feed.listed += batch.iter().map(|chunk| chunk.len).sum::<u64>();
                feed.pending.extend(batch);
                if is_first && self.keeps_holes {
                    return self.find_holes(at, &list, is_all);
                }
            }
            Ok(None) if feed.listed == feed.size => feed.source = Source::Read,
            Ok(None) => feed.fail("its list does not end at its size"),
            Err(fault) if is_of_the_file(&fault) => feed.fail(&fault.message),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn find_holes(&mut self, at: usize, list: &ObjectKey, is_all: bool) -> Result<(), Fault> {
        let feed = &mut self.feeds[at];
        let (size, mut measure, mut here) = (feed.size, Measure::default(), Vec::new());
        if is_all {
            let mut runs = Runs::new(size);
            here = feed.pending.iter().filter_map(|chunk| runs.push(chunk.len, chunk.blob.is_none())).collect();
            here.extend(runs.finish());
            here.iter().for_each(|run| measure.add(run));
        } else {
            let read = self.read_runs(list, size, &mut |run| {
                measure.add(run);
                Ok(())
            });
            match read {
                Err(fault) if is_of_the_file(&fault) => self.feeds[at].fail(&fault.message),
                read => read?,
            }
        }
        let runs = if is_all { Where::Here(here) } else { Where::Listed(*list, size) };
        self.feeds[at].map = (measure.data < size).then_some(Map { measure, runs });
        Ok(())
    }

    fn read_runs(
        &self,
        list: &ObjectKey,
        size: u64,
        each: &mut dyn FnMut(&Range<u64>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut chunks = Chunks::ask(self.handle, self.connection, list);
        let (mut runs, mut listed) = (Runs::new(size), 0);
        while let Some(batch) = chunks.next()? {
            for chunk in batch {
                listed += chunk.len;
                if let Some(run) = runs.push(chunk.len, chunk.blob.is_none()) {
                    each(&run)?;
                }
            }
        }
        if listed != size {
            return Err(Fault::new(Kind::Damaged, "its list does not end at its size"));
        }
        let mut rest = runs.finish();
        rest.try_for_each(|run| each(&run))
    }

    /// A choice that chose nothing must not look like success, nor a pattern that did.
    pub fn judge(&self, report: &Report) -> Result<(), Fault> {
        self.plan.judge(report)
    }
}
