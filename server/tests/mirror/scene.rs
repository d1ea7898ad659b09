//! Mirrors of stores in memory and on disk, whose sides can be taken away.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use datadb::BlobId;
use datadb_server::{
    index::{Index, SharedIndex, space::Space},
    store::mirror::Ack,
    store::{
        BlobStore, SharedStore, StoreError,
        blobsfile::{BLOBS_RESERVE_BYTES, BlobsFile, LeafConfig, Relied},
        disk::RealDisk,
        mirror::{Mirror, MirrorConfig, Opened, SILENCE, SideConfig, Standing},
        pulse::Pulse,
        testing::conformance::{bundle, bytes_of, sample},
        testing::faulty::Faulty,
        testing::memory::MemoryStore,
    },
};

/// How long a side may take until it is as it should be.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A side in memory that fails as told, and can be away when it is opened.
#[derive(Clone)]
pub struct MemorySide {
    pub faulty: Arc<Faulty>,
    pub is_away: Arc<AtomicBool>,
}

impl Default for MemorySide {
    fn default() -> Self {
        Self { faulty: Arc::new(Faulty::new(Arc::new(MemoryStore::default()))), is_away: Arc::default() }
    }
}

impl MemorySide {
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Release);
    }

    pub fn config(&self, name: &str) -> SideConfig {
        let side = self.clone();
        let open = move || {
            let side = side.clone();
            let opened = async move {
                if side.is_away.load(Ordering::Acquire) {
                    return Err(StoreError::Away { place: "memory".into(), what: "it was unplugged".into() });
                }
                Ok(Opened { store: side.faulty, is_hurt: false })
            };
            Box::pin(opened) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>
        };
        SideConfig {
            name: name.into(),
            prints_as: name.into(),
            is_write_only: false,
            is_local: name.starts_with("local"),
            pulse: Pulse::default(),
            open: Arc::new(open),
        }
    }
}

/// A mirror, and all that it must be given again to be opened again.
pub struct Scene {
    pub sides: Vec<(String, MemorySide)>,
    pub ack: Ack,
    pub index: SharedIndex,
    _dir: tempfile::TempDir,
}

impl Scene {
    pub fn new(names: &[&str], ack: Ack) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Arc::new(Index::open(dir.path()).unwrap());
        let sides = names.iter().map(|name| ((*name).to_owned(), MemorySide::default())).collect();
        Self { sides, ack, index, _dir: dir }
    }

    pub fn side(&self, at: usize) -> &MemorySide {
        &self.sides[at].1
    }

    pub fn config(&self) -> MirrorConfig {
        MirrorConfig {
            ack: self.ack,
            sides: self.sides.iter().map(|(name, side)| side.config(name)).collect(),
            index: self.index.clone(),
            settle: None,
            needs_all_that_counts: true,
            kin: None,
            silence: SILENCE,
        }
    }

    pub async fn open(&self) -> Result<Mirror, StoreError> {
        Mirror::open(self.config()).await
    }
}

/// A leaf on disk.
pub fn leaf(index: &SharedIndex, name: &str, dir: &Path) -> (BlobsFile, bool) {
    let space = Space::of(index, name).unwrap();
    let config = LeafConfig {
        name: name.to_owned(),
        dir: dir.to_owned(),
        disk: Arc::new(RealDisk),
        space,
        pack_bytes: 1 << 20,
        reserve_bytes: BLOBS_RESERVE_BYTES,
        is_sealed_by_flush: false,
        threads: None,
    };
    let (leaf, report) = BlobsFile::open(config, Relied::Index, &[]).unwrap();
    (leaf, report.lost_blobs > 0)
}

/// A side in a directory.
pub fn disk_side(index: &SharedIndex, name: &str, dir: &Path) -> SideConfig {
    let (index, own_name, dir) = (index.clone(), name.to_owned(), dir.to_owned());
    let open = move || {
        let (store, is_hurt) = leaf(&index, &own_name, &dir);
        let opened = async move { Ok(Opened { store: Arc::new(store) as SharedStore, is_hurt }) };
        Box::pin(opened) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>
    };
    SideConfig {
        name: name.into(),
        prints_as: name.into(),
        is_write_only: false,
        is_local: true,
        pulse: Pulse::default(),
        open: Arc::new(open),
    }
}

pub async fn put(store: &dyn BlobStore, seed: u64) -> Result<Bytes, StoreError> {
    let blob = sample(seed, 500);
    store.put(bundle(std::slice::from_ref(&blob)), Bytes::from("label")).await?;
    Ok(blob)
}

#[track_caller]
pub fn assert_same(stored: Option<datadb_server::store::Stored>, blob: &Bytes) {
    let stored = stored.expect("the blob is there");
    assert_eq!(bytes_of(&stored, &BlobId::of(blob)).as_ref(), Some(blob));
    assert_eq!(stored.label, "label");
}

pub async fn standing(mirror: &Mirror, at: usize) -> Standing {
    mirror.status().await.sides[at].standing
}

/// Waits until a side stands like this.
pub async fn wait_for(mirror: &Mirror, at: usize, wanted: Standing) {
    let deadline = Instant::now() + PATIENCE;
    while standing(mirror, at).await != wanted {
        assert!(Instant::now() < deadline, "{:?}", mirror.status().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
