//! What the leaf keeps and gives back, what it asks for it, and what becomes of damage in the bucket.

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use datadb::{BlobId, Kind};
use datadb_server::{
    log::{Log, LogReader, Position},
    record::Body,
    store::{
        BlobStore as _, Cursor, Item, Presence, SharedStore,
        blobsfile::Relied,
        s3::{ObjectLock, Request, S3Config, S3Store, ServerSideEncryption},
        testing::conformance::{all, check, sample},
    },
};

use crate::scene::{Scene, copy_dir, put, read};

#[tokio::test(flavor = "multi_thread")]
async fn the_s3_leaf_conforms_with_and_without_its_index() {
    for has_index in [true, false] {
        let scene = Scene::new();
        let (side, again) = (scene.side("one"), scene.side("again"));
        let store = Arc::new(side.open(scene.config()));
        assert_eq!(store.to_string(), "s3://backups/home");
        let requests = store.requests().clone();
        let mut reopen = |_: SharedStore| -> Option<SharedStore> {
            // The index lets nobody in while the old store lives, so what lies here is copied as a crash would leave it.
            if has_index {
                copy_dir(&side.index, &again.index);
            }
            copy_dir(&side.staging, &again.staging);
            Some(Arc::new(again.open(scene.config())))
        };
        check(store, &mut reopen).await;
        assert!(requests.get(Request::Put) + requests.get(Request::Part) > 0);
    }
}

/// The bucket is enough: whatever lay on this side is lost, and everything comes back in the same order.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_alone_gives_everything_back() {
    let scene = Scene::new();
    let blobs: Vec<Bytes> = (0..30).map(|at| sample(at, 3000)).collect();
    let store = scene.side("lost").open(scene.config());
    for some in blobs.chunks(10) {
        for blob in some {
            put(&store, blob).await;
        }
        store.flush().await.unwrap();
    }
    let (items, stats) = (all(&store).await, store.stats().await.unwrap());
    assert_eq!(scene.packs().len(), 3, "each flush is one object");
    drop(store);
    let (store, report) = scene.side("new").try_open(scene.config(), Relied::Unknown).unwrap();
    assert_eq!((report.records_added, &report.damage[..]), (30, &[][..]));
    assert_eq!((all(&store).await, store.stats().await.unwrap()), (items, stats));
    for blob in &blobs {
        assert_eq!(read(&store, blob).await.as_ref(), Some(blob));
    }
    // And it goes on behind what is there.
    put(&store, &sample(99, 10)).await;
    store.flush().await.unwrap();
    assert_eq!(scene.packs().len(), 4);
}

/// Small files don't become requests: many records are one object, and what changes nothing asks nothing.
#[tokio::test(flavor = "multi_thread")]
async fn requests_grow_with_bytes_not_with_blobs() {
    let scene = Scene::new();
    let (blobs, log) = (scene.side("blobs"), scene.side("log"));
    let blobs = blobs.open(scene.config());
    let meta = log.open(scene.config().below("meta/"));
    let puts = |store: &S3Store| store.requests().get(Request::Put);
    let mut log = Log::new(Arc::new(meta.clone()), Position::START);
    let entry = || vec![Body::Bad(Vec::new())];
    for at in 0..500 {
        put(&blobs, &sample(at, 100)).await;
    }
    let durable = blobs.flush().await.unwrap();
    let (_, result) = log.append(entry(), &durable, 0).await;
    result.unwrap();
    assert_eq!((puts(&blobs), puts(&meta)), (1, 1));
    // An unchanged tree: every blob is known, and the log gets one record.
    for at in 0..500 {
        put(&blobs, &sample(at, 100)).await;
    }
    let durable = blobs.flush().await.unwrap();
    let (_, result) = log.append(entry(), &durable, 0).await;
    result.unwrap();
    assert_eq!((puts(&blobs), puts(&meta)), (1, 2));
    assert_eq!(blobs.requests().get(Request::Part) + meta.requests().get(Request::Part), 0);
    let mut reader = LogReader::new(Arc::new(meta), Position::START, false);
    for sequence in 1..=2 {
        assert_eq!(reader.next().await.unwrap().unwrap().record.sequence, sequence);
    }
    assert!(reader.next().await.unwrap().is_none());
}

