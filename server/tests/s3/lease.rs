//! One server writes below a prefix.

use std::{
    fs,
    time::{Duration, Instant},
};

use datadb::{BlobId, Kind};
use datadb_server::store::{
    BlobStore as _, Presence,
    blobsfile::Relied,
    s3::{Patience, S3Config, probe},
    testing::conformance::sample,
};

use crate::{
    s3_proxy::{Seen, Trouble},
    scene::{Scene, put, read},
};

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
    loses_its_lease(&Scene::new()).await;
}

/// The same where the store knows no conditional writes.
#[tokio::test(flavor = "multi_thread")]
async fn without_conditional_writes_two_servers_are_kept_apart_too() {
    let scene = Scene::new();
    let is_conditional = |seen: &Seen| seen.head.contains("if-match:") || seen.head.contains("if-none-match:");
    scene.proxy.plan(u32::MAX, Trouble::Refused(501, "NotImplemented"), is_conditional);
    assert!(!probe(&scene.through_proxy()).unwrap().honours_conditions);
    loses_its_lease(&scene).await;
}

async fn loses_its_lease(scene: &Scene) {
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
