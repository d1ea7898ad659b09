//! The committer: one task that turns accepted parts, backups and marks into records of the log.
//!
//! **All or nothing.** A group of requests that wait together is made durable together: first the packs that the records
//! rely on, then the records themselves; then they are applied to the index, then the answers go out. The commit point is
//! the durability of the record. A backup is one small record, so it is there whole or not at all.
//! **Group commit.** While one group syncs, the next gathers; nothing else in the server syncs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use datadb::{
    Backup, BackupKey, BlobId, HostName, Kind, ObjectKey, TreePath,
    backup::BackupTime,
    command::{Call, Reply},
    expected::Expectation,
    limits,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    EngineError,
    clock::Clock,
    database::{Cursors, evaluate},
    expected::Promises,
    pending::{Part, Pending},
};
use crate::{
    index::{Family, Index, SharedIndex, data::Overlay, keys},
    log::{Log, Logged},
    record::{Body, CopyPlace},
    store::{Durable, SharedStore, blocking},
};

/// Requests that are made durable together at most.
const GROUP_MAX: usize = 256;

/// Requests that may wait.
const QUEUE_MAX: usize = 256;

/// Copies that one entry of the log marks: with the longest names of leaves some MiB.
const COPIES_MAX: usize = 1 << 14;

/// A backup that is complete but for its time.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Everything but the time, which counts only if `time` asks for it.
    pub backup: Backup,
    /// A time in the past that the client asks for.
    pub time: Option<BackupTime>,
}

/// After so long without work the index is made durable too: a start then has nothing to replay, and a log that is damaged
/// later has lost nothing that the index doesn't hold.
const IDLE: Duration = Duration::from_secs(5);

/// What the committer is asked for.
#[derive(Debug)]
enum Work {
    Part(u64, Arc<Part>),
    Backup(u64, Box<Draft>),
    Bad(Vec<CopyPlace>),
    Good(Vec<CopyPlace>),
    Commands(Vec<Call>),
    Expect(Box<Expectation>),
    Forget(HostName, TreePath),
    /// With the epoch of what it promises to make durable, if it promises anything.
    Flush(Option<u64>),
}

impl Work {
    /// Roughly the bytes of its record.
    fn size_hint(&self) -> usize {
        match self {
            Self::Part(_, part) => part.bytes,
            Self::Commands(calls) => calls.iter().map(evaluate::weight::bytes_max).sum(),
            Self::Backup(..) | Self::Bad(_) | Self::Good(_) | Self::Expect(_) | Self::Forget(..) | Self::Flush(_) => 0,
        }
    }
}

/// What the committer answers.
#[derive(Debug)]
enum Done {
    Logged,
    Backup(Box<Backup>),
    Durable(Vec<Durable>),
    /// And the commands that are still to do.
    Replies(Vec<Reply>, Vec<Call>),
}

#[derive(Debug)]
struct Request {
    work: Work,
    reply: oneshot::Sender<Result<Done, EngineError>>,
}

/// Work that is queued.
struct Waiting(oneshot::Receiver<Result<Done, EngineError>>);

impl Waiting {
    async fn done(self) -> Result<Done, EngineError> {
        self.0.await.map_err(|_| EngineError::Stopping)?
    }
}

/// Hands work to the committer's task.
#[derive(Debug)]
pub struct Committer {
    requests: tokio::sync::Mutex<Option<mpsc::Sender<Request>>>,
    task: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Committer {
    /// Starts the task.
    pub fn start(
        log: Log,
        index: SharedIndex,
        blobs: SharedStore,
        pending: Arc<Pending>,
        clock: Arc<dyn Clock>,
        cursors: Arc<Cursors>,
    ) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let task = Task { log, index, blobs, pending, clock, cursors, unapplied: Vec::new(), is_index_behind: false };
        let task = tokio::spawn(task.run(queue));
        Self { requests: Some(requests).into(), task: Some(task).into() }
    }

