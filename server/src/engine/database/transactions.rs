//! Transactions of several commands by id: each reads its own writes, nobody else sees them before the commit, and the
//! commit carries all of them out again, as one, on what is there then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use datadb::{
    command::{Access, Call, Command, Refusal, Reply},
    limits,
};

use super::{
    Database, Stop,
    evaluate::{self, weight},
};
use crate::{
    engine::{Engine, EngineError},
    index::data::Overlay,
};

/// Transactions that may be open.
const OPEN_MAX: usize = 64;

/// A transaction.
#[derive(Debug, Default)]
struct Open {
    /// Streams that hold it.
    holders: usize,
    calls: Vec<Call>,
    bytes: usize,
    overlay: Overlay,
    is_ended: bool,
}

impl Open {
    /// Ends it; gives what it held.
    fn end(&mut self) -> Self {
        let ended = Self { holders: self.holders, is_ended: true, ..Self::default() };
        std::mem::replace(self, ended)
    }
}

#[derive(Debug)]
struct Slot {
    open: Arc<Mutex<Open>>,
    /// Unix seconds.
    used: i64,
}

/// Those that are open, by id. One that nobody has used for a lease is forgotten.
#[derive(Debug, Default)]
pub struct Transactions(Mutex<HashMap<String, Slot>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown(id: &str) -> Refusal {
    if id.is_empty() {
        return Refusal::err("no transaction is open: begin one with TXINIT");
    }
    Refusal::err(format!("there is no transaction {id}: it has ended or expired"))
}

impl Transactions {
    fn alive(&self, now: i64) -> MutexGuard<'_, HashMap<String, Slot>> {
        let mut slots = locked(&self.0);
        slots.retain(|_, slot| {
            let is_alive = now.saturating_sub(slot.used) <= i64::from(limits::LEASE_SECONDS);
            if !is_alive {
                locked(&slot.open).end();
            }
            is_alive
        });
        slots
    }

    fn find(&self, id: &str, now: i64) -> Result<Arc<Mutex<Open>>, Refusal> {
        let mut slots = self.alive(now);
        let slot = slots.get_mut(id).ok_or_else(|| unknown(id))?;
        slot.used = now;
        Ok(slot.open.clone())
    }

    fn take(&self, id: &str, now: i64) -> Result<Open, Refusal> {
        let slot = self.alive(now).remove(id).ok_or_else(|| unknown(id))?;
        Ok(locked(&slot.open).end())
    }
}

/// A stream's hold on a transaction. When the last one is dropped, a transaction that is still open leaves nothing.
#[derive(Debug)]
pub struct Held {
    database: Arc<Database>,
    id: String,
    open: Arc<Mutex<Open>>,
}

impl Held {
    /// Whether there is anything left to hold.
    pub fn is_open(&self) -> bool {
        !locked(&self.open).is_ended
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = locked(&self.open);
        open.holders -= 1;
        if open.holders > 0 || open.is_ended {
            return;
        }
        open.end();
        drop(open);
        let mut slots = locked(&self.database.transactions.0);
        // Another one may have the same name by now.
        if slots.get(&self.id).is_some_and(|slot| Arc::ptr_eq(&slot.open, &self.open)) {
            slots.remove(&self.id);
        }
    }
}

impl Engine {
    /// Holds an open transaction.
    pub fn hold_transaction(&self, id: &str) -> Option<Held> {
        let database = self.inner.database.clone();
        let open = database.transactions.find(id, self.now()).ok()?;
        locked(&open).holders += 1;
        Some(Held { database, id: id.to_owned(), open })
    }

    /// Begins a transaction, or joins one.
    pub(super) fn begin(&self, id: &str) -> Result<Reply, Stop> {
        if id.len() > limits::DATABASE_BYTES_MAX {
            return Err(Refusal::err(format!("the id has more than {} bytes", limits::DATABASE_BYTES_MAX)).into());
        }
        let id = if id.is_empty() {
            let random: [u8; 16] = crate::engine::open::random().map_err(|error| Refusal::err(error.to_string()))?;
            random.iter().map(|byte| format!("{byte:02x}")).collect()
        } else {
            id.to_owned()
        };
        let now = self.now();
        let mut slots = self.inner.database.transactions.alive(now);
        if slots.len() >= OPEN_MAX && !slots.contains_key(&id) {
            return Err(Refusal::err(format!("{OPEN_MAX} transactions are open: commit or discard one")).into());
        }
        let slot = slots.entry(id.clone()).or_insert_with(|| Slot { open: Arc::default(), used: now });
        slot.used = now;
        Ok(Reply::Value(id.into()))
    }

    pub(super) fn discard(&self, id: &str) -> Result<Reply, Stop> {
        self.inner.database.transactions.take(id, self.now())?;
        Ok(Reply::ok())
    }

    pub(super) async fn commit_transaction(&self, id: &str) -> Result<Reply, Stop> {
        self.check_writable()?;
        let open = self.inner.database.transactions.take(id, self.now())?;
        if !open.calls.is_empty() {
            let (mut replies, _) = self.inner.committer.commands(vec![Command::Batch(open.calls).into()]).await?;
            if let Some(Reply::Error(refusal)) = replies.pop() {
                return Err(refusal.into());
            }
        }
        Ok(Reply::ok())
    }

    /// Carries out a command on what the transaction sees.
    pub(super) async fn in_transaction(&self, call: Call) -> Result<Reply, Stop> {
        let (now, micros) = (self.now(), self.inner.clock.now_micros());
        let open = self.inner.database.transactions.find(&call.transaction, now)?;
        let cursors = self.inner.database.cursors().clone();
        let reply = self.with_index(move |index| {
            let mut open = locked(&open);
            if open.is_ended {
                return Ok(Reply::Error(unknown(&call.transaction)));
            }
            if let Err(refusal) = weight::check(&call, open.bytes) {
                return Ok(Reply::Error(refusal));
            }
            let (bytes, is_write) = (weight::bytes_max(&call), call.command.class().1 == Access::Write);
            let calls = [Call { transaction: String::new(), ..call }];
            let (mut replies, _) = evaluate::all(index, &mut open.overlay, &cursors, micros, &calls)?;
            if is_write {
                open.bytes += bytes;
                let [call] = calls;
                match call.command {
                    // Batches don't nest, and the commit is one.
                    Command::Batch(inner) => open.calls.extend(inner),
                    _ => open.calls.push(call),
                }
            }
            replies.pop().ok_or(EngineError::Stopping)
        });
        Ok(reply.await?)
    }
}
