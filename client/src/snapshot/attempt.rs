//! One attempt at a snapshot: a session, all stages, a commit.

use std::{
    collections::BTreeMap,
    io::Read as _,
    num::NonZero,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::bounded;
use datadb::{
    Backup, Fault, Kind, Meta, ObjectKey, SnapshotKey, TreePath,
    backup::{BackupSpec, BackupTime, Counts},
    failpoint,
};
use tokio::runtime::Handle;

use super::{
    Made, Request, Source, Summary, ask,
    assemble::{Assembled, Assembler},
    bundle, dispatch,
    missing::Missing,
    objects, read,
    run::{Run, Taken, Trouble},
    source::Stream,
};
use crate::{
    cache::{self, Cursor, Writer},
    chunker::Chunker,
    clock,
    connection::{Asking, Commit, Committed, Connection, Filter, Session},
    exit,
    fs::owners::Owners,
    report::{Report, get},
    walk::{Past, Walk},
};

/// Questions about chunks under way.
const QUESTIONS_MAX: usize = 4;
/// Batches of objects that wait to be sent.
const OBJECT_BATCHES_MAX: usize = 8;
/// How often a commit is repeated whose answer got lost.
const COMMITS_MAX: u32 = 5;
/// Nobody is left to wonder for longer than this why nothing happens.
const LONG: Duration = Duration::from_secs(5);

/// One try.
pub struct Attempt<'a> {
    /// Where the connection lives.
    pub handle: &'a Handle,
    /// The server.
    pub connection: &'a Connection,
    /// What to back up.
    pub request: &'a Request,
    /// Where trouble and counts go.
    pub report: &'a Report,
    /// Whether to use the cache of the last backup.
    pub trusting: bool,
    /// Keys that belong to other content.
    pub taken: &'a Taken,
    /// A session that is open already, and where the present one is left.
    pub session: &'a mut Option<Session>,
}

/// What is read.
enum Feed<'a> {
    Tree(Box<Walk<'a>>),
    Stream(Stream),
}

impl Attempt<'_> {
    /// Tries.
    pub fn run(&mut self) -> Result<Summary, Trouble> {
        let counters = &self.report.counters;
        for counter in [&counters.files, &counters.bytes, &counters.wire_bytes, &counters.errors, &counters.excluded] {
            counter.store(0, Ordering::Relaxed);
        }
        let (request, report) = (self.request, self.report);
        let repository = &self.connection.capabilities().repository;
        let cache_path = match request.source {
            Source::Path(_) => cache::path(repository, SnapshotKey::of(&request.host, &request.path)),
            Source::Stdin | Source::Command(_) => None,
        };
        let cursor = self.cursor(cache_path.as_deref());
        let base = cursor.as_ref().map(Cursor::base);
        let requests_before = self.session.as_ref().map_or(0, Session::requests);
        let opening = self.connection.open_session(&request.host, base, self.session.as_ref());
        let opened = self.handle.block_on(opening)?;
        let session = &*self.session.insert(opened.session);
        let mut past = Past { cursor: cursor.filter(|_| opened.base_known), affected: opened.affected };
        past.affected.sort_unstable();
        let writer = cache_path.filter(|_| !request.how.dry_run).and_then(|path| {
            let created = Writer::create(&path);
            created.map_err(|fault| report.line(&format!("no cache will be kept: {fault}"))).ok()
        });
        let feed = match &request.source {
            Source::Path(path) => Feed::Tree(Box::new(Walk::start(path, past, &request.selection, report)?)),
            Source::Stdin => Feed::Stream(Stream::stdin()?),
            Source::Command(line) => Feed::Stream(Stream::command(line)?),
        };

        let run = Run::default();
        let (handle, connection, taken) = (self.handle, self.connection, self.taken);
        let stages = Stages { handle, connection, session, request, report, run: &run, taken };
        let (done, writer) = stages.run(feed, writer)?;
        if exit::is_interrupted() {
            return Err(exit::interrupted().into());
        }
        let (made, Committed { backup, store_requests }) = stages.conclude(&done)?;
        if let Some(Err(fault)) = writer.map(|writer| writer.finish(repository, backup.key())) {
            report.line(&format!("the next run will read everything: {fault}"));
        }
        let (blobs_new, bytes_uploaded) = (get(&run.blobs_new), get(&run.bytes_uploaded));
        let requests = session.requests() - requests_before;
        let excluded = get(&counters.excluded);
        let files_read = done.files_read;
        Ok(Summary { made, backup, files_read, blobs_new, bytes_uploaded, requests, store_requests, excluded })
    }

    fn cursor(&self, cache_path: Option<&Path>) -> Option<Cursor> {
        let path = cache_path.filter(|_| self.trusting)?;
        Cursor::open(path, &self.connection.capabilities().repository).unwrap_or_else(|reason| {
            let shown = path.display();
            self.report.line(&format!("the cache {shown} is not used: {reason}; everything is read"));
            None
        })
    }
}

struct Stages<'a> {
    handle: &'a Handle,
    connection: &'a Connection,
    session: &'a Session,
    request: &'a Request,
    report: &'a Report,
    run: &'a Run,
    taken: &'a Taken,
}

