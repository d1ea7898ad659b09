//! BlobsFile: bundles in packs on a local disk, places in the index.
//!
//! A leaf of the stack. Bundles are appended to the open pack and stay in memory as *pending* entries until `flush` has
//! synced the files; only then do the entries go to the index, in one batch with how far the packs are indexed. So an
//! entry in the index names bytes that are durable, and what a crash leaves behind the indexed end is found again by
//! reading the packs from there (`catch_up`). A failed sync drops what was pending: it counts as missing again.
//! Where the medium says that nothing is lost (`InDoubt`), all of it waits for the next flush instead.

mod append;
mod catch_up;
mod entry;
mod flush;
mod folded;
mod given;
pub mod known;
pub(in crate::store) mod pack;
mod read;
pub mod recheck;
mod record;
mod scan;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{
    BlobId, Bundle,
    codec::{DecodeError, Reader, Writer},
};
use lru::LruCache;

use self::{append::Appender, entry::Entry, given::Given, recheck::Marks};
use super::{
    BlobStore, Cursor, Damage, Durable, Found, Item, Presence, Put, StoreError, StoreStats, Stored, blocking,
    disk::{Disk, DiskFile},
    threads::Threads,
};
use crate::{
    descriptors::packs_max,
    index::{Batch, Family, Index, IndexError, keys, space::Space},
};

/// A pack is sealed when it has reached this length: small enough to rewrite or to move, large enough to be few.
pub const PACK_BYTES: u64 = 128 << 20;

/// A pack is sealed when the heads of its records, which wait in memory for its footer, have so many bytes: some 150,000
/// tiny blobs.
const HEADS_BYTES_MAX: usize = 8 << 20;

/// A pack is sealed when it has so many records, which bounds its footer in memory.
const PACK_RECORDS_MAX: usize = 1 << 16;

/// Left free on the disk by blobs, so that the log and the index can always finish what was begun.
pub const BLOBS_RESERVE_BYTES: u64 = 16 << 20;

/// Left free on the disk by the log, for the index: what the log takes of the reserve is its own.
pub const LOG_RESERVE_BYTES: u64 = 2 << 20;

/// Where a leaf lives.
#[derive(Debug)]
pub struct LeafConfig {
    /// Its name within its stack, under which the log records how far it is durable.
    pub name: String,
    /// The directory of its packs.
    pub dir: PathBuf,
    /// The file layer.
    pub disk: Arc<dyn Disk>,
    /// The part of the index that belongs to it.
    pub space: Space,
    /// A pack is sealed when it has reached this length; [`PACK_BYTES`] but for tests.
    pub pack_bytes: u64,
    /// Left free on its disk; [`BLOBS_RESERVE_BYTES`] or [`LOG_RESERVE_BYTES`].
    pub reserve_bytes: u64,
    /// Whether a flush seals the open pack first: for media on which a file is there whole or not at all, and takes no
    /// more once it is. There a pack is never cut, whatever is found in it.
    pub is_sealed_by_flush: bool,
    /// Whose threads do what blocks: a medium that may be slow or silent has its own, so that it holds up nobody else;
    /// `None`: everybody's.
    pub threads: Option<Threads>,
}

/// A directory of packs. See the module.
#[derive(Debug, Clone)]
pub struct BlobsFile {
    inner: Arc<Inner>,
}

/// How much of the packs must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relied {
    /// What the index holds; for a start.
    Index,
    /// Up to here, by the log, and what the index holds.
    UpTo(Cursor),
    /// What the index holds, and behind that all but the last record, which alone may be torn and is kept aside; for a log.
    Unknown,
}

/// What `open` found that a person should know.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// Stretches of packs that should hold records and don't.
    pub damage: Vec<Damage>,
    /// Bytes cut from the end of the last pack: a write that a crash interrupted.
    pub torn_bytes: u64,
    /// Entries of the index whose packs are missing or too short; they are marked bad.
    pub lost_blobs: u64,
    /// Records found behind the indexed end and added to the index.
    pub records_added: u64,
    /// Blobs that were marked bad, and verify again.
    pub lifted_blobs: u64,
}

