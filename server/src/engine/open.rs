//! Opening a data directory, making a new one, and rebuilding the index.
//!
//! **The index is disposable.** Everything in it is derived from the packs and the log. A start replays what lies behind
//! the applied end; a rebuild is the same thing from an empty index, in a new directory that is renamed when complete.
//! Packs or a log without a complete index are refused: an empty index never passes for a new repository.

use std::{path::Path, sync::Arc, time::Duration};

use datadb::{FORMAT_VERSION, chunking::ChunkerParams, failpoint};

pub use super::data_dir::{DataDir, OpenError};
use super::{
    Engine, EngineError, Inner,
    clock::Clock,
    committer::Committer,
    data_dir::{remove, replace},
    database::Database,
    download::PlainCache,
    pending::Pending,
    session::Sessions,
};
use crate::{
    index::{Family, SharedIndex, keys},
    log::{Log, LogError, LogReader, Position, end, fork::LogKin},
    observe::Observed,
    random,
    record::{Body, CopyPlace, Genesis},
    stack::{LeafReport, Purpose, Recorded, Room, Stack},
    store::{Cursor, blobsfile::OpenReport, blocking, mirror::Standing},
};

/// Version of the mark that the index is whole.
const COMPLETE: &[u8] = &[1];

/// For how long sides of a mirror of blobs are brought level before the server answers; the rest is done meanwhile.
const SETTLE: Duration = Duration::from_secs(10);

/// What a start or a rebuild found that a person should know.
#[derive(Debug)]
pub struct Found {
    /// The log's leaves together.
    pub log: OpenReport,
    /// The blobs' leaves together.
    pub blobs: OpenReport,
    /// Each leaf by itself.
    pub leaves: Vec<LeafReport>,
    /// Records replayed.
    pub replayed: u64,
    /// The last record of the log.
    pub last: u64,
    /// When it was written; 0 if it was not read.
    pub last_time: i64,
}

/// The stores of an index, brought up to date.
struct Stores {
    index: SharedIndex,
    blobs: Stack,
    log: Stack,
    position: Position,
    read_only: Option<String>,
    found: Found,
}

impl Stores {
    async fn stop(&self) {
        self.blobs.stop().await;
        self.log.stop().await;
    }
}

/// Opens the log's stack. `None` if it holds more than the beginning of a repository, and the index is not complete.
async fn open_log(dir: &DataDir, index: &SharedIndex, purpose: Purpose) -> Result<Stack, OpenError> {
    let room = dir.log_room();
    let ground = dir.ground(index, room, purpose);
    Ok(Stack::open(dir.tree(room), ground, Recorded::default(), None, Some(Arc::new(LogKin))).await?)
}

/// How far the log is applied. A place in it counts only in the stack that gave it out.
async fn applied(index: &SharedIndex, stack: &str) -> Result<Position, OpenError> {
    let (index, stack) = (index.clone(), stack.to_owned());
    blocking(move || {
        let applied = index.applied()?;
        let known = index.get(Family::State, keys::LOG_STACK)?;
        let is_same = known.as_ref().is_none_or(|known| *known == stack.as_bytes());
        Ok(if is_same { applied } else { Position { cursor: None, ..applied } })
    })
    .await
}

/// Looks whether the log holds the last record that the index was told of, on every side of a mirror that is relied on, and
/// gives the reason not to write to it if it doesn't. Only then its directories are known as the log's.
///
/// # Errors
/// If there is no log at all, and nothing says that it was lost here.
async fn check_log(
    dir: &DataDir,
    index: &SharedIndex,
    log: &Stack,
    report: &OpenReport,
    applied: Position,
    purpose: Purpose,
) -> Result<Option<String>, OpenError> {
    // What lies in a proven place and can't be read is damage.
    let is_empty =
        !log.unproven().is_empty() || (report.damage.is_empty() && log.store.enumerate(None, 1).await?.is_empty());
    let blob = match end::check(&log.store, &applied).await {
        Ok(blob) => blob,
        Err(LogError::Ends { last: 0, applied }) if is_empty => {
            let unproven: Vec<String> = log.unproven().iter().map(|dir| dir.display().to_string()).collect();
            let what = if unproven.is_empty() { log.store.to_string() } else { unproven.join(", ") };
            return Err(OpenError::EmptyLog { what, applied, dir: dir.root.clone() });
        }
        Err(error @ (LogError::Ends { .. } | LogError::Differs { .. })) => {
            return Ok(Some(read_only_for(&error.to_string(), &dir.root)));
        }
        Err(error) => return Err(OpenError::Log { last: applied.sequence, time: 0, source: error }),
    };
    if purpose == Purpose::Serve {
        for mirror in log.mirrors() {
            for (side, store) in mirror.level_stores() {
                if let Err(error) = end::check(&store, &applied).await {
                    let heal =
                        format!("bring the sides level with `datadb-server heal --data-dir {}`", dir.root.display());
                    return Ok(Some(format!("{side}: {error}; {heal}, or take this side out of the config")));
                }
            }
        }
    }
    log.accept().await?;
    let (index, stack) = (index.clone(), dir.stack_name(dir.log_room()));
    blocking(move || index.note_log(&stack, &Position { blob, ..applied })).await?;
    Ok(None)
}

