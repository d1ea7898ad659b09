//! Few descriptors: packs and index have theirs, and connections are closed instead.

mod support;

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use datadb::{TreePath, backup::BackupSpec};
use datadb_client::{
    connection::{Access, Connection, Filter},
    report::{Report, get},
    restore::{Options, Request, Restore},
};
use serde_json::Value;
use support::{
    compare::assert_same,
    http::page,
    place::scratch,
    processes::{Run, Running, Server, count, program, with_open_files},
    tree::{random_bytes, write},
};
use tokio::runtime::Runtime;

/// How long anything may take that should happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often one looks.
const POLL: Duration = Duration::from_millis(10);

#[track_caller]
fn wait_until(what: &str, mut is_done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(POLL);
    }
}

/// A server with so many packs of 1 MiB, and then this hard limit.
fn of_packs(scratch: &Path, hard: u32, packs: u64) -> Server {
    for file in 0..packs {
        write(scratch.join(format!("tree/{file:03}")), random_bytes(file, 1 << 20));
    }
    let options = ["--pack-bytes", "1048576", "--http", "127.0.0.1:0"];
    let mut server = Server::down(&scratch.join("data"), &options);
    server.start();
    server.client().backup(&scratch.join("tree"));
    server.stop();
    server.limit_files(hard.min(100), hard);
    server.start();
    let made = fs::read_dir(scratch.join("data/blobs")).expect("packs").count() as u64;
    assert!(made >= packs, "{made} packs");
    server
}

/// Whether the server has closed a connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Restores everything over this connection, as the client does; how many errors there were.
fn restore(runtime: &Runtime, connection: &Connection, target: &Path) -> u64 {
    let spec = BackupSpec::parse(b"latest").expect("a backup");
    let filter = Filter { path: Some(target.with_file_name("tree").to_str().expect("UTF-8").into()), host: None };
    let (root, zone) = (TreePath::root(), jiff::tz::TimeZone::UTC);
    let found = runtime.block_on(connection.resolve(&spec, &filter, &root, 4_000_000_000, &zone));
    let (_, meta) = found.expect("a backup");
    let request = Request { meta, name: Vec::new(), target: target.to_owned(), options: Options::default() };
    let report = Arc::new(Report::lines_only());
    Restore::new(runtime.handle(), connection, &request).restore(&report).expect("restored");
    get(&report.counters.errors)
}

/// Strangers who open connections and say nothing take none of what packs and index need: who is connected goes on, as if
/// nobody else were there, and who was refused comes in when they have gone.
#[test]
fn while_strangers_hold_all_connections_backups_and_restores_go_on() {
    let scratch = scratch();
    let server = of_packs(scratch.path(), 300, 60);
    let client = server.client();
    let runtime = Runtime::new().expect("a runtime");
    let access = Access { url: server.url().to_owned(), ..Access::default() };
    let connection = runtime.block_on(Connection::open(&access)).expect("the server is there");
    let received = || {
        let vars: Value = serde_json::from_str(&page(server.http(), "/debug/vars")).expect("JSON");
        vars["server-total-connections-received"].as_u64().expect("a number")
    };
    let before = received();
    let mut snapshot = client.command(["--json", "snapshot", "--stdin", "stream"]);
    let snapshot = snapshot.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut snapshot = snapshot.spawn().expect("the client starts");
    wait_until("the client is connected", || received() > before);
    let address = server.url().strip_prefix("http://").expect("an address");
    let mut strangers: Vec<TcpStream> = (0..400)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("it is accepted, or waits to be");
            stream.set_nonblocking(true).expect("a socket");
            stream
        })
        .collect();
    let closed =
        |strangers: &mut Vec<TcpStream>| strangers.iter_mut().map(|one| usize::from(is_closed(one))).sum::<usize>();
    // A quarter of 300 is for connections: 75, of which two are taken.
    wait_until("all but 73 strangers are refused", || closed(&mut strangers) >= 400 - 75);
    assert!(400 - closed(&mut strangers) >= 60, "some came in");
    let mut stdin = snapshot.stdin.take().expect("it is piped");
    stdin.write_all(&random_bytes(1000, 3 << 20)).expect("the client reads");
    drop(stdin);
    let snapshot = Run::from(snapshot.wait_with_output().expect("it ends")).ok();
    assert_eq!(count(&snapshot.summary(), "errors"), 0);
    assert_eq!(restore(&runtime, &connection, &scratch.path().join("back")), 0);
    assert_same(&scratch.path().join("tree"), &scratch.path().join("back"));
    assert!(closed(&mut strangers) >= 400 - 75, "the strangers were there all the time");
    let log = server.stderr();
    assert_eq!(log.matches("new ones are closed").count(), 1, "once, not for each:\n{log}");
    assert!(log.contains("LimitNOFILE=") && !log.contains("Too many open files"), "{log}");
    drop(strangers);
    wait_until("a new client comes in", || client.run(["snapshots"]).code == Some(0));
}

/// What was seen: with 60 descriptors, two thirds of 100 packs were told to be gone, and marked bad for ever.
#[test]
fn sixty_descriptors_are_enough_for_a_hundred_packs() {
    let scratch = scratch();
    let mut server = of_packs(scratch.path(), 60, 100);
    for round in 0..2 {
        let back = scratch.path().join(format!("back{round}"));
        let summary = server.client().restore("latest", &back).ok().summary();
        assert_eq!(count(&summary, "errors"), 0, "{}", server.stderr());
        assert_same(&scratch.path().join("tree"), &back);
        server.restart();
    }
    let stats = server.client().run(["--json", "stats"]).ok().summary();
    assert_eq!(count(&stats, "bad_blobs"), 0);
    assert!(server.stderr().contains("the limit of open files is 60"), "{}", server.stderr());
}

#[test]
fn too_few_descriptors_to_work_with_are_refused_in_words() {
    let scratch = scratch();
    let mut command = Command::new(program("datadb-server"));
    command.arg("--data-dir").arg(scratch.path().join("data")).args(["--http", "off", "--listen", "127.0.0.1:0"]);
    let run = Running::start(with_open_files(&command, 40, 40)).finish().code(1);
    run.one_line_with(&["40 open files", "LimitNOFILE", "ulimit -n"]);
    assert!(!scratch.path().join("data").exists(), "nothing is made for a server that does not start");
}

#[test]
fn the_limit_is_raised_to_what_is_permitted() {
    let scratch = scratch();
    let mut server = Server::down(&scratch.path().join("data"), &[]);
    server.limit_files(100, 900);
    server.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("a running process has limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of files");
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["900", "900"]);
}
