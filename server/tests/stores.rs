//! Every store passes the conformance suite, and a store with faults loses and invents nothing.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use datadb::BlobId;
use datadb_server::{
    engine::{Engine, clock::SystemClock, open::DataDir},
    index::{Index, space::Space},
    observe::Counter,
    rpc,
    store::{
        BlobStore, Presence, SharedStore, StoreError,
        blobsfile::{BLOBS_RESERVE_BYTES, BlobsFile, LeafConfig, OpenReport, Relied},
        counted::{Counted, Traffic},
        disk::{Disk, RealDisk},
        remote::Remote,
        testing::conformance::{assert_kept, bundle, bytes_of, check, put_around_the_limits, sample},
        testing::faulty::{Fault, Faulty},
        testing::hanging::HangingDisk,
        testing::memory::MemoryStore,
    },
};
use tonic::transport::server::TcpIncoming;

fn open(root: &Path) -> SharedStore {
    let (store, report) = try_open(root, 1 << 20);
    assert_eq!((report.damage.len(), report.torn_bytes, report.lost_blobs), (0, 0, 0));
    Arc::new(store)
}

fn try_open(root: &Path, pack_bytes: u64) -> (BlobsFile, OpenReport) {
    open_on(root, pack_bytes, Arc::new(RealDisk))
}

fn open_on(root: &Path, pack_bytes: u64, disk: Arc<dyn Disk>) -> (BlobsFile, OpenReport) {
    let index = Arc::new(Index::open(&root.join("index")).unwrap());
    let space = Space::of(&index, "blobs").unwrap();
    let (name, dir) = ("blobs".to_owned(), root.join("blobs"));
    let config = LeafConfig {
        name,
        dir,
        disk,
        space,
        pack_bytes,
        reserve_bytes: BLOBS_RESERVE_BYTES,
        is_sealed_by_flush: false,
        threads: None,
    };
    BlobsFile::open(config, Relied::Index, &[]).unwrap()
}

#[tokio::test]
async fn the_memory_store_conforms() {
    check(Arc::new(MemoryStore::default()), &mut |_| None).await;
}

#[tokio::test]
async fn blobsfile_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    // The index lets nobody in while the old store lives, so the data is copied as a crash would leave it.
    let again = tempfile::tempdir().unwrap();
    let copy = again.path().to_owned();
    check(open(&path), &mut |_| {
        copy_dir(&path, &copy);
        Some(open(&copy))
    })
    .await;
}

#[tokio::test]
async fn a_counted_store_conforms_and_prints_itself_as_what_it_counts() {
    let (counted, backend) = Counted::around("memory", Arc::new(MemoryStore::default()), None);
    assert_eq!(counted.to_string(), MemoryStore::default().to_string());
    assert_eq!((backend.kind, &*backend.name), ("memory", &*counted.to_string()));
    check(counted, &mut |_| None).await;
}

/// New blobs and the bytes that are stored for them, what is read, and nothing else.
#[tokio::test]
async fn traffic_is_what_was_stored_and_what_was_read() {
    let (store, backend) = Counted::around("memory", Arc::new(MemoryStore::default()), None);
    let counts = || {
        let Traffic { blobs_uploaded, bytes_uploaded, blobs_downloaded, bytes_downloaded } = &*backend.traffic;
        [blobs_uploaded, bytes_uploaded, blobs_downloaded, bytes_downloaded].map(Counter::get)
    };
    let both = bundle(&[Bytes::from("one"), Bytes::from("two")]);
    let bytes = both.data().len() as u64;
    store.put(both.clone(), Bytes::new()).await.unwrap();
    store.put(both, Bytes::new()).await.unwrap();
    assert_eq!(counts(), [2, bytes, 0, 0], "what is known is not stored again");
    assert!(store.get(&BlobId::of(b"missing")).await.unwrap().is_none());
    store.get(&BlobId::of(b"one")).await.unwrap().unwrap();
    assert_eq!(counts(), [2, bytes, 2, bytes], "a bundle is read as a whole");
}

#[tokio::test]
async fn a_faulty_store_without_faults_conforms() {
    check(Arc::new(Faulty::new(Arc::new(MemoryStore::default()))), &mut |_| None).await;
}

