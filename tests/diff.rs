//! `diff` shows what a comparison of the trees themselves shows, and looks at nothing that is the same.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use support::{
    place::scratch,
    processes::{Client, Server, count},
    tree::{next_second, random_bytes, sources, write},
};

/// Every difference as `sign path`, sorted.
#[track_caller]
fn signs(client: &Client, before: &str, after: &str) -> Vec<String> {
    let lines = client.run(["--json", "diff", before, after]).ok().json();
    let (summary, changes) = lines.split_last().expect("a summary");
    assert_eq!(summary["type"], "summary");
    let number = |kind: &str| changes.iter().filter(|change| change["change"] == kind).count() as u64;
    let sum = |what: &str| count(&summary[what], "files") + count(&summary[what], "dirs");
    assert_eq!(number("added"), sum("added"));
    assert_eq!(number("removed"), sum("removed"));
    assert_eq!(number("content"), count(&summary["content"], "files"));
    assert_eq!(number("metadata"), count(summary, "metadata"));
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let mut found: Vec<String> =
        changes.iter().map(|change| format!("{} {}", text(&change["change"]), text(&change["path"]))).collect();
    found.sort();
    found
}

/// Added, removed, other content, other metadata, another type: each has its sign, and the last line sums up.
#[test]
fn every_kind_of_change_is_shown() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for name in ["same", "bytes", "mode", "gone", "old/deep/file", "turns"] {
        write(tree.join(name), name);
    }
    let client = server.client();
    client.backup(&tree);
    next_second();
    write(tree.join("bytes"), "other bytes");
    fs::set_permissions(tree.join("mode"), fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::remove_file(tree.join("gone")).expect("removed");
    fs::remove_dir_all(tree.join("old")).expect("removed");
    fs::remove_file(tree.join("turns")).expect("removed");
    write(tree.join("turns/inner"), "inner");
    write(tree.join("new"), "1234567");
    symlink("same", tree.join("link")).expect("a symlink");
    client.backup(&tree);
    let text = client.run(["diff", "latest~1", "latest"]).ok().text();
    let expected = "\
U /  (mtime)
M /bytes  (content, mtime)
- /gone
+ /link
U /mode  (mode)
+ /new
- /old/
- /old/deep/
- /old/deep/file
- /turns
+ /turns/
+ /turns/inner
added 3 files and 1 directory (12 B), removed 3 files and 2 directories (22 B); other content in 1 file (11 B, before 5 B), other metadata alone in 2
";
    assert_eq!(text, expected);
    assert_eq!(
        client.run(["-q", "diff", "latest~1", "latest"]).ok().text(),
        expected[..expected.find("added").expect("it ends so")]
    );
    assert_eq!(client.run(["diff", "latest:/turns", "latest:/turns"]).ok().text().lines().count(), 1);
    assert_eq!(signs(&client, "latest~1:/old", "latest:/turns")[..2], ["added /inner", "metadata /"]);
    assert_eq!(signs(&client, "latest~1:/bytes", "latest:/bytes"), ["content /"]);
}

/// Two trees that differ in one file of one directory: that directory and the root are listed, nothing else.
#[test]
fn equal_directories_are_not_listed() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let client = server.client();
    client.backup(&tree);
    next_second();
    client.backup(&tree);
    let summary = client.run(["--json", "diff", "latest~1", "latest"]).ok().summary();
    assert_eq!(count(&summary, "directories_listed"), 0);
    write(tree.join("dir07/file03.c"), "other");
    next_second();
    client.backup(&tree);
    let summary = client.run(["--json", "diff", "latest~1", "latest"]).ok().summary();
    assert_eq!(count(&summary, "directories_listed"), 4);
    assert_eq!(count(&summary["content"], "files"), 1);
}

/// A change at the bottom of a tree deeper than a connection has streams for is found.
#[test]
fn a_change_deep_down_is_found() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    let file = tree.join("d/".repeat(400)).join("file");
    write(&file, "before");
    let client = server.client();
    client.backup(&tree);
    next_second();
    fs::write(&file, "after, and longer").expect("written");
    client.backup(&tree);
    assert_eq!(signs(&client, "latest~1", "latest"), [format!("content {}/file", "/d".repeat(400))]);
}

