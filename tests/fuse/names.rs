//! The three directories, and what snapshots are called in them.

use std::{fs, os::unix::fs::MetadataExt as _, time::Duration};

use crate::{
    mounted::{Mounted, is_possible, names, printed, text},
    support::{place::scratch, processes::Server, tree::write},
};

/// The examples of the documentation, typed as they stand there.
#[test]
fn the_documented_examples_show_what_they_say() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("writing");
    let client = server.client().on_host("desk");
    let backup = |time: &str| {
        let words = ["snapshot", "--host", "desk", "--time", time, tree.to_str().expect("UTF-8")];
        client.run(words).ok();
    };
    write(tree.join("novel.txt"), "It was a dark night.\n");
    backup("2014-05-11T11:01:07+02:00");
    write(tree.join("poem.txt"), "Roses are red.\n");
    backup("2014-05-12T18:36:07+02:00");
    let backups = scratch.path().join("backups");
    let mounted = Mounted::new(&server, &backups, &["--host", "desk"]);
    let ls = |below: &str| printed("ls", [backups.join(below)]);
    assert_eq!(ls(""), "README.txt\nat\nlatest\nsnapshots\n");
    assert_eq!(ls("snapshots/writing"), "2014-05-11T11:01:07+02:00\n2014-05-12T18:36:07+02:00\n");
    assert_eq!(ls("at/writing/2014-05-11"), "novel.txt\n");
    assert_eq!(ls("at/writing/2014-05-12"), "novel.txt\npoem.txt\n");
    assert_eq!(ls("at/writing"), "README.txt\n");
    assert_eq!(ls("latest"), "writing\n");
    assert_eq!(ls("latest/writing"), "novel.txt\npoem.txt\n");
    assert_eq!(text(&backups.join("snapshots/writing/2014-05-11T11:01:07+02:00/novel.txt")), "It was a dark night.\n");
    assert!(text(&backups.join("README.txt")).contains("snapshots/NAME/TIMESTAMP"));
    assert!(text(&backups.join("at/writing/README.txt")).contains("yesterday"));
    for missing in ["snapshots/writing/2014-05-11T09:01:07Z", "snapshots/writing/2014", "latest/nothing", "nothing"] {
        assert!(!backups.join(missing).exists(), "{missing} is not the name of anything");
    }
    mounted.end();
}

/// Where two paths share a name, the first keeps it, even if the other one's backups are older by their times.
#[test]
fn who_came_first_keeps_the_plain_name() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let (first, later) = (scratch.path().join("z/docs"), scratch.path().join("a/docs"));
    write(first.join("which"), "first");
    write(later.join("which"), "later");
    let client = server.client().on_host("desk");
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &["--host", "desk"]);
    client.backup(&first);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(names(&mounted.path("latest")), ["docs"]);
    let path = later.to_str().expect("UTF-8");
    client.run(["snapshot", "--host", "desk", "--time", "2001-01-01", path]).ok();
    std::thread::sleep(Duration::from_secs(1));
    let listed = names(&mounted.path("latest"));
    assert_eq!(listed.len(), 2, "{listed:?}");
    let shared = listed.iter().find(|name| *name != "docs").expect("another name");
    let digits = shared.strip_prefix("docs@").expect("the name and a part of the key");
    assert!(digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{shared}");
    for place in ["latest", "snapshots", "at"] {
        assert_eq!(names(&mounted.path(place)), listed, "{place}");
    }
    assert_eq!(text(&mounted.path("latest/docs/which")), "first");
    assert_eq!(text(&mounted.path("latest").join(shared).join("which")), "later");
    assert_eq!(text(&mounted.path("at").join(shared).join("2005/which")), "later");
    assert_eq!(names(&mounted.path("snapshots").join(shared)).len(), 1);
    mounted.end();
    // A rebuilt index tells the same order.
    let mut server = server;
    server.stop();
    let data = server.data().to_owned();
    let rebuild = ["rebuild".as_ref(), "--data-dir".as_ref(), data.as_os_str()];
    crate::support::processes::server_command(&rebuild).ok();
    server.start();
    let again = Mounted::new(&server, &scratch.path().join("again"), &["--host", "desk"]);
    assert_eq!(text(&again.path("latest/docs/which")), "first");
    again.end();
}

/// A backup of a file is that file, under every name.
#[test]
fn a_backup_of_a_file_is_that_file() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let file = scratch.path().join("diary.txt");
    write(&file, "Dear diary\n");
    let client = server.client().on_host("desk");
    client.backup(&file);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &["--host", "desk"]);
    assert_eq!(text(&mounted.path("latest/diary.txt")), "Dear diary\n");
    let version = names(&mounted.path("snapshots/diary.txt")).pop().expect("a version");
    assert_eq!(text(&mounted.path("snapshots/diary.txt").join(version)), "Dear diary\n");
    assert_eq!(text(&mounted.path("at/diary.txt/now")), "Dear diary\n");
    let (meta, source) = (fs::metadata(mounted.path("latest/diary.txt")).unwrap(), fs::metadata(&file).unwrap());
    assert_eq!((meta.mtime_nsec(), meta.mode()), (source.mtime_nsec(), source.mode()));
    assert!(names(&mounted.path("latest")).contains(&"diary.txt".to_owned()));
    mounted.end();
}

/// With all hosts, each has a directory of its own.
#[test]
fn all_hosts_have_a_directory_each() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for host in ["beta", "alpha"] {
        write(tree.join("whose"), host);
        server.client().on_host(host).backup(&tree);
    }
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &["--all-hosts"]);
    assert_eq!(names(&mounted.path("")), ["README.txt", "alpha", "beta"]);
    assert_eq!(names(&mounted.path("alpha")), ["README.txt", "at", "latest", "snapshots"]);
    assert_eq!(text(&mounted.path("alpha/latest/tree/whose")), "alpha");
    assert_eq!(text(&mounted.path("beta/at/tree/now/whose")), "beta");
    assert!(!mounted.path("gamma").exists());
    mounted.end();
    let other = Mounted::new(&server, &scratch.path().join("other"), &["--host", "gamma"]);
    assert!(names(&other.path("latest")).is_empty());
    other.end();
}

/// A new backup is there within a second, whoever looked before; what was open stays what it was.
#[test]
fn a_new_backup_appears_within_a_second() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    let client = server.client().on_host("desk");
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &["--host", "desk"]);
    assert!(names(&mounted.path("latest")).is_empty() && !mounted.path("latest/tree").exists());
    let mut inside = None;
    for round in 1..=3 {
        write(tree.join("file"), format!("round {round}"));
        client.backup(&tree);
        // Somebody looks all the time, so that what the kernel keeps is as fresh as can be.
        let done = std::time::Instant::now();
        while done.elapsed() < Duration::from_secs(1) {
            let _seen = (names(&mounted.path("latest")), mounted.path("latest/tree/file").exists());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(text(&mounted.path("latest/tree/file")), format!("round {round}"));
        assert_eq!(text(&mounted.path("at/tree/now/file")), format!("round {round}"));
        assert_eq!(names(&mounted.path("snapshots/tree")).len(), round);
        inside.get_or_insert_with(|| fs::File::open(mounted.path("latest/tree")).expect("a directory"));
    }
    let inside = inside.expect("opened");
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let old = rustix::fs::openat(&inside, "file", flags, rustix::fs::Mode::empty());
    let mut content = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(old.expect("a file")), &mut content).expect("a text");
    assert_eq!(content, "round 1", "a directory that is open stays in its backup");
    drop(inside);
    mounted.end();
}
