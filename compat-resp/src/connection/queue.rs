//! Commands between `MULTI` and `EXEC`.

use std::sync::Arc;

use bytes::Bytes;
use datadb::{
    command::{Command, Group, Refusal, Spec},
    limits,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A queue above this needs a permit: it may have to wait long for its end.
const SMALL_BYTES: usize = 64 << 10;

/// A command that waits.
#[derive(Debug)]
pub enum Item {
    /// For the server.
    Command(Command),
    /// Its arguments are wrong, which counts when it is carried out.
    Refused(Refusal),
    /// For the connection itself.
    Here(&'static Spec, Vec<Bytes>),
}

/// The queue of a connection.
#[derive(Debug, Default)]
pub struct Queue {
    /// In their order.
    pub items: Vec<Item>,
    /// A command could not be queued: the transaction won't be carried out.
    pub is_spoilt: bool,
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Queue {
    /// Puts a command behind the others. A refusal spoils the transaction.
    pub fn push(&mut self, spec: &'static Spec, words: &[Bytes], large: &Arc<Semaphore>) -> Result<(), Refusal> {
        let pushed = self.room(spec, words, large);
        match pushed {
            Ok(()) => self.items.push(item(spec, words)),
            Err(_) => {
                self.is_spoilt = true;
                self.items.clear();
            }
        }
        pushed
    }

    fn room(&mut self, spec: &Spec, words: &[Bytes], large: &Arc<Semaphore>) -> Result<(), Refusal> {
        if !spec.may_be_queued() {
            return Err(Refusal::err("Command not allowed inside a transaction"));
        }
        self.bytes += 64 + words.iter().map(|word| word.len() + 32).sum::<usize>();
        if self.bytes > limits::TRANSACTION_BYTES_MAX {
            let max = limits::TRANSACTION_BYTES_MAX;
            return Err(Refusal::err(format!("a transaction has at most {max} bytes")));
        }
        if self.bytes > SMALL_BYTES && self.permit.is_none() {
            let permit = large.clone().try_acquire_owned();
            self.permit =
                Some(permit.map_err(|_| Refusal::err("too many large transactions are queued now: try again"))?);
        }
        Ok(())
    }
}

fn item(spec: &'static Spec, words: &[Bytes]) -> Item {
    if spec.group == Group::Connection {
        return Item::Here(spec, words.to_vec());
    }
    match Command::parse(words) {
        Ok(command) => Item::Command(command),
        Err(refusal) => Item::Refused(refusal),
    }
}
