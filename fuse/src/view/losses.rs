//! What is damaged is told in the log once, with everything that helps to find it.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use datadb::{BlobId, clock::format_time, terminal::escape};
use jiff::tz::TimeZone;
use lru::LruCache;

use super::{ino::Ino, node::Node};

/// Losses that are remembered, so that a reader who tries again does not fill the log.
const TOLD_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not 0");

/// What was told already.
#[derive(Debug)]
pub struct Losses {
    told: Mutex<LruCache<(Ino, BlobId), ()>>,
    zone: TimeZone,
}

impl Losses {
    /// Nothing was told so far.
    pub fn new(zone: TimeZone) -> Self {
        Self { told: Mutex::new(LruCache::new(TOLD_MAX)), zone }
    }

    /// A blob that a file needs can't be had.
    pub fn tell(&self, node: &Arc<Node>, id: &BlobId, what: &str) {
        let is_new = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.put((node.ino, *id), ()).is_none()
        };
        if !is_new {
            return;
        }
        let (path, what) = (escape(&node.path()), escape(what.as_bytes()));
        let backup = node.top().map(|(_, top)| {
            let backup = &top.backup;
            let time = format_time(backup.time.seconds(), &self.zone);
            let (host, of) = (escape(backup.host.as_str().as_bytes()), escape(backup.path.as_bytes()));
            format!("{} ({host}:{of} of {time})", backup.key())
        });
        let backup = backup.unwrap_or_default();
        tracing::error!("blob {id}: {what}; {path} of backup {backup} can't be read as far as it needs it");
    }
}