    /// Puts work behind all that came before.
    async fn queue(&self, work: Work) -> Result<Waiting, EngineError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.lock().await.clone().ok_or(EngineError::Stopping)?;
        requests.send(Request { work, reply }).await.map_err(|_| EngineError::Stopping)?;
        Ok(Waiting(answer))
    }

    async fn ask(&self, work: Work) -> Result<Done, EngineError> {
        self.queue(work).await?.done().await
    }

    /// Puts into the log what waits: all parts that are full, and the open one if it has at least so many bytes. No part
    /// overtakes one that was filled before it, whoever takes it.
    pub async fn parts(&self, pending: &Pending, bytes_min: usize) -> Result<(), EngineError> {
        let mut queued = Vec::new();
        let in_order = pending.handing_over.lock().await;
        while let Some((epoch, part)) = pending.take(bytes_min) {
            queued.push(self.queue(Work::Part(epoch, part)).await?);
        }
        drop(in_order);
        for part in queued {
            part.done().await?;
        }
        Ok(())
    }

    /// Makes a backup and gives it its time.
    pub async fn backup(&self, epoch: u64, draft: Draft) -> Result<Backup, EngineError> {
        match self.ask(Work::Backup(epoch, Box::new(draft))).await? {
            Done::Backup(backup) => Ok(*backup),
            Done::Logged | Done::Durable(_) | Done::Replies(..) => Err(EngineError::Stopping),
        }
    }

    /// Records that copies failed verification.
    pub async fn bad(&self, copies: Vec<CopyPlace>) -> Result<(), EngineError> {
        for some in copies.chunks(COPIES_MAX) {
            self.ask(Work::Bad(some.to_vec())).await?;
        }
        Ok(())
    }

    /// Records that copies verify again that were called bad.
    pub async fn good(&self, copies: Vec<CopyPlace>) -> Result<(), EngineError> {
        for some in copies.chunks(COPIES_MAX) {
            self.ask(Work::Good(some.to_vec())).await?;
        }
        Ok(())
    }

    /// Records by when a path's next backup must have come.
    pub async fn expect(&self, expectation: Expectation) -> Result<(), EngineError> {
        self.ask(Work::Expect(Box::new(expectation))).await.map(drop)
    }

    /// Records that no backup of a path is expected any more.
    pub async fn forget(&self, host: HostName, path: TreePath) -> Result<(), EngineError> {
        self.ask(Work::Forget(host, path)).await.map(drop)
    }

    /// Makes durable what the blob store holds, and tells how far it reaches.
    pub async fn flush(&self) -> Result<Vec<Durable>, EngineError> {
        self.flush_since(None).await
    }

    /// The same, for what was put in this epoch; refused where that was dropped meanwhile, because another flush failed.
    pub async fn flush_of(&self, epoch: u64) -> Result<Vec<Durable>, EngineError> {
        self.flush_since(Some(epoch)).await
    }

    async fn flush_since(&self, epoch: Option<u64>) -> Result<Vec<Durable>, EngineError> {
        match self.ask(Work::Flush(epoch)).await? {
            Done::Durable(durable) => Ok(durable),
            Done::Logged | Done::Backup(_) | Done::Replies(..) => Err(EngineError::Stopping),
        }
    }

    /// Carries out commands, after all that came before; what they change is one entry of the log. Gives back those that
    /// are still to do, where the replies got large.
    pub async fn commands(&self, calls: Vec<Call>) -> Result<(Vec<Reply>, Vec<Call>), EngineError> {
        match self.ask(Work::Commands(calls)).await? {
            Done::Replies(replies, rest) => Ok((replies, rest)),
            Done::Logged | Done::Backup(_) | Done::Durable(_) => Err(EngineError::Stopping),
        }
    }

    /// Finishes what is queued and ends the task.
    pub async fn close(&self) -> Result<(), EngineError> {
        self.requests.lock().await.take();
        match self.task.lock().await.take() {
            Some(task) => task.await.map_err(|_| EngineError::Stopping),
            None => Ok(()),
        }
    }
}

