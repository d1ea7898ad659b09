//! Blobs, from memory, from the cache on disk, or from the server; each is fetched once however many wait for it.
//!
//! Some tasks take what is wanted, as many blobs at once as there are, and ask with one request. What somebody waits for
//! goes before what is read ahead, and one of the tasks does nothing else.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use datadb::{BlobId, Fault};
use lru::LruCache;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{disk::Disk, fetch, patient::Patient};

/// Bytes of blobs in memory.
const MEMORY_BYTES: usize = 128 << 20;

/// Bytes that may be asked for ahead of the readers: half of the memory, or they would push each other out.
const AHEAD_BYTES_MAX: u64 = MEMORY_BYTES as u64 / 2;

/// Tasks that ask; each has one request under way.
const FETCHERS: usize = 4;

/// Bytes that one request asks for: several make full use of a link, and none keeps a task busy for long.
const BATCH_BYTES: u64 = 4 << 20;

/// Blobs that one request asks for.
const BATCH_BLOBS: usize = 512;

/// Why a blob can't be had.
#[derive(Clone, Debug)]
pub enum Loss {
    /// It is damaged, or not there.
    Gone(String),
    /// The server can't be reached.
    Server(Fault),
}

/// What became of a blob; nothing so far.
type Outcome = Option<Result<Bytes, Loss>>;

#[derive(Debug)]
struct Wanted {
    id: BlobId,
    len: u64,
}

#[derive(Debug)]
struct State {
    memory: LruCache<BlobId, Bytes>,
    memory_bytes: usize,
    pending: HashMap<BlobId, watch::Sender<Outcome>>,
    urgent: VecDeque<Wanted>,
    ahead: VecDeque<Wanted>,
    /// Bytes asked for ahead that did not come yet.
    ahead_bytes: u64,
    /// When something came last.
    heard: Instant,
}

/// All blobs.
#[derive(Clone, Debug)]
pub struct Blobs(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    state: Mutex<State>,
    wanted: Notify,
    pub(super) server: Patient,
    pub(super) disk: Option<Disk>,
}

/// What a task asks for.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ids: Vec<BlobId>,
    ahead_bytes: u64,
}

impl Blobs {
    /// Starts the tasks. Must be called within a runtime.
    pub fn new(server: Patient, disk: Option<Disk>) -> Self {
        let inner = Arc::new(Inner { state: Mutex::new(State::new()), wanted: Notify::new(), server, disk });
        for number in 0..FETCHERS {
            tokio::spawn(fetch::run(inner.clone(), number == 0));
        }
        Self(inner)
    }

    /// A blob that is in memory.
    pub fn get_now(&self, id: &BlobId) -> Option<Bytes> {
        self.0.lock().memory.get(id).cloned()
    }

    /// A blob, of which the length is known or guessed.
    pub async fn get(&self, id: BlobId, len: u64) -> Result<Bytes, Loss> {
        let mut outcome = {
            let mut state = self.0.lock();
            if let Some(bytes) = state.memory.get(&id) {
                return Ok(bytes.clone());
            }
            state.hurry(&id);
            match state.pending.get(&id) {
                Some(pending) => pending.subscribe(),
                None => {
                    let (sender, outcome) = watch::channel(None);
                    state.pending.insert(id, sender);
                    state.urgent.push_back(Wanted { id, len });
                    outcome
                }
            }
        };
        self.0.wanted.notify_waiters();
        let patience = self.0.server.patience();
        loop {
            match tokio::time::timeout(patience, outcome.wait_for(Option::is_some)).await {
                Ok(Ok(answer)) => return answer.clone().expect("waited for until there is an outcome"),
                // Others before it keep a slow server busy.
                Err(_) if self.0.lock().heard.elapsed() < patience => {}
                Ok(Err(_)) | Err(_) => {
                    let fault = Fault::new(datadb::Kind::Unavailable, "the server does not answer");
                    return Err(Loss::Server(fault));
                }
            }
        }
    }

    /// Asks for blobs that will soon be wanted; tells how many of them there was room for.
    pub fn expect(&self, blobs: &[(BlobId, u64)]) -> usize {
        let mut taken = 0;
        let mut state = self.0.lock();
        for &(id, len) in blobs {
            if state.memory.contains(&id) || state.pending.contains_key(&id) {
                taken += 1;
                continue;
            }
            if state.ahead_bytes + len > AHEAD_BYTES_MAX {
                break;
            }
            state.ahead_bytes += len;
            state.pending.insert(id, watch::channel(None).0);
            state.ahead.push_back(Wanted { id, len });
            taken += 1;
        }
        drop(state);
        self.0.wanted.notify_waiters();
        taken
    }
}

