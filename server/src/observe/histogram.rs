//! Durations by how long they were.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the buckets in microseconds: from a read of what is in memory to a commit on a slow disk.
pub const BOUNDS_MICROS: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// Counts durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is longer.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    nanos: AtomicU64,
}

/// What a histogram has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Durations {
    /// How many took at most the bound of the same place.
    pub up_to: [u64; BOUNDS_MICROS.len()],
    /// How many there are.
    pub count: u64,
    /// How many seconds all took together.
    pub seconds: f64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| bound * 1000 < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// What it has come to. What is counted meanwhile may be missing in some of it.
    pub fn read(&self) -> Durations {
        let mut sum = 0;
        let mut next = |bucket: &AtomicU64| {
            sum += bucket.load(Relaxed);
            sum
        };
        let up_to = array::from_fn(|at| next(&self.buckets[at]));
        let count = next(&self.buckets[BOUNDS_MICROS.len()]);
        Durations { up_to, count, seconds: self.nanos.load(Relaxed) as f64 / 1e9 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_buckets_add_up() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 250, 30_000_000, 40_000_000] {
            histogram.add(Duration::from_micros(micros));
        }
        let read = histogram.read();
        assert_eq!(read.up_to[..3], [2, 4, 4]);
        assert_eq!((read.up_to[13], read.count, histogram.count()), (5, 6, 6));
        assert!((read.seconds - 70.000_451).abs() < 1e-9, "{}", read.seconds);
    }
}
