//! Random commands on hashes, through batches, transactions and rebuilds, against a plain model.

use std::collections::BTreeMap;

use bytes::Bytes;
use datadb::command::{Call, Command, Reply};
use datadb_server::engine::Engine;
use proptest::prelude::*;

use super::{ask, ask_within, call, engine, rebuilt, values, words};

type Model = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// One random step: a set or hash key gets or loses an element, or goes.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u16, u8),
    Many(u8, u16),
    Remove(u8, u16),
    Drop(u8),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        8 => (0u8..4, 0u16..300, any::<u8>()).prop_map(|(key, field, value)| Step::Put(key, field, value)),
        2 => (0u8..4, 0u16..200).prop_map(|(key, from)| Step::Many(key, from)),
        4 => (0u8..4, 0u16..300).prop_map(|(key, field)| Step::Remove(key, field)),
        1 => (0u8..4).prop_map(Step::Drop),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..8), 1..12)
}

fn carry_out(step: &Step, model: &mut Model) -> Call {
    let key = |key: &u8| format!("h{key}");
    let field = |field: u16| format!("{field:05}");
    let line = match step {
        Step::Put(k, f, value) => {
            let fields = model.entry(key(k)).or_default();
            fields.insert(field(*f).into(), value.to_string().into());
            format!("hset {} {} {value}", key(k), field(*f))
        }
        Step::Many(k, from) => {
            let fields: Vec<String> = (*from..from + 150).map(field).collect();
            let all = model.entry(key(k)).or_default();
            all.extend(fields.iter().map(|field| (field.clone().into(), b"many".to_vec())));
            format!("hset {} {}", key(k), fields.iter().map(|f| format!("{f} many")).collect::<Vec<_>>().join(" "))
        }
        Step::Remove(k, f) => {
            if let Some(fields) = model.get_mut(&key(k)) {
                fields.remove(field(*f).as_bytes());
            }
            format!("hdel {} {}", key(k), field(*f))
        }
        Step::Drop(k) => {
            model.remove(&key(k));
            format!("del {}", key(k))
        }
    };
    model.retain(|_, fields| !fields.is_empty());
    call(&words(&line))
}

async fn check(engine: &Engine, model: &Model) {
    assert_eq!(ask(engine, "dbsize").await, Reply::Integer(model.len() as i64));
    assert_eq!(ask(engine, "keys *").await, values(&model.keys().map(String::as_str).collect::<Vec<_>>()));
    for (key, fields) in model {
        let map = fields.iter().map(|(field, value)| (field.clone().into(), value.clone().into())).collect();
        assert_eq!(ask(engine, &format!("hgetall {key}")).await, Reply::Map(map), "{key}");
        assert_eq!(ask(engine, &format!("hlen {key}")).await, Reply::Integer(fields.len() as i64), "{key}");
        let (field, value) = fields.last_key_value().unwrap();
        let words = [Bytes::from("hget"), key.clone().into(), field.clone().into()];
        let got = engine.execute(vec![call(&words)]).await.pop().unwrap();
        assert_eq!(got, Reply::Value(value.clone().into()), "{key}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Packed and spilled hashes, batches, transactions, a restart and a rebuild: all as the model has it.
    #[test]
    fn random_commands_and_rebuilds_agree_with_a_model(groups in steps(), way in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut engine = engine(dir.path()).await;
            let mut model = Model::new();
            for (n, steps) in groups.iter().enumerate() {
                let calls: Vec<Call> = steps.iter().map(|step| carry_out(step, &mut model)).collect();
                match (way >> (2 * (n % 32))) & 3 {
                    0 => drop(engine.execute(vec![Command::Batch(calls).into()]).await),
                    1 => {
                        ask(&engine, "txinit t").await;
                        let within = calls.into_iter().map(|call| Call { transaction: "t".into(), ..call });
                        engine.execute(within.collect()).await;
                        assert_eq!(ask_within(&engine, "t", "txcommit").await, Reply::ok());
                    }
                    _ => drop(engine.execute(calls).await),
                }
                check(&engine, &model).await;
            }
            engine = rebuilt(dir.path(), engine).await;
            check(&engine, &model).await;
            engine.close().await.unwrap();
        });
    }
}
