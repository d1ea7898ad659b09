//! The judge of two trees finds each kind of difference: without that, no test of fidelity would mean anything.

mod support;

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use support::{
    compare::{assert_same, differences},
    oddities,
    place::{is_root, scratch},
    tree::{random_bytes, write},
};

/// Two trees that are made alike, of which the second is changed; gives what the judge calls the differences.
fn after(change: impl Fn(&Path)) -> Vec<(String, String)> {
    let scratch = scratch();
    let trees = ["a", "b"].map(|name| scratch.path().join(name));
    for tree in &trees {
        plain(tree);
    }
    assert_same(&trees[0], &trees[1]);
    change(&trees[1]);
    let found = differences(&trees[0], &trees[1]);
    found.into_iter().map(|one| (String::from_utf8(one.path).expect("plain names"), one.what)).collect()
}

fn plain(tree: &Path) {
    write(tree.join("dir/file"), random_bytes(1, 20_000));
    write(tree.join("dir/other"), random_bytes(1, 20_000));
    fs::hard_link(tree.join("dir/file"), tree.join("dir/linked")).expect("a link");
    symlink("file", tree.join("dir/symlink")).expect("a symlink");
    let sparse = File::create(tree.join("sparse")).expect("a file");
    sparse.set_len(1 << 20).expect("a hole");
    sparse.write_all_at(b"data", 512 << 10).expect("data");
    fs::create_dir(tree.join("empty")).expect("a directory");
    for name in ["dir/file", "dir/other", "sparse", "dir", "empty", "."] {
        set_mtime(&tree.join(name), 1_000_000_000, 5);
    }
    let touched = Command::new("touch").args(["-h", "-d", "@7"]).arg(tree.join("dir/symlink")).status();
    assert!(touched.expect("touch runs").success());
    set_mtime(&tree.join("dir"), 1_000_000_000, 5);
}

fn set_mtime(path: &Path, seconds: u64, nanos: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    File::open(path).expect("a file").set_modified(time).expect("a time");
}

/// Puts a file's time back after a change that is not meant to show in it.
fn quietly(path: &Path, change: impl Fn(&Path)) {
    change(path);
    set_mtime(path, 1_000_000_000, 5);
}

fn is(path: &str, what: &str) -> Vec<(String, String)> {
    vec![(path.to_owned(), what.to_owned())]
}

/// One byte that differs is found, in a file of the same length and time.
#[test]
fn other_bytes_are_found() {
    let found = after(|tree| {
        quietly(&tree.join("dir/other"), |file| {
            File::options().write(true).open(file).expect("a file").write_all_at(b"?", 19_999).expect("a byte");
        });
    });
    assert_eq!(found, is("dir/other", "bytes"));
}

#[test]
fn another_length_is_found() {
    let found = after(|tree| {
        quietly(&tree.join("sparse"), |file| {
            File::options().write(true).open(file).expect("a file").set_len((1 << 20) + 1).expect("a length");
        });
    });
    assert_eq!(found, is("sparse", "size"));
}

#[test]
fn missing_and_superfluous_entries_are_found() {
    let gone = after(|tree| {
        fs::remove_file(tree.join("dir/symlink")).expect("gone");
        set_mtime(&tree.join("dir"), 1_000_000_000, 5);
    });
    assert_eq!(gone, is("dir/symlink", "presence"));
    let extra = after(|tree| {
        write(tree.join("empty/file"), "");
        set_mtime(&tree.join("empty"), 1_000_000_000, 5);
    });
    assert_eq!(extra, is("empty/file", "presence"));
}

#[test]
fn another_type_is_found() {
    let found = after(|tree| {
        fs::remove_file(tree.join("dir/other")).expect("gone");
        symlink("file", tree.join("dir/other")).expect("a symlink");
        set_mtime(&tree.join("dir"), 1_000_000_000, 5);
    });
    assert_eq!(found, is("dir/other", "type"));
}

