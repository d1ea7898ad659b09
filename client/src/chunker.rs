//! Content-defined chunking: where to cut a run of bytes, so that a change moves only the cuts around it.
//!
//! FastCDC (2020) with the repository's sizes and secret seed. Pure: no files, no hashes.

use datadb::chunking::ChunkerParams;
use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

/// The tables for one repository; made once per thread.
#[derive(Debug)]
pub struct Chunker {
    params: ChunkerParams,
    gear: Vec<u64>,
    gear_shifted: Vec<u64>,
    mask_small: u64,
    mask_large: u64,
}

impl Chunker {
    /// Tables for these parameters. Sizes are rounded down to even ones, which the algorithm asks for.
    pub fn new(params: ChunkerParams) -> Self {
        let even = |bytes: u32| bytes & !1;
        let params = ChunkerParams {
            bytes_min: even(params.bytes_min),
            bytes_avg: even(params.bytes_avg),
            bytes_max: even(params.bytes_max),
            seed: params.seed,
        };
        let (gear, gear_shifted) = get_gear_with_seed(params.seed);
        let (mask_small, mask_large) = select_masks(params.bytes_avg as usize, Normalization::Level1);
        Self { params, gear: gear.into_owned(), gear_shifted: gear_shifted.into_owned(), mask_small, mask_large }
    }

    /// Bytes that no chunk exceeds.
    pub const fn bytes_max(&self) -> usize {
        self.params.bytes_max as usize
    }

    /// The length of the first chunk of `data`, never 0 unless there is no data. With `is_end` false the data may go on:
    /// `None` says that the cut may lie behind what is there, so more must be read (never so for `bytes_max` or more).
    pub fn cut(&self, data: &[u8], is_end: bool) -> Option<usize> {
        let p = &self.params;
        let (_, cut) = cut_gear(
            data,
            p.bytes_min as usize,
            p.bytes_avg as usize,
            p.bytes_max as usize,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
            &self.gear,
            &self.gear_shifted,
        );
        let is_final = is_end || cut < data.len() || data.len() >= self.bytes_max();
        is_final.then_some(cut)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunker(seed: u64) -> Chunker {
        Chunker::new(ChunkerParams { bytes_min: 64, bytes_avg: 256, bytes_max: 1024, seed })
    }

    fn all_cuts(chunker: &Chunker, data: &[u8]) -> Vec<usize> {
        let (mut cuts, mut start) = (Vec::new(), 0);
        while start < data.len() {
            let len = chunker.cut(&data[start..], true).expect("the end is known");
            start += len;
            cuts.push(start);
        }
        cuts
    }

    fn noise(len: usize, mut state: u64) -> Vec<u8> {
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..len).map(|_| byte()).collect()
    }

    proptest! {
        #[test]
        fn chunks_join_to_the_input_and_keep_their_bounds(
            data in proptest::collection::vec(any::<u8>(), 0..8192), seed: u64,
        ) {
            let cuts = all_cuts(&chunker(seed), &data);
            let mut start = 0;
            for (i, end) in cuts.iter().enumerate() {
                let len = end - start;
                prop_assert!(len <= 1024);
                prop_assert!(len >= 64 || i + 1 == cuts.len());
                start = *end;
            }
            prop_assert_eq!(start, data.len());
        }

        #[test]
        fn cuts_do_not_depend_on_how_much_was_read_at_once(
            data in proptest::collection::vec(0u8..3, 0..8192), steps in proptest::collection::vec(1usize..700, 1..64),
        ) {
            let chunker = chunker(7);
            let (mut cuts, mut start, mut end) = (Vec::new(), 0, 0);
            let mut steps = steps.iter().cycle();
            while start < data.len() {
                match chunker.cut(&data[start..end], end == data.len()) {
                    Some(len) if len > 0 => {
                        start += len;
                        cuts.push(start);
                    }
                    _ => end = (end + steps.next().expect("a cycle has no end")).min(data.len()),
                }
            }
            prop_assert_eq!(cuts, all_cuts(&chunker, &data));
        }
    }

    #[test]
    fn an_insertion_in_the_middle_changes_only_chunks_around_it() {
        let chunker = chunker(42);
        let old = noise(200_000, 1);
        let mut new = old.clone();
        new.splice(100_000..100_000, noise(1000, 2));
        let (old_cuts, new_cuts) = (all_cuts(&chunker, &old), all_cuts(&chunker, &new));
        let before = old_cuts.iter().zip(&new_cuts).take_while(|(a, b)| a == b).count();
        let moved = |cut: &usize| cut - 1000;
        let after = old_cuts.iter().rev().zip(new_cuts.iter().rev()).take_while(|(a, b)| **a == moved(b)).count();
        assert!(new_cuts.len() - before - after <= 12, "{} {before} {after}", new_cuts.len());
    }

    #[test]
    fn another_seed_cuts_elsewhere() {
        let data = noise(50_000, 3);
        assert_ne!(all_cuts(&chunker(1), &data), all_cuts(&chunker(2), &data));
    }
}
