//! The stack: one fold over the config's tree builds the stores, bottom up.
//!
//! Each leaf is counted, each store that keeps entries in the index has a part of its own there, by a name that stays the
//! same: what it prints itself as, with paths as they are configured. The data directory's own `blobs` and `meta` keep the
//! names they have without a config, `blobs` and `log`, so that an existing repository can become a side of a mirror.

pub mod proof;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::proof::{Place, Proof, Seen};
use crate::store::{
    Cursor, SharedStore, StoreError,
    blobsfile::{BLOBS_RESERVE_BYTES, BlobsFile, LOG_RESERVE_BYTES, LeafConfig, OpenReport, Relied, recheck::Marks},
    blocking,
    counted::{Backend, Counted},
    disk::Disk,
    encrypt::{Encrypt, key::Keys},
    in_place::InPlace,
    mirror::{Ack, Kin, Mirror, MirrorConfig, Opened, Opener, SideConfig},
    pulse::Pulse,
    s3::{self, CredentialsSource, Requests, S3Config},
    threads::Threads,
};
use crate::{
    config::{self, KeySource, Tree},
    index::{SharedIndex, space::Space},
    record::{Body, LEAF_BYTES_MAX, Record},
};

/// Below the data directory: packs on their way to a store that takes whole objects, a directory a leaf.
const STAGING: &str = "staging";

/// Characters of a leaf's name in the name of its directory.
const STAGING_NAME_MAX: usize = 64;

/// Where a stack stands.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The data directory.
    pub root: PathBuf,
    /// The file layer.
    pub disk: Arc<dyn Disk>,
    /// A pack is sealed when it has reached this length.
    pub pack_bytes: u64,
    /// The index.
    pub index: SharedIndex,
    /// What the stack keeps.
    pub room: Room,
    /// Why it is opened.
    pub purpose: Purpose,
    /// A side of a mirror hangs when a call to its medium has not returned for so long.
    pub silence: Duration,
}

/// What a stack keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Blobs.
    Blobs,
    /// The log, below the blobs' places or in places of its own.
    Log {
        /// Whether the config has a tree for it.
        has_own_tree: bool,
    },
}

impl Room {
    /// Bytes that its leaves leave free on their disks.
    const fn reserve_bytes(self) -> u64 {
        match self {
            Self::Blobs => BLOBS_RESERVE_BYTES,
            Self::Log { .. } => LOG_RESERVE_BYTES,
        }
    }
}

/// Why a stack is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve.
    Serve,
    /// To fill an empty index.
    Rebuild,
    /// To make all sides whole.
    Heal,
}

/// What the log says of the leaves.
#[derive(Debug, Default)]
pub struct Recorded {
    /// How far each leaf is durable.
    pub durable: HashMap<String, Cursor>,
    /// Records that failed verification, and did not verify again since.
    pub bad: HashMap<String, HashSet<Cursor>>,
}

impl Recorded {
    /// Takes note of what a record says.
    pub fn note(&mut self, record: &Record) {
        for one in &record.durable {
            let end = self.durable.entry(one.leaf.clone()).or_insert(one.end);
            *end = (*end).max(one.end);
        }
        for entry in &record.entries {
            match entry {
                Body::Bad(copies) => copies.iter().for_each(|copy| {
                    self.bad.entry(copy.leaf.clone()).or_default().insert(copy.cursor);
                }),
                Body::Good(copies) => copies.iter().for_each(|copy| {
                    if let Some(bad) = self.bad.get_mut(&copy.leaf) {
                        bad.remove(&copy.cursor);
                    }
                }),
                _ => {}
            }
        }
    }
}

/// A leaf's name and what opening it found.
pub type LeafReport = (String, OpenReport);

/// A stack that is open.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its top.
    pub store: SharedStore,
    parts: Arc<Parts>,
}

/// What can be looked at in a stack. A leaf that is opened again takes its old place.
#[derive(Debug, Default)]
struct Parts {
    backends: Mutex<Vec<Backend>>,
    mirrors: Mutex<Vec<Mirror>>,
    reports: Mutex<Vec<LeafReport>>,
    marks: Mutex<HashMap<String, Marks>>,
    /// Of each leaf: one that is opened again goes on with those it had.
    threads: Mutex<HashMap<String, Threads>>,
    proofs: Mutex<Proofs>,
}

/// What is to be noted of the directories, until the stack is accepted; after that it is noted at once.
#[derive(Debug, Default)]
struct Proofs {
    is_accepted: bool,
    waiting: Vec<Proof>,
}

