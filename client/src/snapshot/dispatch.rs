//! From the walk to the workers: batches of small files, large files alone; and the queue that keeps their order.

use crossbeam_channel::{Receiver, Sender, bounded};
use datadb::FileType;

use super::{item::Items, read::Job};
use crate::walk::{Step, Walk};

/// Bytes of small files in one job; a larger file is a job of its own.
const JOB_BYTES: u64 = 1 << 20;
/// Files to be opened in one job: bounds how many directories are kept open.
const JOB_FILES: usize = 256;
/// Steps in one job; unchanged ones cost next to nothing.
const JOB_STEPS: usize = 1024;
/// Batches of items of one job that may wait: a large file is not read further ahead.
const JOB_ITEMS: usize = 1;

/// Walks to the end, or until nobody wants the jobs any more. Workers take jobs as they can; the consumer takes the
/// receivers in `order` and drains one after the other.
pub fn dispatch(walk: &mut Walk<'_>, jobs: &Sender<Job>, order: &Sender<Receiver<Items>>) {
    let mut batch = Vec::with_capacity(JOB_STEPS);
    let (mut bytes, mut files) = (0, 0);
    while let Some(step) = walk.step() {
        let size = match &step {
            Step::Leaf(entry) if entry.unchanged.is_none() => {
                Some(if entry.file_type == FileType::File { entry.stat.size } else { 0 })
            }
            Step::Enter(entry) if entry.unchanged.is_none() => Some(0),
            _ => None,
        };
        let is_large = size.is_some_and(|size| size >= JOB_BYTES);
        if is_large && !submit(&mut batch, jobs, order) {
            return;
        }
        batch.push(step);
        bytes += size.unwrap_or(0);
        files += usize::from(size.is_some());
        if bytes >= JOB_BYTES || files >= JOB_FILES || batch.len() >= JOB_STEPS {
            if !submit(&mut batch, jobs, order) {
                return;
            }
            (bytes, files) = (0, 0);
        }
    }
    submit(&mut batch, jobs, order);
}

fn submit(batch: &mut Vec<Step>, jobs: &Sender<Job>, order: &Sender<Receiver<Items>>) -> bool {
    if batch.is_empty() {
        return true;
    }
    let (out, items) = bounded(JOB_ITEMS);
    let steps = std::mem::replace(batch, Vec::with_capacity(JOB_STEPS));
    order.send(items).is_ok() && jobs.send(Job { steps, out }).is_ok()
}
