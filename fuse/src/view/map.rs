//! Where in a file which blob lies: parts of its list, as far as they were wanted.

use std::{ops::Range, sync::Arc};

use datadb::{BlobId, Fault, FileType, meta::Content, object::Chunk};

use crate::cache::patient::Patient;
use crate::entry::Entry;

/// Parts of a list that an open file keeps, of at most a thousand chunks each.
const PARTS_MAX: usize = 8;

/// A run of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset of the first byte behind it.
    pub end: u64,
    /// Bytes that are known to belong to it, up to its end.
    pub len: u64,
    /// Where they lie, at the end of this blob; `None` is a hole.
    pub blob: Option<BlobId>,
}

impl Run {
    /// Offset of its first byte.
    pub const fn start(&self) -> u64 {
        self.end - self.len
    }
}

/// Neighbouring runs.
#[derive(Debug)]
pub struct Part(Vec<Run>);

impl Part {
    /// The runs from this byte of the file on.
    pub fn from_chunks(start: u64, chunks: &[Chunk]) -> Self {
        let mut end = start;
        let runs = chunks.iter().map(|chunk| {
            end = end.saturating_add(chunk.len);
            Run { end, len: chunk.len, blob: chunk.blob }
        });
        Self(runs.collect())
    }

    fn covers(&self, offset: u64) -> bool {
        self.0.first().is_some_and(|first| first.start() <= offset)
            && self.0.last().is_some_and(|last| offset < last.end)
    }

    /// The runs that touch a range, from the one that holds its start.
    pub fn runs(&self, range: Range<u64>) -> &[Run] {
        let from = self.0.partition_point(|run| run.end <= range.start);
        let to = self.0.partition_point(|run| run.start() < range.end);
        &self.0[from..to.max(from)]
    }
}

/// The parts that are known, the one that was used last at the end.
#[derive(Debug, Default)]
pub struct Map(Vec<Arc<Part>>);

impl Map {
    /// What is known without asking.
    pub fn new(entry: &Entry) -> Self {
        let chunk = |blob| Part::from_chunks(0, &[Chunk { len: entry.size, blob }]);
        match (entry.file_type, entry.content) {
            (FileType::File, Content::Blob(blob)) if entry.size > 0 => Self(vec![Arc::new(chunk(Some(blob)))]),
            _ => Self::default(),
        }
    }

    /// The part that holds a byte.
    pub fn get(&mut self, offset: u64) -> Option<Arc<Part>> {
        let at = self.0.iter().rposition(|part| part.covers(offset))?;
        let part = self.0.remove(at);
        self.0.push(part.clone());
        Some(part)
    }

    /// Keeps a part.
    pub fn put(&mut self, part: Arc<Part>) {
        if self.0.len() >= PARTS_MAX {
            self.0.remove(0);
        }
        self.0.push(part);
    }
}

/// Asks for the part of a file's list that begins with this byte; `None` if there is none.
pub async fn ask(server: &Patient, entry: &Entry, offset: u64) -> Result<Option<Part>, Fault> {
    let Content::Ref(list) = entry.content else { return Ok(None) };
    let page =
        server.ask_once(|connection| async move { connection.read_list(&list, offset).await?.page().await }).await?;
    Ok(page.filter(|chunks| !chunks.is_empty()).map(|chunks| Part::from_chunks(offset, &chunks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(len: u64, blob: u8) -> Chunk {
        Chunk { len, blob: (blob > 0).then(|| BlobId::new([blob; 20])) }
    }

    fn part(start: u64) -> Part {
        Part::from_chunks(start, &[chunk(100, 1), chunk(50, 0), chunk(200, 2)])
    }

    #[test]
    fn the_runs_of_a_range_are_those_that_it_touches() {
        let part = part(1000);
        let blobs = |range| part.runs(range).iter().map(|run| run.end).collect::<Vec<u64>>();
        assert_eq!(blobs(1000..1100), [1100]);
        assert_eq!(blobs(1099..1101), [1100, 1150]);
        assert_eq!(blobs(1100..1150), [1150]);
        assert_eq!(blobs(1000..2000), [1100, 1150, 1350]);
        assert_eq!(blobs(1349..1350), [1350]);
        assert!(blobs(1350..2000).is_empty());
    }

    #[test]
    fn a_map_finds_the_part_that_holds_a_byte_and_forgets_the_one_unused_longest() {
        let mut map = Map::default();
        (0..PARTS_MAX as u64).for_each(|number| map.put(Arc::new(part(number * 350))));
        assert!(map.get(0).is_some() && map.get(349).is_some());
        assert!(map.get(350 * PARTS_MAX as u64).is_none());
        map.put(Arc::new(part(100_000)));
        assert!(map.get(0).is_some(), "it was used");
        assert!(map.get(350).is_none(), "it was not");
    }
}
