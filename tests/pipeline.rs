//! The stream of commands: order, errors in their places, more commands than a queue holds, clients that go away or never
//! read.

mod support;

use std::time::Duration;

use bytes::Bytes;
use datadb::{
    api::{self, database_client::DatabaseClient},
    command::{Call, Command, Reply},
    limits,
};
use datadb_client::connection::{Access, Connection, database::Commands};
use support::processes::Server;

/// So much may a server's memory grow by while one client doesn't read; a queue that only counted would hold gigabytes.
const GROWTH_BYTES_MAX: u64 = 160 << 20;

fn call(words: &[&str]) -> Call {
    let words: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    Command::parse(&words).unwrap_or_else(|refusal| panic!("{words:?}: {refusal}")).into()
}

async fn connect(server: &Server) -> Connection {
    let access = Access { url: server.url().to_owned(), ..Access::default() };
    Connection::open(&access).await.unwrap()
}

async fn ask(connection: &Connection, words: &[&str]) -> Reply {
    connection.execute(&call(words)).await.unwrap()
}

/// Sends a call again and again until the server takes no more; gives how many it took.
async fn fill(commands: &Commands, call: &Call, at_most: usize) -> usize {
    for sent in 0..at_most {
        if tokio::time::timeout(Duration::from_secs(2), commands.send(call)).await.is_err() {
            return sent;
        }
    }
    at_most
}

/// Ten times as many commands as a queue holds; every seventh is wrong in one of several ways.
#[tokio::test(flavor = "multi_thread")]
async fn replies_come_in_the_order_of_commands_with_errors_in_their_places() {
    let server = Server::new();
    let count = 10 * limits::PIPELINE_COMMANDS_MAX;
    let (mut messages, mut wanted) = (vec![api::Command::from(&call(&["sadd", "set", "x"]))], vec![":1".to_owned()]);
    for n in 0..count {
        let (key, value) = (format!("k{}", n % 50), n.to_string());
        let (message, reply) = match n % 14 {
            0 => (api::Command::default(), "-ERR empty command".to_owned()),
            7 => ((&call(&["get", "set"])).into(), "-WRONGTYPE".to_owned()),
            2 | 9 => ((&call(&["hash", "abc"])).into(), "$a9993e364706816aba3e25717850c26c9cd0d89d".to_owned()),
            4 => ((&call(&["now"])).into(), ":".to_owned()),
            even if even % 2 == 0 => ((&call(&["set", &key, &value])).into(), "+OK".to_owned()),
            _ => ((&call(&["set", &key, &value, "get"])).into(), "$".to_owned()),
        };
        messages.push(message);
        wanted.push(reply);
    }
    let mut client = DatabaseClient::connect(server.url().to_owned()).await.unwrap();
    let mut stream = client.pipeline(tokio_stream::iter(messages)).await.unwrap().into_inner();
    let (mut number, mut last) = (0, std::collections::BTreeMap::new());
    while let Some(reply) = stream.message().await.unwrap() {
        let reply = Reply::from(reply);
        let shown = match &reply {
            Reply::Status(status) => format!("+{status}"),
            Reply::Integer(integer) => format!(":{integer}"),
            Reply::Value(value) => format!("${}", String::from_utf8_lossy(value)),
            Reply::Nil => "$nil".to_owned(),
            Reply::Error(refusal) => format!("-{refusal}"),
            other => panic!("reply {number} is {other:?}"),
        };
        assert!(shown.starts_with(&wanted[number]), "reply {number} is {shown}, not {}", wanted[number]);
        // What was there before tells whether the commands were carried out in order.
        let n = number.wrapping_sub(1);
        if wanted[number] == "+OK" || wanted[number] == "$" {
            let before = last.insert(n % 50, n).map_or("$nil".to_owned(), |n: usize| format!("${n}"));
            assert!(wanted[number] == "+OK" || shown == before, "reply {number} is {shown}, not {before}");
        }
        number += 1;
    }
    assert_eq!(number, count + 1, "one reply to each command");
}

/// What a client had sent when it went away is there up to some command, and the server goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_in_the_middle_leaves_a_beginning() {
    let server = Server::new();
    let (commands, mut replies) = connect(&server).await.pipeline().await.unwrap();
    let sending = tokio::spawn(async move {
        for n in 0..20_000 {
            if commands.send(&call(&["hset", &format!("k{n:05}"), "a", "1", "b", "2"])).await.is_err() {
                break;
            }
        }
    });
    let read = 300;
    for _ in 0..read {
        assert_eq!(replies.next().await.unwrap(), Some(Reply::Integer(2)));
    }
    drop(replies);
    sending.abort();
    let connection = connect(&server).await;
    assert_eq!(ask(&connection, &["set", "other", "x"]).await, Reply::ok());
    let Reply::Values(keys) = ask(&connection, &["keys", "k*"]).await else { panic!("no keys") };
    assert!(keys.len() >= read, "{} of {read} answered writes are there", keys.len());
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(key.as_deref(), Some(format!("k{n:05}").as_bytes()), "a command is missing");
    }
    let last = format!("k{:05}", keys.len() - 1);
    assert_eq!(ask(&connection, &["hlen", &last]).await, Reply::Integer(2), "half a command");
}

/// A client that asks for gigabytes and reads nothing is kept waiting; when it reads, all of it comes.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_bounded_memory_for_a_client_that_never_reads() {
    let server = Server::new();
    let connection = connect(&server).await;
    let value = "x".repeat(limits::VALUE_BYTES_MAX);
    for field in 0..10 {
        assert_eq!(ask(&connection, &["hset", "big", &field.to_string(), &value]).await, Reply::Integer(1));
    }
    let before = server.memory_peak_bytes();
    let (commands, mut replies) = connection.pipeline().await.unwrap();
    let sent = fill(&commands, &call(&["hgetall", "big"]), 2 * limits::PIPELINE_COMMANDS_MAX).await;
    // Its neighbour doesn't wait meanwhile.
    assert_eq!(ask(&connect(&server).await, &["hlen", "big"]).await, Reply::Integer(10));
    let growth = server.memory_peak_bytes() - before;
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more for {sent} commands of which no reply was read");
    drop(commands);
    for number in 0..20 {
        let Some(Reply::Map(pairs)) = replies.next().await.unwrap() else { panic!("reply {number} is no map") };
        assert_eq!(pairs.len(), 10, "reply {number}");
    }
}

/// The same where the commands are large.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_bounded_memory_for_large_commands_of_a_client_that_never_reads() {
    let server = Server::new();
    let connection = connect(&server).await;
    let value = "x".repeat(limits::VALUE_BYTES_MAX);
    assert_eq!(ask(&connection, &["set", "k", &value]).await, Reply::ok());
    let before = server.memory_peak_bytes();
    let (commands, replies) = connection.pipeline().await.unwrap();
    let sent = fill(&commands, &call(&["set", "k", &value, "get"]), 2000).await;
    let growth = server.memory_peak_bytes() - before;
    assert!(sent < 2000, "the server takes commands without end");
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more for {sent} commands of which no reply was read");
    drop((commands, replies));
    assert_eq!(ask(&connect(&server).await, &["strlen", "k"]).await, Reply::Integer(value.len() as i64));
}
