//! The database of a real server against a plain model: several clients send random commands, batches and transactions,
//! while the server is killed with -9, restarted and rebuilt. Every acknowledged write is there; of what was under way a
//! beginning is there, cut between commands, and no part of a batch or a transaction without the rest.
//!
//! `DATADB_DATABASE_ROUNDS` says how many rounds (30), `DATADB_DATABASE_SEED` what chance decides. A run prints one line.

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod model;

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use commands::Step;
use datadb::command::{Call, Command, Reply};
use datadb_client::connection::{Access, Connection};
use model::{Model, Value};
use support::{
    chance::{Chance, number_from},
    place::scratch,
    processes::{Server, rebuilding},
};
use tokio::{runtime::Runtime, task::JoinHandle};

/// A client with keys of its own, and what must be in them.
struct Writer {
    letter: char,
    chance: Chance,
    model: Model,
    steps: u64,
}

/// What becomes of the server in a round; those that are killed die while commands are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    Restarts,
    Killed,
    /// Killed, and rebuilt from packs and log alone.
    Rebuilt,
    /// Stopped, and rebuilt over its index.
    RebuiltInPlace,
}

const FATES: [Fate; 8] = [
    Fate::Lives,
    Fate::Restarts,
    Fate::Killed,
    Fate::Killed,
    Fate::Killed,
    Fate::Killed,
    Fate::Rebuilt,
    Fate::RebuiltInPlace,
];

async fn connect(url: &str) -> Connection {
    let access = Access { url: url.to_owned(), ..Access::default() };
    Connection::open(&access).await.expect("the server is there")
}

/// Sends calls one at a time or as a stream, and gives the replies that came before the connection broke.
async fn send(url: String, calls: Vec<Call>, as_stream: bool) -> Vec<Reply> {
    let mut replies = Vec::new();
    let access = Access { url, ..Access::default() };
    let Ok(connection) = Connection::open(&access).await else { return replies };
    if as_stream {
        let Ok((commands, mut stream)) = connection.pipeline().await else { return replies };
        let sending = tokio::spawn(async move {
            for call in &calls {
                if commands.send(call).await.is_err() {
                    break;
                }
            }
        });
        while let Ok(Some(reply)) = stream.next().await {
            replies.push(reply);
        }
        sending.await.expect("no panic");
    } else {
        for call in &calls {
            match connection.execute(call).await {
                Ok(reply) => replies.push(reply),
                Err(_) => break,
            }
        }
    }
    replies
}

async fn ask(connection: &Connection, words: &[&str]) -> Reply {
    let words: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    let call = Command::parse(&words).expect("a command").into();
    connection.execute(&call).await.expect("a reply")
}

fn strings(reply: Reply) -> Vec<String> {
    let Reply::Values(values) = reply else { panic!("{reply:?} is no list of keys") };
    values.into_iter().map(|key| String::from_utf8(key.expect("a key").to_vec()).expect("UTF-8")).collect()
}

/// All that is there of a writer, as the server tells it.
async fn read_back(connection: &Connection, letter: char) -> Model {
    let mut model = Model::default();
    for key in strings(ask(connection, &["keys", &format!("{letter}*")]).await) {
        let key = &*key;
        let Reply::Status(kind) = ask(connection, &["type", key]).await else { panic!("{key} has no type") };
        let (whole, count) = match &*kind {
            "string" => ("get", "strlen"),
            "hash" => ("hgetall", "hlen"),
            "set" => ("smembers", "scard"),
            _ => ("liter", "llen"),
        };
        let end: &[&str] = if whole == "liter" { &["with", "index"] } else { &[] };
        let value = match ask(connection, &[&[whole, key], end].concat()).await {
            Reply::Value(text) => Value::Text(text),
            Reply::Map(pairs) => Value::Hash(pairs.into_iter().collect()),
            Reply::Set(members) => Value::Set(members.into_iter().collect()),
            Reply::Values(flat) => Value::List(entries(&flat)),
            other => panic!("{key}: {other:?}"),
        };
        let len = match &value {
            Value::Text(text) => text.len(),
            Value::Hash(hash) => hash.len(),
            Value::Set(set) => set.len(),
            Value::List(list) => list.len(),
        };
        assert_eq!(ask(connection, &[count, key]).await, Reply::Integer(len as i64), "{count} {key}");
        if let Value::Hash(_) | Value::Set(_) = value {
            let scan = if whole == "hgetall" { "hscan" } else { "sscan" };
            assert_eq!(scanned(connection, scan, key).await, value, "{scan} {key}");
        }
        model.0.insert(key.to_owned(), value);
    }
    model
}

fn entries(flat: &[Option<Bytes>]) -> BTreeMap<u64, Bytes> {
    let bytes = |value: &Option<Bytes>| value.clone().expect("no entry is nothing");
    let entry = |[index, value]: &[Option<Bytes>; 2]| {
        (std::str::from_utf8(&bytes(index)).expect("digits").parse().expect("an index"), bytes(value))
    };
    let (pairs, rest) = flat.as_chunks::<2>();
    assert!(rest.is_empty(), "an index without its value");
    pairs.iter().map(entry).collect()
}

