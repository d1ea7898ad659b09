//! What is in a backup: the same bytes, the same tree.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    process::Command,
};

use rustix::{fs::statvfs, io::Errno};

use crate::{
    mounted::{Mounted, is_possible, printed, text},
    support::{
        compare::assert_same,
        oddities,
        place::{is_root, scratch},
        processes::Server,
        tree::{random_bytes, sources, write},
    },
};

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Every oddity of a file system is there with all its metadata, and again when it comes from the kernel's cache.
#[test]
fn invariant_7_same_bytes_same_tree_through_a_mount() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    oddities::make(&tree);
    server.client().backup(&tree);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &["--host", &host()]);
    let latest = mounted.path("latest/tree");
    let entries = assert_same(&tree, &latest);
    println!("{entries} entries are equal");
    assert_same(&tree, &latest);
    // A listing after the lookups, and lookups without a listing, tell the same.
    let again = Mounted::new(&server, &scratch.path().join("again"), &[]);
    for path in ["latest/tree/names", "latest/tree"] {
        let (one, other) = (mounted.path(path), again.path(path));
        if let (Ok(one), Ok(other)) = (fs::symlink_metadata(&one), fs::symlink_metadata(&other)) {
            assert_eq!((one.ino(), one.mode(), one.mtime()), (other.ino(), other.mode(), other.mtime()));
        }
    }
    again.end();
    mounted.end();
}

/// The programs that people use see no difference either.
#[test]
fn diff_rsync_tar_and_cp_see_what_was_backed_up() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    fs::hard_link(tree.join("dir01/file01.c"), tree.join("dir02/linked.c")).expect("a hard link");
    std::os::unix::fs::symlink("dir01/file01.c", tree.join("symlink")).expect("a symlink");
    server.client().backup(&tree);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &[]);
    let latest = mounted.path("latest/tree");
    let (from, to) = (tree.to_str().expect("UTF-8"), latest.to_str().expect("UTF-8"));
    assert_eq!(printed("diff", ["-r", "--no-dereference", from, to]), "");
    let found = |top: &str| printed("find", [top, "-printf", "%P %y %s %m %U:%G %T@ %n %l\\n", "-o", "-size", "0"]);
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        // Directories have no size and no count of links that would mean the same everywhere.
        lines.retain(|line| !line.contains(" d "));
        lines
    };
    assert_eq!(sorted(found(from)), sorted(found(to)));
    let copy = scratch.path().join("copy");
    printed("cp", ["-a", to, copy.to_str().expect("UTF-8")]);
    assert_same(&tree, &copy);
    let unpacked = scratch.path().join("unpacked");
    fs::create_dir(&unpacked).expect("a directory");
    let piped = format!("tar -C '{to}' --format=posix -cf - . | tar -C '{}' -xpf -", unpacked.display());
    printed("sh", ["-c", &piped]);
    assert_same(&tree, &unpacked);
    assert_eq!(printed("grep", ["-rc", "--include=file07.c", "directory 7,", to]).lines().count(), 20);
    if Command::new("rsync").arg("--version").output().is_ok() {
        let changes = ["-aHAXn", "--delete", "--itemize-changes", &format!("{to}/"), &format!("{from}/")];
        assert_eq!(printed("rsync", changes), "");
        let checked = ["-aHAXnc", "--delete", "--itemize-changes", &format!("{from}/"), &format!("{to}/")];
        assert_eq!(printed("rsync", checked), "");
    } else {
        println!("rsync is not there and was not asked");
    }
    mounted.end();
}

/// Whatever writes gets EROFS.
#[test]
fn nothing_can_be_written() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "content");
    server.client().backup(&tree);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &[]);
    let refused = |what: &str, done: std::io::Result<()>| {
        let error = done.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{what}: {error}");
    };
    for place in ["new", "latest/new", "latest/tree/new", "at/tree/new"] {
        let path = mounted.path(place);
        refused(place, fs::write(&path, "x"));
        refused(place, fs::create_dir(&path));
        refused(place, std::os::unix::fs::symlink("x", &path));
    }
    let file = mounted.path("latest/tree/file");
    refused("write", fs::OpenOptions::new().write(true).open(&file).map(drop));
    refused("unlink", fs::remove_file(&file));
    refused("rename", fs::rename(&file, mounted.path("latest/tree/other")));
    refused("link", fs::hard_link(&file, mounted.path("latest/tree/other")));
    refused("rmdir", fs::remove_dir(mounted.path("latest/tree")));
    refused("chmod", fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)));
    let set = rustix::fs::setxattr(&file, "user.x", b"1", rustix::fs::XattrFlags::empty());
    assert_eq!(set, Err(Errno::ROFS));
    assert_eq!(text(&file), "content");
    mounted.end();
}

/// Large files can be read from anywhere, holes are holes, and how large everything is can be asked.
#[test]
fn any_part_of_a_large_file_is_what_it_was() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    const LEN: usize = 20 << 20;
    let bytes = random_bytes(7, LEN);
    write(tree.join("large"), &bytes);
    server.client().backup(&tree);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &[]);
    let file = fs::File::open(mounted.path("latest/tree/large")).expect("a file");
    let mut chance = crate::support::chance::Chance::new(3);
    for _ in 0..200 {
        let (at, len) = (chance.below(LEN as u64 + 1000), 1 + chance.below(300_000) as usize);
        let mut part = vec![0; len];
        let got = file.read_at(&mut part, at).expect("a part");
        let expected = bytes.get(at as usize..).unwrap_or_default();
        let expected = &expected[..expected.len().min(len)];
        // A short answer is none of a file's middle.
        assert_eq!(got, expected.len(), "at {at}");
        assert!(part[..got] == *expected, "at {at}");
    }
    drop(file);
    let space = statvfs(mounted.path("")).expect("sizes");
    assert!(space.f_blocks * space.f_frsize >= LEN as u64);
    assert_eq!(space.f_bavail, 0);
    assert!(space.f_bfree < space.f_blocks);
    mounted.end();
}

/// What could not be read when it was backed up shows its attributes and gives EIO.
#[test]
fn an_entry_with_an_error_shows_its_attributes_and_can_not_be_read() {
    if !is_possible() || !is_root() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("readable"), "yes");
    write(tree.join("secret"), "no");
    write(tree.join("closed/inside"), "no");
    let forbid = |path: &Path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o000));
    forbid(&tree.join("secret")).expect("a mode");
    forbid(&tree.join("closed")).expect("a mode");
    let client = server.client();
    let run = crate::support::processes::heeding_permissions(client.snapshot_command(&tree)).output();
    assert_eq!(run.expect("the client starts").status.code(), Some(3));
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &[]);
    let at = |name: &str| mounted.path("latest/tree").join(name);
    let meta = fs::metadata(at("secret")).expect("attributes");
    assert_eq!((meta.len(), meta.mode() & 0o7777), (2, 0));
    let is_eio = |error: std::io::Error| assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    is_eio(fs::read(at("secret")).expect_err("it was not read"));
    assert!(fs::metadata(at("closed")).expect("attributes").is_dir());
    let listed = fs::read_dir(at("closed")).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    is_eio(listed.map(drop).expect_err("it was not read"));
    assert_eq!(text(&at("readable")), "yes");
    mounted.end();
}