/// What a tree became.
struct Built {
    store: SharedStore,
    is_hurt: bool,
}

type Building = Pin<Box<dyn Future<Output = Result<Built, StoreError>> + Send>>;

/// What every step of the fold needs.
struct Builder {
    ground: Ground,
    recorded: Recorded,
    settle: Option<Duration>,
    kin: Option<Arc<dyn Kin>>,
    parts: Arc<Parts>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stack {
    /// Opens the stores of a tree. `settle` says for how long mirrors are brought level first (`None`: to the end), `kin`
    /// which records must not meet in one.
    pub async fn open(
        tree: &Tree,
        ground: Ground,
        recorded: Recorded,
        settle: Option<Duration>,
        kin: Option<Arc<dyn Kin>>,
    ) -> Result<Self, StoreError> {
        check_keys(tree, &ground.root)?;
        let parts = Arc::<Parts>::default();
        let builder = Arc::new(Builder { ground, recorded, settle, kin, parts: parts.clone() });
        match build(builder, tree.clone(), None).await {
            Ok(built) => Ok(Self { store: built.store, parts }),
            Err(error) => {
                stop(&parts).await;
                Err(error)
            }
        }
    }

    /// The leaves, each by itself.
    pub fn backends(&self) -> Vec<Backend> {
        lock(&self.parts.backends).clone()
    }

    /// The mirrors, inner ones first.
    pub fn mirrors(&self) -> Vec<Mirror> {
        lock(&self.parts.mirrors).clone()
    }

    /// Damaged records that mirrors met and made up for since the last call.
    pub fn take_damaged(&self) -> Vec<(String, Cursor)> {
        lock(&self.parts.mirrors).iter().flat_map(Mirror::take_damaged).collect()
    }

    /// Records of the leaves whose marks were lifted since the last call.
    pub fn take_lifted(&self) -> Vec<(String, Cursor)> {
        let marks = lock(&self.parts.marks).clone();
        let of_leaf =
            |(leaf, marks): (String, Marks)| marks.take_lifted().into_iter().map(move |cursor| (leaf.clone(), cursor));
        marks.into_iter().flat_map(of_leaf).collect()
    }

    /// Reads every record that is marked bad again, and gives the number of blobs that count again.
    pub async fn recheck(&self) -> Result<u64, StoreError> {
        let marks: Vec<Marks> = lock(&self.parts.marks).values().cloned().collect();
        blocking(move || marks.iter().try_fold(0, |sum, marks| Ok(sum + marks.recheck()?))).await
    }

    /// Directories that nothing proves to be what they were: new ones, and those of sides that lost everything.
    pub fn unproven(&self) -> Vec<PathBuf> {
        lock(&self.parts.proofs).waiting.iter().filter(|proof| proof.is_new()).map(|proof| proof.dir.clone()).collect()
    }

    /// From now on its directories are those that are known by their names. To be called when it is certain that the stack
    /// is the right one.
    pub async fn accept(&self) -> Result<(), StoreError> {
        let parts = self.parts.clone();
        blocking(move || {
            let mut proofs = lock(&parts.proofs);
            proofs.waiting.iter().try_for_each(Proof::write)?;
            proofs.waiting.clear();
            proofs.is_accepted = true;
            Ok(())
        })
        .await
    }

    /// What opening the leaves found.
    pub fn take_reports(&self) -> Vec<LeafReport> {
        std::mem::take(&mut *lock(&self.parts.reports))
    }

    /// Ends what goes on in the background, makes durable what it did, and lets go of the parts.
    pub async fn stop(&self) {
        stop(&self.parts).await;
    }
}

async fn stop(parts: &Parts) {
    let mirrors = std::mem::take(&mut *lock(&parts.mirrors));
    // Outer mirrors write to inner ones.
    for mirror in mirrors.iter().rev() {
        mirror.stop().await;
    }
    // Mirrors know how to open leaves again, and so hold the parts that hold them.
    lock(&parts.backends).clear();
    lock(&parts.proofs).waiting.clear();
}

/// The directories of packs on this machine that a tree needs.
pub fn local_dirs(tree: &Tree, root: &Path, room: Room) -> Vec<PathBuf> {
    places(tree, root, room).into_iter().map(|place| place.packs).collect()
}

/// The same, with what is to be known of each.
pub fn places(tree: &Tree, root: &Path, room: Room) -> Vec<Place> {
    match tree {
        Tree::BlobsFile { path } => vec![place_of(root, path, room, false)],
        Tree::S3(_) => Vec::new(),
        Tree::Encrypt { inner, .. } => places(inner, root, room),
        Tree::Mirror { sides, .. } => {
            let of_sides = sides.iter().flat_map(|side| places(&side.tree, root, room));
            of_sides.map(|place| Place { is_side: true, ..place }).collect()
        }
    }
}

/// A log that lies below the blobs is in the place that they have; beside the data directory's own blobs it has one.
fn place_of(root: &Path, path: &Path, room: Room, is_side: bool) -> Place {
    let packs = packs_dir(root, path, room);
    let is_below = matches!(room, Room::Log { has_own_tree: false }) && !is_own(path, "blobs");
    let is_beside = matches!(room, Room::Log { has_own_tree: false }) && is_own(path, "blobs");
    let name = format!("blobsfile:{}", if is_beside { Path::new("meta") } else { path }.display());
    let dir = if is_below { root.join(path) } else { packs.clone() };
    let leaf = name_of(&Tree::BlobsFile { path: path.to_owned() }, room);
    Place { name, dir, packs, leaf, is_relative: path.is_relative(), is_side }
}

/// Whether it is the data directory's own directory of this name.
fn is_own(path: &Path, name: &str) -> bool {
    path.components().eq(Path::new(name).components())
}

fn packs_dir(root: &Path, path: &Path, room: Room) -> PathBuf {
    match room {
        Room::Log { has_own_tree: false } if is_own(path, "blobs") => root.join("meta"),
        Room::Log { has_own_tree: false } => root.join(path).join("meta"),
        Room::Blobs | Room::Log { .. } => root.join(path),
    }
}

/// The log lies below the blobs, unless it has a tree of its own.
fn in_room(s3: &S3Config, room: Room) -> S3Config {
    match room {
        Room::Log { has_own_tree: false } => s3.below("meta"),
        Room::Blobs | Room::Log { .. } => s3.clone(),
    }
}

/// The name of a store within its stack.
pub fn name_of(tree: &Tree, room: Room) -> String {
    match tree {
        Tree::BlobsFile { path } => match room {
            Room::Blobs if is_own(path, "blobs") => "blobs".into(),
            Room::Log { has_own_tree: false } if is_own(path, "blobs") => "log".into(),
            Room::Log { has_own_tree: true } if is_own(path, "meta") => "log".into(),
            Room::Log { has_own_tree: false } => format!("blobsfile:{}/meta/", path.display()),
            Room::Blobs | Room::Log { .. } => format!("blobsfile:{}", path.display()),
        },
        Tree::S3(s3) => in_room(s3, room).to_string(),
        Tree::Encrypt { inner, .. } => format!("encrypt({})", name_of(inner, room)),
        Tree::Mirror { sides, .. } => {
            let names: Vec<String> = sides.iter().map(|side| name_of(&side.tree, room)).collect();
            format!("mirror({})", names.join(", "))
        }
    }
}

/// What a stack prints itself as, without opening it.
pub fn prints_as(tree: &Tree, root: &Path, room: Room) -> String {
    match tree {
        Tree::BlobsFile { path } => format!("blobsfile:{}", packs_dir(root, path, room).display()),
        Tree::S3(_) => name_of(tree, room),
        Tree::Encrypt { inner, .. } => format!("encrypt({})", prints_as(inner, root, room)),
        Tree::Mirror { sides, .. } => {
            let sides: Vec<String> = sides.iter().map(|side| prints_as(&side.tree, root, room)).collect();
            format!("mirror({})", sides.join(", "))
        }
    }
}

/// The fold. A side of a mirror has a pulse, and is looked at before it is opened. That of a bucket is never silent: its
/// requests have time-outs of their own.
fn build(builder: Arc<Builder>, tree: Tree, pulse: Option<Pulse>) -> Building {
    Box::pin(async move {
        match tree {
            Tree::BlobsFile { path } => builder.blobsfile(path, pulse).await,
            Tree::S3(s3) => builder.s3(*s3).await,
            Tree::Encrypt { keys, inner } => builder.clone().encrypt(keys, *inner, pulse).await,
            Tree::Mirror { ack, sides } => builder.mirror(ack, sides).await,
        }
    })
}

/// Loads the keys of every encryption in a tree, so that one that is missing is found before anything is opened.
pub fn check_keys(tree: &Tree, root: &Path) -> Result<(), StoreError> {
    match tree {
        Tree::BlobsFile { .. } | Tree::S3(_) => Ok(()),
        Tree::Encrypt { keys, inner } => load_keys(keys, root).and_then(|_| check_keys(inner, root)),
        Tree::Mirror { sides, .. } => sides.iter().try_for_each(|side| check_keys(&side.tree, root)),
    }
}

/// Relative paths are below the data directory.
fn load_keys(sources: &[KeySource], root: &Path) -> Result<Keys, StoreError> {
    let absolute = |source: &KeySource| match source {
        KeySource::File(path) => KeySource::File(root.join(path)),
        other => other.clone(),
    };
    let sources: Vec<KeySource> = sources.iter().map(absolute).collect();
    Keys::load(&sources).map_err(|error| StoreError::Inconsistent { place: "encrypt".into(), what: error.to_string() })
}

/// With the files of its keys below the data directory, where they are relative.
pub fn absolute(s3: S3Config, root: &Path) -> S3Config {
    match s3.credentials {
        CredentialsSource::Files { access_key, secret_key } => {
            let credentials =
                CredentialsSource::Files { access_key: root.join(access_key), secret_key: root.join(secret_key) };
            S3Config { credentials, ..s3 }
        }
        CredentialsSource::Chain { .. } => s3,
    }
}

/// A name as a file name: letters, digits, dots and hyphens as they are, anything else as an underscore, and some digits
/// that tell two names apart.
fn dir_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
    let digest = blake3::hash(name.as_bytes()).to_hex();
    let shown: String = name.chars().map(plain).take(STAGING_NAME_MAX).collect();
    format!("{shown}-{}", &digest[..8])
}

