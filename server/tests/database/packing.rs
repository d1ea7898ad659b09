//! A key that was large once is kept element by element for as long as it lives, and answers like one that never was.

use bytes::Bytes;
use datadb::{
    command::{Call, Command, Reply},
    limits,
};
use datadb_server::engine::Engine;
use proptest::prelude::*;

use super::{call, engine, rebuilt, words};

fn within(database: &str, words: &[Bytes]) -> Call {
    Call { database: database.to_owned(), ..call(words) }
}

/// A command on one of three keys, each of a type of its own, so that elements come and go until a key is gone.
fn command() -> impl Strategy<Value = Vec<Bytes>> {
    let element = || prop_oneof![(0u8..8).prop_map(|n| format!("e{n}")), Just(String::new())];
    let around = limits::PACKED_BYTES_MAX - 12;
    let len = prop_oneof![3 => 0usize..4, 1 => around..around + 12, 1 => Just(1500usize)];
    let value = len.prop_map(|len| "v".repeat(len));
    let index = prop_oneof![0u64..8, Just(u64::MAX)];
    prop_oneof![
        4 => (element(), value.clone()).prop_map(|(e, v)| vec!["hset".into(), "h".into(), e.into(), v.into()]),
        2 => element().prop_map(|e| vec!["hdel".into(), "h".into(), e.into()]),
        3 => element().prop_map(|e| vec!["sadd".into(), "s".into(), e.into()]),
        2 => element().prop_map(|e| vec!["srem".into(), "s".into(), e.into()]),
        4 => (index.clone(), value).prop_map(|(i, v)| vec!["ladd".into(), "l".into(), i.to_string().into(), v.into()]),
        2 => index.prop_map(|i| vec!["lrem".into(), "l".into(), i.to_string().into()]),
        1 => Just(words("del h s l")),
    ]
}

/// Every question that there is about the three keys.
const QUESTIONS: &[&str] = &[
    "exists h s l",
    "dbsize",
    "keys *",
    "type h",
    "type s",
    "type l",
    "hgetall h",
    "hkeys h",
    "hvals h",
    "hlen h",
    "hget h e3",
    "hmget h e0 e1 x",
    "hexists h e2",
    "smembers s",
    "scard s",
    "sismember s e1",
    "smismember s e0 x e7",
    "srange s e1 e5 3",
    "srange s e5 e1 0",
    "liter l with index",
    "llen l",
    "lfirst l",
    "llast l with index",
    "lindex l 3",
    "lrange l 2 6",
    "lrange l 2 18446744073709551615 2 with index",
    "lmrange l 4 5 1",
    "lmrange l 0 0 9",
    "lprev l 5 with index",
    "lprev l 18446744073709551615",
    "get h",
    "hlen l",
    "hscan h 0 count 100",
    "sscan s 0 count 100",
];

async fn execute(engine: &Engine, database: &str, words: &[Bytes]) -> Reply {
    engine.execute(vec![within(database, words)]).await.pop().unwrap()
}

/// Makes the keys that are there outgrow what is packed, and takes away again what it added.
async fn spill(engine: &Engine) {
    let filler = |n: usize| Bytes::from(format!("~{n:03}"));
    let count = limits::PACKED_ELEMENTS_MAX + 1;
    for (key, add, remove) in [("h", "hset", "hdel"), ("s", "sadd", "srem")] {
        if execute(engine, "spilled", &words(&format!("exists {key}"))).await == Reply::Integer(0) {
            continue;
        }
        let with_value = |n| if add == "hset" { vec![filler(n), "x".into()] } else { vec![filler(n)] };
        let begin = |name: &'static str| vec![Bytes::from(name), key.into()];
        execute(engine, "spilled", &[begin(add), (0..count).flat_map(with_value).collect()].concat()).await;
        let removed = execute(engine, "spilled", &[begin(remove), (0..count).map(filler).collect()].concat()).await;
        assert_eq!(removed, Reply::Integer(count as i64));
    }
    if execute(engine, "spilled", &words("exists l")).await == Reply::Integer(1) {
        for name in ["ladd", "lrem"] {
            let line = |n: usize| if name == "ladd" { format!("ladd l {n} x") } else { format!("lrem l {n}") };
            let calls = (1000..1000 + count).map(|n| within("spilled", &words(&line(n))));
            let batch = Call { database: "spilled".into(), ..Command::Batch(calls.collect()).into() };
            engine.execute(vec![batch]).await;
        }
    }
}

async fn compare(engine: &Engine) {
    let ask = |database: &'static str| {
        engine.execute(QUESTIONS.iter().map(|question| within(database, &words(question))).collect())
    };
    for ((question, packed), spilled) in QUESTIONS.iter().zip(ask("packed").await).zip(ask("spilled").await) {
        assert_eq!(packed, spilled, "{question}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_key_that_was_large_once_answers_like_one_that_never_was(commands in prop::collection::vec(command(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut engine = engine(dir.path()).await;
            for words in &commands {
                let packed = execute(&engine, "packed", words).await;
                assert_eq!(packed, execute(&engine, "spilled", words).await, "{words:?}");
                spill(&engine).await;
                compare(&engine).await;
            }
            engine = rebuilt(dir.path(), engine).await;
            compare(&engine).await;
            engine.close().await.unwrap();
        });
    }
}