/// The log's packs lie below the blobs', and neither listing shows the other's.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_lies_below_the_blobs_and_neither_sees_the_other() {
    let scene = Scene::new();
    let (blobs, meta) =
        (scene.side("blobs").open(scene.config()), scene.side("log").open(scene.config().below("meta")));
    for (store, seed) in [(&blobs, 1), (&meta, 2)] {
        put(store, &sample(seed, 100)).await;
        store.flush().await.unwrap();
    }
    let keys = ["home/0000000000000001-00000001.pack", "home/meta/0000000000000001-00000001.pack"];
    assert_eq!(scene.packs(), keys);
    drop((blobs, meta));
    let again = scene.side("new").open(scene.config());
    assert_eq!(again.stats().await.unwrap().blobs, 1);
}

/// {delete, truncate, flip a byte} of an object: named, missing from then on, healed by the next upload.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_objects_are_found_and_healed() {
    type Hurt = fn(&Path);
    let hurts: [(&str, Hurt, bool); 3] = [
        ("deleted", |path| fs::remove_file(path).unwrap(), true),
        ("truncated", |path| fs::write(path, &fs::read(path).unwrap()[..200]).unwrap(), true),
        (
            "flipped",
            |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[24 + 60 + 56 + 10] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            false,
        ),
    ];
    for (hurt, do_it, is_seen_at_start) in hurts {
        let scene = Scene::new();
        let side = scene.side("one");
        let blob = sample(7, 4000);
        let store = side.open(scene.config());
        put(&store, &blob).await;
        let end = store.flush().await.unwrap()[0].end;
        drop(store);
        do_it(&scene.object("home/0000000000000001-00000001.pack"));
        let (store, report) = side.try_open(scene.config(), Relied::UpTo(end)).unwrap();
        assert_eq!(report.damage.is_empty(), !is_seen_at_start, "{hurt}: {report:?}");
        if !is_seen_at_start {
            let error = store.get(&BlobId::of(&blob)).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Damaged, "{error}");
        }
        assert_eq!(store.find(&[BlobId::of(&blob)]).await.unwrap(), [Presence::Missing], "{hurt}");
        put(&store, &blob).await;
        store.flush().await.unwrap();
        assert_eq!(read(&store, &blob).await, Some(blob), "{hurt}");
        assert_eq!(store.stats().await.unwrap().bad_blobs, 0, "{hurt}");
        assert!(
            all(&store).await.iter().any(|item| matches!(item, Item::Record { cursor: Cursor { pack: 2, .. }, .. }))
        );
    }
}

/// Without the index, an object that is missing below what the log relies on is damage too.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_misses_an_object_that_the_log_relies_on() {
    let scene = Scene::new();
    let store = scene.side("one").open(scene.config());
    put(&store, &sample(1, 10)).await;
    let end = store.flush().await.unwrap()[0].end;
    drop(store);
    fs::remove_file(scene.object(&scene.packs()[0])).unwrap();
    let (_, report) = scene.side("new").try_open(scene.config(), Relied::UpTo(end)).unwrap();
    assert_eq!(report.damage.len(), 1);
}

/// Encryption by the store and object lock are asked for with each pack.
#[tokio::test(flavor = "multi_thread")]
async fn packs_are_kept_as_the_config_says() {
    let scene = Scene::new();
    let config = S3Config {
        encryption: Some(ServerSideEncryption::Kms { key_id: Some("the-key".into()) }),
        object_lock: Some(ObjectLock { is_compliance: true, days: 30 }),
        storage_class: Some("REDUCED_REDUNDANCY".into()),
        ..scene.through_proxy()
    };
    let store = scene.side("one").open(config);
    put(&store, &sample(1, 10)).await;
    // The server in the test knows no locks; what counts is what it is asked for.
    drop(store.flush().await);
    let seen = scene.proxy.seen();
    let head = &seen.iter().find(|seen| seen.is_pack_written()).unwrap().head;
    for line in [
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id: the-key",
        "x-amz-object-lock-mode: compliance",
        "x-amz-object-lock-retain-until-date: 20",
        "x-amz-checksum-crc32: ",
    ] {
        assert!(head.contains(line), "{line} is not in\n{head}");
    }
    assert!(!head.contains("x-amz-storage-class"), "a small pack stays in the standard class");
}
