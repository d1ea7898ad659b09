//! Invariant 7, same bytes, same tree: whatever a file system holds comes back as it was.

mod support;

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use support::{
    compare::{assert_same, differences},
    oddities,
    place::{SmallDisk, scratch},
    processes::{Run, Server, count, heeding_permissions},
    tree::{random_bytes, write},
};

/// A tree with every oddity comes back equal: names of any bytes, holes, hard links, devices, ACLs, odd times and modes.
#[test]
fn invariant_7_same_bytes_same_tree() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    oddities::make(&tree);
    let client = server.client();
    let run = client.snapshot(&tree).ok();
    let summary = run.summary();
    assert_eq!(count(&summary, "errors"), 0);
    assert!(run.stderr.contains("socket"), "a socket is skipped with a line: {:?}", run.stderr);
    let id = summary["id"].as_str().expect("an id");
    let restored = client.restore(id, &back).ok().summary();
    assert_eq!(count(&restored, "errors"), 0);
    let entries = assert_same(&tree, &back);
    println!("{entries} entries are equal");
}

/// Xattrs of 64 KiB, which need blobs of their own, come back (on a file system that takes them).
#[test]
fn invariant_7_same_bytes_same_tree_with_long_xattrs() {
    let (server, scratch) = (Server::new(), scratch());
    let Some(_disk) = SmallDisk::mount(&scratch.path().join("disk"), 2000) else { return };
    let (tree, back) = (scratch.path().join("disk/tree"), scratch.path().join("disk/back"));
    oddities::make(&tree);
    let client = server.client();
    let id = client.backup(&tree);
    client.restore(&id, &back).ok();
    assert_same(&tree, &back);
}

/// A part of a backup comes back alone: a directory's content below the target, a file as `DIR/NAME`.
#[test]
fn a_part_of_a_backup_is_restored_alone() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("some/dir/file"), random_bytes(1, 700_000));
    write(tree.join("some/other"), "other");
    let client = server.client();
    let id = client.backup(&tree);
    let back = scratch.path().join("dir back");
    client.restore(&format!("{id}:/some/dir"), &back).ok();
    assert_same(&tree.join("some/dir"), &back);
    let file = scratch.path().join("file back");
    client.restore(&format!("{id}:/some/dir/file"), &file).ok();
    assert_same(&tree.join("some/dir/file"), &file.join("file"));
    let cat = client.run(["cat", &format!("{id}:/some/dir/file")]).ok();
    assert!(cat.stdout == random_bytes(1, 700_000), "cat writes the file's bytes");
    let single = client.backup(&tree.join("some/other"));
    let target = scratch.path().join("single");
    client.restore(&single, &target).ok();
    assert_same(&tree.join("some/other"), &target.join("other"));
}

/// Restoring over an older state changes what differs, keeps what is equal, and deletes nothing that lies beside it.
#[test]
fn a_restore_over_an_older_state_changes_what_differs() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    support::tree::sources(&tree, 1);
    let client = server.client();
    let id = client.backup(&tree);
    client.restore(&id, &back).ok();
    write(back.join("dir03/file04.c"), "changed by mistake");
    write(back.join("of somebody else"), "stays");
    fs::remove_file(back.join("dir05/file06.c")).expect("gone");
    client.restore(&id, &back).ok();
    let found = differences(&tree, &back);
    let paths: Vec<&[u8]> = found.iter().map(|one| &one.path[..]).collect();
    assert_eq!(paths, [b"of somebody else"], "{found:?}");
}

/// A file that grows, shrinks or vanishes while it is read is no failure: the backup is made, the rest is exact.
#[test]
fn files_that_change_while_they_are_read_are_no_failure() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    support::tree::sources(&tree.join("quiet"), 1);
    let busy = tree.join("busy");
    fs::create_dir_all(&busy).expect("a directory");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let block = random_bytes(3, 1 << 20);
            for round in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                disturb(&busy, round, &block);
            }
        });
        let client = server.client();
        for _ in 0..4 {
            let run = client.snapshot(&tree);
            let seen = run.code;
            stop.fetch_or(seen != Some(0) && seen != Some(3), Ordering::Relaxed);
            assert!(matches!(seen, Some(0 | 3)), "{seen:?}: {}", run.stderr);
            let id = run.summary()["id"].as_str().expect("an id").to_owned();
            let back = scratch.path().join(format!("back of {id}"));
            client.restore(&format!("{id}:/quiet"), &back).ok();
            assert_same(&tree.join("quiet"), &back);
            client.restore(&id, &scratch.path().join(format!("all of {id}"))).ok();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn disturb(busy: &Path, round: u64, block: &[u8]) {
    let path = busy.join(format!("{}", round % 20));
    match round % 3 {
        0 => fs::write(&path, block).expect("a file"),
        1 => drop(fs::remove_file(&path)),
        _ => {
            let file = fs::File::options().create(true).append(true).open(&path).expect("a file");
            let mut file = if round.is_multiple_of(2) { file } else { fs::File::create(&path).expect("a shorter one") };
            file.write_all(&block[..1000]).expect("some bytes");
        }
    }
}

/// What is mounted inside a tree belongs to it, and comes back as plain directories and files.
#[test]
fn a_mount_point_comes_back_with_what_is_mounted_there() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "beside it");
    let Some(_disk) = SmallDisk::mount(&tree.join("mounted"), 4) else { return };
    write(tree.join("mounted/inside"), "on another file system");
    let client = server.client();
    let id = client.backup(&tree);
    let back = scratch.path().join("back");
    client.restore(&id, &back).ok();
    assert_eq!(fs::read(back.join("mounted/inside")).expect("a file"), b"on another file system");
    assert_same(&tree, &back);
}

/// A directory without read permission is named, the backup says that it is incomplete, and the rest comes back.
#[test]
fn what_could_not_be_read_is_named_and_the_rest_comes_back() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("readable"), "yes");
    write(tree.join("secret/inside"), "no");
    let client = server.client();
    fs::set_permissions(tree.join("secret"), Permissions::from_mode(0o000)).expect("a mode");
    let run = heeding_permissions(client.snapshot_command(&tree)).output().expect("the client starts");
    let run = Run::from(run);
    let run = run.code(3);
    assert!(run.stderr.contains("secret"), "{}", run.stderr);
    let summary = run.summary();
    assert_eq!(count(&summary, "errors"), 1, "{summary}");
    let listed = client.backups();
    assert_eq!(listed[0]["complete"], false, "{listed:?}");
    let back = scratch.path().join("back");
    let restored = client.restore(summary["id"].as_str().expect("an id"), &back);
    assert!(matches!(restored.code, Some(0 | 3)), "{restored:?}");
    assert_eq!(fs::read(back.join("readable")).expect("a file"), b"yes");
}
