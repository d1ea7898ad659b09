//! The S3 leaf against a real S3 server, with a proxy in between that breaks what it is told to.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../tests/support/s3.rs"]
mod s3;
#[path = "../../tests/support/s3_proxy.rs"]
mod s3_proxy;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use datadb::{BlobId, Kind};
use datadb_server::{
    db::{Index, space::Space},
    log::{Log, LogReader, Position, record::Body},
    store::{
        BlobStore, Cursor, Item, Presence, SharedStore, StoreError,
        blobsfile::{OpenReport, Relied},
        conformance::{all, bundle, bytes_of, check, sample},
        s3::{CredentialsSource, ObjectLock, Patience, Request, S3Config, S3Store, ServerSideEncryption, open, probe},
    },
};
use s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use s3_proxy::{S3Proxy, Seen, Trouble};
use tempfile::TempDir;

const BUCKET: &str = "backups";

/// A server, a proxy in front of it, and a directory for what lies on this side.
struct Scene {
    server: S3Server,
    proxy: S3Proxy,
    dir: TempDir,
}

/// Where one server keeps what is not in the bucket.
struct Side {
    index: PathBuf,
    staging: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let server = S3Server::with_bucket(BUCKET);
        let proxy = S3Proxy::to(server.endpoint());
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("access"), ACCESS_KEY).unwrap();
        fs::write(dir.path().join("secret"), format!("{SECRET_KEY}\n")).unwrap();
        Self { server, proxy, dir }
    }

    /// Right to the server.
    fn config(&self) -> S3Config {
        let [access_key, secret_key] = ["access", "secret"].map(|name| self.dir.path().join(name));
        let patience =
            Patience { attempt: Duration::from_secs(10), total: Duration::from_secs(10), ..Patience::default() };
        S3Config {
            endpoint: Some(self.server.endpoint().to_owned()),
            is_path_style: true,
            credentials: CredentialsSource::Files { access_key, secret_key },
            patience,
            ..S3Config::new(BUCKET, "home/")
        }
    }

    /// Through the proxy.
    fn through_proxy(&self) -> S3Config {
        S3Config { endpoint: Some(self.proxy.endpoint()), ..self.config() }
    }

    /// The same, with hardly any patience.
    fn impatient(&self) -> S3Config {
        let total = Duration::from_millis(300);
        S3Config { patience: Patience { total, ..self.config().patience }, ..self.through_proxy() }
    }

    fn side(&self, name: &str) -> Side {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        Side { index: dir.join("index"), staging: dir.join("staging") }
    }

    /// Objects of packs below the prefix.
    fn packs(&self) -> Vec<String> {
        self.server.keys(BUCKET).into_iter().filter(|key| key.ends_with(".pack")).collect()
    }

    fn object(&self, key: &str) -> PathBuf {
        self.server.bucket(BUCKET).join(key)
    }
}

impl Side {
    fn try_open(&self, config: S3Config, relied: Relied) -> Result<(S3Store, OpenReport), StoreError> {
        let index = Arc::new(Index::open(&self.index).unwrap());
        let name = config.to_string();
        let space = Space::of(&index, &name).unwrap();
        open(config, space, name, relied, &[], &self.staging)
    }

    #[track_caller]
    fn open(&self, config: S3Config) -> S3Store {
        let (store, report) = self.try_open(config, Relied::Index).unwrap();
        assert_eq!((&report.damage[..], report.torn_bytes, report.lost_blobs), (&[][..], 0, 0));
        store
    }
}

async fn put(store: &dyn BlobStore, blob: &Bytes) {
    store.put(bundle(std::slice::from_ref(blob)), Bytes::new()).await.unwrap();
}

async fn read(store: &dyn BlobStore, blob: &Bytes) -> Option<Bytes> {
    let id = BlobId::of(blob);
    store.get(&id).await.unwrap().and_then(|stored| bytes_of(&stored, &id))
}