impl Builder {
    /// Counts a leaf, and keeps what is told of it.
    fn leaf(
        &self,
        kind: &'static str,
        name: String,
        store: SharedStore,
        report: OpenReport,
        requests: Option<Arc<Requests>>,
    ) -> SharedStore {
        let mut backends = lock(&self.parts.backends);
        let known = backends.iter_mut().find(|backend| backend.name == store.to_string());
        let (counted, mut backend) = Counted::around(kind, store, known.as_ref().map(|known| known.traffic.clone()));
        if let Some(requests) = requests {
            backend = backend.with_requests(requests);
        }
        match known {
            Some(known) => *known = backend,
            None => backends.push(backend),
        }
        lock(&self.parts.reports).push((name, report));
        counted
    }

    /// The threads of a leaf.
    fn threads(&self, name: &str) -> Result<Threads, StoreError> {
        let mut threads = lock(&self.parts.threads);
        if let Some(threads) = threads.get(name) {
            return Ok(threads.clone());
        }
        let new = Threads::of_leaf().map_err(|source| StoreError::io(name, source))?;
        threads.insert(name.to_owned(), new.clone());
        Ok(new)
    }

    fn relied(&self, name: &str) -> Relied {
        match (self.ground.room, self.ground.purpose) {
            // Each record of a log is durable before the next is written, so that only the last can be torn.
            (Room::Log { .. }, _) => Relied::Unknown,
            _ => self.recorded.durable.get(name).map_or(Relied::Index, |end| Relied::UpTo(*end)),
        }
    }

