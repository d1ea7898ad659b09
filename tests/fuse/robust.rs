//! What goes wrong around a mount: the server, the disk, the user.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{io::Errno, process::Signal};

use crate::{
    mounted::{Mounted, command, is_mounted, is_possible, names, text, unmount, wait_until},
    support::{
        compare::assert_same,
        place::scratch,
        processes::{Server, program},
        tree::{random_bytes, sources, write},
    },
};

#[track_caller]
fn assert_eio(done: std::io::Result<impl std::fmt::Debug>) {
    let error = done.expect_err("it can't be read");
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()), "{error}");
}

/// A server on a port of its own, so that it comes back where it was.
fn server_in_place(data: &Path) -> Server {
    let socket = data.with_extension("socket");
    Server::with_options(data, &["--listen", &format!("unix:{}", socket.display())])
}

/// A server that is killed and comes back while a tree is copied delays the copy, and that is all.
#[test]
fn a_copy_goes_on_when_the_server_comes_back() {
    if !is_possible() {
        return;
    }
    let scratch = scratch();
    let mut server = server_in_place(&scratch.path().join("data"));
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    for number in 0..8 {
        write(tree.join(format!("large{number}")), random_bytes(100 + number, 12 << 20));
    }
    server.client().backup(&tree);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &[]);
    let copy = scratch.path().join("copy");
    let mut cp = Command::new("cp").arg("-a").arg(mounted.path("latest/tree")).arg(&copy).spawn().expect("cp starts");
    for copied in [3, 5, 7] {
        let file = copy.join(format!("large{copied}"));
        wait_until("a part of the copy", || file.exists() || cp.try_wait().is_ok_and(|done| done.is_some()));
        server.kill();
        thread::sleep(Duration::from_millis(300));
        server.start();
    }
    let mut status = None;
    wait_until("the end of the copy", || {
        status = cp.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    assert!(status.is_some_and(|status| status.success()), "stderr of the mount:\n{}", mounted.stderr());
    assert_same(&tree, &copy);
    mounted.end();
}

/// Without a server reads fail after the set time and not before; the mount stays, and works when it is back.
#[test]
fn without_a_server_reads_fail_after_a_while_and_work_again_later() {
    if !is_possible() {
        return;
    }
    let scratch = scratch();
    let mut server = server_in_place(&scratch.path().join("data"));
    let tree = scratch.path().join("tree");
    write(tree.join("known"), "known");
    // Far from the other one, which brings its neighbours along.
    let new = random_bytes(9, 3 << 20);
    write(tree.join("new"), &new);
    server.client().backup(&tree);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &["--timeout", "2"]);
    assert_eq!(text(&mounted.path("latest/tree/known")), "known");
    assert_eq!(names(&mounted.path("latest/tree")), ["known", "new"]);
    let inside = fs::File::open(mounted.path("latest/tree")).expect("a directory");
    server.kill();
    let open = |name| {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        fs::File::from(rustix::fs::openat(&inside, name, flags, rustix::fs::Mode::empty()).expect("it opens"))
    };
    let mut known = String::new();
    open("known").read_to_string(&mut known).expect("what was read once needs no server");
    assert_eq!(known, "known");
    let began = Instant::now();
    assert_eio(open("new").read_to_end(&mut Vec::new()));
    assert!(began.elapsed() >= Duration::from_millis(1900), "it waited only {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20), "it waited {:?}", began.elapsed());
    assert!(is_mounted(&mounted.path("")));
    server.start();
    let mut again = Vec::new();
    open("new").read_to_end(&mut again).expect("the server is back");
    assert!(again == new);
    drop(inside);
    assert!(fs::read(mounted.path("latest/tree/new")).expect("a file") == new);
    mounted.end();
}

/// Of a damaged pack, only what needs the damaged part is EIO, and the log says what and where.
#[test]
fn a_damaged_blob_is_an_error_for_those_who_need_it() {
    if !is_possible() {
        return;
    }
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    const LEN: usize = 24 << 20;
    let large = random_bytes(5, LEN);
    write(tree.join("large"), &large);
    write(tree.join("dir/small"), "small");
    let id = server.client().backup(&tree);
    server.stop();
    let packs = fs::read_dir(server.data().join("blobs")).expect("packs");
    let pack = packs.map(|entry| entry.expect("a pack").path()).max_by_key(|path| fs::metadata(path).unwrap().len());
    // In the middle of random bytes, which are stored as they are.
    crate::support::tree::flip_byte(&pack.expect("one"), (LEN / 2) as u64);
    server.start();
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &[]);
    let path = mounted.path("latest/tree/large");
    assert_eio(fs::read(&path));
    assert_eq!(text(&mounted.path("latest/tree/dir/small")), "small");
    let mut file = fs::File::open(&path).expect("it opens");
    let (mut good, mut bad) = (0, 0);
    for at in (0..LEN).step_by(1 << 20) {
        let mut part = vec![0; 4096];
        file.seek(SeekFrom::Start(at as u64)).expect("a place");
        match file.read_exact(&mut part) {
            Ok(()) => {
                good += 1;
                assert!(part == large[at..at + 4096], "at {at}");
            }
            Err(error) => {
                bad += 1;
                assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
            }
        }
    }
    drop(file);
    assert!(good >= 20 && bad >= 1, "{good} parts are good, {bad} bad");
    let log = mounted.stderr();
    let line = log.lines().find(|line| line.contains("/large")).unwrap_or_else(|| panic!("no line:\n{log}"));
    assert!(line.contains("blob ") && line.contains(&id), "{line}");
    mounted.end();
}