impl Stages<'_> {
    /// Runs all stages to their end.
    fn run(&self, feed: Feed<'_>, writer: Option<Writer>) -> Result<(Assembled, Option<Writer>), Trouble> {
        let _entered = self.handle.enter();
        let asking = self.session.ask();
        let renewing = self.handle.spawn(renew(asking.clone(), self.connection.capabilities().lease / 4));
        let is_dry = self.request.how.dry_run;
        let (bundles, bundle_acks) = (!is_dry).then(|| self.session.put_bundles()).unzip();
        let (objects, object_acks) = (!is_dry).then(|| self.session.put_objects()).unzip();
        let threads = thread::available_parallelism().map_or(2, NonZero::get).clamp(1, 16);
        let (report, run) = (self.report, self.run);
        let capabilities = self.connection.capabilities();
        let verbose = self.request.how.verbose;
        let reading = read::Reading { capabilities, owners: Arc::new(Owners::read()), report, verbose };
        let assembled = thread::scope(|scope| {
            let (jobs, todo) = bounded(threads);
            let (order, drained) = bounded(2 * threads);
            match feed {
                Feed::Tree(mut walk) => drop(scope.spawn(move || dispatch::dispatch(&mut walk, &jobs, &order))),
                Feed::Stream(stream) => {
                    drop(jobs);
                    let chunker = Chunker::new(capabilities.chunker);
                    scope.spawn(move || stream.read(&chunker, &order, run));
                }
            }
            for _ in 0..threads {
                let (todo, reading) = (todo.clone(), &reading);
                scope.spawn(move || read::work(reading, &todo));
            }
            drop(todo);
            let (to, asked) = bounded(QUESTIONS_MAX);
            let asking = &asking;
            scope.spawn(move || ask::ask(&drained, asking, &to));
            if let (Some(bundles), Some(objects)) = (bundle_acks, object_acks) {
                scope.spawn(move || bundle::acknowledge(bundles, run));
                scope.spawn(move || objects::acknowledge(objects, run));
            }
            let (batches, to_send) = bounded(OBJECT_BATCHES_MAX);
            scope.spawn(move || objects::send(&to_send, asking, objects, run));
            if report.is_shown() {
                scope.spawn(|| self.expect());
            }
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

    /// The last backup of the same path, if there is one.
    fn last(&self) -> Result<Option<Backup>, Fault> {
        let path = Some(self.request.path.as_bytes().to_vec());
        let filter = Filter { host: Some(self.request.host.as_str().to_owned()), path };
        let (now, zone, root) = (clock::now().seconds, clock::zone(), TreePath::root());
        let asked = self.connection.resolve(&BackupSpec::Latest(0), &filter, &root, now, &zone);
        match self.handle.block_on(asked) {
            Ok((backup, _)) => Ok(Some(backup)),
            Err(fault) if fault.kind == Kind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// As much as last time is a fair guess.
    fn expect(&self) {
        // Whatever is wrong with the connection shows elsewhere.
        if let Ok(Some(last)) = self.last() {
            self.report.expect_bytes(last.counts.bytes);
        }
    }

    /// Makes the backup, unless it shall not be made.
    fn conclude(&self, done: &Assembled) -> Result<(Made, Committed), Trouble> {
        let root = done.root.clone().ok_or_else(|| Fault::new(Kind::Internal, "the walk ended before the root"))?;
        let how = self.request.how;
        if how.skip_if_unchanged
            && let Some(last) = self.last()?
            && last.root == ObjectKey::of(&root)
        {
            return Ok((Made::Nothing, uncommitted(last)));
        }
        let mut counts = done.counts;
        counts.errors = get(&self.report.counters.errors);
        if how.dry_run {
            return Ok((Made::Plan, uncommitted(self.planned(&root, counts)?)));
        }
        failpoint::hit("client.commit");
        let committed = self.commit(root, counts)?;
        failpoint::hit("client.committed");
        Ok((Made::Backup, committed))
    }

    /// What a backup would be.
    fn planned(&self, root: &Bytes, counts: Counts) -> Result<Backup, Fault> {
        let Request { host, path, time, tags, .. } = self.request.clone();
        let meta = Meta::decode(root)?;
        let time = BackupTime::new(time.unwrap_or_else(|| clock::now().seconds))?;
        Ok(Backup {
            host,
            path,
            time,
            root: ObjectKey::of(root),
            file_type: meta.file_type,
            counts,
            tags,
            token: [0; 16],
        })
    }

    fn commit(&self, root: Bytes, counts: Counts) -> Result<Committed, Trouble> {
        let Request { host, path, time, tags, .. } = self.request.clone();
        let commit = Commit { token: token()?, host, path, root, time, counts, tags };
        let mut tried = 0;
        loop {
            let asked = Instant::now();
            match self.handle.block_on(self.session.commit(&commit)) {
                Err(fault) if fault.kind == Kind::Unavailable && tried + 1 < COMMITS_MAX => {
                    tried += 1;
                    if asked.elapsed() >= LONG {
                        self.report.line(&format!("the server can't commit now, it is asked again: {fault}"));
                    }
                    thread::sleep(Duration::from_millis(100 << tried));
                }
                Err(fault) => return Err(fault.into()),
                Ok(committed) => return Ok(committed),
            }
        }
    }
}

/// A backup for which nothing was asked of the server's stores.
const fn uncommitted(backup: Backup) -> Committed {
    Committed { backup, store_requests: BTreeMap::new() }
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

/// What nobody else will come up with.
fn token() -> Result<[u8; 16], Fault> {
    let mut token = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut token));
    read.map_err(|error| Fault::new(Kind::Internal, format!("/dev/urandom: {error}")))?;
    Ok(token)
}
