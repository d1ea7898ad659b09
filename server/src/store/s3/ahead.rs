//! Reading objects by ranges of whole blocks, ahead of whoever reads forwards, into a cache that all packs of a leaf share.
//!
//! Packs never change, so a block that is here stays right. Whoever asks for what is on its way waits for it instead of
//! asking again.

use std::{
    io,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use datadb::Fault;
use lru::LruCache;

use super::{client::Client, error::Failure};

/// Length of a block: below it, a request costs more than its bytes on most links.
const BLOCK_BYTES: u64 = 1 << 20;

/// Blocks asked for at once by whoever reads forwards.
const AHEAD_BLOCKS: u64 = 8;

/// Blocks kept, or on their way: what a leaf may take of the memory, 64 MiB.
const BLOCKS_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// The cache of one leaf.
#[derive(Debug)]
pub(super) struct ReadAhead {
    client: Client,
    slots: Mutex<LruCache<(Arc<str>, u64), Slot>>,
}

#[derive(Clone, Debug)]
enum Slot {
    Here(Bytes),
    Coming(Arc<Fetch>),
}

/// A request on its way, for some blocks in a row.
#[derive(Debug)]
struct Fetch {
    first: u64,
    result: Mutex<Option<Result<Vec<Bytes>, Failure>>>,
    done: Condvar,
}

/// What is read: a key and the length behind it.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub key: Arc<str>,
    pub len: u64,
}

impl Object {
    /// The number of its last block.
    const fn last_block(&self) -> u64 {
        self.len.saturating_sub(1) / BLOCK_BYTES
    }
}

impl Fetch {
    fn result(&self) -> MutexGuard<'_, Option<Result<Vec<Bytes>, Failure>>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a block of it.
    fn wait(&self, block: u64) -> Result<Bytes, Failure> {
        let result = self.done.wait_while(self.result(), |result| result.is_none());
        match &*result.unwrap_or_else(PoisonError::into_inner) {
            Some(Ok(blocks)) => Ok(blocks.get((block - self.first) as usize).cloned().unwrap_or_default()),
            Some(Err(failure)) => Err(failure.clone()),
            None => Err(Failure::unreachable("a request was given up")),
        }
    }
}

impl ReadAhead {
    pub(super) fn new(client: Client) -> Self {
        Self { client, slots: Mutex::new(LruCache::new(BLOCKS_MAX)) }
    }

    fn slots(&self) -> MutexGuard<'_, LruCache<(Arc<str>, u64), Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads at an offset; fewer bytes than asked for only at the end of the object.
    pub(super) fn read_at(self: &Arc<Self>, object: &Object, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = object.len.min(offset.saturating_add(buf.len() as u64));
        let mut at = offset;
        while at < end {
            let block = at / BLOCK_BYTES;
            let bytes = self.block(object, block, (end - 1) / BLOCK_BYTES).map_err(to_io)?;
            let from = (at - block * BLOCK_BYTES) as usize;
            let Some(bytes) = bytes.get(from..).filter(|bytes| !bytes.is_empty()) else { break };
            let done = (at - offset) as usize;
            let len = bytes.len().min((end - at) as usize);
            buf[done..done + len].copy_from_slice(&bytes[..len]);
            at += len as u64;
        }
        Ok(at.saturating_sub(offset) as usize)
    }

