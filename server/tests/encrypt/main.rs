//! Encrypt keeps every promise of a store around any other, tells its keeper nothing, and believes its keeper nothing.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod damage;
mod durable;
mod forged;
mod keys;
mod secret;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use datadb::BlobId;
use datadb_server::{
    index::{Index, SharedIndex, space::Space},
    store::{
        BlobStore, Cursor, SharedStore, StoreError,
        blobsfile::{BLOBS_RESERVE_BYTES, BlobsFile, LeafConfig, OpenReport, Relied},
        encrypt::{
            Encrypt, EncryptReport,
            key::{Key, KeySource, Keys},
        },
        testing::conformance::{bundle, bytes_of, check},
        testing::faulty::{Fault, Faulty},
        testing::memory::MemoryStore,
        testing::power_cut::CutDisk,
    },
};
use tempfile::TempDir;

/// Keys of these bytes, from files as a server would load them.
fn keys(bytes: &[u8]) -> Keys {
    let dir = tempfile::tempdir().unwrap();
    let source = |byte: &u8| {
        let path = dir.path().join(byte.to_string());
        Key::new([*byte; 32].into()).write(&path).unwrap();
        KeySource::File(path)
    };
    Keys::load(&bytes.iter().map(source).collect::<Vec<_>>()).unwrap()
}

/// An index in a directory of its own.
struct Place {
    dir: TempDir,
    index: SharedIndex,
}

impl Place {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    fn of(dir: TempDir) -> Self {
        let index = Arc::new(Index::open(dir.path()).unwrap());
        Self { dir, index }
    }

    /// The same index as the next start finds it, whoever still holds this one.
    fn copy(&self) -> Self {
        self.index.sync().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        Self::of(dir)
    }
}

/// Packs on this disk.
fn leaf(place: &Place, disk: &CutDisk, relied: Relied, bad: &[Cursor]) -> (SharedStore, OpenReport) {
    let space = Space::of(&place.index, "blobs").unwrap();
    let (name, dir, disk) = ("blobs".to_owned(), PathBuf::from("packs"), Arc::new(disk.clone()));
    let config = LeafConfig {
        name,
        dir,
        disk,
        space,
        pack_bytes: 1 << 20,
        reserve_bytes: BLOBS_RESERVE_BYTES,
        is_sealed_by_flush: false,
        threads: None,
    };
    let (leaf, report) = BlobsFile::open(config, relied, bad).unwrap();
    (Arc::new(leaf), report)
}

async fn try_encrypt(
    place: &Place,
    inner: SharedStore,
    key_bytes: &[u8],
) -> Result<(Arc<Encrypt>, EncryptReport), StoreError> {
    let space = Space::of(&place.index, "encrypted").unwrap();
    let (store, report) = Encrypt::open(inner, keys(key_bytes), space, "encrypted").await?;
    Ok((Arc::new(store), report))
}

/// `encrypt` around a store, with an index that belongs to that store; nothing is damaged.
async fn encrypt(place: &Place, inner: SharedStore) -> Arc<Encrypt> {
    let (store, report) = try_encrypt(place, inner, &[1]).await.unwrap();
    assert_eq!(report.damage, []);
    store
}

/// `encrypt(blobsfile)` with nothing amiss.
async fn encrypted_packs(place: &Place, disk: &CutDisk) -> Arc<Encrypt> {
    let (leaf, report) = leaf(place, disk, Relied::Index, &[]);
    assert_eq!((report.damage.len(), report.lost_blobs), (0, 0));
    encrypt(place, leaf).await
}

async fn put(store: &dyn BlobStore, blobs: &[Bytes]) {
    store.put(bundle(blobs), Bytes::new()).await.unwrap();
}

/// The bytes of a blob, if the store has it.
async fn read(store: &dyn BlobStore, bytes: &Bytes) -> Option<Bytes> {
    let id = BlobId::of(bytes);
    store.get(&id).await.unwrap().and_then(|stored| bytes_of(&stored, &id))
}

