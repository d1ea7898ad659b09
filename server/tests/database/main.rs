//! The database through the engine: every type, transactions, a plain model through rebuilds, and down into backups.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod model;
mod packing;
mod transactions;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use datadb::{
    BlobId,
    command::{Call, Command, Reply},
};
use datadb_server::{
    engine::{
        Engine,
        open::{DataDir, rebuild},
    },
    store::disk::RealDisk,
};
use support::{back_up, open};

fn words(line: &str) -> Vec<Bytes> {
    line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

fn call(words: &[Bytes]) -> Call {
    Command::parse(words).unwrap().into()
}

async fn ask(engine: &Engine, line: &str) -> Reply {
    engine.execute(vec![call(&words(line))]).await.pop().unwrap()
}

async fn ask_within(engine: &Engine, transaction: &str, line: &str) -> Reply {
    let call = Call { transaction: transaction.to_owned(), ..call(&words(line)) };
    engine.execute(vec![call]).await.pop().unwrap()
}

fn text(text: &str) -> Reply {
    Reply::Value(Bytes::copy_from_slice(text.as_bytes()))
}

fn values(all: &[&str]) -> Reply {
    Reply::Values(all.iter().map(|text| Some(Bytes::copy_from_slice(text.as_bytes()))).collect())
}

fn error(reply: Reply) -> String {
    let Reply::Error(refusal) = reply else { panic!("{reply:?} is no error") };
    refusal.to_string()
}

async fn engine(dir: &Path) -> Engine {
    open(dir, Arc::new(RealDisk)).await.unwrap().0
}

/// Opens the directory anew after its index is gone.
async fn rebuilt(dir: &Path, engine: Engine) -> Engine {
    engine.close().await.unwrap();
    drop(engine);
    std::fs::remove_dir_all(dir.join("index")).unwrap();
    rebuild(DataDir::hold(dir, Arc::new(RealDisk)).unwrap(), &mut |_| ()).await.unwrap();
    self::engine(dir).await
}

/// Strings, hashes, sets and lists answer as their commands say.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_answers_as_its_commands_say() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    for (line, wanted) in [
        ("set s one", Reply::ok()),
        ("get s", text("one")),
        ("set s two nx", Reply::Nil),
        ("set s two xx get", text("one")),
        ("strlen s", Reply::Integer(3)),
        ("get missing", Reply::Nil),
        ("mget s missing s", Reply::Values(vec![Some("two".into()), None, Some("two".into())])),
        ("hset h a 1 b 2 a 3", Reply::Integer(2)),
        ("hgetall h", Reply::Map(vec![("a".into(), "3".into()), ("b".into(), "2".into())])),
        ("hmget h a x", Reply::Values(vec![Some("3".into()), None])),
        ("hdel h a a x", Reply::Integer(1)),
        ("hlen h", Reply::Integer(1)),
        ("sadd m b a c a", Reply::Integer(3)),
        ("smembers m", Reply::Set(vec!["a".into(), "b".into(), "c".into()])),
        ("smismember m a x", Reply::Integers(vec![1, 0])),
        ("srange m b z 0", values(&["b", "c"])),
        ("srem m a b c", Reply::Integer(3)),
        ("exists m s h", Reply::Integer(2)),
        ("ladd l 5 five", Reply::Integer(1)),
        ("ladd l 18446744073709551615 last", Reply::Integer(1)),
        ("ladd l 1 one", Reply::Integer(1)),
        ("ladd l 5 FIVE", Reply::Integer(0)),
        ("liter l with index", values(&["1", "one", "5", "FIVE", "18446744073709551615", "last"])),
        ("lrange l 2 9", values(&["FIVE"])),
        ("lmrange l 6 9 1", values(&["5", "FIVE"])),
        ("lprev l 4 with index", values(&["1", "one"])),
        ("lprev l 0", Reply::Nil),
        ("lfirst l", text("one")),
        ("llast l with index", values(&["18446744073709551615", "last"])),
        ("lrem l 1", Reply::Integer(1)),
        ("llen l", Reply::Integer(2)),
        ("type l", Reply::Status("list".into())),
        ("dbsize", Reply::Integer(3)),
        ("keys *", values(&["h", "l", "s"])),
        ("set t x", Reply::ok()),
        ("range a z 0", values(&["two", "x"])),
        ("del s t nothing", Reply::Integer(2)),
        ("dbsize", Reply::Integer(2)),
    ] {
        assert_eq!(ask(&engine, line).await, wanted, "{line}");
    }
    assert!(error(ask(&engine, "get h").await).starts_with("WRONGTYPE "));
    assert!(error(ask(&engine, "hset l a b").await).starts_with("WRONGTYPE "));
    engine.close().await.unwrap();
}

/// Databases lie side by side: a key of one is none of the other.
#[tokio::test(flavor = "multi_thread")]
async fn databases_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    let other = |line| Call { database: "other".into(), ..call(&words(line)) };
    ask(&engine, "set k here").await;
    let replies = engine.execute(vec![other("get k"), other("set k there"), other("dbsize"), other("keys *")]).await;
    assert_eq!(replies, [Reply::Nil, Reply::ok(), Reply::Integer(1), values(&["k"])]);
    assert_eq!(ask(&engine, "get k").await, text("here"));
    engine.close().await.unwrap();
}

