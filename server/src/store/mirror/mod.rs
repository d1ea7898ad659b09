//! Mirror: the same bundles on several sides.
//!
//! A side is *level* when it has all that counts; then it takes every write, in parallel with the others. A side that
//! fails, or that was away, is *behind* until its task (see `tend`) has copied to it what it lacks: from a checkpoint in the
//! enumeration of each other side, kept in the index (`checkpoints`), so that nothing is queued in memory. `ack` says how many
//! sides must be level for a write to be begun, and how many must be durable for a flush to count.
//! Reads come from the first level side in the config's order; what it lost comes from the next and is put there again.
//!
//! A side that hangs is away as soon as that is certain, and nobody waits for it any longer (`watch`).
//!
//! Places and cursors name their side in their lowest four bits, see `tag`.

mod checkpoints;
mod heal;
mod pull;
mod put;
mod read;
mod side;
mod status;
mod tag;
mod tend;
mod watch;

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{BlobId, Bundle};
use tokio::{
    sync::{Notify, RwLock},
    task::{JoinHandle, JoinSet},
};

use self::{checkpoints::Checkpoints, side::Side};
pub use self::{
    pull::{Alone, Kin},
    side::{Opened, Opener, Opening, SideConfig, Standing},
    status::{MirrorStatus, SideStatus},
    watch::SILENCE,
};
use super::{BlobStore, Cursor, Durable, Item, Presence, Put, SharedStore, StoreError, StoreStats, Stored, to_the_end};
use crate::index::SharedIndex;

/// How long a write waits for sides that are about to be level.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a write to a mirror counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// When all sides have it.
    All,
    /// When so many sides that may be read have it.
    Sides(usize),
    /// When all sides on this machine's own disks have it.
    Local,
}

/// How to open a mirror.
pub struct MirrorConfig {
    /// When a write counts.
    pub ack: Ack,
    /// The sides, in the order in which they are read.
    pub sides: Vec<SideConfig>,
    /// Where the checkpoints are kept.
    pub index: SharedIndex,
    /// For how long sides are brought level before anything is answered; the rest is done meanwhile. `None`: to the end.
    pub settle: Option<Duration>,
    /// Whether so many sides must answer that nothing that counts can be missed.
    pub needs_all_that_counts: bool,
    /// Tells records of two sides apart that must never meet.
    pub kin: Option<Arc<dyn Kin>>,
    /// A side hangs when a call to its medium has not returned for so long; [`SILENCE`] but for tests.
    pub silence: Duration,
}

/// Several sides. See the module. Clones are the same mirror.
#[derive(Clone, Debug)]
pub struct Mirror {
    inner: Arc<Inner>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

struct Inner {
    ack: Ack,
    sides: Vec<Side>,
    checkpoints: Checkpoints,
    kin: Option<Arc<dyn Kin>>,
    /// Puts hold it for reading; who changes which sides are level, or notes how far they are, for writing.
    gate: RwLock<()>,
    /// Held by the one flush that runs.
    flushing: tokio::sync::Mutex<()>,
    /// A side's standing has changed.
    changed: Notify,
    /// Blobs that a side lacks and another has; bounded by `heal::OWED_MAX`.
    owed: Mutex<HashSet<(usize, BlobId)>>,
    /// Damaged records that were met, for the log; bounded by `heal::DAMAGED_MAX`.
    damaged: Mutex<Vec<(String, Cursor)>>,
    is_stopping: AtomicBool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("ack", &self.ack).field("sides", &self.sides).finish_non_exhaustive()
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.sides.iter().map(|side| &*side.config.prints_as).collect();
        write!(f, "mirror({})", names.join(", "))
    }
}

impl Mirror {
    /// Opens all sides, brings them level as far as there is time, and starts the tasks that do the rest.
    ///
    /// # Errors
    /// If too few sides answer, naming those that don't; or if two sides hold histories that must not meet.
    pub async fn open(config: MirrorConfig) -> Result<Self, StoreError> {
        let names = config.sides.iter().map(|side| side.name.clone()).collect();
        let checkpoints = Checkpoints::load(config.index, names).await?;
        let inner = Arc::new(Inner {
            ack: config.ack,
            sides: config.sides.into_iter().map(|side| Side::new(side, config.silence)).collect(),
            checkpoints,
            kin: config.kin,
            gate: RwLock::default(),
            flushing: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            owed: Mutex::default(),
            damaged: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        });
        let mut opening = JoinSet::new();
        for at in 0..inner.sides.len() {
            let inner = inner.clone();
            opening.spawn(async move { inner.revive(at).await });
        }
        for opened in opening.join_all().await {
            // No waiting helps: somebody has to change something.
            if let Err(error @ (StoreError::WrongKey { .. } | StoreError::Newer { .. })) = opened {
                return Err(error);
            }
        }
        inner.check_answers(config.needs_all_that_counts)?;
        inner.settle(config.settle).await?;
        inner.check_answers(config.needs_all_that_counts)?;
        let tasks = (0..inner.sides.len()).map(|at| tokio::spawn(tend::tend(Arc::downgrade(&inner), at))).collect();
        Ok(Self { inner, tasks: Arc::new(Mutex::new(tasks)) })
    }