    /// Records of a leaf that the log calls bad.
    fn bad(&self, name: &str) -> Vec<Cursor> {
        self.recorded.bad.get(name).into_iter().flatten().copied().collect()
    }

    fn checked_name(&self, tree: &Tree) -> Result<String, StoreError> {
        let name = name_of(tree, self.ground.room);
        if name.len() <= LEAF_BYTES_MAX {
            return Ok(name);
        }
        let what =
            format!("its name has more than {LEAF_BYTES_MAX} bytes, which the log can't hold: use a shorter path");
        Err(StoreError::Inconsistent { place: name, what })
    }

    /// The side of a mirror has a pulse.
    async fn blobsfile(&self, path: PathBuf, pulse: Option<Pulse>) -> Result<Built, StoreError> {
        let mut ground = self.ground.clone();
        let name = self.checked_name(&Tree::BlobsFile { path: path.clone() })?;
        let (relied, bad) = (self.relied(&name), self.bad(&name));
        let place = place_of(&ground.root, &path, ground.room, pulse.is_some());
        if let Some(pulse) = pulse {
            ground.disk = pulse.of_disk(ground.disk);
        }
        let threads = self.threads(&name)?;
        let own_threads = threads.clone();
        let opening = threads.run(move || {
            let looked = proof::look(&ground, &place)?;
            let Ground { disk, pack_bytes, index, room, .. } = ground;
            let space = Space::of(&index, &place.leaf)?;
            let config = LeafConfig {
                name: place.leaf,
                dir: place.packs.clone(),
                disk: disk.clone(),
                space,
                pack_bytes,
                reserve_bytes: room.reserve_bytes(),
                is_sealed_by_flush: false,
                threads: Some(own_threads.clone()),
            };
            let (leaf, report) = BlobsFile::open(config, relied, &bad)?;
            let marks = leaf.marks();
            let leaf: SharedStore = Arc::new(InPlace::around(Arc::new(leaf), disk, &place.packs, own_threads)?);
            Ok::<_, StoreError>((leaf, marks, looked, report))
        });
        let (store, marks, (seen, proof), report) = opening.await?;
        self.note(proof).await?;
        let bad_blobs = store.stats().await?.bad_blobs;
        let is_hurt = seen == Seen::Wiped || report.lost_blobs > 0 || bad_blobs > 0;
        lock(&self.parts.marks).insert(name.clone(), marks);
        Ok(Built { store: self.leaf("blobsfile", name, store, report, None), is_hurt })
    }