/// A store behind a real server and a real connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_grpc_pair_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let held = DataDir::hold(dir.path(), Arc::new(RealDisk)).unwrap();
    let (engine, _) = Engine::open(held, Arc::new(SystemClock)).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = rpc::router(engine).await.unwrap();
    let server = tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
    let remote = Remote::new(&url).unwrap();
    check(Arc::new(remote.clone()), &mut |_| None).await;
    server.abort();
    let ended = server.await;
    assert!(ended.is_err_and(|error| error.is_cancelled()));
    let id = BlobId::of(b"who knows");
    assert_eq!(Remote::new("http://127.0.0.1:1").unwrap().find(&[id]).await.unwrap(), [Presence::Unknown]);
}

async fn put(store: &dyn BlobStore, blob: &Bytes) {
    store.put(bundle(std::slice::from_ref(blob)), Bytes::new()).await.unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Whatever fails, repeating the call leads to the same state as a call that went well.
#[tokio::test]
async fn a_repeated_put_heals_every_fault() {
    let faults = [Fault::Fails, Fault::FailsAfterApplying, Fault::HalfABatch, Fault::Full, Fault::Slow(1)];
    for fault in faults {
        let store = Faulty::new(Arc::new(MemoryStore::default()));
        let blobs: Vec<Bytes> = (0..4).map(|at| sample(at, 100)).collect();
        store.next([Some(fault)]);
        let first = store.put(bundle(&blobs), Bytes::new()).await;
        assert_eq!(first.is_ok(), matches!(fault, Fault::Slow(_)), "{fault:?}");
        store.put(bundle(&blobs), Bytes::new()).await.unwrap();
        for blob in &blobs {
            let stored = store.get(&BlobId::of(blob)).await.unwrap().unwrap();
            assert_eq!(bytes_of(&stored, &BlobId::of(blob)).as_ref(), Some(blob));
        }
        assert_eq!(store.stats().await.unwrap().blobs, 4);
    }
}

/// What a store can't read whole is an error that names the blob, never fewer or other bytes; the next try may succeed.
#[tokio::test]
async fn short_reads_and_flipped_bits_are_errors_that_name_the_blob() {
    let store = Faulty::new(Arc::new(MemoryStore::default()));
    let blob = sample(9, 1000);
    let id = BlobId::of(&blob);
    store.put(bundle(std::slice::from_ref(&blob)), Bytes::new()).await.unwrap();
    for fault in [Fault::ShortRead, Fault::FlippedBits] {
        store.next([Some(fault)]);
        let error = store.get(&id).await.unwrap_err();
        assert!(error.to_string().contains(&id.to_string()), "{error}");
        assert_eq!(error.kind(), datadb::Kind::Damaged);
        assert_eq!(bytes_of(&store.get(&id).await.unwrap().unwrap(), &id), Some(blob.clone()));
    }
}

/// A damaged copy is never bytes: it is an error that names the blob, then it counts as missing, and the next upload of
/// the same bytes heals it.
#[tokio::test]
async fn a_flipped_byte_is_named_counts_as_missing_and_is_healed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (hurt, whole) = (sample(1, 4000), sample(2, 4000));
    for blob in [&hurt, &whole] {
        store.put(bundle(std::slice::from_ref(blob)), Bytes::new()).await.unwrap();
    }
    store.flush().await.unwrap();
    let pack = dir.path().join("blobs/0000000000000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[24 + 60 + 56 + 10] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let id = BlobId::of(&hurt);
    match store.get(&id).await {
        Err(StoreError::Damaged { id: named, .. }) => assert_eq!(named, id),
        other => panic!("expected damage, got {other:?}"),
    }
    assert_eq!(store.find(&[id]).await.unwrap(), [Presence::Missing]);
    assert_eq!(store.stats().await.unwrap().bad_blobs, 1);
    assert!(store.get(&BlobId::of(&whole)).await.unwrap().is_some());
    store.put(bundle(std::slice::from_ref(&hurt)), Bytes::new()).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(bytes_of(&store.get(&id).await.unwrap().unwrap(), &id), Some(hurt));
    assert_eq!(store.stats().await.unwrap().bad_blobs, 0);
}

/// Of packs that were never flushed a power cut may keep any part, and lose the header of one that is not the last. Nobody
/// relies on it, so that is no damage.
#[tokio::test]
async fn a_header_that_never_reached_the_disk_is_no_damage() {
    let (dir, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = try_open(dir.path(), 500);
    put(&store, &sample(1, 4000)).await;
    store.flush().await.unwrap();
    for seed in 2..5 {
        put(&store, &sample(seed, 4000)).await;
    }
    copy_dir(dir.path(), again.path());
    let lost = again.path().join("blobs/0000000000000002.pack");
    let mut bytes = fs::read(&lost).unwrap();
    bytes[..24].fill(0);
    fs::write(&lost, bytes).unwrap();
    let (store, report) = try_open(again.path(), 500);
    assert_eq!((&report.damage[..], report.lost_blobs), (&[][..], 0));
    assert!(report.torn_bytes > 0);
    let there = [1, 2, 3, 4].map(|seed| BlobId::of(&sample(seed, 4000)));
    let found = store.find(&there).await.unwrap();
    let is_there: Vec<bool> = found.iter().map(|it| matches!(it, Presence::Have(_))).collect();
    assert_eq!(is_there, [true, false, true, true]);
    put(&store, &sample(2, 4000)).await;
    store.flush().await.unwrap();
    assert!(matches!(store.find(&there[1..2]).await.unwrap()[0], Presence::Have(_)));
}

/// Everything within the limits and a little beyond, of random sizes: what was accepted is there after a new start, after a
/// rebuild by footers, and after a rebuild by the records alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_there_after_a_new_start_and_after_a_rebuild() {
    for (seed, pack_bytes) in [(2, 8 << 20), (3, 1 << 20)] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = try_open(dir.path(), pack_bytes);
        let kept = put_around_the_limits(&store, seed).await;
        store.flush().await.unwrap();
        assert_kept(&store, &kept).await;
        drop(store);
        let (store, _) = try_open(dir.path(), pack_bytes);
        assert_kept(&store, &kept).await;
        drop(store);
        for has_footers in [true, false] {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
            if !has_footers {
                for pack in fs::read_dir(dir.path().join("blobs")).unwrap().map(|it| it.unwrap().path()) {
                    let mut bytes = fs::read(&pack).unwrap();
                    if bytes.ends_with(b"DataDBnd") {
                        *bytes.last_mut().unwrap() = 0;
                        fs::write(&pack, bytes).unwrap();
                    }
                }
            }
            let (store, report) = try_open(dir.path(), pack_bytes);
            assert_eq!((&report.damage[..], report.lost_blobs), (&[][..], 0));
            assert_kept(&store, &kept).await;
        }
    }
}

