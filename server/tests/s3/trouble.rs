//! What goes wrong on the way: it is tried again, kept in doubt, or said in one line.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use datadb::{BlobId, Kind};
use datadb_server::store::{
    BlobStore as _, Presence, StoreError,
    blobsfile::Relied,
    s3::{CredentialsSource, Patience, Request, S3Config, probe},
    testing::conformance::sample,
};

use crate::{
    s3_proxy::{Seen, Trouble},
    s3_server::SECRET_KEY,
    scene::{BUCKET, Scene, noise, put, read},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_in_doubt_loses_nothing_and_the_next_sends_the_same_again() {
    let scene = Scene::new();
    let side = scene.side("one");
    let store = side.open(scene.impatient());
    let blobs: Vec<Bytes> = (0..4).map(|at| sample(at, 2000)).collect();
    put(&store, &blobs[0]).await;
    scene.proxy.set_down(true);
    for blob in &blobs[1..3] {
        let error = store.flush().await.unwrap_err();
        assert!(matches!(error, StoreError::InDoubt { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Unavailable);
        put(&store, blob).await;
    }
    let ids: Vec<BlobId> = blobs[..3].iter().map(|blob| BlobId::of(blob)).collect();
    let presence = store.find(&ids).await.unwrap();
    assert!(presence.iter().all(|presence| matches!(presence, Presence::Have(_))), "{presence:?}");
    for blob in &blobs[..3] {
        assert_eq!(read(&store, blob).await.as_ref(), Some(blob), "what is staged is read");
    }
    assert!(scene.packs().is_empty());
    scene.proxy.set_down(false);
    let durable = store.flush().await.unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.blobs, stats.records), (3, 3));
    drop(store);
    // Nothing is lost, nothing is there twice.
    let rebuilt = scene.side("new").open(scene.config());
    assert_eq!(rebuilt.stats().await.unwrap(), stats);
    assert_eq!(rebuilt.flush().await.unwrap(), durable);
}

/// Each trouble once in the way of a flush, and the flush succeeds by itself, with one object to show for it.
#[tokio::test(flavor = "multi_thread")]
async fn transient_errors_are_tried_again_and_leave_one_object() {
    let scene = Scene::new();
    let store = scene.side("one").open(scene.through_proxy());
    let troubles = [
        Trouble::Cut,
        Trouble::CutAnswer,
        Trouble::HalfAnswer,
        Trouble::Late(Duration::from_millis(50)),
        Trouble::Twice,
        Trouble::Refused(500, "InternalError"),
        Trouble::Refused(503, "ServiceUnavailable"),
        Trouble::Refused(503, "SlowDown"),
        Trouble::Refused(429, "TooManyRequests"),
    ];
    for (number, trouble) in (0..).zip(troubles) {
        scene.proxy.plan(1, trouble, Seen::is_pack_written);
        let blob = sample(number, 1000);
        put(&store, &blob).await;
        store.flush().await.unwrap();
        assert!(scene.proxy.is_plan_done(), "{trouble:?} came");
        assert_eq!(scene.packs().len() as u64, number + 1, "{trouble:?}");
        // And the same in the way of a read.
        scene.proxy.plan(1, trouble, Seen::is_pack_read);
        assert_eq!(read(&store, &blob).await, Some(blob), "{trouble:?}");
        assert!(scene.proxy.is_plan_done(), "{trouble:?} came");
    }
    assert_eq!(store.requests().throttled.get(), 4);
    assert!(store.requests().retries.get() >= 12);
    let stats = store.stats().await.unwrap();
    drop(store);
    assert_eq!(scene.side("new").open(scene.config()).stats().await.unwrap(), stats);
}

/// Large packs go in parts, and each part, their beginning and their end may fail.
#[tokio::test(flavor = "multi_thread")]
async fn large_packs_go_in_parts_that_may_fail() {
    let scene = Scene::new();
    let config = S3Config { storage_class: Some("REDUCED_REDUNDANCY".into()), ..scene.through_proxy() };
    let store = scene.side("one").open(config);
    let blobs: Vec<Bytes> = (0..20).map(|at| noise(at, 1_000_000)).collect();
    for blob in &blobs {
        put(&store, blob).await;
    }
    let is_begin = |seen: &Seen| seen.method == "POST" && seen.target.contains("?uploads");
    let is_end = |seen: &Seen| seen.method == "POST" && seen.target.contains("uploadId=");
    scene.proxy.plan(1, Trouble::Refused(503, "SlowDown"), is_begin);
    scene.proxy.plan(1, Trouble::Cut, Seen::is_pack_written);
    scene.proxy.plan(1, Trouble::CutAnswer, |seen| seen.target.contains("partNumber=2"));
    scene.proxy.plan(1, Trouble::CutAnswer, is_end);
    store.flush().await.unwrap();
    assert!(scene.proxy.is_plan_done());
    assert_eq!(scene.packs().len(), 1);
    let requests = store.requests();
    assert_eq!(requests.get(Request::Put), 0);
    assert_eq!(requests.get(Request::Part), 3 + 2, "20 MB in parts of 8 MiB, two of them twice");
    let seen = scene.proxy.seen();
    let begun = seen.iter().rfind(|seen| is_begin(seen)).unwrap();
    assert!(begun.head.contains("x-amz-storage-class: reduced_redundancy"), "{}", begun.head);
    // Read forwards, blocks come by the request of many; who asks for what is on its way waits for it.
    let tasks: Vec<_> = blobs
        .iter()
        .map(|blob| {
            let (store, blob) = (store.clone(), blob.clone());
            tokio::spawn(async move { assert_eq!(read(&store, &blob).await, Some(blob)) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(requests.get(Request::Get) <= 22, "{}", requests.get(Request::Get));
    drop(store);
    let store = scene.side("new").open(scene.config());
    let before = store.requests().get(Request::Get);
    for blob in &blobs {
        assert_eq!(read(&store, blob).await.as_ref(), Some(blob));
    }
    let gets = store.requests().get(Request::Get) - before;
    assert!(gets <= 5, "20 blocks in {gets} requests");
}

/// What a store says no to is one line that names the place and the way out, and never shows a secret.
#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_one_clear_line() {
    let scene = Scene::new();
    let dir = scene.dir.path();
    fs::write(dir.join("other"), "some other secret").unwrap();
    fs::write(dir.join("unknown"), "UNKNOWNACCESSKEY0000").unwrap();
    let files = |access: &str, secret: &str| CredentialsSource::Files {
        access_key: dir.join(access),
        secret_key: dir.join(secret),
    };
    let refused = |status, code| {
        scene.proxy.plan(1, Trouble::Refused(status, code), |_| true);
        scene.through_proxy()
    };
    let cases = [
        (S3Config { credentials: files("access", "other"), ..scene.config() }, "check access key and secret key"),
        (S3Config { credentials: files("unknown", "secret"), ..scene.config() }, "check access key and secret key"),
        (S3Config { credentials: files("missing", "secret"), ..scene.config() }, "missing: No such file"),
        (S3Config { bucket: "nowhere".into(), ..scene.config() }, "there is no such bucket"),
        (refused(403, "RequestTimeTooSkewed"), "clock is off, the store's says Sun, 06 Nov 1994 08:49:37 GMT"),
        (refused(301, "PermanentRedirect"), "another region, eu-north-7: set `region`"),
        (refused(403, "AccessDenied"), "denies access"),
        (S3Config { endpoint: Some("http://127.0.0.1:1".into()), ..scene.impatient() }, "can't be reached"),
        (
            S3Config { storage_class: Some("DEEP_ARCHIVE".into()), ..scene.config() },
            "can't be read when they are wanted",
        ),
    ];
    for (config, expected) in cases {
        let place = config.to_string();
        let printed = format!("{config:?}");
        let error = scene.side("one").try_open(config.clone(), Relied::Index).unwrap_err().to_string();
        assert!(error.contains(expected) && error.starts_with(&place), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        println!("{error}");
        for text in [&error, &printed] {
            assert!(!text.contains(SECRET_KEY) && !text.contains("some other secret"), "{text}");
        }
    }
}

/// An outage says nothing of the bytes: they don't count as damaged.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_no_damage() {
    let scene = Scene::new();
    let store = scene.side("one").open(scene.impatient());
    let blob = sample(1, 1000);
    put(&store, &blob).await;
    store.flush().await.unwrap();
    scene.proxy.set_down(true);
    let error = store.get(&BlobId::of(&blob)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(matches!(store.find(&[BlobId::of(&blob)]).await.unwrap()[..], [Presence::Have(_)]));
    scene.proxy.set_down(false);
    assert_eq!(read(&store, &blob).await, Some(blob));
    assert_eq!(store.stats().await.unwrap().bad_blobs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_leaves_nothing_behind_and_tells_who_writes() {
    let scene = Scene::new();
    let report = probe(&scene.config()).unwrap();
    assert!(report.honours_conditions);
    assert_eq!(report.held_by, None);
    assert!(scene.server.keys(BUCKET).is_empty());
    let store = scene.side("one").open(scene.config());
    let held_by = probe(&scene.config()).unwrap().held_by.unwrap();
    assert!(held_by.contains(&format!("process {}", std::process::id())), "{held_by}");
    drop(store);
    assert_eq!(scene.server.keys(BUCKET), ["home/lease"]);
    let error = probe(&S3Config { bucket: "nowhere".into(), ..scene.config() }).unwrap_err();
    assert_eq!(error.to_string(), "s3://nowhere/home: there is no such bucket: make it, or correct the name");
}

/// A start does not wait as long for a store that is away as a commit does.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_answered_is_not_waited_for_as_long() {
    let scene = Scene::new();
    scene.proxy.set_down(true);
    let patience = Patience { total: Duration::from_secs(12), ..scene.config().patience };
    let config = S3Config { patience, ..scene.through_proxy() };
    let started = Instant::now();
    let error = scene.side("one").try_open(config, Relied::Index).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(started.elapsed() < patience.total, "{:?}", started.elapsed());
}

/// Whoever waits for a slow store takes nobody else's threads.
#[test]
fn a_slow_store_holds_up_nobody_else() {
    const READERS: u64 = 8;
    let scene = Scene::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = scene.side("one").open(scene.through_proxy());
        for seed in 0..READERS {
            put(&store, &sample(seed, 1000)).await;
            store.flush().await.unwrap();
        }
        let late = Trouble::Late(Duration::from_secs(2));
        scene.proxy.plan(READERS as u32, late, Seen::is_pack_read);
        let readers: Vec<_> = (0..READERS)
            .map(|seed| {
                let store = store.clone();
                tokio::spawn(async move { read(&store, &sample(seed, 1000)).await })
            })
            .collect();
        while !scene.proxy.seen().iter().any(Seen::is_pack_read) {
            tokio::task::yield_now().await;
        }
        datadb_server::store::blocking(|| ()).await;
        assert!(readers.iter().any(|reader| !reader.is_finished()), "somebody else waited for the store");
        for (seed, reader) in (0..).zip(readers) {
            assert_eq!(reader.await.unwrap(), Some(sample(seed, 1000)));
        }
    });
}