    /// Notes what proves a directory, at once or when the stack is accepted.
    async fn note(&self, proof: Proof) -> Result<(), StoreError> {
        let parts = self.parts.clone();
        blocking(move || {
            let mut proofs = lock(&parts.proofs);
            if proofs.is_accepted {
                return proof.write();
            }
            proofs.waiting.retain(|waiting| waiting.dir != proof.dir);
            proofs.waiting.push(proof);
            Ok(())
        })
        .await
    }

    async fn s3(&self, s3: S3Config) -> Result<Built, StoreError> {
        let Ground { root, index, room, .. } = self.ground.clone();
        let name = self.checked_name(&Tree::S3(Box::new(s3.clone())))?;
        let (relied, bad) = (self.relied(&name), self.bad(&name));
        let (leaf_name, threads) = (name.clone(), self.threads(&name)?);
        let opening = threads.run(move || {
            let space = Space::of(&index, &leaf_name)?;
            let staging = root.join(STAGING).join(dir_name(&leaf_name));
            s3::open(in_room(&absolute(s3, &root), room), space, leaf_name, relied, &bad, &staging)
        });
        let (store, report) = opening.await?;
        let requests = store.requests().clone();
        lock(&self.parts.marks).insert(name.clone(), store.marks());
        let store: SharedStore = Arc::new(store);
        let is_hurt = report.lost_blobs > 0 || store.stats().await?.bad_blobs > 0;
        let leaf = self.leaf("s3", name, store, report, Some(requests));
        Ok(Built { store: leaf, is_hurt })
    }

    async fn encrypt(
        self: Arc<Self>,
        keys: Vec<KeySource>,
        inner: Tree,
        pulse: Option<Pulse>,
    ) -> Result<Built, StoreError> {
        let name = format!("encrypt({})", name_of(&inner, self.ground.room));
        let keys = load_keys(&keys, &self.ground.root)?;
        let Built { store: inner, is_hurt } = build(self.clone(), inner, pulse).await?;
        let (index, space_name) = (self.ground.index.clone(), name.clone());
        let space = blocking(move || Space::of(&index, &space_name)).await?;
        let (store, report) = Encrypt::open(inner, keys, space, &name).await?;
        let is_hurt = is_hurt || !report.damage.is_empty();
        let store: SharedStore = Arc::new(store);
        Ok(Built { store, is_hurt })
    }

    async fn mirror(self: Arc<Self>, ack: Ack, sides: Vec<config::Side>) -> Result<Built, StoreError> {
        let Ground { root, room, index, .. } = self.ground.clone();
        let sides = sides.into_iter().map(|side| {
            let pulse = Pulse::default();
            SideConfig {
                name: name_of(&side.tree, room),
                prints_as: prints_as(&side.tree, &root, room),
                is_write_only: side.is_write_only,
                is_local: side.tree.is_local(),
                pulse: pulse.clone(),
                open: self.clone().opener(side.tree, pulse),
            }
        });
        let mirror = Mirror::open(MirrorConfig {
            ack,
            sides: sides.collect(),
            index,
            settle: self.settle,
            needs_all_that_counts: room != Room::Blobs,
            kin: self.kin.clone(),
            silence: self.ground.silence,
        })
        .await?;
        lock(&self.parts.mirrors).push(mirror.clone());
        Ok(Built { store: Arc::new(mirror), is_hurt: false })
    }

    fn opener(self: Arc<Self>, tree: Tree, pulse: Pulse) -> Opener {
        Arc::new(move || {
            let building = build(self.clone(), tree.clone(), Some(pulse.clone()));
            Box::pin(async move {
                let Built { store, is_hurt } = building.await?;
                Ok(Opened { store, is_hurt })
            })
        })
    }
}
