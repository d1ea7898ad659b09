//! `diff` of a backup and a directory shows what a comparison of the two trees shows, and reads no more than it must.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};
use support::{
    chance::{Chance, number_from},
    compare::differences,
    oddities,
    place::{is_root, scratch},
    processes::{Client, Run, Server, count, heeding_permissions},
    tree::{paths, random_bytes, sources, write},
};

/// Every difference as `change path (fields)`, and the summary.
#[track_caller]
fn signs(client: &Client, words: &[&str]) -> (BTreeSet<String>, serde_json::Value) {
    let run = client.run([&["--json", "diff"], words].concat()).ok();
    let mut lines = run.json();
    lines.retain(|line| line["type"] != "status");
    let summary = lines.pop().expect("a summary");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let found = lines.iter().map(|change| {
        let mut fields: Vec<String> = change["fields"].as_array().into_iter().flatten().map(text).collect();
        fields.sort();
        let sign = match change["change"].as_str().expect("a word") {
            "content" => format!("changed {}: content {}", text(&change["path"]), fields.join(" ")),
            "metadata" => format!("changed {}: {}", text(&change["path"]), fields.join(" ")),
            other => format!("{other} {}", text(&change["path"])),
        };
        sign.trim_end().to_owned()
    });
    (found.collect(), summary)
}

/// The differences of two trees in the words of `signs`, by the judge that knows nothing of backups.
fn expected(before: &Path, after: &Path) -> BTreeSet<String> {
    let mut signs = BTreeSet::new();
    let mut words: std::collections::BTreeMap<Vec<u8>, BTreeSet<&str>> = std::collections::BTreeMap::new();
    let shown = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
    for found in differences(before, after) {
        let word = match &*found.what {
            "presence" if found.sides.0 == "there" => {
                signs.insert(format!("removed {}", shown(&found.path)));
                continue;
            }
            "presence" => {
                signs.insert(format!("added {}", shown(&found.path)));
                continue;
            }
            "type" => {
                signs.insert(format!("removed {}", shown(&found.path)));
                signs.insert(format!("added {}", shown(&found.path)));
                continue;
            }
            "bytes" | "size" => "content",
            "rdev" => "device",
            "hard link" => "links",
            "allocated bytes" => continue,
            what if what.starts_with("xattr ") => "xattrs",
            what => ["mode", "owner", "mtime", "target", "holes"].into_iter().find(|word| *word == what).expect(what),
        };
        words.entry(found.path).or_default().insert(word);
    }
    // The judge looks at the names of one file, not at their number.
    for path in paths(before).intersection(&paths(after)) {
        use std::os::unix::ffi::OsStrExt as _;
        let look = |tree: &Path| tree.join(std::ffi::OsStr::from_bytes(path)).symlink_metadata().expect("there");
        let (one, other) = (look(before), look(after));
        let is_same_type = one.file_type() == other.file_type();
        if is_same_type && !one.is_dir() && one.nlink() != other.nlink() {
            words.entry(path.clone()).or_default().insert("links");
        }
    }
    for (path, mut words) in words {
        let content = if words.remove("content") { "content " } else { "" };
        if !content.is_empty() {
            words.remove("holes");
        }
        let fields = words.into_iter().collect::<Vec<_>>().join(" ");
        signs.insert(format!("changed {}: {content}{fields}", shown(&path)).trim_end().to_owned());
    }
    signs
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

/// A tree with every oddity, and a restored copy of it, are as the backup says, every byte read or not.
#[test]
fn what_did_not_change_does_not_differ() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    oddities::make(&tree);
    let client = server.client();
    let id = client.backup(&tree);
    client.restore(&id, &back).ok();
    for place in [&tree, &back] {
        let place = place.to_str().expect("UTF-8");
        for words in [&[&*id, place][..], &[place, &id], &["-c", &id, place]] {
            let (found, summary) = signs(&client, words);
            assert_eq!(found, BTreeSet::new(), "{words:?}");
            assert_eq!(count(&summary, "errors"), 0);
            assert_eq!(count(&summary, "files_read") > 0, words.contains(&"-c"), "{summary}");
        }
    }
}