/// Bytes without any order in them.
fn noise(seed: u64, len: usize) -> Bytes {
    sample(seed, 2 * len).slice(..len)
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_s3_leaf_conforms() {
    let scene = Scene::new();
    let (side, again) = (scene.side("one"), scene.side("again"));
    let store = Arc::new(side.open(scene.config()));
    assert_eq!(store.to_string(), "s3://backups/home");
    let requests = store.requests().clone();
    let mut reopen = |_: SharedStore| -> Option<SharedStore> {
        // The index lets nobody in while the old store lives, so what lies here is copied as a crash would leave it.
        copy_dir(&side.index, &again.index);
        copy_dir(&side.staging, &again.staging);
        Some(Arc::new(again.open(scene.config())))
    };
    check(store, &mut reopen).await;
    assert!(requests.get(Request::Put) > 0);
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
    assert_eq!(store.requests().throttled.get(), 6);
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
    let begun = seen.iter().filter(|seen| is_begin(seen)).next_back().unwrap();
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
    let mut reader = LogReader::new(Arc::new(meta), Position::START);
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

/// Two servers must not write one prefix.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_server_is_refused_and_told_who_holds_the_lease() {
    let scene = Scene::new();
    let first = scene.side("first").open(scene.config());
    let error = scene.side("second").try_open(scene.config(), Relied::Index).unwrap_err();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let who = format!("a server on {host} (process {}, since 20", std::process::id());
    assert!(error.to_string().contains(&who) && error.to_string().contains("wait until 20"), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
    // A clean stop gives it back at once.
    drop(first);
    let second = scene.side("second").open(scene.config());
    put(&second, &sample(1, 10)).await;
    second.flush().await.unwrap();
    assert_eq!(scene.packs(), ["home/0000000000000001-00000002.pack"], "the key names the second lease");
    // A killed server's own data directory may go on at once.
    let lease = fs::read(scene.object("home/lease")).unwrap();
    drop(second);
    fs::write(scene.object("home/lease"), lease).unwrap();
    drop(scene.side("second").open(scene.config()));
}

/// A server that can't renew its lease loses it to the next, and then writes nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_may_be_taken_and_its_holder_stops_writing() {
    let scene = Scene::new();
    let short = |config: S3Config| {
        let patience = Patience { lease: Duration::from_secs(1), ..config.patience };
        S3Config { patience, ..config }
    };
    let first = scene.side("first").open(short(scene.impatient()));
    put(&first, &sample(1, 10)).await;
    scene.proxy.set_down(true);
    let deadline = Instant::now() + Duration::from_secs(30);
    let second = loop {
        match scene.side("second").try_open(short(scene.config()), Relied::Index) {
            Ok((second, _)) => break second,
            Err(error) => assert!(Instant::now() < deadline && error.to_string().contains("wait until"), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    scene.proxy.set_down(false);
    for _ in 0..2 {
        let error = first.flush().await.unwrap_err();
        assert!(error.to_string().contains("has taken the lease over"), "{error}");
    }
    assert!(scene.packs().is_empty());
    drop(first);
    // Its going does not free what is not its own.
    put(&second, &sample(2, 10)).await;
    second.flush().await.unwrap();
    assert!(scene.side("third").try_open(short(scene.config()), Relied::Index).is_err());
}

/// A request that arrives after its sender died can't replace what a later run wrote, nor pass for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_sends_late_does_not_count() {
    let scene = Scene::new();
    let (dead, alive) = (sample(1, 500), sample(2, 500));
    let first = scene.side("first").open(scene.config());
    put(&first, &dead).await;
    first.flush().await.unwrap();
    let late = fs::read(scene.object(&scene.packs()[0])).unwrap();
    drop(first);
    fs::remove_file(scene.object(&scene.packs()[0])).unwrap();
    let second = scene.side("second").open(scene.config());
    put(&second, &alive).await;
    second.flush().await.unwrap();
    fs::write(scene.object("home/0000000000000001-00000001.pack"), late).unwrap();
    drop(second);
    let third = scene.side("third").open(scene.config());
    assert_eq!(read(&third, &alive).await, Some(alive));
    assert_eq!(third.find(&[BlobId::of(&dead)]).await.unwrap(), [Presence::Missing]);
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
