//! Many small packs become a few objects, and whatever happens meanwhile, nothing is lost.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use datadb::{BlobId, Kind};
use datadb_server::store::{
    BlobStore,
    blobsfile::Relied,
    s3::{Patience, Request, S3Config, S3Store},
    testing::conformance::{all, sample},
};

use crate::{
    s3_proxy::{Seen, Trouble},
    scene::{Scene, copy_dir, noise, put, read},
};

/// How long merging may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A rest between two merges that is over soon.
const REST: Duration = Duration::from_millis(100);

/// With a server that merges soon.
fn soon(config: S3Config) -> S3Config {
    S3Config { patience: Patience { merge: Some(REST), ..config.patience }, ..config }
}

fn blob(number: u64) -> Bytes {
    sample(number, 900)
}

/// A commit for each blob.
async fn commit(store: &S3Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        put(store, &blob(number)).await;
        store.flush().await.unwrap();
    }
}

/// Waits until it is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn assert_readable(store: &S3Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(read(store, &blob(number)).await, Some(blob(number)), "blob {number}");
    }
}

fn is_merged_object_written(seen: &Seen) -> bool {
    seen.is_pack_written() && seen.target.contains(".packs")
}

/// Index, cursors and order stay what they are, for the running server, the next one, and a rebuild.
#[tokio::test(flavor = "multi_thread")]
async fn small_packs_become_few_objects_and_nothing_else_changes() {
    let scene = Scene::new();
    let side = scene.side("one");
    let store = side.open(scene.config());
    commit(&store, 0..50).await;
    let (items, stats) = (all(&store).await, store.stats().await.unwrap());
    assert_eq!((scene.packs().len(), scene.merged().len()), (50, 0));
    drop(store);
    let store = side.open(soon(scene.config()));
    until("one object", || scene.packs().is_empty() && scene.merged().len() == 1).await;
    assert_eq!((all(&store).await, store.stats().await.unwrap()), (items.clone(), stats));
    assert_readable(&store, 0..50).await;
    // A cursor that was given out before goes on where it did.
    let middle = store.enumerate(None, 20).await.unwrap();
    let datadb_server::store::Item::Record { cursor, .. } = middle[19] else { panic!("{middle:?}") };
    assert_eq!(store.enumerate(Some(cursor), 100).await.unwrap(), items[20..]);
    // Merged objects are merged again, with new ones.
    commit(&store, 50..90).await;
    until("few objects again", || scene.packs().len() + scene.merged().len() < 16).await;
    let (items, stats) = (all(&store).await, store.stats().await.unwrap());
    drop(store);
    let store = side.open(scene.config());
    assert_eq!((all(&store).await, store.stats().await.unwrap()), (items.clone(), stats));
    drop(store);
    let (store, report) = scene.side("new").try_open(scene.config(), Relied::Unknown).unwrap();
    assert_eq!((report.records_added, &report.damage[..]), (90, &[][..]));
    assert_eq!((all(&store).await, store.stats().await.unwrap()), (items, stats));
    let gets = store.requests().get(Request::Get);
    assert!(gets <= 2 * 16, "{gets} requests for what were 90 objects");
    assert_readable(&store, 0..90).await;
}

/// Both the copy and what was copied are there: each record counts once, and the next server tidies up.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_old_objects_are_deleted_costs_nothing() {
    let scene = Scene::new();
    let side = scene.side("one");
    let store = side.open(scene.config());
    commit(&store, 0..20).await;
    let items = all(&store).await;
    drop(store);
    let before = scene.dir.path().join("before");
    copy_dir(&scene.object("home"), &before);
    let store = side.open(soon(scene.config()));
    until("one object", || scene.packs().is_empty()).await;
    drop(store);
    fs::remove_file(before.join("lease")).unwrap();
    copy_dir(&before, &scene.object("home"));
    assert_eq!((scene.packs().len(), scene.merged().len()), (20, 1));
    let (store, report) = scene.side("new").try_open(soon(scene.config()), Relied::Unknown).unwrap();
    assert_eq!((report.records_added, &report.damage[..]), (20, &[][..]));
    assert_eq!(all(&store).await, items);
    until("the old objects are gone", || scene.packs().is_empty()).await;
    assert_eq!(scene.merged().len(), 1);
    assert_readable(&store, 0..20).await;
}

/// A server that lost its lease without knowing may merge under the hands of the one that holds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_finds_packs_that_somebody_else_merged() {
    let (scene, elsewhere) = (Scene::new(), Scene::new());
    let store = scene.side("one").open(scene.config());
    commit(&store, 0..20).await;
    copy_dir(&scene.object("home"), &elsewhere.object("home"));
    fs::remove_file(elsewhere.object("home/lease")).unwrap();
    let other = elsewhere.side("other").open(soon(elsewhere.config()));
    until("one object", || elsewhere.packs().is_empty()).await;
    drop(other);
    for key in elsewhere.merged() {
        fs::copy(elsewhere.object(&key), scene.object(&key)).unwrap();
    }
    for key in scene.packs() {
        fs::remove_file(scene.object(&key)).unwrap();
    }
    assert_readable(&store, 0..20).await;
    assert_eq!(store.stats().await.unwrap().bad_blobs, 0);
    // And it goes on.
    commit(&store, 20..25).await;
    assert_readable(&store, 0..25).await;
}

