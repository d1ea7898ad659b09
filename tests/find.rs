//! `find` gives what a look into every backup gives, and reads every state of a directory once.

mod support;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use serde_json::Value;
use support::{
    chance::number_from,
    many,
    place::scratch,
    processes::{Client, Server, count, server_command},
    tree::write,
    versions::{Listing, Row, list, paths, random_backups, rows, versions},
};

/// A search in the words of the command line, and in plain words.
type Case = (&'static [&'static str], fn(&str, &Value) -> bool);

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn is(kind: &str, entry: &Value) -> bool {
    entry["kind"] == kind
}

fn size(entry: &Value) -> u64 {
    entry["size"].as_u64().expect("a size")
}

fn mtime(entry: &Value) -> i64 {
    let text = entry["mtime"].as_str().expect("a time");
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).expect("seconds")
}

const CASES: [Case; 11] = [
    (&["*"], |_, _| true),
    (&["*.c"], |path, _| path.ends_with(".c")),
    (&["-i", "*.c"], |path, _| path.to_lowercase().ends_with(".c")),
    (&["/dir/*"], |path, _| path.starts_with("/dir/") && path.matches('/').count() == 2),
    (&["dir/**"], |path, _| path.contains("/dir/")),
    (&["a*/"], |path, entry| name(path).starts_with('a') && is("dir", entry)),
    (&["a?b", "--type", "f"], |path, entry| name(path) == "a-b" && is("file", entry)),
    (&["*.txt", "--larger", "0"], |path, entry| path.ends_with(".txt") && size(entry) > 0),
    (&["*", "--smaller", "2", "--type", "f"], |_, entry| is("file", entry) && size(entry) < 2),
    (&["{a,e}", "--newer", "00002", "--type=f"], |path, entry| {
        ["a", "e"].contains(&name(path)) && is("file", entry) && mtime(entry) > 2
    }),
    (&["*", "--older", "00001"], |_, entry| mtime(entry) <= 1),
];

/// The versions of all paths that a search wants. What it does not want counts as absent; of that a search tells nothing.
fn expected(listings: &[Listing], wants: fn(&str, &Value) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for path in paths(listings) {
        rows.extend(
            versions(listings, &path).into_iter().filter(|row| row.3.as_ref().is_some_and(|e| wants(&path, e))),
        );
    }
    rows
}

#[track_caller]
fn find(client: &Client, words: &[&str], more: &[&str], ids: &[String]) -> Vec<Row> {
    let words = ["--json", "find"].into_iter().chain(words.iter().copied()).chain(more.iter().copied());
    let mut rows = rows(client.run(words).ok().json(), ids);
    rows.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    rows
}

/// Several backups of a random tree, searched together, one by one, and from a rebuilt index.
#[test]
fn every_search_finds_what_listing_every_backup_shows() {
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    let client = server.client();
    let ids = random_backups(&client, &tree, 3, 7);
    let listings: Vec<_> = ids.iter().map(|id| list(&client, id)).collect();
    for (words, wants) in CASES {
        let expected = expected(&listings, wants);
        assert!(!expected.is_empty(), "nothing to find with {words:?}");
        assert!(find(&client, words, &[], &ids) == expected, "{words:?}");
        let (id, last) = (&ids[6], &listings[6..]);
        let alone = find(&client, words, &[id], &ids[6..]);
        assert_eq!(alone, self::expected(last, wants), "{words:?} in the last backup");
    }

    server.stop();
    server_command(&["rebuild".as_ref(), "--data-dir".as_ref(), server.data().as_os_str()]).ok();
    server.start();
    let client = client.at(server.url());
    for (words, wants) in CASES {
        assert!(find(&client, words, &[], &ids) == expected(&listings, wants), "{words:?}, after a rebuild");
    }
}

/// A thousand backups of a thousand files in ten directories, one of which changes each time: not eleven sets a backup.
#[test]
fn a_state_of_a_directory_is_read_once_however_many_backups_show_it() {
    let backups = number_from("DATADB_MANY_BACKUPS", 1000);
    let server = Server::new();
    many::changing(server.url(), backups);
    let lines = server.client().run(["--json", "find", "file37"]).ok().json();
    let (summary, found) = lines.split_last().expect("a summary");
    assert_eq!(count(summary, "backups"), backups);
    assert_eq!(found.len() as u64, 10 + backups.saturating_sub(37).div_ceil(100));
    // Of each backup its place in the order and itself, its root's meta and set, and the directory that changed.
    let (keys, most) = (count(summary, "keys_read"), 5 * backups + 20);
    assert!(keys <= most, "{keys} keys read for {backups} backups, at most {most} are needed");
}

/// Below a path of a backup; a backup of a file; names that are no text.
#[test]
fn the_search_starts_where_it_is_told_to() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for name in ["x/file", "y/deep/file", "y/file"] {
        write(tree.join(name), name);
    }
    write(tree.join(OsStr::from_bytes(b"y/\xff.bak")), "odd");
    let client = server.client();
    client.backup(&tree);
    let text = |words: &[&str]| client.run(["-q", "find"].iter().chain(words)).ok().text();
    assert_eq!(text(&["file", "latest:/y"]), "/y/file\n/y/deep/file\n");
    assert_eq!(text(&["/y/*", "latest:/y"]), "/y/deep\n/y/file\n/y/\\xff.bak\n");
    assert_eq!(text(&["file", "latest:/y/file"]), "/y/file\n");
    assert_eq!(text(&["*.bak", "latest"]), "/y/\\xff.bak\n");
    client.backup(&tree.join("x/file"));
    assert_eq!(text(&["f*", "latest"]), "/file\n");
    let everywhere = text(&["file"]);
    assert_eq!(everywhere.matches("/file").count(), 5, "{everywhere}");
}

/// A pattern that is too long, or none at all, is refused by the server, whoever sends it.
#[test]
fn the_server_refuses_patterns_that_make_no_sense() {
    let server = Server::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let find = |pattern: String| {
        let url = server.url().to_owned();
        runtime.block_on(async move {
            let mut browse = datadb::api::browse_client::BrowseClient::connect(url).await.expect("a server");
            let request = datadb::api::FindRequest { pattern, ..Default::default() };
            browse.find(request).await.expect_err("a refusal").message().to_owned()
        })
    };
    assert!(find("[a".to_owned()).contains("the pattern [a:"));
    assert!(find(String::new()).contains("matches nothing"));
    assert!(find("x".repeat(5000)).contains("longer than 4096 bytes"));
}
