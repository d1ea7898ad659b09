//! Files with holes in an archive: GNU's format 1.0. The file's bytes begin with a map in decimal lines: how many runs of
//! data there are, then the offset and the length of each; it is padded to a block, and the runs follow. No IO.
//!
//! Every run begins and ends at a block, but for the end of the file, so that all readers find the next one at the same
//! place: what a hole has beside whole blocks is written as zeros. A hole at the end is told by an empty run.

use std::ops::Range;

use super::header::BLOCK_BYTES;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// What becomes of a hole: zeros to be written, bytes left out, zeros to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Zeros that end a block.
    pub before: u64,
    /// What is left out, as offsets in the file.
    pub hole: Option<Range<u64>>,
    /// Zeros that begin a block.
    pub behind: u64,
}

/// Goes along a file and finds what of its holes can be left out.
#[derive(Debug)]
pub struct Holes {
    size: u64,
    at: u64,
    from: Option<u64>,
}

impl Holes {
    /// At the beginning of a file of this size.
    pub const fn new(size: u64) -> Self {
        Self { size, at: 0, from: None }
    }

    /// So many bytes are a hole.
    pub fn hole(&mut self, len: u64) {
        self.from.get_or_insert(self.at);
        self.at += len;
    }

    /// So many bytes are none; gives the hole that ended before them.
    pub fn data(&mut self, len: u64) -> Gap {
        let gap = self.end();
        self.at += len;
        gap
    }

    /// The hole that ends here.
    pub fn end(&mut self) -> Gap {
        let Some(from) = self.from.take() else { return Gap::default() };
        let start = from.next_multiple_of(BLOCK);
        let end = if self.at == self.size { self.at } else { self.at / BLOCK * BLOCK };
        if start < end {
            Gap { before: start - from, hole: Some(start..end), behind: self.at - end }
        } else {
            Gap { before: self.at - from, ..Gap::default() }
        }
    }
}

/// Takes the runs of data as they are found.
#[derive(Debug)]
pub struct Runs {
    holes: Holes,
    from: u64,
}

impl Runs {
    /// Of a file of this size.
    pub const fn new(size: u64) -> Self {
        Self { holes: Holes::new(size), from: 0 }
    }

    /// The next bytes of the file; gives the run that is known to have ended.
    pub fn push(&mut self, len: u64, is_hole: bool) -> Option<Range<u64>> {
        if is_hole {
            self.holes.hole(len);
            return None;
        }
        let hole = self.holes.data(len).hole?;
        let run = self.from..hole.start;
        self.from = hole.end;
        Some(run).filter(|run| !run.is_empty())
    }

    /// The runs that are left at the end.
    pub fn finish(mut self) -> impl Iterator<Item = Range<u64>> {
        let size = self.holes.size;
        let (last, end) = match self.holes.end().hole {
            Some(hole) => (self.from..hole.start, Some(size..size)),
            None => (self.from..size, None),
        };
        Some(last).filter(|run| !run.is_empty()).into_iter().chain(end)
    }
}

/// How long a map and its data are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Runs.
    pub runs: u64,
    /// Bytes of data.
    pub data: u64,
    text: u64,
}

impl Measure {
    /// One more run.
    pub fn add(&mut self, run: &Range<u64>) {
        self.runs += 1;
        self.data += run.end - run.start;
        self.text += line(run).len() as u64;
    }

    /// Bytes of the map with its padding.
    pub fn map(&self) -> u64 {
        (first_line(self.runs).len() as u64 + self.text).next_multiple_of(BLOCK)
    }
}

/// The map's first line.
pub fn first_line(runs: u64) -> String {
    format!("{runs}\n")
}

/// The lines of a run.
pub fn line(run: &Range<u64>) -> String {
    format!("{}\n{}\n", run.start, run.end - run.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(size: u64, pieces: &[(u64, bool)]) -> Vec<Range<u64>> {
        let mut runs = Runs::new(size);
        let mut found: Vec<_> = pieces.iter().filter_map(|(len, is_hole)| runs.push(*len, *is_hole)).collect();
        found.extend(runs.finish());
        found
    }

    #[test]
    fn runs_lie_between_holes_and_an_empty_one_ends_a_hole_at_the_end() {
        assert_eq!(runs(3000, &[(1024, false), (1024, true), (952, false)]), [0..1024, 2048..3000]);
        assert_eq!(runs(3000, &[(1024, true), (512, false), (1464, true)]), [1024..1536, 3000..3000]);
        assert_eq!(runs(3000, &[(3000, true)]), std::slice::from_ref(&(3000..3000)));
        assert_eq!(runs(3000, &[(3000, false)]), std::slice::from_ref(&(0..3000)));
        assert_eq!(runs(2048, &[(512, true), (512, true), (1024, false)]), std::slice::from_ref(&(1024..2048)));
    }

    #[test]
    fn holes_shrink_to_whole_blocks() {
        assert_eq!(runs(5000, &[(100, false), (2000, true), (2900, false)]), [0..512, 2048..5000]);
        assert_eq!(runs(700, &[(100, false), (400, true), (200, false)]), std::slice::from_ref(&(0..700)));
        let mut holes = Holes::new(5000);
        assert_eq!(holes.data(100), Gap::default());
        holes.hole(2000);
        assert_eq!(holes.data(2900), Gap { before: 412, hole: Some(512..2048), behind: 52 });
    }

    #[test]
    fn a_map_is_as_long_as_was_measured() {
        let mut measure = Measure::default();
        let runs: Vec<_> = (0..2000).map(|i| i * 8192..i * 8192 + 4096).collect();
        runs.iter().for_each(|run| measure.add(run));
        let text = first_line(2000) + &runs.iter().map(line).collect::<String>();
        assert_eq!(measure.map(), (text.len() as u64).next_multiple_of(512));
        assert_eq!((measure.runs, measure.data), (2000, 2000 * 4096));
    }
}