/// A request with the body of its record, as far as it needs one.
struct Planned {
    request: Request,
    plan: Plan,
}

enum Plan {
    /// A record is written.
    Write,
    /// The backup exists already.
    Done(Backup),
    /// What the commands changed is written, if they changed anything.
    Commands(Vec<Reply>, bool),
    /// Nothing to write; the flush before was all.
    Flushed(Vec<Durable>),
    /// It is refused.
    Refuse(EngineError),
}

struct Task {
    log: Log,
    index: SharedIndex,
    blobs: SharedStore,
    pending: Arc<Pending>,
    clock: Arc<dyn Clock>,
    cursors: Arc<Cursors>,
    /// Records that are durable but could not be applied to the index.
    unapplied: Vec<Logged>,
    /// Whether a power cut would take records from the index, which are in the log.
    is_index_behind: bool,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = self.next(&mut queue).await {
            let mut bytes = first.work.size_hint();
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && bytes < limits::LOG_PART_BYTES
                && let Ok(next) = queue.try_recv()
            {
                bytes += next.work.size_hint();
                group.push(next);
            }
            self.commit(group).await;
        }
        // A clean stop leaves nothing to replay.
        if let Err(error) = self.prepare().await {
            tracing::error!(%error, "the last flush failed");
        }
    }

    /// The next request; does what can wait when there is none for a while.
    async fn next(&mut self, queue: &mut mpsc::Receiver<Request>) -> Option<Request> {
        if std::mem::take(&mut self.is_index_behind) {
            if let Ok(next) = tokio::time::timeout(IDLE, queue.recv()).await {
                self.is_index_behind = true;
                return next;
            }
            let index = self.index.clone();
            if let Err(error) = blocking(move || index.sync()).await {
                tracing::warn!(%error, "the index could not be made durable; the next start replays more of the log");
            }
        }
        queue.recv().await
    }

    async fn commit(&mut self, group: Vec<Request>) {
        let durable = match self.prepare().await {
            Ok(durable) => durable,
            Err(error) => return self.fail(group, &error),
        };
        let micros = self.clock.now_micros();
        let now = micros.div_euclid(1_000_000);
        let epoch = self.pending.epoch();
        let index = self.index.clone();
        let known = durable.clone();
        let cursors = self.cursors.clone();
        let (planned, bodies) = blocking(move || plan(&index, group, epoch, micros, &known, &cursors)).await;
        if bodies.is_empty() {
            return planned.into_iter().for_each(|planned| planned.answer(&mut std::iter::empty()));
        }
        let (logged, result) = self.log.append(bodies, &durable, now).await;
        self.unapplied.extend(logged.iter().cloned());
        if let Err(error) = self.apply().await {
            // The records are durable, and will be applied before anything else is; a commit that is repeated finds its
            // backup by its token.
            tracing::error!(%error, "the index could not be written");
            return planned.into_iter().for_each(|planned| planned.refuse(&error));
        }
        if let Err(error) = result {
            // Some of the group may be in the log. Their clients ask again and find it there.
            let error = EngineError::from(error);
            return self.fail(planned.into_iter().map(|planned| planned.request).collect(), &error);
        }
        for planned in &planned {
            if let Work::Part(_, part) = &planned.request.work {
                self.pending.landed(part);
            }
        }
        let mut logged = logged.into_iter().flat_map(|logged| logged.record.entries);
        planned.into_iter().for_each(|planned| planned.answer(&mut logged));
    }

    /// Applies what is left over, and makes the packs durable that the next records rely on.
    async fn prepare(&mut self) -> Result<Vec<Durable>, EngineError> {
        self.apply().await?;
        self.settle().await?;
        Ok(self.blobs.flush().await?)
    }

    /// A record of which the last commit could not tell whether it is durable goes first. Who asked for it was told that
    /// it failed, asks again, and finds it done.
    async fn settle(&mut self) -> Result<(), EngineError> {
        if let Some(logged) = self.log.settle().await? {
            tracing::info!(record = logged.record.sequence, "a record that was in doubt is in the log");
            self.unapplied.push(logged);
            self.apply().await?;
        }
        Ok(())
    }

    async fn apply(&mut self) -> Result<(), EngineError> {
        if self.unapplied.is_empty() {
            return Ok(());
        }
        let index = self.index.clone();
        let mut records = std::mem::take(&mut self.unapplied);
        let (rest, result) = blocking(move || {
            while let Some(first) = records.first() {
                if let Err(error) = index.apply(first) {
                    return (records, Err(error));
                }
                records.remove(0);
            }
            (records, Ok(()))
        })
        .await;
        self.is_index_behind = true;
        self.unapplied = rest;
        Ok(result?)
    }

    /// Nothing of this group is durable, and nobody knows what of the packs is: what waits is forgotten, clients ask again.
    fn fail(&self, group: Vec<Request>, error: &EngineError) {
        tracing::error!(%error, "a commit failed");
        self.pending.reset();
        for request in group {
            request.refuse(error);
        }
    }
}

