//! Counting distinct ids in bounded memory: all of them while they are few, then a fair sample.

use std::collections::HashSet;

use datadb::BlobId;

/// A set of distinct ids. Ids are hashes: when they become too many, only those that begin with one more zero bit are
/// kept, and each stands for twice as many. Which ids are kept depends on nothing but the ids.
#[derive(Debug)]
pub struct Sample {
    ids: HashSet<BlobId>,
    zero_bits: u32,
    max: usize,
}

impl Sample {
    /// An empty one that keeps at most so many ids.
    pub fn new(max: usize) -> Self {
        Self { ids: HashSet::new(), zero_bits: 0, max }
    }

    /// Counts an id, once.
    pub fn add(&mut self, id: BlobId) {
        if zero_bits(&id) < self.zero_bits {
            return;
        }
        self.ids.insert(id);
        while self.ids.len() > self.max {
            if self.zero_bits == ZERO_BITS_MAX {
                self.ids.remove(&id);
                return;
            }
            self.zero_bits += 1;
            self.ids.retain(|id| zero_bits(id) >= self.zero_bits);
        }
    }

    /// Forgets an id.
    pub fn remove(&mut self, id: &BlobId) {
        self.ids.remove(id);
    }

    /// How many ids each kept one stands for; 1 as long as the count is exact.
    pub const fn weight(&self) -> u64 {
        1 << self.zero_bits
    }

    /// The kept ids, ascending.
    pub fn ids(&self) -> Vec<BlobId> {
        let mut ids: Vec<BlobId> = self.ids.iter().copied().collect();
        ids.sort_unstable();
        ids
    }
}

/// No hash begins with more zero bits in practice; a weight of so many fits 64 bits.
const ZERO_BITS_MAX: u32 = 63;

fn zero_bits(id: &BlobId) -> u32 {
    let head: [u8; 8] = *id.as_bytes().first_chunk().expect("an id is 20 bytes long");
    u64::from_be_bytes(head).leading_zeros().min(ZERO_BITS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(count: u32) -> impl Iterator<Item = BlobId> {
        (0..count).map(|number| BlobId::of(&number.to_be_bytes()))
    }

    proptest! {
        #[test]
        fn few_ids_are_counted_one_by_one(numbers in prop::collection::vec(0u8..40, 0..200), gone in 0u8..40) {
            let mut sample = Sample::new(40);
            numbers.iter().for_each(|number| sample.add(BlobId::of(&[*number])));
            sample.remove(&BlobId::of(&[gone]));
            let mut expected: Vec<BlobId> = numbers.iter().filter(|n| **n != gone).map(|n| BlobId::of(&[*n])).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(sample.weight(), 1);
            prop_assert_eq!(sample.ids(), expected);
        }
    }

    #[test]
    fn many_ids_are_counted_to_a_few_percent_whatever_their_order_and_repetition() {
        let mut one = Sample::new(4096);
        ids(500_000).for_each(|id| one.add(id));
        let mut other = Sample::new(4096);
        ids(250_000).chain(ids(500_000)).for_each(|id| other.add(id));
        assert_eq!(one.ids(), other.ids());
        assert!(one.ids().len() <= 4096);
        let estimate = one.ids().len() as u64 * one.weight();
        assert!((475_000..525_000).contains(&estimate), "{estimate}");
    }

    #[test]
    fn ids_that_are_no_fair_hashes_keep_it_bounded() {
        let mut sample = Sample::new(8);
        for number in 0..1000u32 {
            let mut id = [0; 20];
            id[16..].copy_from_slice(&number.to_be_bytes());
            sample.add(BlobId::new(id));
        }
        assert!(sample.ids().len() <= 8);
    }
}
