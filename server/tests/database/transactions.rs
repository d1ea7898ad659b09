//! Transactions and batches: what they see, when they are seen, how large they may be, when they end by themselves.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use datadb::{
    command::{Call, Command, Reply},
    limits,
};
use datadb_server::{
    engine::{Engine, clock::Clock, open::DataDir},
    store::disk::RealDisk,
};

use super::{ask, ask_within, call, engine, error, rebuilt, text, values, words};

/// A clock that stands still until it is set: unix microseconds.
#[derive(Debug, Default)]
struct Standing(AtomicI64);

impl Clock for Standing {
    fn now(&self) -> i64 {
        self.now_micros().div_euclid(1_000_000)
    }

    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

async fn engine_at(dir: &std::path::Path, clock: &Arc<Standing>) -> Engine {
    let held = DataDir::hold(dir, Arc::new(RealDisk)).unwrap();
    Engine::open(held, clock.clone()).await.unwrap().0
}

/// A transaction reads its own writes, nobody else does before the commit, and a discarded one leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_seen_when_it_commits() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    assert_eq!(ask(&engine, "txinit first").await, text("first"));
    assert_eq!(ask_within(&engine, "first", "hset h a 1").await, Reply::Integer(1));
    assert_eq!(ask_within(&engine, "first", "hget h a").await, text("1"));
    assert_eq!(ask(&engine, "hget h a").await, Reply::Nil);
    assert_eq!(ask_within(&engine, "first", "txcommit").await, Reply::ok());
    assert_eq!(ask(&engine, "hget h a").await, text("1"));
    assert!(error(ask_within(&engine, "first", "get k").await).contains("no transaction first"));
    ask(&engine, "txinit second").await;
    ask_within(&engine, "second", "del h").await;
    assert_eq!(ask_within(&engine, "second", "exists h").await, Reply::Integer(0));
    assert_eq!(ask_within(&engine, "second", "txdiscard").await, Reply::ok());
    assert_eq!(ask(&engine, "hget h a").await, text("1"));
    let big = Bytes::from(vec![b'x'; 500_000]);
    ask(&engine, "txinit third").await;
    let mut last = Reply::Nil;
    for n in 0..9 {
        let words = [Bytes::from("set"), Bytes::from(format!("k{n}")), big.clone()];
        let call = Call { transaction: "third".into(), ..call(&words) };
        last = engine.execute(vec![call]).await.pop().unwrap();
    }
    assert!(error(last).contains("at most"));
    engine.close().await.unwrap();
}

/// In a batch an error stops nothing, and all of it is one entry of the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_behind_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    let lines = ["set s 1", "sadd s x", "sadd m x", "smembers m"];
    let batch = Command::Batch(lines.map(|line| call(&words(line))).to_vec());
    let Some(Reply::Replies(replies)) = engine.execute(vec![batch.into()]).await.pop() else { panic!("no replies") };
    assert_eq!((&replies[0], &replies[2]), (&Reply::ok(), &Reply::Integer(1)));
    assert!(error(replies[1].clone()).starts_with("WRONGTYPE "));
    assert_eq!(replies[3], Reply::Set(vec!["x".into()]));
    engine.close().await.unwrap();
}

/// The log says a key with every change of it; so its length counts as often, and no record outgrows what can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_key_counts_with_each_of_its_changes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    let key = Bytes::from("k".repeat(limits::KEY_BYTES_MAX));
    let fields = (0..5000).flat_map(|n| [Bytes::from(format!("f{n}")), Bytes::from("v")]);
    let many: Vec<Bytes> = [Bytes::from("hset"), key.clone()].into_iter().chain(fields).collect();
    let refused = error(engine.execute(vec![call(&many)]).await.pop().unwrap());
    assert!(refused.contains("at most"), "{refused}");
    ask(&engine, "txinit t").await;
    let ladd = |n: usize| Call {
        transaction: "t".into(),
        ..call(&["ladd".into(), key.clone(), n.to_string().into(), "v".into()])
    };
    let replies = engine.execute((0..5000).map(ladd).collect()).await;
    let accepted = replies.iter().filter(|reply| **reply == Reply::Integer(1)).count();
    assert!(error(replies.last().unwrap().clone()).contains("at most"));
    assert_eq!(ask_within(&engine, "t", "txcommit").await, Reply::ok());
    // One after the other they are as many as one likes.
    let hset = |n: usize| call(&["hset".into(), "h".into(), n.to_string().into(), key.clone()]);
    assert_eq!(engine.execute((0..5000).map(hset).collect()).await, vec![Reply::Integer(1); 5000]);
    let engine = rebuilt(dir.path(), engine).await;
    assert_eq!(engine.execute(vec![call(&["llen".into(), key])]).await, [Reply::Integer(accepted as i64)]);
    assert_eq!(ask(&engine, "hlen h").await, Reply::Integer(5000));
    engine.close().await.unwrap();
}

