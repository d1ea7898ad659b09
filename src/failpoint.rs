//! A hook for tests: places at which a test can make the process die, as if by a crash at that very moment.
//!
//! The environment variable `DATADB_FAILPOINT` names the place, `NAME` or `NAME:N` for the N-th time it is passed; there
//! the process aborts, without unwinding, flushing or tidying up. It is read once. A process without it (every one
//! outside of tests) pays one atomic load per place.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The environment variable that arms a place.
pub const VARIABLE: &str = "DATADB_FAILPOINT";

/// Every place there is. Those of a leaf begin with its name: `blobs` holds the blobs, `log` the log.
pub const ALL: [&str; 24] = [
    // Making a repository: nothing but an index, its first record is durable, the record is applied, it is complete.
    "create.index",
    "create.genesis",
    "create.applied",
    "create.complete",
    // Storing: a record is written, the packs are synced, their entries are in the index, a pack got its footer.
    "blobs.written",
    "blobs.synced",
    "blobs.indexed",
    "blobs.sealed",
    "log.written",
    "log.synced",
    "log.indexed",
    "log.sealed",
    // The index took the first of several batches of one part of objects; a whole record.
    "apply.part",
    "apply.record",
    // A rebuild read everything; marked the new index complete; put it in the old one's place.
    "rebuild.read",
    "rebuild.complete",
    "rebuild.placed",
    // Packs of a bucket are merged: the merged object is there; the first of the old ones is deleted.
    "merge.sent",
    "merge.deleted",
    // A client: the first questions are out, a bundle is sent, objects are to be sent, the commit is to be asked for, the
    // commit returned and the cache is still the old one.
    "client.asked",
    "client.sent",
    "client.objects",
    "client.commit",
    "client.committed",
];

struct Armed {
    name: String,
    passes_left: AtomicU64,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let read = || {
        let value = std::env::var(VARIABLE).ok()?;
        let (name, number) = match value.split_once(':') {
            Some((name, number)) => (name, number.parse().unwrap_or(1)),
            None => (&value[..], 1),
        };
        Some(Armed { name: name.to_owned(), passes_left: AtomicU64::new(number) })
    };
    ARMED.get_or_init(read).as_ref()
}

/// The process passes the place of this name.
pub fn hit(name: &str) {
    if let Some(armed) = armed()
        && armed.name == name
    {
        armed.pass();
    }
}

/// The process passes a place in a leaf's code: the name is `LEAF.PLACE`.
pub fn hit_in(leaf: &str, place: &str) {
    if let Some(armed) = armed()
        && armed.name.split_once('.') == Some((leaf, place))
    {
        armed.pass();
    }
}

impl Armed {
    fn pass(&self) {
        if self.passes_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            eprintln!("{VARIABLE}: {} is reached", self.name);
            std::process::abort();
        }
    }
}
