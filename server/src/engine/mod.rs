//! The engine: the one place that joins the log, the index and the blob store.
//!
//! The rooms of `rpc` call it with domain values and get domain values; nothing here knows gRPC. What it promises is
//! written where it holds: blob before reference in `objects`, all or nothing in `committer`, verified at every border in
//! `upload` and `download`, the disposable index in `open`.

pub mod accept;
pub mod browse;
pub mod clock;
pub mod commit;
pub mod committer;
pub mod data_dir;
pub mod database;
pub mod download;
pub mod error;
pub mod expected;
pub mod file;
pub mod find;
pub mod history;
pub mod holes;
pub mod list;
pub mod names;
pub mod newest;
pub mod objects;
pub mod open;
pub mod pending;
mod sample;
pub mod session;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod totals;
mod trail;
pub mod tree;
pub mod upload;
pub mod usage;
pub mod walk;

use std::sync::Arc;

use datadb::{Bundle, bundle::Plain};

pub use self::error::EngineError;
use self::{clock::Clock, committer::Committer, download::PlainCache, pending::Pending, session::Sessions};
use crate::{
    index::{IndexMemory, SharedIndex},
    observe::Observed,
    record::Genesis,
    stack::Stack,
    store::{
        SharedStore, blocking,
        counted::{Asked, Backend, asked},
        mirror::Mirror,
    },
};

/// A repository that is open. Cheap to clone; all clones are the same repository.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    genesis: Genesis,
    index: SharedIndex,
    blobs: SharedStore,
    log: SharedStore,
    pending: Arc<Pending>,
    sessions: Sessions,
    committer: Committer,
    database: Arc<database::Database>,
    /// The stacks of the blobs and of the log.
    stacks: [Stack; 2],
    observed: Arc<Observed>,
    cache: PlainCache,
    is_flushing: std::sync::atomic::AtomicBool,
    /// Why nothing may be written, if so.
    read_only: Option<String>,
    /// Keeps a second server out for as long as this one lives.
    _lock: std::fs::File,
    clock: Arc<dyn Clock>,
}

impl Engine {
    /// What the repository keeps for ever.
    pub fn genesis(&self) -> &Genesis {
        &self.inner.genesis
    }

    /// The sessions of the clients.
    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// Unix seconds.
    pub fn now(&self) -> i64 {
        self.inner.clock.now()
    }

    /// What is counted and shown of this server.
    pub fn observed(&self) -> &Arc<Observed> {
        &self.inner.observed
    }

    /// Where bundles are kept, each backend by itself.
    pub fn backends(&self) -> Vec<Backend> {
        self.inner.stacks.iter().flat_map(Stack::backends).collect()
    }

    /// What the stores were asked since a session was opened, or gone on with, by kind; nothing where nothing was.
    pub fn asked_since(&self, session: &[u8]) -> Asked {
        // A commit may be repeated when its session is gone: then nobody knows which were made for it.
        let Some(before) = self.inner.sessions.asked(session) else { return Asked::new() };
        let mut asked = asked(&self.backends());
        asked.retain(|kind, count| {
            *count = count.saturating_sub(before.get(kind).copied().unwrap_or_default());
            *count > 0
        });
        asked
    }

    /// Notes what the stores were asked before a session has anything done.
    pub fn note_asked(&self, session: &[u8]) {
        self.inner.sessions.note_asked(session, asked(&self.backends()));
    }

    /// The mirrors of the stacks.
    pub fn mirrors(&self) -> Vec<Mirror> {
        self.inner.stacks.iter().flat_map(Stack::mirrors).collect()
    }

    /// What the index holds in memory.
    pub async fn index_memory(&self) -> Result<IndexMemory, EngineError> {
        self.with_index(|index| Ok(index.memory()?)).await
    }

    /// Unix time in microseconds.
    pub fn now_micros(&self) -> i64 {
        self.inner.clock.now_micros()
    }

    /// Refuses where the repository may only be read.
    pub fn check_writable(&self) -> Result<(), EngineError> {
        match &self.inner.read_only {
            None => Ok(()),
            Some(reason) => {
                Err(EngineError::refused(datadb::Kind::Internal, format!("the repository is read-only: {reason}")))
            }
        }
    }

    /// Runs blocking work on the index.
    async fn with_index<T: Send + 'static>(
        &self,
        work: impl FnOnce(&crate::index::Index) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let index = self.inner.index.clone();
        blocking(move || work(&index)).await
    }

    /// The blob store, for another server that keeps its bundles here. What is put must be verified, and a flush goes
    /// through `flush_store`.
    pub fn store(&self) -> &SharedStore {
        &self.inner.blobs
    }

    /// The epoch in which what is put now counts, until a flush fails.
    pub fn epoch(&self) -> u64 {
        self.inner.pending.epoch()
    }

    /// Makes durable what was put in this epoch; refused if another flush has failed since.
    pub async fn flush_store(&self, epoch: u64) -> Result<Vec<crate::store::Durable>, EngineError> {
        self.inner.committer.flush_of(epoch).await
    }

    /// Makes everything durable that was accepted, and stops taking more.
    pub async fn close(&self) -> Result<(), EngineError> {
        self.inner.committer.close().await?;
        for stack in &self.inner.stacks {
            stack.stop().await;
        }
        self.with_index(|index| Ok(index.sync()?)).await
    }
}

/// Decodes and verifies a bundle off the async workers.
async fn verify(bundle: Bundle) -> Result<(Bundle, Plain), EngineError> {
    blocking(move || {
        let plain = bundle.verify()?;
        Ok((bundle, plain))
    })
    .await
}
