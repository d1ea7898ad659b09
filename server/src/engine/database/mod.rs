//! The database: strings, hashes, sets, lists and blobs by commands.
//!
//! Commands that write are evaluated by the committer, one after the other, and what they change goes into the log before
//! their replies go out; commands that only read are evaluated on the index at once. `evaluate` does both.
//! `backups` is what is read through to backups, `transactions` holds those that are open.

mod backups;
mod blobs;
mod cursors;
pub mod evaluate;
mod transactions;

use datadb::{
    command::{Access, Call, Command, Group, Refusal, Reply},
    limits,
};

pub use self::{cursors::Cursors, transactions::Transactions};
use super::{Engine, EngineError};
use crate::{db::data::Overlay, observe::Observed};

/// The database that is meant where none is named.
pub const DEFAULT: &str = "default";

/// What the database keeps in memory.
#[derive(Debug, Default)]
pub struct Database {
    cursors: std::sync::Arc<Cursors>,
    transactions: Transactions,
}

impl Database {
    /// Where scans go on.
    pub const fn cursors(&self) -> &std::sync::Arc<Cursors> {
        &self.cursors
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
pub enum Stop {
    /// The client's business.
    Refused(Refusal),
    /// The store's.
    Failed(EngineError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: Into<EngineError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The store failed, which the reply tells in words only.
fn failed(observed: &Observed, error: &EngineError) -> Reply {
    observed.errors.report(error.kind(), error);
    Reply::Error(Refusal::err(error.to_string()))
}

/// Where a call runs.
enum Way {
    /// On the index.
    Read,
    /// In the committer.
    Write,
    /// By itself.
    Alone,
}

fn way(call: &Call) -> Way {
    let (group, access) = call.command.class();
    match (group, access) {
        _ if !call.transaction.is_empty() => Way::Alone,
        (Group::Blobs, _) => Way::Alone,
        (Group::Transactions, _) if !matches!(call.command, Command::Batch(_)) => Way::Alone,
        _ if matches!(call.command, Command::Init(_) | Command::Done(_) | Command::Info(_)) => Way::Alone,
        (_, Access::Read) => Way::Read,
        (_, Access::Write) => Way::Write,
    }
}

impl Engine {
    /// Carries out commands one after the other; the replies are in their order. What they write is durable then.
    pub async fn execute(&self, calls: Vec<Call>) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(calls.len());
        let mut run = Vec::new();
        let (mut is_writing, mut bytes) = (false, 0);
        for call in calls {
            let (way, size) = (way(&call), call.command.size_hint());
            if matches!(way, Way::Alone) || bytes + size > limits::TRANSACTION_BYTES_MAX {
                replies.extend(self.run(std::mem::take(&mut run), is_writing).await);
                (is_writing, bytes) = (false, 0);
            }
            if matches!(way, Way::Alone) {
                replies.push(self.alone(call).await);
                continue;
            }
            is_writing |= matches!(way, Way::Write);
            bytes += size;
            run.push(call);
        }
        replies.extend(self.run(run, is_writing).await);
        replies
    }

    /// Carries out a run of commands that need nothing but the index.
    async fn run(&self, calls: Vec<Call>, is_writing: bool) -> Vec<Reply> {
        let count = calls.len();
        if count == 0 {
            return Vec::new();
        }
        let result = if is_writing {
            match self.check_writable() {
                Ok(()) => self.inner.committer.commands(calls).await,
                Err(error) => Err(error),
            }
        } else {
            let (cursors, now) = (self.inner.database.cursors.clone(), self.now());
            self.with_index(move |index| {
                let mut overlay = Overlay::default();
                evaluate::all(index, &mut overlay, &cursors, now, &calls).map(|(replies, _)| replies)
            })
            .await
        };
        result.unwrap_or_else(|error| vec![failed(self.observed(), &error); count])
    }

    /// Carries out a command that needs more than the index.
    async fn alone(&self, call: Call) -> Reply {
        let result = match &call.command {
            Command::Init(_) | Command::Done(_) => {
                self.inner.committer.flush().await.map(|_| Reply::ok()).map_err(Stop::from)
            }
            Command::Info(_) => self.info(&call.database).await,
            Command::Txinit(args) => self.begin(&args.id),
            Command::Txcommit(_) => self.commit_transaction(&call.transaction).await,
            Command::Txdiscard(_) => self.discard(&call.transaction),
            _ if call.command.class().0 == Group::Blobs => self.blob_command(call.command).await,
            _ => self.in_transaction(call).await,
        };
        match result {
            Ok(reply) => reply,
            Err(Stop::Refused(refusal)) => Reply::Error(refusal),
            Err(Stop::Failed(error)) => failed(self.observed(), &error),
        }
    }

    async fn info(&self, database: &str) -> Result<Reply, Stop> {
        let stats = self.stats().await?;
        let database = if database.is_empty() { DEFAULT } else { database }.to_owned();
        let name = database.clone();
        let keys = self.with_index(move |index| Ok(Overlay::default().len(index, &name)?)).await?;
        let lines = [
            "# Server".to_owned(),
            format!("datadb_version:{}", env!("CARGO_PKG_VERSION")),
            format!("store:{}", stats.stack),
            String::new(),
            "# Keyspace".to_owned(),
            format!("{database}:keys={keys}"),
            String::new(),
            "# Backups".to_owned(),
            format!("snapshots:{}", stats.totals.snapshots),
            format!("backups:{}", stats.totals.backups),
            format!("blobs:{}", stats.blobs.blobs),
            format!("blob_bytes:{}", stats.blobs.blob_bytes),
            format!("stored_bytes:{}", stats.blobs.stored_bytes),
            format!("log_records:{}", stats.log.records),
            String::new(),
        ];
        Ok(Reply::Value(lines.join("\r\n").into()))
    }
}