/// `--host` and `--path` choose on both sides; an unknown backup is exit code 1, one side alone bad usage.
#[test]
fn both_sides_are_chosen_alike() {
    let (server, scratch) = (Server::new(), scratch());
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    let client = server.client();
    for round in 0..2 {
        write(one.join("file"), format!("one {round}"));
        write(two.join("file"), "two");
        client.backup(&one);
        client.backup(&two);
        next_second();
    }
    let one = one.to_str().expect("UTF-8");
    let text = client.run(["diff", "--path", one, "latest~1", "latest"]).ok().text();
    assert!(text.starts_with("M /file"), "{text}");
    client.run(["diff", "latest~9", "latest"]).code(1).one_line_with(&["latest~9"]);
    client.run(["diff", "latest:/nowhere", "latest"]).code(1).one_line_with(&["/nowhere"]);
    client.run(["diff", "latest"]).code(2);
}

/// Whether it is a directory, its bytes, its mode and mtime.
type Look = (bool, Vec<u8>, (u32, i64, i64));

/// What a tree looks like to somebody who knows nothing of backups.
fn looks(tree: &Path) -> BTreeMap<String, Look> {
    let mut found = BTreeMap::new();
    let mut open = vec![(tree.to_owned(), String::new())];
    while let Some((at, path)) = open.pop() {
        let meta = fs::metadata(&at).expect("there");
        let bytes = if meta.is_dir() { Vec::new() } else { fs::read(&at).expect("a file") };
        let name = if path.is_empty() { "/".to_owned() } else { path.clone() };
        found.insert(name, (meta.is_dir(), bytes, (meta.mode(), meta.mtime(), meta.mtime_nsec())));
        if meta.is_dir() {
            for entry in fs::read_dir(&at).expect("a directory").map(|entry| entry.expect("an entry")) {
                open.push((entry.path(), format!("{path}/{}", entry.file_name().to_string_lossy())));
            }
        }
    }
    found
}

/// The differences of two looks, in the words of `signs`.
fn expected(before: &Path, after: &Path) -> Vec<String> {
    let (before, after) = (looks(before), looks(after));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        match (before.get(path), after.get(path)) {
            (Some(one), Some(other)) if one.0 == other.0 => match (one.1 == other.1, one.2 == other.2) {
                (false, _) => found.push(format!("content {path}")),
                (true, false) => found.push(format!("metadata {path}")),
                (true, true) => {}
            },
            (one, other) => {
                found.extend(one.map(|_| format!("removed {path}")));
                found.extend(other.map(|_| format!("added {path}")));
            }
        }
    }
    found.sort();
    found
}

/// Trees with random names, depths and changes: `diff` and an independent comparison agree, in both directions.
#[test]
fn random_trees_differ_as_an_independent_comparison_says() {
    let (server, scratch) = (Server::new(), scratch());
    let client = server.client();
    let mut previous: Option<(String, std::path::PathBuf)> = None;
    for round in 0..4u64 {
        let tree = scratch.path().join(format!("tree{round}"));
        fs::create_dir(&tree).expect("a directory");
        let bytes = random_bytes(round, 600);
        for (number, bytes) in bytes.chunks(6).enumerate() {
            let names = ["a", "a-b", "a.c", "b", "dir", "e"];
            let name = |byte: u8| names[usize::from(byte) % names.len()];
            let path = match bytes[0] % 3 {
                0 => tree.join(name(bytes[1])),
                1 => tree.join(name(bytes[1])).join(name(bytes[2])),
                _ => tree.join(name(bytes[1])).join(name(bytes[2])).join(name(bytes[3])),
            };
            if fs::create_dir_all(path.parent().expect("it has one")).is_ok() && !path.is_dir() {
                fs::write(&path, format!("content {}", bytes[4] % 3)).expect("written");
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1 + u64::from(bytes[5] % 3));
                fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("a time");
            } else if number % 5 == 0 && path.is_dir() {
                fs::remove_dir_all(&path).expect("removed");
            }
        }
        // More names than come in one page, a few of them other ones each time.
        for number in 0..600 {
            if (number + round) % 97 != 0 {
                write(tree.join(format!("many/{number:05}/x")), "x");
            }
        }
        let id = client.backup(&tree);
        if let Some((before, old)) = &previous {
            assert_eq!(signs(&client, before, &id), expected(old, &tree), "round {round}");
            assert_eq!(signs(&client, &id, before), expected(&tree, old), "round {round}, backwards");
        }
        previous = Some((id, tree));
    }
}
