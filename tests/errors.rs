//! What goes wrong is one line on stderr that says what is wrong and what to do, the right exit code, and nothing lost.

mod support;

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use support::{
    compare::assert_same,
    place::{SmallDisk, scratch},
    processes::{Client, Server, refused_server},
    tree::{random_bytes, sources, write},
};

/// Nobody listens there: the line names the address and how to start a server.
#[test]
fn a_server_that_is_not_there_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let url = format!("http://127.0.0.1:{port}");
    let client = Client::of(&url);
    let scratch = scratch();
    write(scratch.path().join("tree/file"), "x");
    for run in [client.snapshot(&scratch.path().join("tree")), client.run(["snapshots"]), client.run(["stats"])] {
        run.code(1).one_line_with(&[&port.to_string(), "datadb-server"]);
    }
}

/// Someone else listens there: a server of HTTP/1, and one that says nothing that makes sense.
#[test]
fn the_wrong_port_is_told_from_no_server() {
    for answer in
        ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n"]
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = [0; 1024];
                let _read = stream.read(&mut request);
                let _written = stream.write_all(answer.as_bytes());
            }
        });
        let client = Client::of(&format!("http://127.0.0.1:{port}"));
        client.run(["snapshots"]).code(1).one_line_with(&[&port.to_string()]);
    }
}

/// An unknown id, an ambiguous one, words that name no backup, a path that is not in it: each one line, exit code 1.
#[test]
fn unknown_and_ambiguous_names_are_told() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "x");
    let client = server.client();
    client.run(["ls", "latest"]).code(1).one_line_with(&["backup"]);
    let ids: Vec<String> = (0..17).map(|_| client.backup(&tree)).collect();
    let mut firsts: Vec<char> = ids.iter().filter_map(|id| id.chars().next()).collect();
    firsts.sort_unstable();
    let twice = firsts.windows(2).find(|pair| pair[0] == pair[1]).expect("17 ids share a first digit").first();
    let twice = twice.expect("two").to_string();
    let unknown = "00000000000000000000000000000000deadbeef";
    client.run(["ls", unknown]).code(1).one_line_with(&["00000000", "snapshots"]);
    client.run(["ls", &twice]).code(1).one_line_with(&["ambiguous"]);
    client.run(["ls", "latest~99"]).code(1).one_line_with(&["latest~99"]);
    client.run(["ls", "no backup at all"]).code(1).one_line_with(&["latest"]);
    client.run(["cat", "latest:/not/there"]).code(1).one_line_with(&["/not/there"]);
    client.run(["ls", "latest:/file/below"]).code(1).one_line_with(&["/file/below"]);
    let target = scratch.path().join("target");
    client.restore("latest:/not/there", &target).code(1).one_line_with(&["/not/there"]);
    client.restore(unknown, &target).code(1);
    assert!(!target.exists() || fs::read_dir(&target).expect("a directory").next().is_none(), "nothing is restored");
}

/// Wrong usage is exit code 2; a path to back up that is not there is exit code 1 and named.
#[test]
fn wrong_usage_is_told_from_failure() {
    let server = Server::new();
    let client = server.client();
    assert_eq!(client.run(["no-such-command"]).code, Some(2));
    assert_eq!(client.run(["snapshot"]).code, Some(2));
    assert_eq!(client.run(["restore", "latest"]).code, Some(2));
    assert_eq!(client.run(Vec::<&str>::new()).code, Some(2));
    let run = client.run(["snapshot", "/no/such/path"]);
    assert!(matches!(run.code, Some(1 | 3)), "{run:?}");
    run.one_line_with(&["/no/such/path"]);
    assert_eq!(client.backups().len(), 0);
}

/// The server's disk fills up during an upload: the client says so, what was committed stays, and after space was made
/// the next snapshot succeeds.
#[test]
fn a_full_disk_of_the_server_loses_nothing() {
    let scratch = scratch();
    let disk = scratch.path().join("disk");
    let Some(_disk) = SmallDisk::mount(&disk, 96) else { return };
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 24 << 20]).expect("room for ballast");
    let (small, large) = (scratch.path().join("small"), scratch.path().join("large"));
    sources(&small, 1);
    write(large.join("file"), random_bytes(7, 50 << 20));
    let mut server = Server::on(&disk.join("data"));
    let client = server.client();
    let kept = client.backup(&small);
    let tight = scratch.path().join("tight");
    write(tight.join("file"), random_bytes(8, 90 << 20));
    client.snapshot(&tight).code(1).one_line_with(&["space"]);
    let back = scratch.path().join("back");
    client.restore(&kept, &back).ok();
    assert_same(&small, &back);
    assert_eq!(client.backups().len(), 1);

    fs::remove_file(&ballast).expect("space is made");
    server.restart();
    let client = client.at(server.url());
    // What the failed upload left takes room until garbage is collected; a small file must fit in any case.
    write(small.join("new"), random_bytes(9, 1 << 20));
    let next = client.backup(&small);
    let back = scratch.path().join("next");
    client.restore(&next, &back).ok();
    assert_same(&small, &back);
}

