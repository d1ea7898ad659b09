//! Invariants 2 and 3 in their simple form: what was committed outlives kill -9, and the loss of the index.

mod support;

use std::{ffi::OsStr, fs, path::Path};

use support::{
    compare::assert_same,
    place::scratch,
    processes::{Client, Server, count, refused_server, server_command},
    tree::{sources, write},
};

/// kill -9 of the server right after a commit loses nothing: the backup is listed and restored, the next one builds on it.
#[test]
fn invariant_2_all_or_nothing_after_kill_9() {
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let mut client = server.client();
    let mut ids = Vec::new();
    for round in 0..3 {
        write(tree.join("changing"), format!("round {round}"));
        ids.push(client.backup(&tree));
        server.kill();
        server.start();
        client = client.at(server.url());
    }
    let listed: Vec<String> =
        client.backups().iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(listed, ids);
    for (round, id) in ids.iter().enumerate() {
        let back = scratch.path().join(id);
        client.restore(id, &back).ok();
        assert_eq!(fs::read_to_string(back.join("changing")).expect("a file"), format!("round {round}"));
    }
    let next = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&next, "blobs_new"), 0, "{next}");
    let back = scratch.path().join("back");
    client.restore("latest", &back).ok();
    assert_same(&tree, &back);
}

/// kill -9 of the server in the middle of an upload: no half backup is listed, and the next run succeeds.
#[test]
fn invariant_2_all_or_nothing_when_killed_in_the_middle() {
    let (mut server, scratch) = (Server::new(), scratch());
    let (small, large) = (scratch.path().join("small"), scratch.path().join("large"));
    sources(&small, 1);
    write(large.join("file"), support::tree::random_bytes(5, 300 << 20));
    let client = server.client();
    let kept = client.backup(&small);
    let running = client.command([OsStr::new("snapshot"), large.as_os_str()]).output_later();
    std::thread::sleep(std::time::Duration::from_millis(250));
    server.kill();
    let ended = running.join().expect("the client's thread");
    server.start();
    let client = client.at(server.url());
    let listed = client.backups();
    if ended.code == Some(0) {
        println!("the upload was over before the kill");
    } else {
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert_eq!(listed.len(), 1, "{listed:?}");
    }
    assert_eq!(listed[0]["id"], kept.as_str());
    let id = client.backup(&large);
    let back = scratch.path().join("back");
    client.restore(&id, &back).ok();
    assert_same(&large, &back);
}

/// A program that runs while the test goes on.
trait OutputLater {
    fn output_later(self) -> std::thread::JoinHandle<support::processes::Run>;
}

impl OutputLater for std::process::Command {
    fn output_later(mut self) -> std::thread::JoinHandle<support::processes::Run> {
        std::thread::spawn(move || self.output().expect("the client starts").into())
    }
}

/// What a user can ask: all of it must be the same after a rebuild.
fn answers(client: &Client, ids: &[String], to: &Path) -> Vec<Vec<u8>> {
    let mut all = vec![client.run(["--json", "snapshots"]).ok().stdout, stats(client)];
    for id in ids {
        all.push(client.run(["ls", id]).ok().stdout);
        all.push(client.run(["cat", &format!("{id}:/dir01/file01.c")]).ok().stdout);
        client.restore(id, &to.join(id)).ok();
    }
    all
}

/// The counts of `stats` that say what is stored. What the log weighs is not among them: it may grow by itself.
fn stats(client: &Client) -> Vec<u8> {
    let mut summary = client.run(["--json", "stats"]).ok().summary();
    let fields = summary.as_object_mut().expect("an object");
    fields.retain(|name, _| !name.contains("seconds"));
    summary.to_string().into_bytes()
}

/// RocksDB is deleted: the server refuses to start and says what to do; `rebuild` gives the same answers from packs and
/// log alone.
#[test]
fn invariant_3_the_index_is_disposable() {
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let client = server.client();
    let mut ids = vec![client.backup(&tree)];
    write(tree.join("dir01/file01.c"), "changed");
    ids.push(client.backup(&tree));
    ids.push(server.client().on_host("another").backup(&tree));
    let before = answers(&client, &ids, &scratch.path().join("before"));
    server.stop();
    fs::remove_dir_all(server.data().join("index")).expect("the index is deleted");

    refused_server(server.data(), &[]).code(1).one_line_with(&["datadb-server rebuild"]);

    server_command(&[OsStr::new("rebuild"), "--data-dir".as_ref(), server.data().as_os_str()]).ok();
    server.start();
    let client = client.at(server.url());
    let after = answers(&client, &ids, &scratch.path().join("after"));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    }
    for id in &ids {
        assert_same(&scratch.path().join("before").join(id), &scratch.path().join("after").join(id));
    }
    let next = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&next, "blobs_new"), 0, "what was stored is known again: {next}");
}

/// An index that is not whole is refused as well: an empty directory never passes for a new repository.
#[test]
fn invariant_3_an_empty_index_is_no_new_repository() {
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "x");
    let id = server.client().backup(&tree);
    server.stop();
    let index = server.data().join("index");
    fs::remove_dir_all(&index).expect("the index is deleted");
    fs::create_dir(&index).expect("an empty one");
    refused_server(server.data(), &[]).code(1).one_line_with(&["datadb-server rebuild"]);
    server_command(&[OsStr::new("rebuild"), "--data-dir".as_ref(), server.data().as_os_str()]).ok();
    server.start();
    assert_eq!(server.client().backups()[0]["id"], id.as_str());
}
