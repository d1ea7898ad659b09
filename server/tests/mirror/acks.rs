//! When a write counts, and what becomes of sides that missed one.

use datadb::{BlobId, Kind};
use datadb_server::{
    store::mirror::Ack,
    store::{BlobStore as _, Presence, StoreError, mirror::Standing, testing::faulty::Fault},
};

use crate::scene::{Scene, assert_same, put, standing, wait_for};

#[tokio::test]
async fn with_all_a_side_that_is_away_is_named_and_nothing_is_written() {
    let scene = Scene::new(&["a", "b"], Ack::All);
    scene.side(1).set_away(true);
    let mirror = scene.open().await.unwrap();
    let error = put(&mirror, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("b is away (") && error.to_string().contains("unplugged"), "{error}");
    assert_eq!(scene.side(0).faulty.stats().await.unwrap().records, 0, "nothing reached the side that is there");
    scene.side(1).set_away(false);
    let blob = put(&mirror, 1).await.unwrap();
    mirror.flush().await.unwrap();
    for side in 0..2 {
        assert_same(scene.side(side).faulty.get(&BlobId::of(&blob)).await.unwrap(), &blob);
    }
    mirror.stop().await;
}

#[tokio::test]
async fn with_a_number_a_side_falls_behind_and_catches_up_in_order() {
    let scene = Scene::new(&["a", "b"], Ack::Sides(1));
    let mirror = scene.open().await.unwrap();
    let mut blobs = vec![put(&mirror, 1).await.unwrap()];
    mirror.flush().await.unwrap();
    mirror.stop().await;
    scene.side(1).set_away(true);
    assert!(scene.open().await.is_err(), "one of two sides can't know what the other alone may hold");
    scene.side(1).set_away(false);

    let mirror = scene.open().await.unwrap();
    scene.side(1).faulty.next([Some(Fault::Fails), Some(Fault::Fails)]);
    for seed in 2..12 {
        blobs.push(put(&mirror, seed).await.unwrap());
        mirror.flush().await.unwrap();
    }
    wait_for(&mirror, 1, Standing::Level).await;
    let side = &scene.side(1).faulty;
    for blob in &blobs {
        assert_same(side.get(&BlobId::of(blob)).await.unwrap(), blob);
    }
    assert_eq!(side.stats().await.unwrap(), scene.side(0).faulty.stats().await.unwrap());
    let order = |items: Vec<datadb_server::store::Item>| format!("{items:?}");
    assert_eq!(
        order(side.enumerate(None, 100).await.unwrap()),
        order(scene.side(0).faulty.enumerate(None, 100).await.unwrap())
    );
    mirror.stop().await;
}

#[tokio::test]
async fn local_waits_for_local_sides_alone() {
    let scene = Scene::new(&["local", "far"], Ack::Local);
    scene.side(1).set_away(true);
    let mirror = scene.open().await.unwrap();
    let blob = put(&mirror, 1).await.unwrap();
    mirror.flush().await.unwrap();
    assert_eq!(standing(&mirror, 1).await, Standing::Away);
    scene.side(1).set_away(false);
    wait_for(&mirror, 1, Standing::Level).await;
    assert_same(scene.side(1).faulty.get(&BlobId::of(&blob)).await.unwrap(), &blob);
    mirror.stop().await;
}

/// A side that can't keep up, as a bucket behind a thin link, is behind after a while; commits don't go at its pace.
#[tokio::test]
async fn a_slow_side_that_is_not_needed_holds_up_no_commit() {
    let scene = Scene::new(&["local", "far"], Ack::Local);
    let mirror = scene.open().await.unwrap();
    let hour = Fault::Slow(3_600_000);
    scene.side(1).faulty.next([None, Some(hour)]);
    let blob = put(&mirror, 1).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(mirror.flush().await.unwrap().len(), 1);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    wait_for(&mirror, 1, Standing::Level).await;
    assert_same(scene.side(1).faulty.get(&BlobId::of(&blob)).await.unwrap(), &blob);
    mirror.stop().await;
}

/// Whatever a side does wrong, the next try leads to the same state as a call that went well.
#[tokio::test]
async fn a_side_that_fails_in_the_middle_leaves_doubt_and_the_next_try_ends_it() {
    for fault in [Fault::Fails, Fault::FailsAfterApplying, Fault::HalfABatch, Fault::Full] {
        let scene = Scene::new(&["a", "b"], Ack::All);
        let mirror = scene.open().await.unwrap();
        scene.side(1).faulty.next([Some(fault)]);
        let error = put(&mirror, 1).await.unwrap_err();
        assert!(matches!(error, StoreError::InDoubt { .. }), "{fault:?}: {error:?}");
        assert!(error.to_string().contains(" b: "), "{error}");
        let blob = put(&mirror, 1).await.unwrap();
        mirror.flush().await.unwrap();
        for side in 0..2 {
            assert_same(scene.side(side).faulty.get(&BlobId::of(&blob)).await.unwrap(), &blob);
            assert_eq!(scene.side(side).faulty.stats().await.unwrap().blobs, 1);
        }
        mirror.stop().await;
    }
}

#[tokio::test]
async fn a_flush_that_fails_on_a_side_leaves_doubt_and_the_next_one_counts() {
    let scene = Scene::new(&["a", "b"], Ack::All);
    let mirror = scene.open().await.unwrap();
    put(&mirror, 1).await.unwrap();
    scene.side(1).faulty.next([Some(Fault::Fails)]);
    let error = mirror.flush().await.unwrap_err();
    assert!(matches!(error, StoreError::InDoubt { .. }) && error.to_string().contains(" b: "), "{error:?}");
    assert_eq!(mirror.flush().await.unwrap().len(), 2);
    mirror.stop().await;
}

/// What a dead side alone could know is unknown; what is somewhere is there.
#[tokio::test]
async fn what_only_a_dead_side_could_know_is_unknown() {
    let scene = Scene::new(&["a", "b", "c"], Ack::Sides(2));
    let mirror = scene.open().await.unwrap();
    let blob = put(&mirror, 1).await.unwrap();
    mirror.flush().await.unwrap();
    mirror.stop().await;
    scene.side(0).set_away(true);
    let mirror = scene.open().await.unwrap();
    let (here, nowhere) = (BlobId::of(&blob), BlobId::of(b"nobody put this"));
    let found = mirror.find(&[here, nowhere]).await.unwrap();
    assert!(matches!(found[..], [Presence::Have(_), Presence::Unknown]), "{found:?}");
    assert_same(mirror.get(&here).await.unwrap(), &blob);
    assert!(matches!(mirror.get(&nowhere).await.unwrap_err(), StoreError::Away { .. }));
    mirror.stop().await;
}