/// Only files that look touched are read, and those with another size are not.
#[test]
fn only_what_looks_touched_is_read() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let client = server.client();
    let id = client.backup(&tree);
    let place = tree.to_str().expect("UTF-8");
    let touch = |path: &str, seconds: i64| {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, tree.join(path), &times, rustix::fs::AtFlags::empty()).expect("a time");
    };
    touch("large.bin", 1);
    let mtime = tree.join("dir01/file01.c").metadata().expect("there").mtime();
    let mtime_nanos = tree.join("dir01/file01.c").metadata().expect("there").mtime_nsec();
    let (found, summary) = signs(&client, &[&id, place]);
    assert_eq!(found, BTreeSet::from(["changed /large.bin: mtime".to_owned()]));
    assert_eq!(count(&summary, "files_read"), 1);
    // One byte in the middle of several chunks, and one more byte at an end.
    let file = fs::OpenOptions::new().write(true).open(tree.join("large.bin")).expect("there");
    file.write_all_at(b"?", 3 << 20).expect("written");
    let longer = fs::read(tree.join("dir00/file00.c")).expect("there");
    write(tree.join("dir00/file00.c"), [longer, b"x".to_vec()].concat());
    let (found, summary) = signs(&client, &[&id, place]);
    let changed = ["/dir00/file00.c", "/large.bin"].map(|path| format!("changed {path}: content mtime"));
    assert_eq!(found, BTreeSet::from(changed.clone()));
    assert_eq!(count(&summary, "files_read"), 1);
    // A change that hides behind size and mtime is found by who reads everything.
    let mut bytes = fs::read(tree.join("dir01/file01.c")).expect("there");
    bytes[0] ^= 1;
    write(tree.join("dir01/file01.c"), bytes);
    let time = Timespec { tv_sec: mtime, tv_nsec: mtime_nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, tree.join("dir01/file01.c"), &times, rustix::fs::AtFlags::empty()).expect("a time");
    assert_eq!(signs(&client, &[&id, place]).0, BTreeSet::from(changed));
    let (found, summary) = signs(&client, &["--checksum", &id, place]);
    assert!(found.contains("changed /dir01/file01.c: content"), "{found:?}");
    assert_eq!(count(&summary, "files_read"), 500);
}

/// Bytes that are the same, with other holes.
#[test]
fn other_holes_are_told() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, other) = (scratch.path().join("tree"), scratch.path().join("other"));
    for (dir, has_holes) in [(&tree, true), (&other, false)] {
        for name in ["filled", "emptied"] {
            write(dir.join(name), "");
            let file = fs::OpenOptions::new().write(true).open(dir.join(name)).expect("there");
            file.set_len(1 << 20).expect("a hole");
            file.write_all_at(&random_bytes(1, 5000), 300_000).expect("written");
            if has_holes == (name == "emptied") {
                file.write_all_at(&[0; 200_000], 500_000).expect("zeros");
            }
        }
    }
    let client = server.client();
    let id = client.backup(&tree);
    let (found, _) = signs(&client, &[&id, other.to_str().expect("UTF-8")]);
    assert_eq!(found, expected(&tree, &other));
    assert!(
        found.contains("changed /emptied: holes mtime") && found.contains("changed /filled: holes mtime"),
        "{found:?}"
    );
}

