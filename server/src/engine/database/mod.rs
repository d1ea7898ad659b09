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

use std::collections::VecDeque;

use datadb::{
    command::{Access, Call, Command, Group, Refusal, Reply},
    limits,
};

use self::evaluate::weight;
pub use self::{
    cursors::Cursors,
    transactions::{Held, Transactions},
};
use super::{Engine, EngineError};
use crate::{
    index::{IndexError, data::Overlay},
    observe::Observed,
};

/// The database that is meant where none is named.
pub const DEFAULT: &str = "default";

/// Bytes of commands that are tried on what is in memory: a millisecond or two of reads.
const AT_ONCE_BYTES: usize = 128 << 10;

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
        let (mut calls, mut replies) = (VecDeque::from(calls), Vec::new());
        while !calls.is_empty() {
            replies.extend(self.execute_next(&mut calls).await);
        }
        replies
    }

    /// Carries out the next of some commands, one at least, and as many as go together: until one that goes alone, a
    /// transaction's bytes, or more than a reply's bytes of replies.
    pub async fn execute_next(&self, calls: &mut VecDeque<Call>) -> Vec<Reply> {
        let mut run = Vec::new();
        let (mut is_writing, mut bytes) = (false, 0);
        while let Some(call) = calls.pop_front() {
            let (way, size) = (way(&call), weight::bytes_max(&call));
            let is_alone = matches!(way, Way::Alone);
            if is_alone && run.is_empty() {
                return vec![self.alone(call).await];
            }
            if is_alone || (bytes + size > limits::TRANSACTION_BYTES_MAX && !run.is_empty()) {
                calls.push_front(call);
                break;
            }
            is_writing |= matches!(way, Way::Write);
            bytes += size;
            run.push(call);
        }
        let (replies, rest) = self.run(run, is_writing).await;
        rest.into_iter().rev().for_each(|call| calls.push_front(call));
        replies
    }

    /// Carries out a run of commands that need nothing but the index; gives back those that are still to do.
    async fn run(&self, calls: Vec<Call>, is_writing: bool) -> (Vec<Reply>, Vec<Call>) {
        let count = calls.len();
        let result = if is_writing {
            match self.check_writable() {
                Ok(()) => self.inner.committer.commands(calls).await,
                Err(error) => Err(error),
            }
        } else {
            self.read(calls).await
        };
        result.unwrap_or_else(|error| (vec![failed(self.observed(), &error); count], Vec::new()))
    }

    /// Carries out commands that only read: on what is in memory at once, which spares the way to another thread and back;
    /// what needs the disk, or may take long, by a thread that may wait.
    async fn read(&self, mut calls: Vec<Call>) -> Result<(Vec<Reply>, Vec<Call>), EngineError> {
        let (cursors, micros) = (self.inner.database.cursors.clone(), self.inner.clock.now_micros());
        let bytes: usize = calls.iter().map(|call| call.command.size_hint()).sum();
        if bytes <= AT_ONCE_BYTES {
            let index = self.inner.index.memory_view();
            match evaluate::all(&index, &mut Overlay::default(), &cursors, micros, &calls) {
                Err(EngineError::Index(IndexError::NotInMemory)) => {}
                Err(error) => return Err(error),
                Ok((replies, _)) => {
                    let rest = calls.split_off(replies.len());
                    return Ok((replies, rest));
                }
            }
        }
        self.with_index(move |index| {
            let (replies, _) = evaluate::all(index, &mut Overlay::default(), &cursors, micros, &calls)?;
            let rest = calls.split_off(replies.len());
            Ok((replies, rest))
        })
        .await
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