/// A record is found damaged while a flush is under way that will write its entry: the mark stands when both are done.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_is_under_way_does_not_undo_a_mark() {
    let dir = tempfile::tempdir().unwrap();
    let disk = HangingDisk::around(Arc::new(RealDisk));
    let (store, _) = open_on(dir.path(), 500, Arc::new(disk.clone()));
    let store: SharedStore = Arc::new(store);
    let damaged = sample(1, 4000);
    put(&*store, &damaged).await;
    put(&*store, &sample(2, 4000)).await;
    // The flush syncs the first pack, and is stuck at the second.
    disk.hang(&dir.path().join("blobs/0000000000000002.pack"));
    let flush = tokio::spawn({
        let store = store.clone();
        async move { store.flush().await }
    });
    while disk.most_stuck() == 0 {
        tokio::task::yield_now().await;
    }
    let first = dir.path().join("blobs/0000000000000001.pack");
    let mut bytes = fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&first, bytes).unwrap();
    let id = BlobId::of(&damaged);
    let mut read = tokio::spawn({
        let store = store.clone();
        async move { store.get(&id).await }
    });
    // Either it waits for the flush, or it is done before the flush goes on: both must end the same way.
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut read).await;
    disk.release();
    let read = match early {
        Ok(read) => read.unwrap(),
        Err(_) => read.await.unwrap(),
    };
    assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
    flush.await.unwrap().unwrap();
    assert!(matches!(store.find(&[id]).await.unwrap()[0], Presence::Missing), "it is asked for again");
    store.flush().await.unwrap();
    assert_eq!(store.stats().await.unwrap().bad_blobs, 1);
}