/// One change of something in the tree, or something new.
fn change(tree: &Path, chance: &mut Chance) {
    let all: Vec<Vec<u8>> = paths(tree).into_iter().collect();
    let pick = |chance: &mut Chance| {
        let path = String::from_utf8(chance.pick(&all).clone()).expect("plain names");
        tree.join(path)
    };
    let path = pick(chance);
    let Ok(meta) = path.symlink_metadata() else { return };
    let fresh = |chance: &mut Chance| -> PathBuf {
        let dir = if meta.is_dir() { path.clone() } else { path.parent().expect("below the tree").to_owned() };
        dir.join(format!("{}{}", chance.pick(&["a", "a-b", "n.", "z"]), chance.below(1000)))
    };
    match chance.below(11) {
        0 if meta.is_dir() => fs::remove_dir_all(&path).expect("removed"),
        0 | 1 if !meta.is_dir() => fs::remove_file(&path).expect("removed"),
        2 if meta.is_file() => write(&path, random_bytes(chance.number(), chance.below(200_000) as usize)),
        3 if meta.is_file() && meta.len() > 0 => {
            let file = fs::OpenOptions::new().write(true).open(&path).expect("there");
            file.write_all_at(&[chance.number() as u8], chance.below(meta.len())).expect("written");
        }
        4 if !meta.is_symlink() => {
            let mode = 0o600 + chance.below(0o200) as u32;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        }
        5 if !meta.is_symlink() => {
            let value = chance.number().to_be_bytes();
            lsetxattr(&path, "user.x", &value, XattrFlags::empty()).expect("an attribute");
        }
        6 => symlink(format!("to{}", chance.below(9)), fresh(chance)).unwrap_or(()),
        7 if !meta.is_dir() => fs::hard_link(&path, fresh(chance)).unwrap_or(()),
        8 if is_root() => std::os::unix::fs::lchown(&path, Some(chance.below(5) as u32), None).expect("an owner"),
        9 => {
            // Something else takes its place.
            let made = fresh(chance);
            if meta.is_dir() {
                fs::remove_dir_all(&path).expect("removed");
                write(&path, "a file now");
            } else {
                fs::remove_file(&path).expect("removed");
                write(path.join("inner"), "a directory now");
            }
            drop(made);
        }
        10 if meta.is_file() => {
            let time = Timespec { tv_sec: chance.below(2_000_000_000) as i64, tv_nsec: 5 };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty()).expect("a time");
        }
        _ => write(fresh(chance), random_bytes(chance.number(), chance.below(3000) as usize)),
    }
}

/// Copies of a tree with random changes: `diff` and an independent comparison agree, whichever side is which, every byte
/// read or not. `DATADB_DIFF_ROUNDS` makes it longer.
#[test]
fn random_changes_are_told_as_an_independent_comparison_tells_them() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 2);
    write(tree.join("deep/er/and/deeper/file"), "deep");
    symlink("large.bin", tree.join("link")).expect("a symlink");
    for (name, other) in [("a1", "a2"), ("b1", "b2"), ("b1", "b3")] {
        write(tree.join("hard").join(name), "hard");
        fs::hard_link(tree.join("hard").join(name), tree.join("hard").join(other)).expect("a link");
    }
    let client = server.client();
    let id = client.backup(&tree);
    for round in 0..number_from("DATADB_DIFF_ROUNDS", 6) {
        let mut chance = Chance::new(round);
        let other = scratch.path().join(format!("other{round}"));
        copy(&tree, &other);
        for _ in 0..(1 + chance.below(40)) {
            change(&other, &mut chance);
        }
        let place = other.to_str().expect("UTF-8");
        let (there, back) = (expected(&tree, &other), expected(&other, &tree));
        assert_eq!(signs(&client, &[&id, place]).0, there, "round {round}");
        assert_eq!(signs(&client, &[place, &id]).0, back, "round {round}, backwards");
        assert_eq!(signs(&client, &["-c", &id, place]).0, there, "round {round}, everything read");
        fs::remove_dir_all(&other).expect("removed");
    }
}

/// What can't be read is named, is not taken for other content or for gone, and the exit code says so.
#[test]
fn what_can_not_be_read_is_named() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "bytes");
    write(tree.join("dir/inner"), "inner");
    write(tree.join("still"), "readable");
    write(tree.join("shut/one"), "its name can be read, and nothing else");
    let client = server.client();
    let id = client.backup(&tree);
    let diff = client.command(["diff", &id, tree.to_str().expect("UTF-8")]);
    fs::write(tree.join("file"), "other").expect("written");
    fs::set_permissions(tree.join("file"), fs::Permissions::from_mode(0o000)).expect("a mode");
    fs::set_permissions(tree.join("dir"), fs::Permissions::from_mode(0o000)).expect("a mode");
    fs::set_permissions(tree.join("shut"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let run = Run::from(heeding_permissions(diff).output().expect("the client starts"));
    let run = run.code(3);
    let text = run.text();
    assert!(text.contains("U /file  (") && text.contains("U /dir/  ("), "{text}{}", run.stderr);
    assert!(!text.contains("M /file") && !text.contains("- ") && !text.contains("still"), "{text}");
    assert!(text.contains("3 entries could not be read"), "{text}");
    let named = |name: &str| run.stderr.lines().any(|line| line.contains(name) && line.contains("permission denied"));
    assert!(named("tree/file") && named("tree/dir") && named("shut/one"), "{}", run.stderr);
}