/// What is wrong with the log, and what can be done.
fn read_only_for(what: &str, root: &Path) -> String {
    format!(
        "{what}; what is in the index can still be restored. Name the place of the whole log in the config, or put its packs \
         back where they were, and start again; or go on from where this log ends, and forget what came after it, with \
         `datadb-server rebuild --data-dir {}` (with the server's --config, if it has one)",
        root.display()
    )
}

/// Brings an index up to the end of log and packs. A rebuild starts from an empty one, and does not forgive a gap.
async fn bring_up(
    dir: &DataDir,
    index: SharedIndex,
    log: Stack,
    purpose: Purpose,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Stores, OpenError> {
    let is_rebuild = purpose == Purpose::Rebuild;
    let mut leaves = log.take_reports();
    let log_report = OpenReport::of_all(leaves.iter().map(|(_, report)| report));
    let applied = applied(&index, &dir.stack_name(dir.log_room())).await?;
    // What one side of a mirror lost, it got back from another, or the next record is missing.
    let has_copies = !log.mirrors().is_empty();
    let mut read_only = if has_copies { None } else { lost_before(&log_report, applied, &dir.root) };
    if read_only.is_none() {
        read_only = check_log(dir, &index, &log, &log_report, applied, purpose).await?;
    }
    let mut reader = LogReader::new(log.store.clone(), applied, has_copies);
    let (mut replayed, mut last_time) = (0, 0);
    let mut recorded = Recorded::default();
    while read_only.is_none() {
        let logged = match reader.next().await {
            Ok(Some(logged)) => logged,
            Ok(None) => break,
            Err(source) if is_rebuild => {
                return Err(OpenError::Log { last: reader.position().sequence, time: last_time, source });
            }
            Err(source) => {
                read_only = Some(source.to_string());
                break;
            }
        };
        recorded.note(&logged.record);
        (last_time, replayed) = (logged.record.time, replayed + 1);
        if replayed % 100 == 0 {
            progress(&format!("log: {replayed} records"));
        }
        let index = index.clone();
        blocking(move || index.apply(&logged)).await?;
    }
    let position = reader.position();
    progress(&format!("log: {replayed} records, the last is number {}", position.sequence));
    let ground = dir.ground(&index, Room::Blobs, purpose);
    let settle = (purpose != Purpose::Heal).then_some(SETTLE);
    let blobs = Stack::open(dir.tree(Room::Blobs), ground, recorded, settle, None).await?;
    blobs.accept().await?;
    let blob_leaves = blobs.take_reports();
    let blobs_report = OpenReport::of_all(blob_leaves.iter().map(|(_, report)| report));
    progress(&format!("packs: {} records added", blobs_report.records_added));
    leaves.extend(blob_leaves);
    let last = position.sequence;
    let found = Found { log: log_report, blobs: blobs_report, leaves, replayed, last, last_time };
    Ok(Stores { index, blobs, log, position, read_only, found })
}

/// Why the log can't be continued, if it lost records that the index holds.
fn lost_before(report: &OpenReport, applied: Position, root: &Path) -> Option<String> {
    let end = applied.cursor?;
    let lost = report.damage.iter().find(|damage| damage.cursor <= end)?;
    let (bytes, offset, pack) = (lost.bytes, lost.cursor.offset, lost.cursor.pack);
    Some(read_only_for(&format!("the log lost {bytes} bytes at {offset} of pack {pack:016x}"), root))
}

impl Engine {
    /// Opens a data directory; an empty one becomes a new repository.
    pub async fn open(dir: DataDir, clock: Arc<dyn Clock>) -> Result<(Self, Found), OpenError> {
        // Directories are looked into only where that decides anything: one of them may hang.
        let has_index = dir.root.join("index/CURRENT").exists();
        if !has_index && (dir.holds(Room::Blobs)? || dir.holds(dir.log_room())?) {
            return Err(OpenError::NoIndex { dir: dir.root });
        }
        let index = dir.open_index("index")?;
        let is_complete = index.get(Family::State, keys::COMPLETE)?.is_some();
        if !is_complete && dir.holds(Room::Blobs)? {
            return Err(OpenError::NoIndex { dir: dir.root });
        }
        let log = open_log(&dir, &index, Purpose::Serve).await?;
        // An interrupted creation leaves at most the first record; more of a log without a complete index is a loss.
        if !is_complete && log.store.enumerate(None, 2).await?.len() > 1 {
            log.stop().await;
            return Err(OpenError::NoIndex { dir: dir.root });
        }
        let mut stores = bring_up(&dir, index, log, Purpose::Serve, &mut |_| ()).await?;
        if is_complete && stores.position.sequence == 0 {
            let source = LogError::Ends { last: 0, applied: 0 };
            return Err(OpenError::Log { last: 0, time: 0, source });
        }
        if stores.position.sequence == 0 {
            check_all_answer(&stores.log).await?;
            failpoint::hit("create.index");
            stores.position = begin(&stores, clock.now()).await?;
        }
        if !is_complete {
            failpoint::hit("create.applied");
            mark_complete(&stores.index).await?;
            failpoint::hit("create.complete");
        }
        let ranked = stores.index.clone();
        blocking(move || ranked.complete_ranks()).await?;
        let genesis = stores.index.genesis()?.ok_or_else(|| OpenError::NoIndex { dir: dir.root.clone() })?;
        if genesis.format > FORMAT_VERSION {
            return Err(OpenError::Newer { dir: dir.root, found: genesis.format });
        }
        // An interrupted rebuild's; what is in place is complete.
        remove(&dir.root.join("index.new"))?;
        remove(&dir.root.join("index.old"))?;
        let Stores { index, blobs, log, position, read_only, found } = stores;
        let observed = Arc::new(Observed::new(clock.now(), random()?));
        let pending = Arc::new(Pending::default());
        let database = Arc::<Database>::default();
        let committer = Committer::start(
            Log::new(log.store.clone(), position),
            index.clone(),
            blobs.store.clone(),
            pending.clone(),
            clock.clone(),
            database.cursors().clone(),
        );
        let inner = Inner {
            genesis,
            index,
            blobs: blobs.store.clone(),
            log: log.store.clone(),
            pending,
            sessions: Sessions::default(),
            committer,
            database,
            stacks: [blobs, log],
            observed,
            cache: PlainCache::default(),
            is_flushing: false.into(),
            read_only,
            clock,
            _lock: dir.lock,
        };
        let engine = Self { inner: Arc::new(inner) };
        engine.report_marks().await?;
        Ok((engine, found))
    }
}

async fn mark_complete(index: &SharedIndex) -> Result<(), OpenError> {
    let index = index.clone();
    blocking(move || {
        let mut batch = index.batch();
        batch.put(Family::State, keys::COMPLETE, COMPLETE);
        index.write(batch)?;
        index.sync()
    })
    .await?;
    Ok(())
}

/// Refuses to make a repository while a side of the log is away, which may hold one.
async fn check_all_answer(log: &Stack) -> Result<(), OpenError> {
    for mirror in log.mirrors() {
        let away = mirror.status().await.sides.into_iter().filter(|side| side.standing == Standing::Away);
        let away: Vec<String> = away.map(|side| format!("{} ({})", side.name, side.trouble)).collect();
        if !away.is_empty() {
            return Err(OpenError::MayExist { what: away.join("; ") });
        }
    }
    Ok(())
}

/// Writes the first record of a new repository.
async fn begin(stores: &Stores, now: i64) -> Result<Position, OpenError> {
    let genesis = Genesis {
        repository: random()?,
        format: FORMAT_VERSION,
        chunker: ChunkerParams::with_seed(u64::from_le_bytes(random()?)),
        link_secret: random()?,
    };
    let mut log = Log::new(stores.log.store.clone(), Position::START);
    let (logged, result) = log.append(vec![Body::Genesis(genesis)], &[], now).await;
    result.map_err(EngineError::from)?;
    failpoint::hit("create.genesis");
    let index = stores.index.clone();
    blocking(move || logged.iter().try_for_each(|logged| index.apply(logged))).await?;
    Ok(log.position())
}

/// Bytes from the system's generator.
pub fn random<const N: usize>() -> Result<[u8; N], OpenError> {
    random::bytes().map_err(|source| OpenError::Io { place: "getrandom".into(), source })
}

/// Makes the index anew from packs and log alone, and puts it in the old one's place when it is complete. Whoever is
/// interrupted starts over.
pub async fn rebuild(dir: DataDir, progress: &mut (dyn FnMut(&str) + Send)) -> Result<Found, OpenError> {
    let (new, old, current) = (dir.root.join("index.new"), dir.root.join("index.old"), dir.root.join("index"));
    remove(&new)?;
    let index = dir.open_index("index.new")?;
    let log = open_log(&dir, &index, Purpose::Rebuild).await?;
    if log.store.enumerate(None, 1).await?.is_empty() {
        log.stop().await;
        drop((log, index));
        remove(&new)?;
        return Err(OpenError::NoLog { dir: dir.root });
    }
    let stores = bring_up(&dir, index, log, Purpose::Rebuild, progress).await?;
    if stores.position.sequence == 0 {
        return Err(OpenError::NoLog { dir: dir.root });
    }
    failpoint::hit("rebuild.read");
    stores.stop().await;
    mark_complete(&stores.index).await?;
    let Stores { index, blobs, log, found, .. } = stores;
    drop((blobs, log, index));
    remove(&old)?;
    failpoint::hit("rebuild.complete");
    replace(&new, &current, &old)
        .and_then(|()| std::fs::File::open(&dir.root)?.sync_all())
        .map_err(|source| OpenError::Io { place: current, source })?;
    failpoint::hit("rebuild.placed");
    remove(&new)?;
    remove(&old)?;
    Ok(found)
}

/// Brings all sides of all mirrors level, to the end, and says what it does; `is_thorough` reads everything before that.
pub async fn heal(
    dir: DataDir,
    is_thorough: bool,
    now: i64,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Found, OpenError> {
    if !dir.root.join("index/CURRENT").exists() {
        return Err(OpenError::NoIndex { dir: dir.root });
    }
    let index = dir.open_index("index")?;
    if index.get(Family::State, keys::COMPLETE)?.is_none() {
        return Err(OpenError::NoIndex { dir: dir.root });
    }
    let log = open_log(&dir, &index, Purpose::Heal).await?;
    let stores = bring_up(&dir, index, log, Purpose::Heal, progress).await?;
    let healed = heal_all(&stores, is_thorough, now, progress).await;
    stores.stop().await;
    healed?;
    let Stores { index, found, .. } = stores;
    blocking(move || index.sync()).await?;
    Ok(found)
}

async fn heal_all(
    stores: &Stores,
    is_thorough: bool,
    now: i64,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OpenError> {
    if let Some(reason) = &stores.read_only {
        return Err(EngineError::refused(datadb::Kind::Internal, format!("nothing is healed: {reason}")).into());
    }
    if is_thorough {
        let lifted = stores.log.recheck().await? + stores.blobs.recheck().await?;
        progress(&format!("marks looked at again: {lifted} blobs count again"));
    }
    for mirror in stores.log.mirrors().into_iter().chain(stores.blobs.mirrors()) {
        mirror.heal(is_thorough, progress).await?;
    }
    note_marks(stores, now).await
}

/// Puts damaged records into the log, so that a rebuild takes the copies that healed them, and those that verify again.
async fn note_marks(stores: &Stores, now: i64) -> Result<(), OpenError> {
    let copies = |places: Vec<(String, Cursor)>| -> Vec<CopyPlace> {
        places.into_iter().map(|(leaf, cursor)| CopyPlace { leaf, cursor }).collect()
    };
    let (damaged, lifted) = (copies(stores.blobs.take_damaged()), copies(stores.blobs.take_lifted()));
    let bad = (!damaged.is_empty()).then_some(Body::Bad(damaged));
    let good = (!lifted.is_empty()).then_some(Body::Good(lifted));
    let entries: Vec<Body> = bad.into_iter().chain(good).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let mut log = Log::new(stores.log.store.clone(), stores.position);
    let (logged, result) = log.append(entries, &[], now).await;
    result.map_err(EngineError::from)?;
    let index = stores.index.clone();
    Ok(blocking(move || logged.iter().try_for_each(|logged| index.apply(logged))).await?)
}
