//! Restores with few open files, of trees that are wide and trees that are deep.

mod support;

use std::{fs, os::unix::fs::symlink, path::Path};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{
    compare::assert_same,
    place::scratch,
    processes::{Client, Run, Server, count, with_open_files},
    tree::{random_bytes, write},
};

/// A restore that may have so many files open and no more.
fn restore(client: &Client, id: &str, target: &Path, files: u32, options: &[&str]) -> Run {
    let mut inner = client.command(["--json", "restore", id, "--target"]);
    inner.arg(target).args(options);
    let mut outer = with_open_files(&inner, files, files);
    Run::from(outer.output().expect("a shell"))
}

/// The judge keeps a directory open per level.
fn raise_own_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit may rise");
}

/// 4,000 directories with a file each: nothing of them has to be open at the same time.
#[test]
fn a_wide_tree_is_restored_with_few_open_files() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    for dir in 0..4000 {
        write(tree.join(format!("dir{dir:04}/file")), format!("{dir}"));
    }
    let client = server.client();
    let id = client.backup(&tree);
    for (files, options) in [(1024, &[][..]), (1024, &["--verify"]), (128, &["--overwrite=always", "--verify"])] {
        restore(&client, &id, &back, files, options).ok();
    }
    assert_same(&tree, &back);
}

/// 1,500 levels, with files, links and times at each: a chain of parents longer than what may be open.
#[test]
fn a_deep_tree_is_restored_with_few_open_files() {
    raise_own_limit();
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    let mut dir = tree.clone();
    for level in 0..1500 {
        dir.push("d");
        fs::create_dir_all(&dir).expect("a directory");
        if level % 50 == 0 {
            write(dir.join("file"), random_bytes(level, 2000));
            symlink("file", dir.join("link")).expect("a symlink");
        }
    }
    fs::hard_link(tree.join("d/file"), dir.join("the first one again")).expect("a hard link");
    let client = server.client();
    let id = client.backup(&tree);
    for (files, options) in [(1024, &[][..]), (1024, &["--verify"]), (128, &["--overwrite=always", "--verify"])] {
        restore(&client, &id, &back, files, options).ok();
    }
    assert_same(&tree, &back);
    let lazy = scratch.path().join("lazy");
    restore(&client, &id, &lazy, 128, &["--include", "the first one*"]).ok();
    assert!(lazy.join("d/".repeat(1500)).join("the first one again").exists());
}

/// Files of many chunks, all open at once as their pieces come: fewer than the limit are.
#[test]
fn large_files_are_restored_with_few_open_files() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    for file in 0..60 {
        write(tree.join(format!("{file}")), random_bytes(file, 1_000_000));
    }
    let client = server.client();
    let id = client.backup(&tree);
    let summary = restore(&client, &id, &back, 128, &["--verify"]).ok().summary();
    assert_eq!(count(&summary, "verified"), 61);
    assert_same(&tree, &back);
}