impl State {
    fn new() -> Self {
        Self {
            memory: LruCache::unbounded(),
            memory_bytes: 0,
            pending: HashMap::new(),
            urgent: VecDeque::new(),
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            heard: Instant::now(),
        }
    }

    /// Somebody waits for a blob now that was only expected so far.
    fn hurry(&mut self, id: &BlobId) {
        if let Some(at) = self.ahead.iter().position(|wanted| wanted.id == *id)
            && let Some(wanted) = self.ahead.remove(at)
        {
            self.ahead_bytes = self.ahead_bytes.saturating_sub(wanted.len);
            self.urgent.push_back(wanted);
        }
    }

    fn batch(&mut self, only_urgent: bool) -> Option<Batch> {
        let mut batch = Batch { ids: Vec::new(), ahead_bytes: 0 };
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.ids.len() < BATCH_BLOBS {
            // Nobody who waits does so behind what nobody waits for.
            let wanted = match self.urgent.pop_front() {
                Some(wanted) => wanted,
                None if only_urgent || (bytes > 0 && batch.ahead_bytes == 0) => break,
                None => match self.ahead.pop_front() {
                    Some(wanted) => {
                        batch.ahead_bytes += wanted.len;
                        wanted
                    }
                    None => break,
                },
            };
            bytes += wanted.len;
            batch.ids.push(wanted.id);
        }
        (!batch.ids.is_empty()).then_some(batch)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to ask for.
    pub(super) async fn next(&self, only_urgent: bool) -> Batch {
        loop {
            let mut notified = std::pin::pin!(self.wanted.notified());
            notified.as_mut().enable();
            if let Some(batch) = self.lock().batch(only_urgent) {
                return batch;
            }
            notified.await;
        }
    }

    /// The server sends.
    pub(super) fn heard(&self) {
        self.lock().heard = Instant::now();
    }

    /// A blob came, whoever asked for it.
    pub(super) fn came(&self, id: BlobId, bytes: &Bytes) {
        let mut state = self.lock();
        state.keep(id, bytes.clone());
        if let Some(pending) = state.pending.remove(&id) {
            pending.send_replace(Some(Ok(bytes.clone())));
        }
    }

    /// A blob can't be had.
    pub(super) fn lost(&self, id: BlobId, why: Loss) {
        if let Some(pending) = self.lock().pending.remove(&id) {
            pending.send_replace(Some(Err(why)));
        }
    }

    /// A batch is done.
    pub(super) fn done(&self, batch: &Batch) {
        let mut state = self.lock();
        state.ahead_bytes = state.ahead_bytes.saturating_sub(batch.ahead_bytes);
    }
}

impl State {
    fn keep(&mut self, id: BlobId, bytes: Bytes) {
        self.memory_bytes += bytes.len();
        if let Some(old) = self.memory.put(id, bytes) {
            self.memory_bytes -= old.len();
        }
        while self.memory_bytes > MEMORY_BYTES
            && let Some((_, old)) = self.memory.pop_lru()
        {
            self.memory_bytes -= old.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> BlobId {
        BlobId::of(&number.to_be_bytes())
    }

    #[test]
    fn memory_holds_no_more_than_it_may() {
        let mut state = State::new();
        let mebibyte = Bytes::from(vec![0; 1 << 20]);
        for number in 0..200 {
            state.keep(id(number), mebibyte.clone());
            state.keep(id(number), mebibyte.clone());
        }
        assert_eq!(state.memory_bytes, MEMORY_BYTES);
        assert!(state.memory.contains(&id(199)) && !state.memory.contains(&id(0)));
    }

    #[test]
    fn what_somebody_waits_for_does_not_wait_for_what_is_read_ahead() {
        let mut state = State::new();
        state.ahead.extend((0..100).map(|number| Wanted { id: id(number), len: 1000 }));
        state.ahead_bytes = 100_000;
        assert!(state.batch(true).is_none());
        state.hurry(&id(50));
        assert_eq!(state.ahead_bytes, 99_000);
        assert_eq!(state.batch(false).unwrap().ids, [id(50)]);
        assert_eq!(state.batch(false).unwrap().ids.len(), 99);
    }

    #[test]
    fn a_batch_is_bounded_in_blobs_and_bytes() {
        let mut state = State::new();
        state.ahead.extend((0..2000).map(|number| Wanted { id: id(number), len: 10 }));
        assert_eq!(state.batch(false).unwrap().ids.len(), BATCH_BLOBS);
        state.ahead = (0..20).map(|number| Wanted { id: id(number), len: 1 << 20 }).collect();
        assert_eq!(state.batch(false).unwrap().ids.len(), 4);
    }
}
