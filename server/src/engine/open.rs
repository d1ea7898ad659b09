//! Opening a data directory, making a new one, and rebuilding the index.
//!
//! **The index is disposable.** Everything in it is derived from the packs and the log. A start replays what lies behind
//! the applied end; a rebuild is the same thing from an empty index, in a new directory that is renamed when complete.
//! Packs or a log without a complete index are refused: an empty index never passes for a new repository.

use std::sync::Arc;

use datadb::{FORMAT_VERSION, chunking::ChunkerParams, failpoint};

pub use super::data_dir::{DataDir, OpenError};
use super::{
    Engine, EngineError, Inner,
    clock::Clock,
    committer::Committer,
    data_dir::{BLOBS_LEAF, LOG_LEAF, remove, replace},
    database::Database,
    download::PlainCache,
    pending::Pending,
    session::Sessions,
};
use crate::{
    db::{Family, SharedIndex, keys},
    log::{
        Log, LogError, LogReader, Position,
        record::{Body, Genesis},
    },
    observe::Observed,
    random,
    store::{
        Cursor, SharedStore, StoreError,
        blobsfile::{BlobsFile, LeafConfig, OpenReport, Relied},
        blocking,
        counted::{Backend, Counted},
    },
};

/// Version of the mark that the index is whole.
const COMPLETE: &[u8] = &[1];
/// What a start or a rebuild found that a person should know.
#[derive(Debug)]
pub struct Found {
    /// The log's leaf.
    pub log: OpenReport,
    /// The blobs' leaf.
    pub blobs: OpenReport,
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
    blobs: SharedStore,
    log: SharedStore,
    backends: Vec<Backend>,
    position: Position,
    read_only: Option<String>,
    found: Found,
}

async fn open_leaf(
    config: LeafConfig,
    relied: Relied,
    bad: Vec<Cursor>,
) -> Result<(BlobsFile, OpenReport), StoreError> {
    blocking(move || BlobsFile::open(config, relied, &bad)).await
}

/// Brings an index up to the end of log and packs. `is_rebuild` starts from an empty one, and does not forgive a gap.
async fn bring_up(
    dir: &DataDir,
    index: SharedIndex,
    is_rebuild: bool,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Stores, OpenError> {
    let relied = if is_rebuild { Relied::Unknown } else { Relied::Index };
    let (log, log_report) = open_leaf(dir.leaf(LOG_LEAF, &index)?, relied, Vec::new()).await?;
    let (log, log_backend) = Counted::around("blobsfile", Arc::new(log));
    let applied = index.applied()?;
    let mut read_only = lost_before(&log_report, applied);
    let mut reader = LogReader::new(log.clone(), applied);
    let (mut replayed, mut last_time) = (0, 0);
    let mut durable: Option<Cursor> = None;
    let mut bad: Vec<Cursor> = Vec::new();
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
        for one in logged.record.durable.iter().filter(|one| one.leaf == BLOBS_LEAF) {
            durable = durable.max(Some(one.end));
        }
        for entry in &logged.record.entries {
            if let Body::Bad(copies) = entry {
                bad.extend(copies.iter().filter(|copy| copy.leaf == BLOBS_LEAF).map(|copy| copy.cursor));
            }
        }
        (last_time, replayed) = (logged.record.time, replayed + 1);
        if replayed % 100 == 0 {
            progress(&format!("log: {replayed} records"));
        }
        let index = index.clone();
        blocking(move || index.apply(&logged)).await?;
    }
    let position = reader.position();
    progress(&format!("log: {replayed} records, the last is number {}", position.sequence));
    let relied = durable.map_or(Relied::Index, Relied::UpTo);
    let (blobs, blobs_report) = open_leaf(dir.leaf(BLOBS_LEAF, &index)?, relied, bad).await?;
    progress(&format!("packs: {} records added", blobs_report.records_added));
    let found = Found { log: log_report, blobs: blobs_report, replayed, last: position.sequence, last_time };
    let (blobs, blobs_backend) = Counted::around("blobsfile", Arc::new(blobs));
    Ok(Stores { index, blobs, log, backends: vec![blobs_backend, log_backend], position, read_only, found })
}

/// Why the log can't be continued, if it lost records that the index holds.
fn lost_before(report: &OpenReport, applied: Position) -> Option<String> {
    let end = applied.cursor?;
    let lost = report.damage.iter().find(|damage| damage.cursor <= end)?;
    Some(format!(
        "the log lost {} bytes at {} of pack {:016x}; what is in the index can still be restored",
        lost.bytes, lost.cursor.offset, lost.cursor.pack
    ))
}

impl Engine {
    /// Opens a data directory; an empty one becomes a new repository.
    pub async fn open(dir: DataDir, clock: Arc<dyn Clock>) -> Result<(Self, Found), OpenError> {
        let has_blobs = dir.holds("blobs")?;
        let has_index = dir.root.join("index/CURRENT").exists();
        if (has_blobs || dir.holds("meta")?) && !has_index {
            return Err(OpenError::NoIndex { dir: dir.root });
        }
        let index = dir.open_index("index")?;
        let is_complete = index.get(Family::State, keys::COMPLETE)?.is_some();
        if !is_complete && has_blobs {
            return Err(OpenError::NoIndex { dir: dir.root });
        }
        let mut stores = bring_up(&dir, index, false, &mut |_| ()).await?;
        // An interrupted creation leaves at most the first record; more of a log without a complete index is a loss.
        if !is_complete && stores.position.sequence > 1 {
            return Err(OpenError::NoIndex { dir: dir.root });
        }
        if is_complete && stores.position.sequence == 0 {
            let source = LogError::Ends { last: 0, applied: 0 };
            return Err(OpenError::Log { last: 0, time: 0, source });
        }
        if stores.position.sequence == 0 {
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
        let Stores { index, blobs, log, backends, position, read_only, found } = stores;
        let observed = Arc::new(Observed::new(clock.now(), random()?));
        let pending = Arc::new(Pending::default());
        let database = Arc::<Database>::default();
        let committer = Committer::start(
            Log::new(log.clone(), position),
            index.clone(),
            blobs.clone(),
            pending.clone(),
            clock.clone(),
            database.cursors().clone(),
        );
        let inner = Inner {
            genesis,
            index,
            blobs,
            log,
            pending,
            sessions: Sessions::default(),
            committer,
            database,
            backends,
            observed,
            cache: PlainCache::default(),
            is_flushing: false.into(),
            read_only,
            clock,
            _lock: dir.lock,
        };
        Ok((Self { inner: Arc::new(inner) }, found))
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

/// Writes the first record of a new repository.
async fn begin(stores: &Stores, now: i64) -> Result<Position, OpenError> {
    let genesis = Genesis {
        repository: random()?,
        format: FORMAT_VERSION,
        chunker: ChunkerParams::with_seed(u64::from_le_bytes(random()?)),
        link_secret: random()?,
    };
    let mut log = Log::new(stores.log.clone(), Position::START);
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
    if !dir.holds("meta")? {
        return Err(OpenError::NoLog { dir: dir.root });
    }
    let (new, old, current) = (dir.root.join("index.new"), dir.root.join("index.old"), dir.root.join("index"));
    remove(&new)?;
    let stores = bring_up(&dir, dir.open_index("index.new")?, true, progress).await?;
    if stores.position.sequence == 0 {
        return Err(OpenError::NoLog { dir: dir.root });
    }
    failpoint::hit("rebuild.read");
    mark_complete(&stores.index).await?;
    let Stores { index, blobs, log, backends, found, .. } = stores;
    drop((blobs, log, backends, index));
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
