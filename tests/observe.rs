//! Looking at a server while it works: the monitor, the variables, the metrics, and the ids of requests in its log.

mod support;

use std::{net::TcpListener, path::Path};

use bytes::Bytes;
use datadb::{
    BlobId,
    api::{self, repository_client::RepositoryClient, store_client::StoreClient},
    command::{Call, Command, Reply},
};
use datadb_client::connection::{Access, Connection};
use serde_json::Value;
use support::{
    exposition,
    http::{Events, ask, page, say},
    place::scratch,
    processes::{Server, refused_server},
    tree::{random_bytes, write},
};
use tonic::{Request, transport::Channel};

fn served(root: &Path, options: &[&str]) -> Server {
    Server::with_options(&root.join("data"), &[&["--http", "127.0.0.1:0"], options].concat())
}

async fn connect(server: &Server) -> Connection {
    let access = Access { url: server.url().to_owned(), ..Access::default() };
    Connection::open(&access).await.expect("the server is there")
}

fn call(words: &[&[u8]]) -> Call {
    let words: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word)).collect();
    Command::parse(&words).expect("a command").into()
}

fn vars(server: &Server) -> Value {
    serde_json::from_str(&page(server.http(), "/debug/vars")).expect("JSON")
}

/// The only value of an object with one field that begins like this.
#[track_caller]
fn of_blobs(vars: &Value, name: &str) -> u64 {
    let by_name = vars[name].as_object().unwrap_or_else(|| panic!("no {name} in {vars}"));
    let mut found = by_name.iter().filter(|(name, _)| name.starts_with("blobsfile:") && name.ends_with("/blobs"));
    found.next().and_then(|(_, value)| value.as_u64()).unwrap_or_else(|| panic!("{by_name:?}"))
}