/// Waits for a future where no `async` fits.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// A restart finds all of it again from the labels alone.
#[tokio::test(flavor = "multi_thread")]
async fn encrypt_around_memory_conforms_also_without_its_index() {
    let inner: SharedStore = Arc::new(MemoryStore::default());
    let store = encrypt(&Place::new(), inner.clone()).await;
    assert_eq!(store.to_string(), "encrypt(memory)");
    check(store, &mut |_| Some(wait(encrypt(&Place::new(), inner.clone())))).await;
}

/// A restart finds all of it again, with the index or from the packs alone.
#[tokio::test(flavor = "multi_thread")]
async fn encrypt_around_blobsfile_conforms_with_and_without_its_index() {
    for has_index in [true, false] {
        let (place, disk) = (Place::new(), CutDisk::default());
        let store = encrypted_packs(&place, &disk).await;
        assert_eq!(store.to_string(), "encrypt(blobsfile:packs)");
        check(store, &mut |_| {
            let again = if has_index { place.copy() } else { Place::new() };
            Some(wait(encrypted_packs(&again, &disk.after_the_cut(0))))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypt_around_a_faulty_store_without_faults_conforms() {
    check(encrypt(&Place::new(), Arc::new(Faulty::new(Arc::new(MemoryStore::default())))).await, &mut |_| None).await;
}

/// Sealed twice, with a key for each of two keepers.
#[tokio::test(flavor = "multi_thread")]
async fn encrypt_around_encrypt_conforms() {
    let place = Place::new();
    let once = encrypt(&place, Arc::new(MemoryStore::default())).await;
    let space = Space::of(&place.index, "twice").unwrap();
    let (twice, _) = Encrypt::open(once, keys(&[2]), space, "twice").await.unwrap();
    assert_eq!(twice.to_string(), "encrypt(encrypt(memory))");
    check(Arc::new(twice), &mut |_| None).await;
}

/// Whatever fails below, repeating the call leads to the same state as a call that went well.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_put_heals_every_fault() {
    for fault in [Fault::Fails, Fault::FailsAfterApplying, Fault::HalfABatch, Fault::Full, Fault::Slow(1)] {
        let inner = Arc::new(Faulty::new(Arc::new(MemoryStore::default())));
        let store = encrypt(&Place::new(), inner.clone()).await;
        let blobs: Vec<Bytes> = (0..4).map(|at| sample(at, 100)).collect();
        inner.next([Some(fault)]);
        let first = store.put(bundle(&blobs), Bytes::new()).await;
        assert_eq!(first.is_ok(), matches!(fault, Fault::Slow(_)), "{fault:?}");
        put(&*store, &blobs).await;
        for blob in &blobs {
            assert_eq!(read(&*store, blob).await.as_ref(), Some(blob), "{fault:?}");
        }
        assert_eq!(store.stats().await.unwrap().blobs, 4);
    }
}

/// An inner store that refuses the place where the labels were read to (a mirror whose side is away) is read from the
/// front; nothing counts twice.
#[tokio::test(flavor = "multi_thread")]
async fn labels_are_read_from_the_front_where_their_place_is_refused() {
    let (place, inner) = (Place::new(), Arc::new(Faulty::new(Arc::new(MemoryStore::default()))));
    let store = encrypt(&place, inner.clone()).await;
    let blobs: Vec<Bytes> = (0..200).map(|at| sample(at, 30)).collect();
    for some in blobs.windows(2) {
        put(&*store, some).await;
    }
    store.flush().await.unwrap();
    let stats = store.stats().await.unwrap();
    // The first call asks whether all that may be there can be known.
    inner.next([None, Some(Fault::Fails)]);
    let (again, report) = try_encrypt(&place.copy(), inner, &[1]).await.unwrap();
    assert_eq!((report.damage.len(), report.records_added), (0, 0));
    assert_eq!(again.stats().await.unwrap(), stats);
    assert_eq!(read(&*again, &blobs[7]).await.as_ref(), Some(&blobs[7]));
}

/// Compressible by half, different for each seed.
fn sample(seed: u64, len: usize) -> Bytes {
    datadb_server::store::testing::conformance::sample(seed, len)
}

/// The path of a pack on a test's disk.
fn pack(number: u64) -> PathBuf {
    Path::new("packs").join(format!("{number:016x}.pack"))
}
