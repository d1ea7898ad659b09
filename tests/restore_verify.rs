//! `restore --verify`: everything is read back, what differs is found and restored again.

mod support;

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use support::{
    compare::assert_same,
    oddities,
    place::scratch,
    processes::{Client, Run, Server, count},
    tree::{flip_byte, random_bytes, write},
};

fn restore(client: &Client, id: &str, target: &Path, options: &[&str]) -> Run {
    let mut command = client.command(["--json", "restore", id, "--target"]);
    Run::from(command.arg(target).args(options).output().expect("the client starts"))
}

/// Changes a file so that neither its size nor its mtime tells.
fn alter(path: &Path, change: impl FnOnce()) {
    let before = fs::metadata(path).expect("a file");
    change();
    let time = before.modified().expect("a time");
    fs::File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("a time");
    let after = fs::metadata(path).expect("a file");
    assert_eq!((before.len(), before.mtime_nsec()), (after.len(), after.mtime_nsec()));
}

/// The tree of oddities is read back whole, into nothing and over itself.
#[test]
fn what_was_restored_is_read_back() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    oddities::make(&tree);
    let client = server.client();
    let id = client.backup(&tree);
    for options in [&["--verify"][..], &["--verify"], &["--verify", "--overwrite", "always"]] {
        let run = restore(&client, &id, &back, options).ok();
        let summary = run.summary();
        let entries: u64 =
            ["created", "replaced", "metadata", "unchanged"].iter().map(|act| count(&summary, act)).sum();
        assert_eq!((count(&summary, "verified"), count(&summary, "repaired")), (entries, 0), "{}", run.stderr);
    }
    assert_same(&tree, &back);
}

/// A file whose bytes were changed behind its size and mtime is left without `--verify`; with it, it is found wherever
/// the change lies, named, and restored.
#[test]
fn a_file_altered_with_equal_size_and_mtime_is_found_and_restored() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    write(tree.join("one blob"), "a small file");
    write(tree.join("dir/many blobs"), random_bytes(1, 5 << 20));
    write(tree.join("untouched"), random_bytes(2, 300_000));
    write(tree.join("linked"), random_bytes(3, 100_000));
    fs::hard_link(tree.join("linked"), tree.join("too")).expect("a hard link");
    let sparse = fs::File::create(tree.join("sparse")).expect("a file");
    sparse.set_len(9 << 20).and_then(|()| sparse.write_all_at(b"data", 1 << 20)).expect("a sparse file");
    drop(sparse);
    let client = server.client();
    let id = client.backup(&tree);
    restore(&client, &id, &back, &[]).ok();
    let file = |name: &str| back.join(name);
    alter(&file("one blob"), || flip_byte(&file("one blob"), 3));
    alter(&file("dir/many blobs"), || flip_byte(&file("dir/many blobs"), (5 << 20) - 1));
    alter(&file("linked"), || flip_byte(&file("linked"), 50_000));
    alter(&file("sparse"), || flip_byte(&file("sparse"), 7 << 20));
    let inode = fs::metadata(file("untouched")).expect("a file").ino();

    assert_eq!(count(&restore(&client, &id, &back, &[]).ok().summary(), "unchanged"), 8);
    // What may not be overwritten is only told of.
    let never = restore(&client, &id, &back, &["--verify", "--overwrite", "never"]).code(3);
    assert_eq!((count(&never.summary(), "errors"), count(&never.summary(), "repaired")), (5, 0), "{}", never.stderr);
    let run = restore(&client, &id, &back, &["--verify"]).ok();
    let mut lines: Vec<&str> = run.stderr.lines().collect();
    lines.sort_unstable();
    let again = |path: &str, what: &str| format!("{path}: read back, {what}: restored again");
    assert_eq!(
        lines,
        [
            again("dir/many blobs", "its content differs"),
            again("linked", "it is not the same"),
            again("one blob", "its content differs"),
            again("sparse", "its content differs"),
            again("too", "it is not the same"),
        ]
    );
    let summary = run.summary();
    assert_eq!((count(&summary, "repaired"), count(&summary, "verified"), count(&summary, "errors")), (5, 8, 0));
    assert_same(&tree, &back);
    assert_eq!(fs::metadata(file("untouched")).expect("a file").ino(), inode);
}

/// A file that could not be restored is told of once, and not again because it is not there to be read back; the rest
/// is.
#[test]
fn a_file_that_the_server_lost_is_named_once() {
    let (mut server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    write(tree.join("lost"), random_bytes(1, 3 << 20));
    write(tree.join("whole"), random_bytes(2, 200_000));
    let id = server.client().backup(&tree);
    server.stop();
    let mut packs = support::tree::files(&server.data().join("blobs"));
    packs.sort_by_key(|(_, len)| *len);
    let (pack, _) = packs.pop().expect("a pack");
    for at in (100_000..2 << 20).step_by(50_000) {
        flip_byte(&pack, at);
    }
    server.start();
    let run = restore(&server.client(), &id, &back, &["--verify"]).code(3);
    run.one_line_with(&["lost: blob", "not restored"]);
    let summary = run.summary();
    assert_eq!((count(&summary, "errors"), count(&summary, "verified"), count(&summary, "repaired")), (1, 2, 0));
    assert_same(&tree.join("whole"), &back.join("whole"));
}

/// Only what is chosen is read back.
#[test]
fn what_is_not_chosen_is_not_read_back() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    write(tree.join("a/file"), "a");
    write(tree.join("b/file"), "b");
    let client = server.client();
    let id = client.backup(&tree);
    restore(&client, &id, &back, &[]).ok();
    write(back.join("b/file"), "of somebody else");
    let summary = restore(&client, &id, &back, &["--include", "/a", "--verify"]).ok().summary();
    assert_eq!((count(&summary, "verified"), count(&summary, "repaired")), (2, 0));
    assert_eq!(fs::read(back.join("b/file")).expect("a file"), b"of somebody else");
}
