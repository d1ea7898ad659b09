//! Asking: items are gathered until there is a question's worth of chunks, the question goes out, and the items wait in
//! order for their answer, several questions at once.

use crossbeam_channel::{Receiver, Sender};
use datadb::{BlobRef, Fault, failpoint, limits};
use tokio::sync::oneshot;

use super::item::{Item, Items};
use crate::connection::{Answers, Asking};

/// Plain bytes behind one question, so that what waits for answers is bounded.
const QUESTION_BYTES: usize = 2 << 20;
/// Items behind one question.
const QUESTION_ITEMS: usize = 8192;

/// Items, and the answer about their chunks (chunks and long xattr values in their order) that is on its way.
#[derive(Debug)]
pub struct Asked {
    /// In order.
    pub items: Vec<Item>,
    /// `None`: there was nothing to ask.
    pub answers: Option<oneshot::Receiver<Result<Answers, Fault>>>,
}

/// Drains the jobs in order and asks. Ends with the walk, or when nobody wants the items any more.
pub fn ask(order: &Receiver<Receiver<Items>>, asking: &Asking, to: &Sender<Asked>) {
    let mut pending = Pending::default();
    for job in order {
        for batch in job {
            for item in batch.items {
                if pending.is_full_with(&item) && !pending.send(asking, to) {
                    return;
                }
                pending.push(item);
            }
        }
        // What is unchanged waits for nobody: it needs no answer.
        if pending.refs.is_empty() && !pending.send(asking, to) {
            return;
        }
    }
    pending.send(asking, to);
}

#[derive(Default)]
struct Pending {
    items: Vec<Item>,
    refs: Vec<BlobRef>,
    bytes: usize,
}

impl Pending {
    fn is_full_with(&self, item: &Item) -> bool {
        let more = match item {
            Item::Blob(blob, _) | Item::Xattr(blob, _) => blob.len as usize,
            _ => 0,
        };
        self.refs.len() >= limits::QUESTION_REFS_MAX
            || self.items.len() >= QUESTION_ITEMS
            || (self.bytes > 0 && self.bytes + more > QUESTION_BYTES)
    }

    fn push(&mut self, item: Item) {
        if let Item::Blob(blob, _) | Item::Xattr(blob, _) = &item {
            self.refs.push(*blob);
            self.bytes += blob.len as usize;
        }
        self.items.push(item);
    }

    fn send(&mut self, asking: &Asking, to: &Sender<Asked>) -> bool {
        let Self { items, refs, .. } = std::mem::take(self);
        if items.is_empty() {
            return true;
        }
        let answers = (!refs.is_empty()).then(|| asking.ask(&refs, &[]));
        failpoint::hit("client.asked");
        to.send(Asked { items, answers }).is_ok()
    }
}