impl OpenReport {
    /// What several leaves found, together.
    pub fn of_all<'a>(reports: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for report in reports {
            all.damage.extend(report.damage.iter().cloned());
            all.torn_bytes += report.torn_bytes;
            all.lost_blobs += report.lost_blobs;
            all.records_added += report.records_added;
            all.lifted_blobs += report.lifted_blobs;
        }
        all
    }
}

impl LeafConfig {
    fn index(&self) -> &Index {
        self.space.index()
    }
}

#[derive(Debug)]
struct Inner {
    config: LeafConfig,
    state: Mutex<State>,
    /// Held by the one flush that runs.
    flushing: Mutex<()>,
    /// Records whose marks were lifted, until the log knows.
    lifted: Mutex<Vec<Cursor>>,
    files: Mutex<LruCache<u64, Arc<dyn DiskFile>>>,
    /// From where on a walk through a pack without a footer is lost, if it is.
    lost_from: Mutex<LruCache<u64, Option<u64>>>,
}

#[derive(Debug, Default)]
struct State {
    appender: Appender,
    /// Entries whose bytes are not synced yet.
    pending: HashMap<BlobId, Entry>,
    /// Entries whose bytes are being synced, or wait for the index.
    flushing: HashMap<BlobId, Entry>,
    /// Readable length of every pack.
    packs: BTreeMap<u64, u64>,
    totals: Totals,
    /// What a failed sync falls back to.
    durable_totals: Totals,
    unflushed_bytes: u64,
    given: Given,
    /// Set when even the way back from a failed sync failed; everything is refused from then on.
    is_broken: bool,
}

/// Sums over a leaf, kept with how far it is indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    blobs: u64,
    blob_bytes: u64,
    dead_bytes: u64,
    records: u64,
    bad_blobs: u64,
}

impl Totals {
    fn encode(&self, indexed: Cursor) -> Vec<u8> {
        let mut w = Writer::default();
        w.varint(indexed.pack).varint(indexed.offset);
        w.varint(self.blobs).varint(self.blob_bytes).varint(self.dead_bytes).varint(self.records);
        w.varint(self.bad_blobs);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<(Cursor, Self), DecodeError> {
        let mut r = Reader::new(bytes);
        let indexed = Cursor { pack: r.varint("pack")?, offset: r.varint("offset")? };
        let totals = Self {
            blobs: r.varint("blobs")?,
            blob_bytes: r.varint("blob bytes")?,
            dead_bytes: r.varint("dead bytes")?,
            records: r.varint("records")?,
            bad_blobs: r.varint("bad blobs")?,
        };
        r.end()?;
        Ok((indexed, totals))
    }
}

impl State {
    /// The entries of these blobs, as far as they wait in memory.
    fn waiting(&self, ids: &[BlobId]) -> Vec<Option<Entry>> {
        let waiting = |id| self.pending.get(id).or_else(|| self.flushing.get(id)).copied();
        ids.iter().map(waiting).collect()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left the maps whole: every change of them is a single insert or take.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.config.dir.join(pack::file_name(number))
    }

