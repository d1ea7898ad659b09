//! The database's memory does not grow with what clients ask for, nor with what its keys hold (invariant 6).

mod support;

use std::time::Duration;

use bytes::Bytes;
use datadb::{
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
    Connection::open(&access).await.expect("the server is there")
}

async fn ask(connection: &Connection, words: &[&str]) -> Reply {
    connection.execute(&call(words)).await.expect("a reply")
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
    // A field that is not there makes the commands long enough to fill what is between the two.
    let missing = "y".repeat(limits::MEMBER_BYTES_MAX);
    let question = ["hmget", "big", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", &missing];
    let sent = fill(&commands, &call(&question), 2000).await;
    assert!(sent < 2000, "the server takes commands without end");
    // Its neighbour doesn't wait meanwhile.
    assert_eq!(ask(&connect(&server).await, &["hlen", "big"]).await, Reply::Integer(10));
    let growth = server.memory_peak_bytes() - before;
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more for {sent} commands of which no reply was read");
    drop(commands);
    for number in 0..20 {
        let Some(Reply::Values(values)) = replies.next().await.unwrap() else { panic!("reply {number} has no values") };
        assert_eq!(values.iter().flatten().map(Bytes::len).sum::<usize>(), 10 * value.len(), "reply {number}");
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

/// Questions whose answers would be too large are refused, and pages end early, before all of it is in memory.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_bounded_memory_for_keys_that_hold_more_than_a_reply() {
    let server = Server::new();
    let connection = connect(&server).await;
    let value = "x".repeat(limits::VALUE_BYTES_MAX);
    for n in 0..400 {
        let name = format!("{n:03}");
        assert_eq!(ask(&connection, &["hset", "big", &name, &value]).await, Reply::Integer(1));
        assert_eq!(ask(&connection, &["set", &name, &value]).await, Reply::ok());
    }
    let before = server.memory_peak_bytes();
    for words in [&["hgetall", "big"][..], &["hvals", "big"], &["range", "0", "9", "0"]] {
        let Reply::Error(refusal) = ask(&connection, words).await else { panic!("{words:?} is answered") };
        assert!(refusal.message.contains("in parts"), "{words:?}: {refusal}");
    }
    let Reply::Page(cursor, page) = ask(&connection, &["hscan", "big", "0", "count", "4000"]).await else {
        panic!("no page");
    };
    assert!(cursor != 0 && page.len() == 2, "a page of {} fields and values", page.len());
    let Reply::Values(keys) = ask(&connection, &["keys", "*"]).await else { panic!("no keys") };
    assert_eq!(keys.len(), 401);
    let Reply::Page(0, keys) = ask(&connection, &["scan", "0", "count", "4000"]).await else { panic!("no last page") };
    assert_eq!(keys.len(), 401);
    let growth = server.memory_peak_bytes() - before;
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more");
}