    /// A block, of which the reader wants some in a row up to `wanted`.
    fn block(self: &Arc<Self>, object: &Object, block: u64, wanted: u64) -> Result<Bytes, Failure> {
        let (fetch, begun) = {
            let mut slots = self.slots();
            let slot = |number: u64| (object.key.clone(), number);
            let is_forwards = block.checked_sub(1).is_some_and(|before| slots.contains(&slot(before)));
            let found = slots.get(&slot(block)).cloned();
            match found {
                Some(found) => {
                    // The next are asked for while these are read.
                    let next = (block..).find(|next| !slots.contains(&slot(*next))).unwrap_or(block);
                    let ahead = is_forwards && next <= object.last_block() && next - block < AHEAD_BLOCKS / 2;
                    let begun = ahead.then(|| Fetch::begin(&mut slots, object, next, next + AHEAD_BLOCKS - 1));
                    match found {
                        Slot::Here(bytes) => (Err(bytes), begun),
                        Slot::Coming(fetch) => (Ok(fetch), begun),
                    }
                }
                None => {
                    let last = if is_forwards { wanted.max(block + AHEAD_BLOCKS - 1) } else { wanted };
                    let first = first_of(object, block, &slots);
                    let begun = Fetch::begin(&mut slots, object, first, last);
                    (Ok(begun.0.clone()), Some(begun))
                }
            }
        };
        if let Some((fetch, last)) = begun {
            let work = Arc::clone(self).fetch(object.clone(), fetch, last);
            // It ends by itself; nobody has to hold it.
            drop(self.client.spawn(work));
        }
        match fetch {
            Ok(fetch) => fetch.wait(block),
            Err(bytes) => Ok(bytes),
        }
    }

    async fn fetch(self: Arc<Self>, object: Object, fetch: Arc<Fetch>, last: u64) {
        let ends = Ends(fetch);
        let fetch = &ends.0;
        let (start, end) = (fetch.first * BLOCK_BYTES, object.len.min((last + 1) * BLOCK_BYTES));
        let result = self.client.get_range(object.key.clone(), start, end - 1).await;
        // Each block has memory of its own, or one that stays would keep all of them.
        let result =
            result.map(|bytes| bytes.chunks(BLOCK_BYTES as usize).map(Bytes::copy_from_slice).collect::<Vec<_>>());
        {
            let mut slots = self.slots();
            for block in fetch.first..=last {
                let slot = (object.key.clone(), block);
                let is_mine = |slot: &Slot| matches!(slot, Slot::Coming(coming) if Arc::ptr_eq(coming, fetch));
                if !slots.peek(&slot).is_some_and(is_mine) {
                    continue;
                }
                match result.as_ref().ok().and_then(|blocks| blocks.get((block - fetch.first) as usize)) {
                    Some(bytes) => drop(slots.put(slot, Slot::Here(bytes.clone()))),
                    None => drop(slots.pop(&slot)),
                }
            }
        }
        *fetch.result() = Some(result);
    }
}

/// Tells those who wait that a request has ended, however it did.
struct Ends(Arc<Fetch>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.result().get_or_insert_with(|| Err(Failure::unreachable("a request was given up")));
        self.0.done.notify_all();
    }
}

/// Where a request begins that is to bring a block: a short last one comes with the one before it, since a footer, which
/// ends a pack, is often longer.
fn first_of(object: &Object, block: u64, slots: &LruCache<(Arc<str>, u64), Slot>) -> u64 {
    let is_short_end = block == object.last_block() && object.len - block * BLOCK_BYTES < BLOCK_BYTES / 2;
    match block.checked_sub(1) {
        Some(before) if is_short_end && !slots.contains(&(object.key.clone(), before)) => before,
        _ => block,
    }
}

impl Fetch {
    /// Notes that blocks are coming, from `first` to `last` at most, up to one that is here or coming already, and gives the
    /// last of them.
    fn begin(slots: &mut LruCache<(Arc<str>, u64), Slot>, object: &Object, first: u64, last: u64) -> (Arc<Self>, u64) {
        let fetch = Arc::new(Self { first, result: Mutex::new(None), done: Condvar::new() });
        let last = last.min(object.last_block()).min(first + BLOCKS_MAX.get() as u64 / 2);
        let slot = |block| (object.key.clone(), block);
        let end = (first + 1..=last).find(|block| slots.contains(&slot(*block))).unwrap_or(last + 1);
        for block in first..end {
            slots.put(slot(block), Slot::Coming(fetch.clone()));
        }
        (fetch, end - 1)
    }
}

/// What the file layer says: an object that is gone is damage, everything else says nothing of the bytes.
pub(super) fn to_io(failure: Failure) -> io::Error {
    match failure {
        Failure::Missing => io::Error::new(io::ErrorKind::NotFound, "the object is missing"),
        other => io::Error::other(Fault::from(other.into_error())),
    }
}