    /// Ends the tasks, and makes durable what was healed, on every side that can be reached.
    pub async fn stop(&self) {
        self.inner.is_stopping.store(true, Ordering::Release);
        self.inner.sides.iter().for_each(|side| side.wake.notify_one());
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(mirror = %self.inner, %error, "a task of the mirror ended badly");
            }
        }
        let sides = self.inner.open_sides(|_, _| true);
        for (at, answer) in put::on_all(sides, |store| async move { store.flush().await }).await {
            if let Err(error) = answer {
                tracing::error!(side = %self.inner.sides[at], %error, "the last flush failed");
            }
        }
    }

    /// The sides that are relied on: level ones that may be read, by their names.
    pub fn level_stores(&self) -> Vec<(String, SharedStore)> {
        let level = self.inner.readable().into_iter().filter(|(.., is_level)| *is_level);
        level.map(|(at, store, _)| (self.inner.sides[at].to_string(), store)).collect()
    }

    /// How the sides are.
    pub async fn status(&self) -> MirrorStatus {
        self.inner.status().await
    }

    /// Leaf and place of each damaged record that was met since the last call, so that the log can tell a rebuild.
    pub fn take_damaged(&self) -> Vec<(String, Cursor)> {
        std::mem::take(&mut *self.inner.damaged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Compares all sides from the front, copies what any of them lacks, and with `is_thorough` reads every record of
    /// every side before that, so that damage nobody met is found. Tells what it does.
    ///
    /// # Errors
    /// If a side is away, or something could not be copied.
    pub async fn heal(&self, is_thorough: bool, progress: &mut (dyn FnMut(&str) + Send)) -> Result<(), StoreError> {
        self.inner.heal_all(is_thorough, progress).await
    }
}

impl Inner {
    /// The sides that can be asked, of these standings, in the config's order.
    fn open_sides(&self, which: impl Fn(&Side, Standing) -> bool) -> Vec<(usize, SharedStore)> {
        let open = |(at, side): (usize, &Side)| {
            let (standing, store) = side.now();
            store.filter(|_| standing != Standing::Away && which(side, standing)).map(|store| (at, store))
        };
        self.sides.iter().enumerate().filter_map(open).collect()
    }

    /// Level sides.
    fn level(&self) -> Vec<(usize, SharedStore)> {
        self.open_sides(|_, standing| standing == Standing::Level)
    }

    /// Sides that may be read: level ones first, else in the config's order; and whether each is level.
    fn readable(&self) -> Vec<(usize, SharedStore, bool)> {
        let of = |wanted: Standing| {
            let sides = self.open_sides(move |side, standing| standing == wanted && !side.config.is_write_only);
            sides.into_iter().map(move |(at, store)| (at, store, wanted == Standing::Level))
        };
        of(Standing::Level).chain(of(Standing::Behind)).collect()
    }

    /// Whether a side that may be read can't be asked now.
    fn lacks_readable(&self) -> bool {
        self.sides.iter().any(|side| !side.config.is_write_only && side.now().0 == Standing::Away)
    }

    /// Whether a write counts that these sides have.
    fn is_met(&self, has: impl Fn(usize) -> bool) -> bool {
        let mut sides = self.sides.iter().enumerate();
        match self.ack {
            Ack::All => sides.all(|(at, _)| has(at)),
            Ack::Sides(number) => sides.filter(|(at, side)| !side.config.is_write_only && has(*at)).count() >= number,
            Ack::Local => sides.filter(|(_, side)| side.is_needed_locally()).all(|(at, _)| has(at)),
        }
    }

    /// Whether sides that answer have, together, all that counts.
    fn is_enough_to_read(&self, answers: impl Fn(usize) -> bool) -> bool {
        let mut sides = self.sides.iter().enumerate().filter(|(_, side)| !side.config.is_write_only);
        match self.ack {
            Ack::All => sides.any(|(at, _)| answers(at)),
            Ack::Sides(number) => sides.filter(|(at, _)| !answers(*at)).count() < number,
            Ack::Local => sides.any(|(at, side)| side.is_needed_locally() && answers(at)),
        }
    }

    fn check_answers(&self, needs_all_that_counts: bool) -> Result<(), StoreError> {
        let answers = |at: usize| self.sides[at].now().0 != Standing::Away;
        let is_enough = match needs_all_that_counts {
            true => self.is_enough_to_read(answers),
            false => (0..self.sides.len()).any(|at| !self.sides[at].config.is_write_only && answers(at)),
        };
        if is_enough {
            return Ok(());
        }
        Err(self.away("too few sides answer to know all that was committed"))
    }

    /// Names every side that is not level, and why.
    fn away(&self, what: &str) -> StoreError {
        let lacking = self.sides.iter().filter(|side| side.now().0 != Standing::Level);
        let lacking: Vec<String> = lacking.map(Side::trouble_line).collect();
        StoreError::Away { place: self.to_string(), what: format!("{what}: {}", lacking.join("; ")) }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

#[async_trait]
impl BlobStore for Mirror {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        to_the_end(self.inner.clone().put(bundle, label)).await
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        self.inner.find(ids).await
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        to_the_end(self.inner.clone().get(*id)).await
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        to_the_end(self.inner.clone().flush()).await
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        self.inner.enumerate(after, max).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.inner.stats().await
    }
}