impl Request {
    fn refuse(self, error: &EngineError) {
        // The client may have gone away; then nobody needs the answer.
        drop(self.reply.send(Err(EngineError::refused(error.kind(), error.to_string()))));
    }
}

impl Planned {
    fn refuse(self, error: &EngineError) {
        self.request.refuse(error);
    }

    fn answer(self, logged: &mut dyn Iterator<Item = Body>) {
        let answer = match self.plan {
            Plan::Write => Ok(match logged.next() {
                Some(Body::Backup(backup)) => Done::Backup(backup),
                _ => Done::Logged,
            }),
            Plan::Commands(replies, is_logged) => {
                if is_logged {
                    drop(logged.next());
                }
                let rest = match self.request.work {
                    Work::Commands(mut calls) => calls.split_off(replies.len()),
                    _ => Vec::new(),
                };
                Ok(Done::Replies(replies, rest))
            }
            Plan::Done(backup) => Ok(Done::Backup(Box::new(backup))),
            Plan::Flushed(durable) => Ok(Done::Durable(durable)),
            Plan::Refuse(error) => Err(error),
        };
        // The client may have gone away; then nobody needs the answer.
        drop(self.request.reply.send(answer));
    }
}

/// Decides for each request what record it needs, in order; times are given here, so that no two backups of a snapshot
/// share a second.
fn plan(
    index: &Index,
    group: Vec<Request>,
    epoch: u64,
    micros: i64,
    durable: &[Durable],
    cursors: &Cursors,
) -> (Vec<Planned>, Vec<Body>) {
    let mut bodies = Vec::new();
    let mut earlier = Earlier::default();
    let mut promises = Promises::default();
    // What the index will show when the group is applied; after a failure nobody knows.
    let mut overlay = Some(Overlay::default());
    let planned = group
        .into_iter()
        .map(|request| {
            let plan = match &request.work {
                Work::Flush(Some(valid)) if *valid != epoch => Plan::Refuse(EngineError::refused(
                    Kind::Unavailable,
                    "what was written could not be made durable, and counts as missing: write it again",
                )),
                Work::Flush(_) => Plan::Flushed(durable.to_vec()),
                Work::Part(valid, _) | Work::Backup(valid, _) if *valid != epoch => Plan::Refuse(EngineError::refused(
                    Kind::Missing,
                    "what was accepted could not be made durable: start the snapshot again",
                )),
                Work::Part(_, part) => {
                    earlier.objects.extend(part.keys());
                    bodies.push(Body::Objects(part.objects.clone()));
                    Plan::Write
                }
                Work::Commands(calls) => match overlay.take() {
                    None => {
                        Plan::Refuse(EngineError::refused(Kind::Unavailable, "a command before it failed: try again"))
                    }
                    Some(mut before) => match evaluate::all(index, &mut before, cursors, micros, calls) {
                        Ok((replies, effects)) => {
                            overlay = Some(before);
                            let is_logged = !effects.is_empty();
                            bodies.extend(is_logged.then_some(Body::Commands(effects)));
                            Plan::Commands(replies, is_logged)
                        }
                        Err(error) => Plan::Refuse(error),
                    },
                },
                Work::Bad(copies) => {
                    bodies.push(Body::Bad(copies.clone()));
                    Plan::Write
                }
                Work::Good(copies) => {
                    bodies.push(Body::Good(copies.clone()));
                    Plan::Write
                }
                Work::Expect(expectation) => match promises.admit(index, expectation) {
                    Ok(()) => {
                        bodies.push(Body::Expected(expectation.clone()));
                        Plan::Write
                    }
                    Err(error) => Plan::Refuse(error),
                },
                Work::Forget(host, path) => {
                    promises.forget(host, path);
                    bodies.push(Body::Forgotten(host.clone(), path.clone()));
                    Plan::Write
                }
                Work::Backup(_, draft) => earlier
                    .plan_backup(index, draft, micros.div_euclid(1_000_000), &mut bodies)
                    .unwrap_or_else(Plan::Refuse),
            };
            Planned { request, plan }
        })
        .collect();
    (planned, bodies)
}