/// Scans show each element once and end, however small their pages.
#[tokio::test(flavor = "multi_thread")]
async fn scans_go_page_by_page_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    let sets = (0..300).map(|n| call(&words(&format!("sadd big {n:04}"))));
    engine.execute(sets.chain((0..25).map(|n| call(&words(&format!("set k{n:02} v"))))).collect()).await;
    for (begin, rest, wanted) in [("sscan big", "count 7", 300), ("scan", "count 4 match k*", 25)] {
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let Reply::Page(next, page) = ask(&engine, &format!("{begin} {cursor} {rest}")).await else {
                panic!("no page");
            };
            seen.extend(page);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((count, seen.len()), (wanted, wanted), "{begin}");
    }
    assert!(error(ask(&engine, "scan 12345").await).contains("start again"));
    engine.close().await.unwrap();
}

/// From `snapshots` down to a blob whose SHA-1 is right, by commands alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_walked_from_snapshots_down_to_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    let tree = BTreeMap::from([("file".to_owned(), Bytes::from("its bytes")), ("other".to_owned(), "more".into())]);
    let backup = back_up(&engine, "/home", &tree).await.unwrap();
    let Reply::Set(snapshots) = ask(&engine, "smembers snapshots").await else { panic!("no set") };
    assert_eq!(snapshots, [Bytes::from(backup.snapshot().to_string())]);
    let snapshot = backup.snapshot();
    let wanted = [backup.time.seconds().to_string(), format!("backup:{}", backup.key())];
    let newest = ask(&engine, &format!("llast {snapshot} with index")).await;
    assert_eq!(newest, values(&[&wanted[0], &wanted[1]]));
    assert_eq!(ask(&engine, &format!("hget {} path", wanted[1])).await, text("/home"));
    let Reply::Value(root) = ask(&engine, &format!("hget {} ref", wanted[1])).await else { panic!("no root") };
    let root = String::from_utf8(root.to_vec()).unwrap();
    assert_eq!(ask(&engine, &format!("hget {root} type")).await, text("dir"));
    let Reply::Value(set) = ask(&engine, &format!("hget {root} ref")).await else { panic!("no set") };
    let set = String::from_utf8(set.to_vec()).unwrap();
    let Reply::Set(metas) = ask(&engine, &format!("smembers {set}")).await else { panic!("no metas") };
    let meta = std::str::from_utf8(&metas[0]).unwrap();
    assert_eq!(ask(&engine, &format!("hget {meta} name")).await, text("file"));
    let Reply::Value(blob) = ask(&engine, &format!("hget {meta} blob")).await else { panic!("no blob") };
    let blob = std::str::from_utf8(&blob).unwrap().to_owned();
    let Reply::Value(bytes) = ask(&engine, &format!("bget {blob}")).await else { panic!("no bytes") };
    assert_eq!((&bytes[..], BlobId::of(&bytes).to_string()), (&b"its bytes"[..], blob));
    assert!(error(ask(&engine, &format!("srange {set} a z 0")).await).contains("order of names"));
    assert_eq!((ask(&engine, "keys *").await, ask(&engine, "dbsize").await), (values(&[]), Reply::Integer(0)));
    engine.close().await.unwrap();
}

/// What shows backups can't be written, be it there or not.
#[tokio::test(flavor = "multi_thread")]
async fn writes_to_what_shows_backups_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    let hex = "00112233445566778899aabbccddeeff00112233";
    for line in ["sadd snapshots x", "hset backup:x a b", "del snapshots", "ladd KEY 1 x", "set KEY x", "del KEY"] {
        let message = error(ask(&engine, &line.replace("KEY", hex)).await);
        assert!(message.starts_with("ERR ") && message.contains("backups"), "{line}: {message}");
    }
    let other = Call { database: "other".into(), ..call(&words(&format!("set {hex} x"))) };
    assert_eq!(engine.execute(vec![other]).await, [Reply::ok()]);
    engine.close().await.unwrap();
}

/// A blob that was put is there after its answer, under its SHA-1.
#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_put_and_read_by_their_sha1() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path()).await;
    let id = BlobId::of(b"abc").to_string();
    assert_eq!(ask(&engine, &format!("bexists {id}")).await, Reply::Integer(0));
    assert_eq!((ask(&engine, "hash abc").await, ask(&engine, "bput abc").await), (text(&id), text(&id)));
    assert_eq!(ask(&engine, &format!("bget {id}")).await, text("abc"));
    assert_eq!(ask(&engine, &format!("blen {id}")).await, Reply::Integer(3));
    assert_eq!(ask(&engine, &format!("bmexists {id} {}", "0".repeat(40))).await, Reply::Integers(vec![1, 0]));
    assert_eq!((ask(&engine, "bcnt").await, ask(&engine, "bsize").await), (Reply::Integer(1), Reply::Integer(3)));
    engine.close().await.unwrap();
}