/// Many readers at once get what is theirs.
#[test]
fn sixty_four_readers_at_once_read_the_right_bytes() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for number in 0..16_u64 {
        write(tree.join(format!("file{number}")), random_bytes(number, (number as usize + 1) * 300_000));
    }
    sources(&tree.join("sources"), 2);
    server.client().backup(&tree);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &[]);
    let read = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0..64_u64 {
            let (mounted, tree, read) = (&mounted, &tree, &read);
            scope.spawn(move || {
                for step in 0..16 {
                    let name = format!("file{}", (reader + step * 7) % 16);
                    let got = fs::read(mounted.path("latest/tree").join(&name)).expect("a file");
                    assert!(got == fs::read(tree.join(&name)).expect("its source"), "{name}");
                    let small = format!("sources/dir{:02}/file{:02}.c", (reader + step) % 20, step);
                    let got = text(&mounted.path("latest/tree").join(&small));
                    assert!(got == text(&tree.join(&small)), "{small}");
                    read.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(read.into_inner(), 64 * 16);
    assert_same(&tree, &mounted.path("latest/tree"));
    mounted.end();
}

/// While somebody uses it, the first signal says so and the second detaches it; who uses it goes on until they are done.
#[test]
fn a_busy_mount_says_so_and_detaches_when_asked_again() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), random_bytes(1, 5 << 20));
    server.client().backup(&tree);
    let mut mounted = Mounted::new(&server, &scratch.path().join("mnt"), &[]);
    let mut file = fs::File::open(mounted.path("latest/tree/file")).expect("a file");
    mounted.signal(Signal::INT);
    mounted.wait_said("is busy");
    assert!(is_mounted(&mounted.path("")));
    mounted.signal(Signal::INT);
    mounted.wait_said("detached");
    assert!(!is_mounted(&mounted.path("")));
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("who has it open may go on");
    assert!(bytes == random_bytes(1, 5 << 20));
    drop(file);
    assert!(mounted.wait().success(), "{}", mounted.stderr());
}

/// Every way to end it ends it cleanly.
#[test]
fn a_signal_or_an_unmount_ends_it_cleanly() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let dir = scratch.path().join("mnt");
    for signal in [Signal::INT, Signal::TERM] {
        let mut mounted = Mounted::new(&server, &dir, &[]);
        assert!(dir.join("README.txt").exists());
        mounted.signal(signal);
        assert!(mounted.wait().success(), "{}", mounted.stderr());
        assert!(!is_mounted(&dir));
        assert_eq!(mounted.stderr(), "");
    }
    let mut mounted = Mounted::new(&server, &dir, &[]);
    assert!(unmount(&dir).status().expect("it runs").success());
    assert!(mounted.wait().success(), "{}", mounted.stderr());
    assert_eq!(names(&dir), [""; 0]);
}