/// The disk of a restore fills up: the files that did not fit are named, no half file is left under its name.
#[test]
fn a_full_disk_of_the_client_is_named() {
    let (server, scratch) = (Server::new(), scratch());
    let disk = scratch.path().join("disk");
    let Some(_disk) = SmallDisk::mount(&disk, 16) else { return };
    let tree = scratch.path().join("tree");
    write(tree.join("a small one"), "fits");
    write(tree.join("large"), random_bytes(7, 40 << 20));
    let client = server.client();
    let id = client.backup(&tree);
    let run = client.restore(&id, &disk.join("back"));
    assert!(matches!(run.code, Some(1 | 3)), "{run:?}");
    assert!(run.stderr.contains("large") && run.stderr.to_lowercase().contains("space"), "{}", run.stderr);
    assert!(!disk.join("back/large").exists(), "no half file is left under its name");
    let elsewhere = scratch.path().join("elsewhere");
    client.restore(&id, &elsewhere).ok();
    assert_same(&tree, &elsewhere);
}

/// One data directory has one server: a second one is refused, the first goes on.
#[test]
fn a_second_server_on_one_data_directory_is_refused() {
    let server = Server::new();
    let data = server.data().to_str().expect("UTF-8").to_owned();
    refused_server(server.data(), &[]).code(1).one_line_with(&[&data]);
    server.client().run(["stats"]).ok();
}

/// Data written by a newer version is refused in words, and left as it was.
#[test]
fn a_newer_format_is_refused() {
    let (mut server, scratch) = (Server::new(), scratch());
    write(scratch.path().join("tree/file"), "x");
    let id = server.client().backup(&scratch.path().join("tree"));
    server.stop();
    let format = server.data().join("format");
    let text = fs::read_to_string(&format).expect("the format file is text");
    let version = datadb::FORMAT_VERSION.to_string();
    assert!(text.contains(&version), "{text:?}");
    fs::write(&format, text.replace(&version, "999")).expect("a newer format");
    refused_server(server.data(), &[]).code(1).one_line_with(&["999"]);
    fs::write(&format, text).expect("the old format");
    server.start();
    assert_eq!(server.client().backups()[0]["id"], id.as_str());
}

/// Without TLS and tokens nobody listens to the world by accident.
#[test]
fn listening_beyond_loopback_needs_a_flag() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let mut command = std::process::Command::new(support::processes::program("datadb-server"));
    command.arg("--data-dir").arg(&data).args(["--listen", "0.0.0.0:0", "--http", "off"]);
    let run = support::processes::Run::from(command.output().expect("the server's program starts"));
    assert!(matches!(run.code, Some(1 | 2)), "{run:?}");
    run.one_line_with(&["--insecure-listen"]);
    assert!(!data.join("index").exists(), "a refused server makes no repository");
}

/// A directory that is no repository of ours, with files in it, is not taken over.
#[test]
fn a_data_directory_with_other_files_is_refused_or_left_alone() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    write(data.join("blobs/README"), "of somebody else");
    let run = refused_or_started(&data);
    assert_eq!(
        fs::read_to_string(data.join("blobs/README")).expect("it is still there"),
        "of somebody else",
        "{run:?}"
    );
}

fn refused_or_started(data: &std::path::Path) -> String {
    let caught = std::panic::catch_unwind(|| drop(Server::on(data)));
    format!("started: {}", caught.is_ok())
}

/// `--server` and the environment name the same thing, and a text that is no address is refused at once.
#[test]
fn an_address_that_is_none_is_refused() {
    let client = Client::of("http://127.0.0.1:1");
    let run = client.run([OsStr::new("--server"), "not an address".as_ref(), "snapshots".as_ref()]);
    assert!(matches!(run.code, Some(1 | 2)), "{run:?}");
    assert!(run.stderr.contains("not an address"), "{}", run.stderr);
}