    /// A pack file, opened if it isn't open.
    fn file(&self, number: u64) -> Result<Arc<dyn DiskFile>, StoreError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&number) {
            return Ok(file.clone());
        }
        let path = self.path(number);
        let file = self.config.disk.open(&path).map_err(|source| StoreError::io(path.display(), source))?;
        files.put(number, file.clone());
        Ok(file)
    }

    /// So many blobs more are bad, or fewer. The index's sum changes with the marks: it must not wait for a flush, there may
    /// be none. No flush may be under way.
    fn count_bad(&self, state: &mut State, batch: &mut Batch<'_>, change: i64) -> Result<(), StoreError> {
        let (indexed, mut stored) = BlobsFile::load_state(&self.config)?;
        for totals in [&mut stored, &mut state.totals, &mut state.durable_totals] {
            totals.bad_blobs = totals.bad_blobs.saturating_add_signed(change);
        }
        batch.put(Family::State, &keys::leaf(&self.config.name), &stored.encode(indexed));
        Ok(())
    }

    /// The entries of these blobs, bad ones included: pending first, then the index. An entry goes from there to the index
    /// and never back, so whoever only reads may let go of the state between the two.
    fn entries(&self, ids: &[BlobId]) -> Result<Vec<Option<Entry>>, StoreError> {
        let waiting = self.state().waiting(ids);
        self.with_indexed(waiting, ids)
    }

    /// Adds what the index knows to what is known already.
    fn with_indexed(&self, mut entries: Vec<Option<Entry>>, ids: &[BlobId]) -> Result<Vec<Option<Entry>>, StoreError> {
        let unknown: Vec<usize> = (0..ids.len()).filter(|at| entries[*at].is_none()).collect();
        let keys: Vec<&[u8; 20]> = unknown.iter().map(|at| ids[*at].as_bytes()).collect();
        let found = self.config.space.multi_get(&keys)?;
        for (at, value) in unknown.into_iter().zip(found) {
            let entry = value.as_deref().map(Entry::decode).transpose();
            entries[at] = entry.map_err(IndexError::value("a blob's entry"))?;
        }
        Ok(entries)
    }

    fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        let presence = |entry: Option<Entry>| match entry {
            Some(Entry { is_bad: false, digest, len, cursor, .. }) => {
                Presence::Have(Found { digest, len, place: cursor.pack << 32 | cursor.offset })
            }
            _ => Presence::Missing,
        };
        Ok(self.rechecked(ids)?.into_iter().map(presence).collect())
    }

    fn stats(&self) -> StoreStats {
        let read = self.files.lock().unwrap_or_else(PoisonError::into_inner).len();
        let state = self.state();
        let open_files = read as u64 + state.appender.open_files();
        let Totals { blobs, blob_bytes, dead_bytes, records, bad_blobs } = state.totals;
        let stored_bytes = state.packs.values().sum();
        StoreStats { blobs, blob_bytes, dead_bytes, records, stored_bytes, bad_blobs, open_files }
    }
}

impl BlobsFile {
    /// Opens a directory of packs, made if it is missing, and brings the index up to its end. Only bytes behind
    /// what is relied on may be cut. `bad` names the records marked bad.
    pub fn open(config: LeafConfig, relied: Relied, bad: &[Cursor]) -> Result<(Self, OpenReport), StoreError> {
        let inner = Inner {
            config,
            state: Mutex::default(),
            flushing: Mutex::default(),
            lifted: Mutex::default(),
            files: Mutex::new(LruCache::new(packs_max())),
            lost_from: Mutex::new(LruCache::new(packs_max())),
        };
        let mut report = inner.catch_up(relied, bad)?;
        report.lifted_blobs = inner.recheck_at_opening()?;
        Ok((Self { inner: Arc::new(inner) }, report))
    }

    /// Whether a directory holds any pack.
    pub fn holds_packs(disk: &dyn Disk, dir: &Path) -> Result<bool, StoreError> {
        match disk.list(dir) {
            Ok(files) => Ok(files.iter().any(|(name, _)| pack::parse_file_name(name).is_some())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io(dir.display(), error)),
        }
    }

    /// Its marks.
    pub fn marks(&self) -> Marks {
        Marks::new(Arc::downgrade(&self.inner))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        let inner = self.inner.clone();
        let work = move || work(&inner);
        match &self.inner.config.threads {
            None => blocking(work).await,
            Some(threads) => threads.run(work).await,
        }
    }

    /// The indexed end and the totals of a leaf.
    fn load_state(config: &LeafConfig) -> Result<(Cursor, Totals), StoreError> {
        match config.index().get(Family::State, &keys::leaf(&config.name))? {
            Some(bytes) => Ok(Totals::decode(&bytes).map_err(IndexError::value("a leaf's state"))?),
            None => Ok((Cursor { pack: 0, offset: 0 }, Totals::default())),
        }
    }
}

impl fmt::Display for BlobsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blobsfile:{}", self.inner.config.dir.display())
    }
}

#[async_trait]
impl BlobStore for BlobsFile {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        self.run(move |inner| inner.append(&bundle, &label)).await
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        let ids = ids.to_vec();
        self.run(move |inner| inner.find(&ids)).await
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let id = *id;
        self.run(move |inner| inner.read(&id)).await
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        self.run(|inner| inner.flush().map(|durable| vec![durable])).await
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        self.run(move |inner| inner.enumerate(after, max)).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(self.run(Inner::stats).await)
    }
}