/// What can't be mounted is one line and 1.
#[test]
fn what_can_not_be_mounted_is_one_line() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let dir = scratch.path().join("mnt");
    let refused = |url: &str, dir: &Path, words: &[&str]| {
        let mut mount = command(url, dir, &[]);
        let run = crate::support::processes::Run::from(mount.output().expect("datadb-fuse starts"));
        run.code(1).one_line_with(words);
    };
    refused("unix:/nowhere", &dir, &["no server answers", "/nowhere"]);
    let file = scratch.path().join("file");
    write(&file, "");
    let mut mount = command(server.url(), &dir, &[]);
    mount.args(["--host", "a/b"]);
    let run = crate::support::processes::Run::from(mount.output().expect("datadb-fuse starts"));
    run.code(1).one_line_with(&["host name", "--host"]);
    let missing = Command::new(program("datadb-fuse"))
        .args(["mount", "/nowhere/at/all", "--server", server.url()])
        .output()
        .map(crate::support::processes::Run::from);
    missing.expect("datadb-fuse starts").code(1).one_line_with(&["/nowhere/at/all"]);
}

/// In the background it returns when it is mounted, and goes on until it is unmounted.
#[test]
fn a_daemon_returns_when_it_is_mounted() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "content");
    server.client().backup(&tree);
    let dir = scratch.path().join("mnt");
    let run = command(server.url(), &dir, &["--daemon"]).output().map(crate::support::processes::Run::from);
    let run = run.expect("datadb-fuse starts").ok();
    assert!(run.text().starts_with("Mounting read-only filesystem on"), "{}", run.text());
    assert_eq!(text(&dir.join("latest/tree/file")), "content");
    assert!(unmount(&dir).status().expect("it runs").success());
    wait_until("the daemon's end", || !is_daemon_left(&dir));
    let run = command("unix:/nowhere", &dir, &["--daemon"]).output().map(crate::support::processes::Run::from);
    run.expect("datadb-fuse starts").code(1).one_line_with(&["no server answers"]);
}

/// Whether a process was given this mount point.
fn is_daemon_left(dir: &Path) -> bool {
    let processes = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    let mut lines = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    lines.any(|line| line.contains("datadb-fuse") && line.contains(&*dir.to_string_lossy()))
}

/// As `mount` calls it for a line of fstab.
#[test]
fn a_line_of_fstab_mounts() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "content");
    server.client().on_host("desk").backup(&tree);
    let dir = scratch.path().join("mnt");
    fs::create_dir(&dir).expect("a mount point");
    let helper = |options: &str| {
        Command::new(program("datadb-fuse"))
            .arg0("/sbin/mount.fuse.datadb")
            .args([server.url(), dir.to_str().expect("UTF-8"), "-o", options])
            .env_remove("XDG_CONFIG_HOME")
            .env("HOME", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .map(crate::support::processes::Run::from)
            .expect("the helper starts")
    };
    helper("ro,noauto,_netdev,x-systemd.automount,host=desk,allow_other,timeout=5").ok();
    assert_eq!(text(&dir.join("latest/tree/file")), "content");
    let mounts = text(Path::new("/proc/self/mounts"));
    let expected = format!("{} {} fuse.datadb ro,", server.url(), dir.display());
    assert!(mounts.contains(&expected), "{mounts}");
    assert!(unmount(&dir).status().expect("it runs").success());
    wait_until("the daemon's end", || !is_daemon_left(&dir));
    helper("ro,frobnicate").code(2).one_line_with(&["frobnicate"]);
}

/// What was read is on disk afterwards, within its bound, and what was changed there is not believed.
#[test]
fn the_cache_on_disk_survives_a_remount_and_is_verified() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 3);
    server.client().backup(&tree);
    let (dir, cache) = (scratch.path().join("mnt"), scratch.path().join("cache"));
    let options = ["--cache-dir", cache.to_str().expect("UTF-8"), "--cache-size", "4M"];
    let mounted = Mounted::new(&server, &dir, &options);
    assert_same(&tree, &mounted.path("latest/tree"));
    mounted.end();
    let kept = || crate::support::tree::files(&cache);
    let blocks: u64 = kept().iter().map(|(_, len)| len.next_multiple_of(4096)).sum();
    assert!(blocks > 2 << 20 && blocks <= 4 << 20, "{blocks} bytes are kept");
    for (path, _) in kept() {
        crate::support::tree::flip_byte(&path, 40);
    }
    let mounted = Mounted::new(&server, &dir, &options);
    assert_same(&tree, &mounted.path("latest/tree"));
    mounted.end();
    fs::remove_dir_all(&cache).expect("it may be deleted");
    let mounted = Mounted::new(&server, &dir, &options);
    assert_same(&tree, &mounted.path("latest/tree"));
    mounted.end();
}
