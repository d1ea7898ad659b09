//! What a second backup costs: counted in files read, blobs and bytes, never timed.

mod support;

use std::fs;

use support::{
    compare::assert_same,
    place::scratch,
    processes::{Server, count},
    tree::{let_settle, random_bytes, sources, write},
};

/// The second backup of a tree that did not change reads no file and uploads no blob.
#[test]
fn an_unchanged_tree_is_neither_read_nor_uploaded() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let_settle();
    let client = server.client();
    let first = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&first, "files_read"), 501);
    assert!(count(&first, "blobs_new") > 500);
    let second = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&second, "files"), 501);
    assert_eq!(count(&second, "files_read"), 0, "{second}");
    assert_eq!(count(&second, "blobs_new"), 0, "{second}");
    assert_eq!(count(&second, "bytes_uploaded"), 0, "{second}");
    assert_ne!(first["id"], second["id"], "a run always makes a backup");
    let back = scratch.path().join("back");
    client.restore(second["id"].as_str().expect("an id"), &back).ok();
    assert_same(&tree, &back);
}

/// A client that lost its cache reads everything again and uploads nothing.
#[test]
fn a_lost_cache_costs_reading_and_never_uploading() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    server.client().backup(&tree);
    let again = server.client().snapshot(&tree).ok().summary();
    assert_eq!(count(&again, "files_read"), 501, "{again}");
    assert_eq!(count(&again, "blobs_new"), 0, "{again}");
}

/// One changed file of many is the only one that is read; a file that keeps its size and mtime is noticed by its ctime.
#[test]
fn only_changed_files_are_read() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let_settle();
    let client = server.client();
    client.backup(&tree);
    let sly = tree.join("dir07/file08.c");
    let (before, time) =
        (fs::read(&sly).expect("a file"), fs::metadata(&sly).and_then(|m| m.modified()).expect("a time"));
    fs::write(&sly, vec![b'?'; before.len()]).expect("other bytes");
    fs::File::options().write(true).open(&sly).and_then(|file| file.set_modified(time)).expect("the old time");
    write(tree.join("dir09/new"), "new");
    let second = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&second, "files_read"), 2, "{second}");
    let back = scratch.path().join("back");
    client.restore("latest", &back).ok();
    assert_same(&tree, &back);
}

/// 1 MiB inserted in the middle of a large file uploads the chunks around it, not the file.
#[test]
fn an_insertion_uploads_only_the_chunks_around_it() {
    let (server, scratch) = (Server::new(), scratch());
    let file = scratch.path().join("tree/large");
    let before = random_bytes(1, 64 << 20);
    write(&file, &before);
    let client = server.client();
    client.backup(&scratch.path().join("tree"));
    let (head, tail) = before.split_at(31 << 20);
    write(&file, [head, &random_bytes(2, 1 << 20), tail].concat());
    let second = client.snapshot(&scratch.path().join("tree")).ok().summary();
    // At most: the inserted MiB, and a chunk of 2 MiB cut on each side of it.
    let uploaded = count(&second, "bytes_uploaded");
    assert!(uploaded >= 1 << 20, "{second}");
    assert!(uploaded <= 5 << 20, "{second}");
    let back = scratch.path().join("back");
    client.restore("latest", &back).ok();
    assert_same(&scratch.path().join("tree"), &back);
}

/// Renaming a directory uploads no file's bytes.
#[test]
fn a_renamed_directory_uploads_no_blob() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let client = server.client();
    client.backup(&tree);
    fs::rename(tree.join("dir04"), tree.join("renamed")).expect("a new name");
    let second = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&second, "blobs_new"), 0, "{second}");
    let back = scratch.path().join("back");
    client.restore("latest", &back).ok();
    assert_same(&tree, &back);
}

/// Equal files of two hosts and of several paths are stored once; each path of each host is a snapshot of its own.
#[test]
fn hosts_and_paths_share_what_is_equal() {
    let (server, scratch) = (Server::new(), scratch());
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    sources(&one, 1);
    sources(&two, 1);
    let (alpha, beta) = (server.client().on_host("alpha"), server.client().on_host("beta"));
    let first = alpha.snapshot(&one).ok().summary();
    assert!(count(&first, "blobs_new") > 0);
    for (client, path) in [(&alpha, &two), (&beta, &one), (&beta, &two)] {
        let other = client.snapshot(path).ok().summary();
        assert_eq!(count(&other, "blobs_new"), 0, "{other}");
    }
    let listed = alpha.backups();
    assert_eq!(listed.len(), 4);
    let snapshots: std::collections::BTreeSet<&str> =
        listed.iter().map(|backup| backup["snapshot"].as_str().expect("a key")).collect();
    assert_eq!(snapshots.len(), 4, "{listed:?}");
}

/// Several paths on one command line are several backups, each whole.
#[test]
fn several_paths_make_several_backups() {
    let (server, scratch) = (Server::new(), scratch());
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    write(one.join("a"), "a");
    write(two.join("b"), "b");
    let client = server.client();
    client.run([std::ffi::OsStr::new("snapshot"), one.as_os_str(), two.as_os_str()]).ok();
    let listed = client.backups();
    assert_eq!(listed.len(), 2, "{listed:?}");
    for (path, backup) in [(&one, &listed[0]), (&two, &listed[1])] {
        assert_eq!(backup["path"], path.to_str().expect("UTF-8"), "snapshots are listed by path");
        let back = scratch.path().join(format!("back {}", backup["id"]));
        client.restore(backup["id"].as_str().expect("an id"), &back).ok();
        assert_same(path, &back);
    }
}