/// The union of a scan's pages.
async fn scanned(connection: &Connection, scan: &str, key: &str) -> Value {
    let (mut all, mut cursor) = (Vec::new(), 0);
    loop {
        let Reply::Page(next, page) = ask(connection, &[scan, key, &cursor.to_string(), "count", "50"]).await else {
            panic!("{scan} {key} gives no page");
        };
        all.extend(page);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    match scan {
        "hscan" => Value::Hash(all.as_chunks::<2>().0.iter().cloned().map(|[field, value]| (field, value)).collect()),
        _ => Value::Set(all.into_iter().collect()),
    }
}

/// What a writer has sent, and what it may find: the replies, and what is there after each.
struct Sent {
    running: JoinHandle<Vec<Reply>>,
    expected: Vec<(Reply, Model)>,
}

/// The same when the last reply has come that will.
struct Heard {
    replies: Vec<Reply>,
    expected: Vec<(Reply, Model)>,
}

impl Sent {
    fn finish(self, runtime: &Runtime) -> Heard {
        Heard { replies: runtime.block_on(self.running).expect("no panic"), expected: self.expected }
    }
}

impl Writer {
    fn begin(&mut self, runtime: &Runtime, url: &str) -> Sent {
        let (mut calls, mut expected, mut now) = (Vec::new(), Vec::new(), self.model.clone());
        for _ in 0..1 + self.chance.below(40) {
            self.steps += 1;
            let step = Step::random(&mut self.chance, self.letter, self.steps);
            calls.extend(step.calls());
            expected.extend(step.expect(&now));
            now = expected.last().map(|(_, after)| after.clone()).expect("a step has a reply");
        }
        let running = runtime.spawn(send(url.to_owned(), calls, !self.chance.one_in(3)));
        Sent { running, expected }
    }

    /// Holds the replies and then what is there against the model.
    fn check(&mut self, runtime: &Runtime, heard: Heard, url: &str) {
        let Heard { replies, expected } = heard;
        for (number, (reply, (wanted, _))) in replies.iter().zip(&expected).enumerate() {
            assert_eq!(reply, wanted, "reply {number} to {}", self.letter);
        }
        let found = runtime.block_on(async { read_back(&connect(url).await, self.letter).await });
        // As it was after the last reply, or after any of the commands behind it.
        let mut allowed = [&self.model].into_iter().chain(expected.iter().map(|(_, after)| after)).skip(replies.len());
        if !allowed.any(|state| *state == found) {
            let last = replies.len().checked_sub(1).map_or(&self.model, |last| &expected[last].1);
            panic!(
                "after {} of {} replies writer {} finds what never was: {}",
                replies.len(),
                expected.len(),
                self.letter,
                differences(last, &found)
            );
        }
        self.model = found;
    }
}

/// The keys in which two states differ.
fn differences(wanted: &Model, found: &Model) -> String {
    let keys = wanted.0.keys().chain(found.0.keys());
    let differ = keys.filter(|key| wanted.0.get(*key) != found.0.get(*key));
    differ.map(|key| format!("\n{key}: {:?}\n  instead of {:?}", found.0.get(key), wanted.0.get(key))).collect()
}

fn meet(server: &mut Server, fate: Fate) {
    match fate {
        Fate::Lives => {}
        Fate::Restarts => server.restart(),
        Fate::Killed => server.start(),
        Fate::Rebuilt => {
            fs::remove_dir_all(server.data().join("index")).expect("the index is deleted");
            rebuilding(server.data(), None).finish().ok();
            server.start();
        }
        Fate::RebuiltInPlace => {
            server.stop();
            rebuilding(server.data(), None).finish().ok();
            server.start();
        }
    }
}

/// Keys and their number in the whole database are those of all writers.
fn check_whole(runtime: &Runtime, url: &str, writers: &[Writer]) {
    let wanted: Vec<String> = writers.iter().flat_map(|writer| writer.model.0.keys().cloned()).collect();
    runtime.block_on(async {
        let connection = connect(url).await;
        assert_eq!(ask(&connection, &["dbsize"]).await, Reply::Integer(wanted.len() as i64));
        assert_eq!(strings(ask(&connection, &["keys", "*"]).await), wanted);
    });
}

#[test]
fn invariant_2_all_or_nothing_of_random_commands_with_kills_and_rebuilds() {
    let (rounds, seed) = (number_from("DATADB_DATABASE_ROUNDS", 30), number_from("DATADB_DATABASE_SEED", 1));
    let (mut chance, began) = (Chance::new(seed), Instant::now());
    let runtime = Runtime::new().expect("a runtime");
    let scratch = scratch();
    let mut server = Server::with_options(&scratch.path().join("data"), &["--pack-bytes", "200000"]);
    let writer =
        |letter| Writer { letter, chance: Chance::new(seed ^ letter as u64), model: Model::default(), steps: 0 };
    let mut writers = ['a', 'b', 'c'].map(writer);
    let (mut replies, mut usual) = (0, Duration::from_millis(100));
    for round in 0..rounds {
        let fate = *chance.pick(&FATES);
        println!("round {round} of seed {seed}: {fate:?}");
        let started = Instant::now();
        let url = server.url().to_owned();
        let sent: Vec<Sent> = writers.iter_mut().map(|writer| writer.begin(&runtime, &url)).collect();
        let is_killed = matches!(fate, Fate::Killed | Fate::Rebuilt);
        if is_killed {
            thread::sleep(usual.mul_f64(chance.below(1000) as f64 / 1000.0));
            server.kill();
        }
        let heard: Vec<Heard> = sent.into_iter().map(|sent| sent.finish(&runtime)).collect();
        if !is_killed {
            usual = (usual * 3 + started.elapsed()) / 4;
        }
        meet(&mut server, fate);
        let url = server.url().to_owned();
        for (writer, heard) in writers.iter_mut().zip(heard) {
            assert!(is_killed || heard.replies.len() == heard.expected.len(), "replies are missing");
            replies += heard.replies.len();
            writer.check(&runtime, heard, &url);
        }
        check_whole(&runtime, &url, &writers);
    }
    let steps: u64 = writers.iter().map(|writer| writer.steps).sum();
    let seconds = began.elapsed().as_secs();
    println!("database test: seed {seed}, {rounds} rounds, {steps} steps, {replies} replies, {seconds} s");
}