#[test]
fn modes_times_and_targets_are_found() {
    let mode = after(|tree| fs::set_permissions(tree.join("empty"), Permissions::from_mode(0o1755)).expect("a mode"));
    assert_eq!(mode, is("empty", "mode"));
    assert_eq!(after(|tree| set_mtime(&tree.join("dir/other"), 1_000_000_000, 6)), is("dir/other", "mtime"));
    assert_eq!(after(|tree| set_mtime(tree, 1_000_000_001, 5)), is("", "mtime"));
    let target = after(|tree| {
        fs::remove_file(tree.join("dir/symlink")).expect("gone");
        symlink("elif", tree.join("dir/symlink")).expect("a symlink");
        let touched = Command::new("touch").args(["-h", "-d", "@7"]).arg(tree.join("dir/symlink")).status();
        assert!(touched.expect("touch runs").success());
        set_mtime(&tree.join("dir"), 1_000_000_000, 5);
    });
    assert_eq!(target, is("dir/symlink", "target"));
}

#[test]
fn a_hard_link_that_became_a_copy_is_found() {
    let found = after(|tree| {
        let bytes = fs::read(tree.join("dir/linked")).expect("a file");
        fs::remove_file(tree.join("dir/linked")).expect("gone");
        quietly(&tree.join("dir/linked"), |file| fs::write(file, &bytes).expect("a copy"));
        set_mtime(&tree.join("dir"), 1_000_000_000, 5);
    });
    assert_eq!(found, is("dir/linked", "hard link"));
}

#[test]
fn a_hole_that_was_filled_is_found() {
    let found = after(|tree| {
        quietly(&tree.join("sparse"), |file| {
            File::options().write(true).open(file).expect("a file").write_all_at(&[0; 128 << 10], 0).expect("zeros");
            File::open(file).expect("a file").sync_all().expect("blocks are allocated at the latest now");
        });
    });
    let found: Vec<&str> = found.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(found, ["holes", "allocated bytes"]);
}

#[test]
fn attributes_and_acls_are_found() {
    let set = |name: &'static str| {
        after(move |tree| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(tree.join("empty"), name, b"value", flags).expect("an attribute");
        })
    };
    assert_eq!(set("user.x"), is("empty", "xattr user.x"));
    let acl = after(|tree| {
        let done = Command::new("setfacl").args(["-d", "-m", "u:1234:rwx"]).arg(tree.join("empty")).status();
        assert!(done.expect("setfacl runs (package acl)").success());
    });
    assert_eq!(acl, is("empty", "xattr system.posix_acl_default"));
}

#[test]
fn owners_and_devices_are_found() {
    if !is_root() {
        println!("skipped: only root gives files away and makes devices");
        return;
    }
    let owner = after(|tree| std::os::unix::fs::chown(tree.join("empty"), Some(0), Some(77)).expect("an owner"));
    assert_eq!(owner, is("empty", "owner"));
    let scratch = scratch();
    for (tree, minor) in [("a", 3), ("b", 5)] {
        let dir = scratch.path().join(tree);
        fs::create_dir(&dir).expect("a directory");
        let device = rustix::fs::makedev(1, minor);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("device"), kind, mode, device).expect("a device");
        let touched = Command::new("touch").args(["-d", "@7"]).arg(dir.join("device")).arg(&dir).status();
        assert!(touched.expect("touch runs").success());
    }
    let found = differences(&scratch.path().join("a"), &scratch.path().join("b"));
    assert_eq!(found.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), ["rdev"]);
}

/// The tree of oddities equals itself but for its socket; a copy whose holes were filled differs.
#[test]
fn the_tree_of_oddities_is_read_whole() {
    let scratch = scratch();
    let tree = scratch.path().join("tree");
    oddities::make(&tree);
    let found = differences(&tree, &tree);
    assert_eq!(found.len(), 1, "only the socket is not expected in a copy: {found:?}");
    fs::remove_file(tree.join("socket")).expect("gone");
    let entries = assert_same(&tree, &tree);
    assert!(entries > 1_800, "only {entries} entries");
    let copy = scratch.path().join("copy");
    let copied = Command::new("cp").args(["-a", "--sparse=never", "links"]).arg(&copy).current_dir(&tree).status();
    assert!(copied.expect("cp runs").success());
    let found = differences(&tree.join("links"), &copy);
    assert!(found.iter().any(|one| one.what == "holes"), "{found:?}");
}
