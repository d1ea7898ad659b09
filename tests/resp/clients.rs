//! Clients that people use: redis-cli, redis-benchmark, the crate `redis`, and Python's redis-py.

use std::process::Command;

use redis::Commands as _;

use crate::{House, support::processes::Running};

#[test]
fn redis_benchmark_runs_against_the_sidecar() {
    let house = House::new();
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &house.sidecar.port(), "-t", "ping,set,get,sadd,hset", "-n", "2000", "-P", "16", "--csv"]);
    let run = Running::start(command).finish().ok();
    let text = run.text();
    for name in ["PING_INLINE", "SET", "GET", "SADD", "HSET"] {
        assert!(text.contains(&format!("\"{name}\"")), "{name} is not in\n{text}\n{}", run.stderr);
    }
    assert!(!text.contains("ERR") && !run.stderr.contains("Error"), "{text}\n{}", run.stderr);
}

#[test]
fn redis_cli_shows_help_of_the_commands() {
    let house = House::new();
    let docs = house.sidecar.cli(&["command", "docs", "ladd"]).ok().text();
    assert!(docs.contains("Puts a value at an index of a list (lists are DataDB's own"), "{docs}");
    let count: usize = house.sidecar.cli(&["command", "count"]).ok().text().trim().parse().unwrap();
    assert!(count > 60, "{count}");
}

fn open(house: &House, protocol: &str) -> redis::Connection {
    let url = format!("redis://127.0.0.1:{}/?protocol={protocol}", house.sidecar.port());
    redis::Client::open(url).expect("a URL").get_connection().expect("a connection")
}

#[test]
fn the_redis_crate_speaks_both_protocols() {
    let house = House::new();
    for protocol in ["resp2", "resp3"] {
        let mut connection = open(&house, protocol);
        let key = format!("{protocol}:hash");
        let _: () = connection.hset_multiple(&key, &[("a", "1"), ("b", "2")]).unwrap();
        let hash: std::collections::BTreeMap<String, u32> = connection.hgetall(&key).unwrap();
        assert_eq!(hash, [("a".to_owned(), 1), ("b".to_owned(), 2)].into());
        let (old, new): (Option<String>, i64) = redis::pipe()
            .atomic()
            .get(format!("{protocol}:missing"))
            .sadd(format!("{protocol}:set"), &["x", "y"])
            .query(&mut connection)
            .unwrap();
        assert_eq!((old, new), (None, 2));
        let members: std::collections::HashSet<String> = connection.smembers(format!("{protocol}:set")).unwrap();
        assert_eq!(members.len(), 2);
        let found: Vec<String> = connection.scan_match(format!("{protocol}:*")).unwrap().map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
    }
}

const PYTHON: &str = r#"
import sys, redis
for protocol in (2, 3):
    r = redis.Redis(port=int(sys.argv[1]), protocol=protocol, decode_responses=True, client_name=f"py{protocol}")
    key = f"py{protocol}:"
    assert r.ping()
    assert r.set(key + "s", "v") and r.get(key + "s") == "v" and r.get(key + "none") is None
    assert r.hset(key + "h", mapping={"a": "1", "b": "2"}) == 2 and r.hgetall(key + "h") == {"a": "1", "b": "2"}
    assert r.sadd(key + "t", "x", "y") == 2 and r.smembers(key + "t") == {"x", "y"}
    assert dict(r.hscan_iter(key + "h")) == {"a": "1", "b": "2"}
    assert set(r.scan_iter(match=key + "*")) == {key + "s", key + "h", key + "t"}
    pipe = r.pipeline(transaction=True)
    pipe.get(key + "s"); pipe.hlen(key + "h"); pipe.smismember(key + "t", ["x", "z"])
    assert pipe.execute() == ["v", 2, [1, 0]], "transaction"
    pipe = r.pipeline(transaction=False)
    for i in range(3000):
        pipe.set(f"{key}{i}", str(i))
    assert all(pipe.execute())
    assert r.dbsize() == (3003 if protocol == 2 else 6007)
    try:
        r.hget(key + "s", "x")
        assert False
    except redis.ResponseError as error:
        assert "WRONGTYPE" in str(error), error
    assert r.execute_command("LADD", key + "l", 7, "seven") == 1
    assert r.execute_command("LITER", key + "l", "WITH", "INDEX") == ["7", "seven"]
    assert r.info()["datadb_version"]
    assert [c for c in r.client_list() if c["name"] == f"py{protocol}"]
print("ok")
"#;

/// The Python of the environment that `make test` makes, named by `DATADB_PYTHON`. Outside of CI the test is skipped
/// without it.
#[test]
fn redis_py_speaks_both_protocols() {
    let Some(python) = std::env::var_os("DATADB_PYTHON") else {
        assert!(std::env::var_os("CI").is_none(), "DATADB_PYTHON names no Python: run `make test`");
        println!("skipped: DATADB_PYTHON names no Python with redis-py (`make test` makes one)");
        return;
    };
    let house = House::new();
    let mut command = Command::new(python);
    command.args(["-c", PYTHON, &house.sidecar.port()]);
    assert_eq!(Running::start(command).finish().ok().text(), "ok\n");
}