/// What is not intact is not copied, and above all not deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_stays_where_it_is() {
    let scene = Scene::new();
    let side = scene.side("one");
    let store = side.open(scene.config());
    commit(&store, 0..20).await;
    drop(store);
    let hurt = "home/0000000000000003-00000001.pack";
    let mut bytes = fs::read(scene.object(hurt)).unwrap();
    bytes[24 + 60 + 56 + 10] ^= 1;
    fs::write(scene.object(hurt), &bytes).unwrap();
    let store = side.open(soon(scene.config()));
    until("only the damaged one is left", || scene.packs() == [hurt]).await;
    assert_eq!(fs::read(scene.object(hurt)).unwrap(), bytes);
    let error = store.get(&BlobId::of(&blob(2))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
    assert_readable(&store, 0..2).await;
    assert_readable(&store, 3..20).await;
    put(&store, &blob(2)).await;
    store.flush().await.unwrap();
    assert_readable(&store, 0..20).await;
}

/// Somebody deleted one of them: the others are merged, and what was in it is missed by whoever asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_stops_no_merging() {
    let scene = Scene::new();
    let side = scene.side("one");
    let store = side.open(scene.config());
    commit(&store, 0..20).await;
    drop(store);
    // Not before it is gone.
    let patience = Patience { merge: Some(20 * REST), ..scene.config().patience };
    let store = side.open(S3Config { patience, ..scene.config() });
    fs::remove_file(scene.object("home/0000000000000003-00000001.pack")).unwrap();
    until("one object", || scene.packs().is_empty() && scene.merged().len() == 1).await;
    assert_readable(&store, 0..2).await;
    assert_readable(&store, 3..20).await;
    let error = store.get(&BlobId::of(&blob(2))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
}

/// Deleting is a right that not every key has. Without it there is one copy too many at most, however often a server starts.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_delete_nothing_is_merged() {
    let scene = Scene::new();
    let side = scene.side("one");
    scene.proxy.plan(u32::MAX, Trouble::Refused(403, "AccessDenied"), |seen| seen.method == "DELETE");
    let denied = || scene.proxy.seen().iter().filter(|seen| seen.method == "DELETE").count();
    let merges = || scene.proxy.seen().iter().filter(|seen| is_merged_object_written(seen)).count();
    let store = side.open(soon(scene.through_proxy()));
    commit(&store, 0..20).await;
    until("a merge that can't be finished", || denied() == 1).await;
    let merged = merges();
    assert_eq!(merged, 1);
    drop(store);
    let store = side.open(soon(scene.through_proxy()));
    until("the next start tries to tidy up first", || denied() == 2).await;
    commit(&store, 20..60).await;
    tokio::time::sleep(5 * REST).await;
    assert_eq!((merges(), denied()), (1, 2));
    assert_readable(&store, 0..60).await;
}

/// An object that will not be merged again goes to the class that the config asks for, a smaller one doesn't.
#[tokio::test(flavor = "multi_thread")]
async fn only_grown_objects_are_kept_in_the_storage_class() {
    let scene = Scene::new();
    let config = S3Config { storage_class: Some("STANDARD_IA".into()), ..soon(scene.through_proxy()) };
    let store = scene.side("one").open(config);
    let blobs: Vec<Bytes> = (0..16).map(|seed| noise(seed, 700_000)).collect();
    for blob in &blobs {
        put(&store, blob).await;
        store.flush().await.unwrap();
    }
    until("one object", || scene.packs().is_empty()).await;
    for blob in &blobs {
        assert_eq!(read(&store, blob).await.as_ref(), Some(blob));
    }
    let has_class = |seen: &Seen| seen.head.contains("x-amz-storage-class: standard_ia");
    let seen = scene.proxy.seen();
    let (begun, rest): (Vec<&Seen>, Vec<&Seen>) =
        seen.iter().partition(|seen| seen.method == "POST" && seen.target.contains(".packs?uploads"));
    assert_eq!(begun.len(), 1);
    assert!(has_class(begun[0]), "{}", begun[0].head);
    assert!(!rest.into_iter().any(has_class), "packs that may be merged again stay in the standard class");
}

/// {delete, truncate, flip a byte of the first table} of a merged object.
#[tokio::test(flavor = "multi_thread")]
async fn a_merged_object_that_is_hurt_is_read_or_reported() {
    type Hurt = fn(&Path);
    let hurts: [(&str, Hurt, usize); 4] = [
        ("deleted", |path| fs::remove_file(path).unwrap(), 20),
        ("truncated", |path| fs::write(path, &fs::read(path).unwrap()[..900]).unwrap(), 20),
        ("first table flipped", |path| flip(path, &[9]), 0),
        ("both tables flipped", |path| flip(path, &[9, -9]), 20),
    ];
    for (hurt, do_it, lost) in hurts {
        let scene = Scene::new();
        let side = scene.side("one");
        let store = side.open(soon(scene.config()));
        commit(&store, 0..20).await;
        let end = store.flush().await.unwrap()[0].end;
        until("one object", || scene.packs().is_empty()).await;
        drop(store);
        do_it(&scene.object(&scene.merged()[0]));
        let (store, report) = side.try_open(scene.config(), Relied::UpTo(end)).unwrap();
        assert_eq!(report.damage.len(), lost, "{hurt}: {report:?}");
        if lost == 0 {
            assert_readable(&store, 0..20).await;
        } else {
            // The way back is the same as ever: whoever has the bytes puts them again.
            commit(&store, 0..20).await;
            assert_readable(&store, 0..20).await;
        }
    }
}

/// Flips bytes at these places, counted from the end where they are negative.
fn flip(path: &Path, places: &[isize]) {
    let mut bytes = fs::read(path).unwrap();
    for place in places {
        let at = if *place < 0 { bytes.len() - place.unsigned_abs() } else { place.unsigned_abs() };
        bytes[at] ^= 1;
    }
    fs::write(path, bytes).unwrap();
}
