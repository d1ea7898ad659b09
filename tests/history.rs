//! `history` says of every path what a look into every backup says, and costs a few keys of the index a backup.

mod support;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use support::{
    chance::number_from,
    many,
    place::scratch,
    processes::{Client, Server, count, server_command},
    tree::{next_second, write},
    versions::{Row, list, paths, random_backups, rows, versions},
};

#[track_caller]
fn history(client: &Client, tree: &Path, path: &str, ids: &[String]) -> Vec<Row> {
    let full = format!("{}{path}", tree.to_str().expect("UTF-8"));
    rows(client.run(["--json", "history", &full]).ok().json(), ids)
}

/// Every path that any of several backups of a random tree holds, files and directories; and again from a rebuilt index.
#[test]
fn the_history_of_every_path_is_what_listing_every_backup_shows() {
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    let client = server.client();
    let ids = random_backups(&client, &tree, 1, 7);
    let listings: Vec<_> = ids.iter().map(|id| list(&client, id)).collect();
    let all = paths(&listings);
    let (mut several, mut gaps) = (0, 0);
    // Of the large directory those that changed are enough.
    let interesting = all.iter().filter(|path| !path.starts_with("/many/") || versions(&listings, path).len() > 1);
    for path in interesting.clone() {
        let expected = versions(&listings, path);
        several += usize::from(expected.len() > 1);
        gaps += expected.iter().filter(|row| row.3.is_none()).count();
        assert_eq!(history(&client, &tree, path, &ids), expected, "{path}");
    }
    assert!(several > 20 && gaps > 5, "the trees change too little: {several} paths, {gaps} gaps");
    assert!(all.len() > 1500);

    server.stop();
    server_command(&["rebuild".as_ref(), "--data-dir".as_ref(), server.data().as_os_str()]).ok();
    server.start();
    let client = client.at(server.url());
    for path in interesting {
        assert_eq!(history(&client, &tree, path, &ids), versions(&listings, path), "{path}, after a rebuild");
    }
}

/// `--all` has a row for each backup from the first that has the path, and says the same.
#[test]
fn all_rows_are_the_folded_ones_told_one_by_one() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    let client = server.client();
    let ids = random_backups(&client, &tree, 2, 5);
    let listings: Vec<_> = ids.iter().map(|id| list(&client, id)).collect();
    for path in paths(&listings).iter().filter(|path| !path.starts_with("/many/")) {
        let full = format!("{}{path}", tree.to_str().expect("UTF-8"));
        let all = rows(client.run(["--json", "history", "--all", &full]).ok().json(), &ids);
        let folded = versions(&listings, path);
        let one_by_one = folded.into_iter().flat_map(|(path, first, last, what)| {
            (first..=last).map(move |number| (path.clone(), number, number, what.clone()))
        });
        assert_eq!(all, one_by_one.collect::<Vec<Row>>(), "{path}");
    }
}

/// A thousand backups of a thousand files, each with a change somewhere: five keys a backup at most.
#[test]
fn a_thousand_backups_cost_a_few_keys_each() {
    let backups = number_from("DATADB_MANY_BACKUPS", 1000);
    let server = Server::new();
    many::changing(server.url(), backups);
    let client = server.client();
    let run = client.run(["--json", "history", "/raw/dir7/file37"]).ok();
    let summary = run.summary();
    assert_eq!(count(&summary, "backups"), backups);
    assert_eq!(count(&summary, "versions"), 1 + backups.saturating_sub(37).div_ceil(100));
    // Of each backup its place in the order and itself, its root's meta and set, and the directory if it changed.
    let (keys, most) = (count(&summary, "keys_read"), 4 * backups + backups / 10 + 20);
    assert!(keys <= most, "{keys} keys read for {backups} backups, at most {most} are needed");
    let nowhere = client.run(["history", "/raw/dir7/nothing"]).code(1);
    nowhere.one_line_with(&[&format!("none of the {backups} backups")]);
}

/// Where nothing changes, nothing is looked up a second time.
#[test]
fn unchanged_trees_are_looked_into_once() {
    let server = Server::new();
    many::unchanged(server.url(), 100);
    let summary = server.client().run(["--json", "history", "/raw/dir7/file37"]).ok().summary();
    assert_eq!((count(&summary, "versions"), count(&summary, "backups")), (1, 100));
    assert!(count(&summary, "keys_read") <= 2 * 100 + 10, "{summary}");
}

/// Only snapshots of the path itself and of directories above it count, whatever others are called.
#[test]
fn only_snapshots_above_the_path_are_looked_at() {
    let (server, scratch) = (Server::new(), scratch());
    let client = server.client();
    let root = scratch.path().canonicalize().expect("a path");
    for name in ["tree/sub/file", "tree2/sub/file", "tree/sub2/file"] {
        write(root.join(name), name);
    }
    for path in ["", "tree", "tree/sub", "tree/sub/file", "tree2", "tree/sub2"] {
        client.backup(&root.join(path));
    }
    let lines = client.run([OsStr::new("--json"), "history".as_ref(), root.join("tree/sub/file").as_ref()]).ok().json();
    let inside: Vec<&str> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
    let full = root.join("tree/sub/file");
    let full = full.to_str().expect("UTF-8");
    assert_eq!(inside, ["/tree/sub/file", "/sub/file", "/file", "/", full]);
}

/// Bytes that are no text, in the names of files and directories.
#[test]
fn names_need_not_be_utf8() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    let file = tree.join(OsStr::from_bytes(b"d\xfe/f\xff"));
    let client = server.client();
    for content in ["one", "another"] {
        write(&file, content);
        client.backup(&tree);
        next_second();
    }
    let run = client.run([OsStr::new("history"), file.as_os_str()]).ok();
    assert!(run.text().starts_with("/d\\xfe/f\\xff in "), "{}", run.text());
    assert_eq!(run.text().lines().count(), 4, "{}", run.text());
}
