//! Objects on their way: which does the server have? The others follow, children first, when every bundle that holds
//! something they name was accepted.

use std::{collections::VecDeque, sync::atomic::Ordering};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use datadb::{Fault, ObjectKey, ObjectRef, failpoint, object::Encoded, wire::Answer};
use tokio::sync::{mpsc, oneshot};

use super::run::{Run, Trouble};
use crate::connection::{Answers, Asking, ObjectAck, Objects, wait};

/// Bytes of objects in one request.
const REQUEST_BYTES: usize = 1 << 20;
/// Questions about objects under way.
const QUESTIONS_MAX: usize = 4;

/// Objects in their order, and the bundle that must have been accepted before them.
#[derive(Debug, Default)]
pub struct Batch {
    /// Children before parents.
    pub objects: Vec<Encoded>,
    /// Number of the last bundle that may hold something they name.
    pub bundle: u64,
}

type Asked = (Batch, oneshot::Receiver<Result<Answers, Fault>>);

/// Takes batches until there are no more, or there is trouble. Without a way to the server objects are only counted.
pub fn send(batches: &Receiver<Batch>, asking: &Asking, objects: Option<Objects>, run: &Run) {
    let mut sender = Sender { objects, run, batch: Vec::new(), bytes: 0 };
    let mut asked: VecDeque<Asked> = VecDeque::new();
    loop {
        let next = match batches.try_recv() {
            Err(crossbeam_channel::TryRecvError::Empty) if asked.is_empty() => batches.recv().ok(),
            Err(_) => None,
            Ok(batch) => Some(batch),
        };
        let is_waiting = next.is_none();
        if let Some(batch) = next {
            let refs: Vec<ObjectRef> = batch.objects.iter().map(|object| object.object).collect();
            let answers = asking.ask(&[], &refs);
            asked.push_back((batch, answers));
        }
        if is_waiting || asked.len() >= QUESTIONS_MAX {
            let Some((batch, answers)) = asked.pop_front() else { break };
            if !sender.settle(batch, answers) {
                return;
            }
        }
    }
    sender.flush();
}

struct Sender<'a> {
    objects: Option<Objects>,
    run: &'a Run,
    batch: Vec<Bytes>,
    bytes: usize,
}

impl Sender<'_> {
    fn settle(&mut self, batch: Batch, answers: oneshot::Receiver<Result<Answers, Fault>>) -> bool {
        let answers = match wait(answers) {
            Ok(answers) => answers.objects,
            Err(fault) => {
                self.run.fail(fault);
                return false;
            }
        };
        let taken: Vec<ObjectKey> = batch
            .objects
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| **answer == Answer::Conflict)
            .map(|(object, _)| object.object.key)
            .collect();
        if !taken.is_empty() {
            self.run.fail(Trouble::Again { reason: format!("object key {} is taken", taken[0]), taken });
            return false;
        }
        // An object at hand names only what earlier bundles hold, so the ones gathered before need no flush here.
        if !self.run.wait_for(batch.bundle) {
            return false;
        }
        let missing = batch.objects.into_iter().zip(answers).filter(|(_, answer)| *answer == Answer::Missing);
        for (object, _) in missing {
            if self.bytes + object.bytes.len() > REQUEST_BYTES && !self.flush() {
                return false;
            }
            self.bytes += object.bytes.len();
            self.batch.push(object.bytes);
        }
        true
    }

    fn flush(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        failpoint::hit("client.objects");
        self.run.bytes_uploaded.fetch_add(self.bytes as u64, Ordering::Relaxed);
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.objects.as_ref().is_none_or(|objects| objects.send(batch))
    }
}

/// Looks at what the server says about the objects, until the stream ends.
pub fn acknowledge(mut acks: mpsc::Receiver<Result<ObjectAck, Fault>>, run: &Run) {
    while let Some(ack) = acks.blocking_recv() {
        let ack = match ack {
            Ok(ack) => ack,
            Err(fault) => return run.fail(fault),
        };
        let taken: Vec<ObjectKey> = ack.conflicts.iter().map(|key| ObjectKey::new(*key)).collect();
        if let Some(key) = taken.first() {
            return run.fail(Trouble::Again { reason: format!("object key {key} is taken"), taken });
        }
        if ack.answers.iter().any(|answer| *answer != Answer::Have) {
            let what = ack.missing.first().map_or_else(|| "something".to_owned(), ToString::to_string);
            let reason = format!("the server misses {what}, which it had");
            return run.fail(Trouble::Again { reason, taken });
        }
    }
}
