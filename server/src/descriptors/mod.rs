//! Descriptors: how many files and connections this process may have open, and who gets them.
//!
//! A pack that can't be opened is a restore that fails; a connection that is refused is a client that comes again. Packs and
//! index therefore keep a part of the limit for themselves, and connections share what is left.

mod held;

use std::{
    io,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use held::Held;

/// Descriptors that connections leave to packs and index: 64 packs that are kept open in each of the blobs and the log, 96
/// tables of the index, and what the process itself needs.
const KEPT: usize = 256;

/// Of those, what is open in any case: streams, sockets that listen, timers, locks, the index's log, packs being written.
const OWN: usize = 32;

/// Below this limit nothing works: what is open in any case, a few packs and tables, a few connections.
const LIMIT_MIN: usize = 60;

/// Packs that a leaf keeps open for reading: at most, and where the limit is low.
const PACKS: std::ops::RangeInclusive<usize> = 2..=64;

/// Tables that the index keeps open: where the limit is low (RocksDB takes no less, and uses ten fewer), and at most: 16 GiB
/// of them, as they are by far the largest.
const TABLES: std::ops::RangeInclusive<usize> = 20..=256;

/// Where the limit is high, packs and index have this part of it: a tree of many stores keeps more packs open.
const KEPT_PART: usize = 8;

/// Where the limit is low, connections have this part of it: without any the server would be of no use.
const LEAST_PART: usize = 4;

/// The most that is asked of the limit: none is as good.
const LIMIT_MAX: usize = 1 << 20;

/// Refused connections are told in the log at most so often.
const TOLD_GAP: Duration = Duration::from_secs(60);

/// The limit of this process as it is now.
pub fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    current.unwrap_or(LIMIT_MAX).min(LIMIT_MAX)
}

/// Raises the limit to what this process may have; once, at the start. An error line if that is not enough to work with.
pub fn raise() -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!("can't raise the limit of open files: {error}");
    }
    match limit() {
        ..LIMIT_MIN => Err(format!(
            "refusing to start with at most {} open files: {LIMIT_MIN} is the least, 1024 a good number. {WAY_OUT}",
            limit()
        )),
        _ => Ok(()),
    }
}

/// How the limit is raised.
const WAY_OUT: &str =
    "Raise it: LimitNOFILE=65536 in the unit of systemd, elsewhere `ulimit -n 65536` before the server is started";

/// What packs and index have of a limit.
const fn kept(limit: usize) -> usize {
    let kept = if limit / KEPT_PART > KEPT { limit / KEPT_PART } else { KEPT };
    let most = limit - limit / LEAST_PART;
    if kept < most { kept } else { most }
}

/// What packs and index share, in sevenths: the packs of two leaves have two each, the index three.
const fn seventh(limit: usize) -> usize {
    kept(limit).saturating_sub(OWN) / 7
}

/// Tables that the index may keep open under the limit of this process.
pub fn index_tables_max() -> usize {
    (seventh(limit()) * 3).clamp(*TABLES.start(), *TABLES.end())
}

/// Packs that a leaf may keep open for reading under the limit of this process.
pub fn packs_max() -> NonZeroUsize {
    let packs = (seventh(limit()) * 2).clamp(*PACKS.start(), *PACKS.end());
    NonZeroUsize::new(packs).expect("it is at least 2")
}

/// Places of all connections, whatever they speak.
#[derive(Clone, Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    count: usize,
    refused: Arc<Mutex<Told>>,
    failed: Arc<Mutex<Told>>,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it is held, not looked at")] OwnedSemaphorePermit);

/// When something was told that may happen thousands of times, and how often it has happened since.
#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    untold: u64,
}

impl Told {
    /// Counts one more; how many are to be told now, if any are.
    fn one(&mut self) -> Option<u64> {
        self.untold += 1;
        if self.at.is_some_and(|at| at.elapsed() < TOLD_GAP) {
            return None;
        }
        self.at = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

impl Places {
    /// All that the limit of this process leaves for connections. Says so if that limit is too low.
    pub fn of_process() -> Self {
        let limit = limit();
        if kept(limit) < KEPT {
            tracing::warn!(
                "the limit of open files is {limit}: packs and index have {} of them instead of {KEPT}, connections {}. \
                 {WAY_OUT}",
                kept(limit),
                limit - kept(limit)
            );
        }
        Self::of(limit)
    }

    fn of(limit: usize) -> Self {
        let count = limit - kept(limit);
        Self { free: Arc::new(Semaphore::new(count)), count, refused: Arc::default(), failed: Arc::default() }
    }

    /// A place for a connection that was just accepted; `None`: close it, there are enough.
    pub fn take(&self) -> Option<Place> {
        match self.free.clone().try_acquire_owned() {
            Ok(permit) => Some(Place(permit)),
            Err(_) => {
                self.refuse();
                None
            }
        }
    }

    /// Says that a connection can't be accepted: not even the descriptor is there that it needs until it is closed.
    pub fn cannot_accept(&self, error: &io::Error) {
        if let Some(times) = locked(&self.failed).one() {
            tracing::warn!(%error, times, "can't accept a connection");
        }
    }

    fn refuse(&self) {
        if let Some(refused) = locked(&self.refused).one() {
            tracing::warn!(
                refused,
                "{} connections are open, and what is left of the open files is kept for packs and index: new ones are \
                 closed. {WAY_OUT}",
                self.count
            );
        }
    }
}

fn locked(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_index_have_their_share_of_every_limit() {
        for (limit, for_files) in [(60, 45), (256, 192), (341, 256), (1024, 256), (4096, 512), (65536, 8192)] {
            assert_eq!(kept(limit), for_files, "of {limit}");
        }
        let shares = |limit| (seventh(limit) * 2, seventh(limit) * 3);
        assert_eq!(shares(1024), (64, 96), "two leaves and the index, and what is open in any case, are 256");
        for limit in 0..5000 {
            assert!(kept(limit) <= limit, "{limit}");
            assert!(kept(limit) >= KEPT || kept(limit) >= limit / 4 * 3, "{limit}");
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_has_ended() {
        let places = Places::of(8);
        let (one, two) = (places.take(), places.take());
        assert!(one.is_some() && two.is_some() && places.clone().take().is_none());
        drop(one);
        assert!(places.take().is_some());
    }

    #[test]
    fn what_happens_often_is_told_once_a_minute() {
        let mut told = Told::default();
        assert_eq!([told.one(), told.one(), told.one()], [Some(1), None, None]);
        told.at = Instant::now().checked_sub(TOLD_GAP);
        assert_eq!([told.one(), told.one()], [Some(3), None]);
    }
}