/// `/debug/vars` after a backup and its restore: what was moved, how it was started, which commands were called.
#[tokio::test(flavor = "multi_thread")]
async fn variables_tell_what_a_backup_moved() {
    let scratch = scratch();
    let server = served(scratch.path(), &[]);
    let tree = scratch.path().join("tree");
    write(tree.join("file"), random_bytes(1, 300_000));
    let client = server.client();
    let made = client.snapshot(&tree).ok().summary();
    let vars_before = vars(&server);
    client.restore("latest", &scratch.path().join("back")).ok();
    let connection = connect(&server).await;
    for words in [&[&b"SET"[..], b"k", b"v"][..], &[b"get", b"k"], &[b"GET", b"k"]] {
        connection.execute(&call(words)).await.expect("a reply");
    }
    let batch = Command::Batch(vec![call(&[b"get", b"k"])]);
    connection.execute(&batch.into()).await.expect("a reply");
    let vars = vars(&server);
    let words: Vec<&str> = vars["cmdline"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
    assert!(words[0].ends_with("datadb-server") && words.contains(&"--http"), "{words:?}");
    assert!(vars["memstats"]["resident-bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{vars}");
    assert!(vars["memstats"]["index-memtable-bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{vars}");
    assert!(vars["server-started-at"].as_i64().is_some_and(|seconds| seconds > 1_700_000_000), "{vars}");
    // The snapshot, the restore, and this test.
    assert!(vars["server-total-connections-received"].as_u64().is_some_and(|count| count >= 3), "{vars}");
    assert_eq!(vars["server-active-monitor-client"], 0);
    assert_eq!(vars["server-command-stats"]["get"], 3, "{vars}");
    assert_eq!(vars["server-command-stats"]["set"], 1, "{vars}");
    assert_eq!(vars["server-command-stats"]["exec"], 1, "{vars}");
    assert_eq!(Some(of_blobs(&vars_before, "blobsfile-blobs-uploaded")), made["blobs_new"].as_u64());
    assert_eq!(of_blobs(&vars_before, "blobsfile-blobs-downloaded"), 0);
    assert!(of_blobs(&vars, "blobsfile-bytes-uploaded") >= 300_000, "random bytes don't compress: {vars}");
    assert!(of_blobs(&vars, "blobsfile-bytes-downloaded") >= 300_000, "{vars}");
    assert!(of_blobs(&vars, "blobsfile-open-fds") >= 1, "{vars}");
}

/// `/metrics` keeps to the format, and counts a backup, what the next one spared, and when each was made.
#[test]
fn metrics_keep_to_the_format_and_count_a_backup() {
    let scratch = scratch();
    let server = served(scratch.path(), &[]);
    let empty = exposition::check(&page(server.http(), "/metrics"));
    assert_eq!(empty["datadb_backups"], 0.0);
    let tree = scratch.path().join("a \"quoted\\ tree");
    write(tree.join("file"), random_bytes(1, 300_000));
    let made = server.client().on_host("alpha").snapshot(&tree).ok().summary();
    let first = exposition::check(&page(server.http(), "/metrics"));
    let blobs = format!("{{type=\"blobsfile\",backend=\"blobsfile:{}\"}}", server.data().join("blobs").display());
    let uploaded = first[&format!("datadb_backend_blobs_uploaded_total{blobs}")];
    assert_eq!(Some(uploaded as u64), made["blobs_new"].as_u64());
    assert!(first[&format!("datadb_backend_bytes_uploaded_total{blobs}")] >= 300_000.0);
    assert_eq!(first["datadb_dedup_hits_total"], 0.0);
    assert_eq!(first["datadb_rpc_duration_seconds_count{rpc=\"datadb.v1.Upload/Commit\"}"], 1.0);
    assert_eq!((first["datadb_backups"], first["datadb_last_backup_left_out"]), (1.0, 0.0));
    // Another host without a cache asks about everything, and sends nothing.
    server.client().on_host("beta").snapshot(&tree).ok();
    let body = page(server.http(), "/metrics");
    let second = exposition::check(&body);
    assert_eq!(second["datadb_dedup_hits_total"], uploaded, "every blob was there");
    assert_eq!(second["datadb_dedup_bytes_total"], 300_000.0);
    assert_eq!(second[&format!("datadb_backend_blobs_uploaded_total{blobs}")], uploaded);
    let last = second.iter().filter(|(name, _)| name.starts_with("datadb_last_backup_timestamp_seconds{"));
    let last: Vec<(&String, &f64)> = last.collect();
    assert_eq!(last.len(), 2, "{last:?}");
    assert!(last[0].0.contains("host=\"alpha\"") && last[0].0.contains(r#"a \"quoted\\ tree"#), "{last:?}");
    assert!(last.iter().all(|(_, time)| **time > 1_700_000_000.0), "{last:?}");
    assert_eq!(second["datadb_errors_total{kind=\"damaged\"}"], 0.0);
    assert!(body.len() < 64 << 10, "{} bytes", body.len());
}

/// Someone who watches over HTTP sees what somebody else asks, from the address where that one is, in one line each.
#[tokio::test(flavor = "multi_thread")]
async fn the_monitor_over_http_shows_commands_of_others() {
    let scratch = scratch();
    let server = served(scratch.path(), &[]);
    let mut events = Events::of(server.http(), "/debug/monitor");
    assert_eq!(vars(&server)["server-active-monitor-client"], 1);
    let connection = connect(&server).await;
    connection.execute(&call(&[b"HGETALL", b"2c07"])).await.expect("a reply");
    connection.execute(&call(&[b"bput", &[7; 1000]])).await.expect("a reply");
    connection.execute(&call(&[b"set", b"k", b"two\nlines"])).await.expect("a reply");
    let seen = events.next();
    let address = seen.strip_prefix("hgetall command  with args [2c07] from client: 127.0.0.1:").expect(&seen);
    assert!(address.parse::<u16>().is_ok_and(|port| port > 0), "{seen}");
    assert!(events.next().starts_with("bput command  with args [1000] from client: 127.0.0.1:"));
    assert!(events.next().starts_with(r#"set command  with args [k "two\nlines"] from client: 127.0.0.1:"#));
    drop(events);
    // Gone as soon as the server notices.
    for _ in 0..1000 {
        connection.execute(&call(&[b"now"])).await.expect("a reply");
        if vars(&server)["server-active-monitor-client"] == 0 {
            return;
        }
    }
    panic!("a reader that left is still counted");
}

/// Over gRPC the same, with the time and the database; who asks for somebody else is shown as that one.
#[tokio::test(flavor = "multi_thread")]
async fn the_monitor_over_grpc_shows_whom_a_client_asks_for() {
    let scratch = scratch();
    let mut server = served(scratch.path(), &[]);
    let (watcher, connection) = (connect(&server).await, connect(&server).await);
    let mut watching = watcher.watch().await.expect("a reader");
    connection.execute(&Call { database: "other".to_owned(), ..call(&[b"sadd", b"s", b"\xff"]) }).await.expect("ok");
    let seen = watching.next().await.expect("open").expect("a command");
    assert_eq!((&*seen.name, &*seen.database, seen.lost), ("sadd", "other", 0));
    assert_eq!(seen.arguments, [&b"s"[..], b"\xff"]);
    assert!(seen.client.starts_with("127.0.0.1:") && seen.seconds > 1_700_000_000, "{seen:?}");
    let (commands, mut replies) = connection.pipeline_for("10.1.2.3:4567", "test-1").await.expect("a stream");
    commands.send(&call(&[b"get", b"k"])).await.expect("sent");
    assert_eq!(replies.next().await.expect("open"), Some(Reply::Nil));
    let seen = watching.next().await.expect("open").expect("a command");
    assert_eq!((&*seen.name, &*seen.client), ("get", "10.1.2.3:4567"));
    for bad in ["", "two words", "größe", &"x".repeat(65)] {
        assert!(connection.pipeline_for(bad, "test-1").await.is_err(), "{bad:?}");
    }
    drop((commands, replies, connection));
    // Whoever watches does not keep a server from stopping.
    let ended = tokio::spawn(async move { watching.next().await });
    tokio::task::spawn_blocking(move || server.stop()).await.expect("stopped");
    assert!(matches!(ended.await.expect("no panic"), Ok(None) | Err(_)));
}

const STORM: usize = 10_000;

/// Asks for keys of 4000 bytes, more than sockets and the ring hold, while readers don't read.
async fn storm(connection: &Connection) {
    let (commands, mut replies) = connection.pipeline().await.expect("a stream");
    let send = async {
        for number in 0..STORM {
            let key = format!("{number:04000}");
            commands.send(&call(&[b"get", key.as_bytes()])).await.expect("sent");
        }
        drop(commands);
    };
    let receive = async {
        let mut count = 0;
        while replies.next().await.expect("open").is_some() {
            count += 1;
        }
        count
    };
    assert_eq!(tokio::join!(send, receive).1, STORM, "every command is answered, whoever does not read");
}

/// A reader that does not read holds nobody up; when it reads again it is told how many it lost, over both ways.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_what_it_lost_and_slows_nobody() {
    let scratch = scratch();
    let server = served(scratch.path(), &[]);
    let (watcher, connection) = (connect(&server).await, connect(&server).await);
    let (mut events, mut watching) = (Events::of(server.http(), "/debug/monitor"), watcher.watch().await.expect("one"));
    storm(&connection).await;
    connection.execute(&call(&[b"get", b"end"])).await.expect("a reply");
    let (mut lost, mut seen) = (0, 0);
    loop {
        let line = events.next();
        if let Some((count, _)) = line.split_once(" commands lost: ") {
            lost += count.parse::<usize>().expect("a number");
        } else if line.contains("[end]") {
            break;
        } else {
            seen += 1;
        }
    }
    assert!(lost > 0, "sockets and ring together held {STORM} commands");
    assert_eq!(lost + seen, STORM);
    let (mut lost, mut seen) = (0, 0);
    loop {
        let next = watching.next().await.expect("open").expect("a command");
        lost += next.lost;
        if next.arguments == ["end"] {
            break;
        }
        seen += 1;
    }
    assert!(lost > 0, "windows and ring together held {STORM} commands");
    assert_eq!(lost + seen, STORM as u64);
}

/// A call's own id comes back with its answer, one that is none is replaced; what the server logs of a call as JSON
/// carries the id, be it a program's own or one that the client gave.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_comes_back_and_is_in_the_log() {
    let scratch = scratch();
    let server = served(scratch.path(), &["--log-format", "json"]);
    let client = server.client();
    for (name, seed) in [("a", 1), ("b", 2)] {
        write(scratch.path().join(name).join("file"), random_bytes(seed, 5000));
        client.backup(&scratch.path().join(name));
    }
    let channel = Channel::from_shared(server.url().to_owned()).expect("a URL").connect().await.expect("it is there");
    let mut repository = RepositoryClient::new(channel.clone());
    for (id, is_kept) in [("my-own-17", true), ("no word", false), (&*"x".repeat(129), false), ("", false)] {
        let mut request = Request::new(api::StatsRequest {});
        request.metadata_mut().insert("x-request-id", id.parse().expect("ASCII"));
        let reply = repository.stats(request).await.expect("a reply");
        let back = reply.metadata().get("x-request-id").expect("an id").to_str().expect("ASCII");
        assert_eq!(back == id, is_kept, "{back} for {id}");
        assert!(is_kept || back.starts_with("server-"), "{back}");
    }
    damage(&server.data().join("blobs/0000000000000001.pack"));
    let mut request =
        Request::new(api::StoreGetRequest { id: BlobId::of(&random_bytes(1, 5000)).as_bytes().to_vec().into() });
    request.metadata_mut().insert("x-request-id", "my-own-18".parse().expect("ASCII"));
    let status = StoreClient::new(channel).get(request).await.expect_err("it is damaged");
    assert_eq!(status.metadata().get("x-request-id").expect("an id"), "my-own-18");
    client.restore("latest", &scratch.path().join("back")).code(3);
    let log = server.stderr();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let requests: Vec<&str> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .filter_map(|line| line["span"]["request"].as_str().filter(|_| line["message"].is_string()))
        .collect();
    assert!(requests.contains(&"my-own-18"), "{log}");
    assert!(requests.iter().any(|id| id.starts_with("client-")), "{log}");
    let metrics = exposition::check(&page(server.http(), "/metrics"));
    assert_eq!(metrics["datadb_errors_total{kind=\"damaged\"}"], 2.0);
}

/// Flips a byte in the middle of each of two records of 5000 random bytes.
fn damage(pack: &Path) {
    let mut bytes = std::fs::read(pack).expect("a pack");
    let middles = [bytes.len() / 4, bytes.len() * 3 / 4];
    middles.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(pack, bytes).expect("written");
}

/// What is not there is 404, what is not meant 405, and a head without end is not read.
#[test]
fn pages_are_these_and_nothing_else() {
    let scratch = scratch();
    let server = served(scratch.path(), &[]);
    let index = page(server.http(), "/");
    for path in ["/debug/monitor", "/debug/vars", "/metrics"] {
        assert!(index.contains(path), "{index}");
    }
    let metrics = ask(server.http(), "GET", "/metrics", "");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    for path in ["/debug", "/debug/", "/metrics/", "/debug/pprof", "/../etc/passwd", "/favicon.ico"] {
        assert_eq!(ask(server.http(), "GET", path, "").status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(ask(server.http(), method, "/metrics", "Content-Length: 0\r\n").status, 405, "{method}");
    }
    let long = format!("X-Long: {}\r\n", "x".repeat(17_000));
    assert_eq!(ask(server.http(), "GET", "/metrics", &long).status, 431);
    let many: String = (0..100).map(|number| format!("X-{number}: x\r\n")).collect();
    assert_eq!(ask(server.http(), "GET", "/metrics", &many).status, 431);
}

/// DNS rebinding: a page whose own name leads to this machine can ask, but its name goes along, and it gets nothing.
#[test]
fn who_asks_for_another_host_gets_nothing() {
    let scratch = scratch();
    let server = served(scratch.path(), &[]);
    let port = server.http().rsplit(':').next().expect("a port");
    let foreign = [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: 127.0.0.1.evil.example:{port}\r\n"),
        format!("Host: localhost.evil.example:{port}\r\n"),
        format!("Host: 192.0.2.7:{port}\r\n"),
        format!("Host: localhost:{port}\r\nHost: evil.example\r\n"),
        "Host: \r\n".to_owned(),
        String::new(),
    ];
    for path in ["/", "/debug/monitor", "/debug/vars", "/metrics", "/nothing"] {
        for fields in &foreign {
            let page = say(server.http(), "GET", path, fields);
            assert!(matches!(page.status, 400 | 421), "{path} {fields}: {page:?}");
            assert!(!page.body.contains("datadb") && !page.body.contains("cmdline"), "{path} {fields}: {page:?}");
        }
        let absolute = format!("http://evil.example{path}");
        assert_eq!(say(server.http(), "GET", &absolute, &format!("Host: localhost:{port}\r\n")).status, 421);
    }
    let words = say(server.http(), "GET", "/metrics", "Host: evil.example\r\n").body;
    assert!(words.contains("localhost") && words.contains("host name"), "{words}");
    assert_eq!(vars_as(&server, "evil.example")["server-command-stats"], Value::Null);
}

/// What can be had of the variables by whoever asks for this host.
fn vars_as(server: &Server, host: &str) -> Value {
    let page = say(server.http(), "GET", "/debug/vars", &format!("Host: {host}\r\n"));
    serde_json::from_str(&page.body).unwrap_or(Value::Null)
}

#[test]
fn this_machine_may_be_asked_for_by_all_of_its_names() {
    let scratch = scratch();
    let server = served(scratch.path(), &[]);
    let port = server.http().rsplit(':').next().expect("a port");
    let own = rustix::system::uname().nodename().to_str().expect("UTF-8").to_owned();
    for name in ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]", &own] {
        for host in [name.to_owned(), format!("{name}:{port}"), format!("{name}:1")] {
            assert!(vars_as(&server, &host)["server-started-at"].is_i64(), "{host}");
        }
    }
}

/// Without HTTP there is none; a port that is taken, and an address that strangers reach, are refused in words.
#[test]
fn http_is_where_it_is_asked_for_or_the_server_says_why_not() {
    let scratch = scratch();
    let server = Server::with_options(&scratch.path().join("off"), &["--http", "off"]);
    drop(server);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = refused_server(&scratch.path().join("taken"), &["--http", &address]).code(1);
    assert!(run.stderr.contains(&address) && run.stderr.contains("--http off"), "{run:?}");
    assert!(!scratch.path().join("taken").exists(), "nothing is made for a server that does not start");
    let run = refused_server(&scratch.path().join("open"), &["--http", "0.0.0.0:0"]).code(1);
    assert!(run.stderr.contains("--insecure-listen") && run.stderr.contains("--http"), "{run:?}");
    refused_server(&scratch.path().join("bad"), &["--http", "nowhere"]).code(2);
}
