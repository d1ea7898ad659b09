//! One attempt at a snapshot: a session, all stages, a commit.

use std::{
    io::Read as _,
    num::NonZero,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use crossbeam_channel::bounded;
use datadb::{Backup, Fault, Kind, SnapshotKey, failpoint};
use tokio::runtime::Handle;

use super::{
    Request, Summary, ask,
    assemble::{Assembled, Assembler},
    bundle, dispatch,
    missing::Missing,
    objects,
    owners::Owners,
    read,
    run::{Run, Taken, Trouble},
};
use crate::{
    cache::{self, Cursor, Writer},
    connection::{Asking, Commit, Connection, Session},
    exit,
    report::{Report, get},
    walk::{Past, Walk},
};

/// Questions about chunks under way.
const QUESTIONS_MAX: usize = 4;
/// Batches of objects that wait to be sent.
const OBJECT_BATCHES_MAX: usize = 8;
/// How often a commit is repeated whose answer got lost.
const COMMITS_MAX: u32 = 5;

/// Tries once. `trusting` uses the cache of the last backup; `taken` are keys that belong to other content.
pub fn attempt(
    handle: &Handle,
    connection: &Connection,
    request: &Request,
    report: &Report,
    trusting: bool,
    taken: &Taken,
) -> Result<Summary, Trouble> {
    let counters = &report.counters;
    for counter in [&counters.files, &counters.bytes, &counters.wire_bytes, &counters.errors] {
        counter.store(0, Ordering::Relaxed);
    }
    let repository = &connection.capabilities().repository;
    let cache_path = cache::path(repository, SnapshotKey::of(&request.host, &request.path));
    let cursor = cache_path.as_ref().filter(|_| trusting).and_then(|path| {
        let opened = Cursor::open(path, repository);
        opened.unwrap_or_else(|reason| {
            report.line(&format!("the cache {} is not used: {reason}; everything is read", path.display()));
            None
        })
    });
    let base = cursor.as_ref().map(Cursor::base);
    let opened = handle.block_on(connection.open_session(&request.host, base))?;
    let mut past = Past { cursor: cursor.filter(|_| opened.base_known), affected: opened.affected };
    past.affected.sort_unstable();
    let writer = cache_path.and_then(|path| {
        let created = Writer::create(&path);
        created.map_err(|fault| report.line(&format!("no cache will be kept: {fault}"))).ok()
    });
    let walk = Walk::start(&request.source, past, report)?;

    let run = Run::default();
    let stages = Stages { handle, connection, session: &opened.session, report, run: &run, taken };
    let (done, writer) = stages.run(walk, writer)?;
    if exit::is_interrupted() {
        return Err(exit::interrupted().into());
    }
    failpoint::hit("client.commit");
    let backup = commit(handle, &opened.session, request, report, &done)?;
    failpoint::hit("client.committed");
    if let Some(Err(fault)) = writer.map(|writer| writer.finish(repository, backup.key())) {
        report.line(&format!("the next run will read everything: {fault}"));
    }
    let (blobs_new, bytes_uploaded) = (get(&run.blobs_new), get(&run.bytes_uploaded));
    Ok(Summary { backup, files_read: done.files_read, blobs_new, bytes_uploaded })
}

struct Stages<'a> {
    handle: &'a Handle,
    connection: &'a Connection,
    session: &'a Session,
    report: &'a Report,
    run: &'a Run,
    taken: &'a Taken,
}

impl Stages<'_> {
    /// Runs all stages to their end.
    fn run(&self, mut walk: Walk<'_>, writer: Option<Writer>) -> Result<(Assembled, Option<Writer>), Trouble> {
        let _entered = self.handle.enter();
        let asking = self.session.ask();
        let renewing = self.handle.spawn(renew(asking.clone(), self.connection.capabilities().lease / 4));
        let (bundles, bundle_acks) = self.session.put_bundles();
        let (objects, object_acks) = self.session.put_objects();
        let threads = thread::available_parallelism().map_or(2, NonZero::get).clamp(1, 16);
        let (report, run) = (self.report, self.run);
        let reading =
            read::Reading { capabilities: self.connection.capabilities(), owners: Arc::new(Owners::read()), report };
        let assembled = thread::scope(|scope| {
            let (jobs, todo) = bounded(threads);
            let (order, drained) = bounded(2 * threads);
            scope.spawn(move || dispatch::dispatch(&mut walk, &jobs, &order));
            for _ in 0..threads {
                let (todo, reading) = (todo.clone(), &reading);
                scope.spawn(move || read::work(reading, &todo));
            }
            drop(todo);
            let (to, asked) = bounded(QUESTIONS_MAX);
            let asking = &asking;
            scope.spawn(move || ask::ask(&drained, asking, &to));
            scope.spawn(move || bundle::acknowledge(bundle_acks, run));
            scope.spawn(move || objects::acknowledge(object_acks, run));
            let (batches, to_send) = bounded(OBJECT_BATCHES_MAX);
            scope.spawn(move || objects::send(&to_send, asking, objects, run));
            let packer = bundle::Packer::start(scope, threads, bundles, run, report);
            let missing = Missing::new(run, asking, packer);
            Assembler::new(run, report, self.taken, missing, batches, writer).assemble(&asked)
        });
        renewing.abort();
        if let Some(trouble) = self.run.trouble() {
            return Err(trouble);
        }
        assembled.map_err(|_| Fault::new(Kind::Unavailable, "the connection to the server broke").into())
    }
}

/// Keeps the session alive however long one file or one answer takes.
async fn renew(asking: Asking, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if !matches!(asking.ask(&[], &[]).await, Ok(Ok(_))) {
            return;
        }
    }
}

fn commit(
    handle: &Handle,
    session: &Session,
    request: &Request,
    report: &Report,
    done: &Assembled,
) -> Result<Backup, Trouble> {
    let root = done.root.clone().ok_or_else(|| Fault::new(Kind::Internal, "the walk ended before the root"))?;
    let mut counts = done.counts;
    counts.errors = get(&report.counters.errors);
    let commit = Commit {
        token: token()?,
        host: request.host.clone(),
        path: request.path.clone(),
        root,
        time: request.time,
        counts,
        tags: request.tags.clone(),
    };
    let mut tried = 0;
    loop {
        match handle.block_on(session.commit(&commit)) {
            Err(fault) if fault.kind == Kind::Unavailable && tried + 1 < COMMITS_MAX => {
                tried += 1;
                thread::sleep(Duration::from_millis(100 << tried));
            }
            Err(fault) => return Err(fault.into()),
            Ok(backup) => return Ok(backup),
        }
    }
}

/// What nobody else will come up with.
fn token() -> Result<[u8; 16], Fault> {
    let mut token = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut token));
    read.map_err(|error| Fault::new(Kind::Internal, format!("/dev/urandom: {error}")))?;
    Ok(token)
}