/// What the same group brings, which the index doesn't show yet.
#[derive(Default)]
struct Earlier {
    objects: HashSet<ObjectKey>,
    taken: HashSet<BackupKey>,
    tokens: HashMap<[u8; 16], Backup>,
}

impl Earlier {
    fn plan_backup(
        &mut self,
        index: &Index,
        draft: &Draft,
        now: i64,
        bodies: &mut Vec<Body>,
    ) -> Result<Plan, EngineError> {
        let token = draft.backup.token;
        if let Some(backup) = self.tokens.get(&token) {
            return Ok(Plan::Done(backup.clone()));
        }
        if let Some(key) = index.get(Family::Backups, &keys::token(&token))? {
            let backup = index.backup(&BackupKey::try_from(&key[..])?)?;
            return backup.map(Plan::Done).ok_or(EngineError::Stopping);
        }
        let root = &draft.backup.root;
        if !self.objects.contains(root) && index.get(Family::Objects, root.as_bytes())?.is_none() {
            return Err(EngineError::refused(Kind::Missing, format!("the backup's root {root} is not there")));
        }
        let mut backup = draft.backup.clone();
        let is_free = |backup: &Backup| -> Result<bool, EngineError> {
            let key = backup.key();
            Ok(!self.taken.contains(&key) && index.get(Family::Backups, &keys::backup(&key))?.is_none())
        };
        if let Some(time) = draft.time {
            backup.time = time;
            if !is_free(&backup)? {
                let message = format!("{} has a backup at that very second: ask for another time", backup.path);
                return Err(EngineError::refused(Kind::Conflict, message));
            }
        } else {
            let mut seconds = now;
            loop {
                backup.time = BackupTime::new(seconds)?;
                if is_free(&backup)? {
                    break;
                }
                seconds += 1;
            }
        }
        self.taken.insert(backup.key());
        self.tokens.insert(token, backup.clone());
        bodies.push(Body::Backup(Box::new(backup)));
        Ok(Plan::Write)
    }
}

/// Where a blob's record lies is the leaf's business; the mark names leaf and record.
pub fn bad_copy(leaf: &str, cursor: crate::store::Cursor, id: &BlobId) -> CopyPlace {
    tracing::error!(blob = %id, leaf, pack = cursor.pack, offset = cursor.offset, "a copy failed verification");
    CopyPlace { leaf: leaf.to_owned(), cursor }
}