/// A batch within a transaction is a part of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_within_a_transaction_is_committed_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    ask(&engine, "txinit t").await;
    let batch = Command::Batch(["set a 1", "hset h f v"].map(|line| call(&words(line))).to_vec());
    let within = Call { transaction: "t".into(), ..batch.into() };
    assert_eq!(engine.execute(vec![within]).await, [Reply::Replies(vec![Reply::ok(), Reply::Integer(1)])]);
    assert_eq!(ask(&engine, "get a").await, Reply::Nil);
    assert_eq!(ask_within(&engine, "t", "txcommit").await, Reply::ok());
    assert_eq!((ask(&engine, "get a").await, ask(&engine, "hget h f").await), (text("1"), text("v")));
    engine.close().await.unwrap();
}

/// A transaction that nobody uses for a lease is gone, and nothing of it is there; one that is used lives on.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_ends_with_its_lease() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Standing::default()));
    let engine = engine_at(dir.path(), &clock).await;
    let lease = i64::from(limits::LEASE_SECONDS) * 1_000_000;
    for id in ["left", "used"] {
        ask(&engine, &format!("txinit {id}")).await;
        assert_eq!(ask_within(&engine, id, &format!("set {id} 1")).await, Reply::ok());
    }
    clock.0.fetch_add(lease, Ordering::Relaxed);
    assert_eq!(ask_within(&engine, "used", "get used").await, text("1"), "a lease is not over before its end");
    clock.0.fetch_add(1_000_000, Ordering::Relaxed);
    for line in ["get left", "set left 2", "txcommit"] {
        assert!(error(ask_within(&engine, "left", line).await).contains("expired"), "{line}");
    }
    assert_eq!(ask_within(&engine, "used", "txcommit").await, Reply::ok());
    assert_eq!((ask(&engine, "get left").await, ask(&engine, "get used").await), (Reply::Nil, text("1")));
    assert_eq!(ask(&engine, "txinit left").await, text("left"), "the id is free again");
    assert_eq!(ask_within(&engine, "left", "get left").await, Reply::Nil);
    engine.close().await.unwrap();
}

/// Where so many are open as may be, one more is refused, until one of them ends.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_are_left_open_make_room_when_they_expire() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Standing::default()));
    let engine = engine_at(dir.path(), &clock).await;
    let mut open = 0;
    let refused = loop {
        match ask(&engine, &format!("txinit t{open}")).await {
            Reply::Error(refusal) => break refusal.to_string(),
            _ => open += 1,
        }
    };
    assert!(refused.contains(&format!("{open} transactions are open")), "{refused}");
    clock.0.fetch_add((i64::from(limits::LEASE_SECONDS) + 1) * 1_000_000, Ordering::Relaxed);
    assert_eq!(ask(&engine, "txinit next").await, text("next"));
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn time_tells_seconds_and_microseconds() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Standing::default()));
    let engine = engine_at(dir.path(), &clock).await;
    clock.0.store(1_400_000_000_000_042, Ordering::Relaxed);
    assert_eq!(ask(&engine, "time").await, values(&["1400000000", "42"]));
    assert_eq!(ask(&engine, "now").await, Reply::Integer(1_400_000_000));
    engine.close().await.unwrap();
}
