//! Restores over a distant link: a round trip is paid a few times, not for each file; and what is not wanted does not
//! travel.

mod support;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use support::{
    compare::assert_same,
    link::{Link, Quality},
    place::scratch,
    processes::{Client, Run, Running, Server},
    tree::{random_bytes, write},
};

const ROUND_TRIP: Duration = Duration::from_millis(50);

/// 200 files of several chunks each: their lists are asked for side by side. One after the other they alone would take
/// ten seconds.
#[test]
fn lists_of_files_are_not_waited_for_one_by_one() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    // What they share lets them have many chunks, and takes no time on the link.
    let shared = random_bytes(1000, 1_500_000);
    for file in 0..200u64 {
        let bytes = [&shared[..], &random_bytes(file, 100_000)].concat();
        write(tree.join(format!("dir{}/file{file}", file % 10)), bytes);
    }
    let id = server.client().backup(&tree);
    let link = Link::to(server.url(), Quality::distant(ROUND_TRIP));
    let client = Client::of(&link.url());
    for (what, options) in [("restored", &[][..]), ("left", &[]), ("verified", &["--verify"])] {
        let started = Instant::now();
        restore(&client, &id, &scratch.path().join("back"), options).ok();
        let took = started.elapsed();
        println!("200 files of 1.6 MB {what} over a round trip of 50 ms: {:.2} s", took.as_secs_f64());
        assert!(took < ROUND_TRIP * 150, "{what}: {took:?}");
    }
    assert_same(&tree, &scratch.path().join("back"));
}

/// Of a large tree, one file that is named by its whole path comes without the listing of everything else; so does
/// everything but a large directory that is excluded, by its path or by its name.
#[test]
fn what_is_not_wanted_does_not_travel() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for dir in 0..20 {
        for file in 0..1500 {
            write(tree.join(format!("large/of names that take room/dir{dir:02}/file{file:04}")), "");
        }
    }
    write(tree.join("small/one/file"), "wanted");
    write(tree.join("z"), "wanted too");
    let id = server.client().backup(&tree);
    let travels = |options: &[&str]| {
        let link = Link::to(server.url(), Quality::default());
        let target = scratch.path().join(options.join(" ").replace('/', "|"));
        restore(&Client::of(&link.url()), &id, &target, options).ok();
        assert_eq!(fs::read_to_string(target.join("small/one/file")).expect("it is there"), "wanted");
        println!("{options:?}: {} KiB", link.down_bytes() >> 10);
        link.down_bytes()
    };
    let everything = travels(&[]);
    assert!(travels(&["--include", "/small/one/file"]) < everything / 50);
    assert!(travels(&["--include", "/*/one"]) < everything / 50);
    assert!(travels(&["--exclude", "/large"]) < everything / 50);
}

/// An excluded directory whose place no pattern tells is passed over in the stream, but not for long: over a link where
/// that costs time, the stream is given up.
#[test]
fn a_large_directory_that_is_excluded_by_its_name_is_not_listed_to_the_end() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    let name = "n".repeat(200);
    for dir in 0..40 {
        for file in 0..1500 {
            write(tree.join(format!("home/large/dir{dir:02}/{name}{file:04}")), "");
        }
    }
    write(tree.join("home/small"), "wanted");
    write(tree.join("z"), "wanted");
    let id = server.client().backup(&tree);
    let travels = |options: &[&str]| {
        let link = Link::to(server.url(), Quality::distant(ROUND_TRIP).limited(10 << 20));
        let target = scratch.path().join(format!("back{}", options.len()));
        let started = Instant::now();
        restore(&Client::of(&link.url()), &id, &target, options).ok();
        println!("{options:?}: {} KiB, {:.2} s", link.down_bytes() >> 10, started.elapsed().as_secs_f64());
        assert!(target.join("home/small").exists() && target.join("z").exists());
        link.down_bytes()
    };
    let everything = travels(&[]);
    let some = travels(&["--exclude", "large/"]);
    assert!(some < everything * 3 / 4, "{some} of {everything}");
}

/// Four large files and four small ones; one of the large is there already, in another state.
fn large_and_small(tree: &Path, back: &Path) {
    for file in 0..4 {
        write(tree.join(format!("large{file}")), random_bytes(file, 8 << 20));
        write(tree.join(format!("dir/small{file}")), random_bytes(file, 1000));
    }
    write(back.join("large0"), "an older state");
}

/// A restore that has written a part of a large file.
fn half_way(client: &Client, id: &str, back: &Path) -> Running {
    let running = Running::start(restore_command(client, id, back, &[]));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !half_written(back) {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}

/// Every file is whole, or as it was before; nothing lies beside them.
#[track_caller]
fn assert_no_half_file(tree: &Path, back: &Path) {
    for (path, _) in support::tree::files(back) {
        let (bytes, below) = (fs::read(&path).expect("a file"), path.strip_prefix(back).expect("it lies there"));
        let is_whole = fs::read(tree.join(below)).is_ok_and(|source| source == bytes);
        assert!(is_whole || bytes == b"an older state", "{} is {} bytes long", path.display(), bytes.len());
    }
}

/// Ctrl+C while large files come slowly: exit code 130 at once, one line, no half file under its name, nothing beside
/// them; the same restore again brings the rest.
#[test]
fn an_interrupted_restore_leaves_no_half_file() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    large_and_small(&tree, &back);
    let id = server.client().backup(&tree);
    let link = Link::to(server.url(), Quality::distant(ROUND_TRIP).limited(2 << 20));
    let running = half_way(&Client::of(&link.url()), &id, &back);
    let pressed = Instant::now();
    running.interrupt();
    let run = running.finish().code(130);
    assert!(pressed.elapsed() < Duration::from_millis(900), "it took {:?}", pressed.elapsed());
    assert_eq!(run.stderr.trim(), "datadb-client: interrupted");
    assert_no_half_file(&tree, &back);
    restore(&server.client(), &id, &back, &[]).ok();
    assert_same(&tree, &back);
}

/// A server that goes away meanwhile: exit code 1, one line about that and none about each file that was under way.
#[test]
fn a_server_that_goes_away_during_a_restore_is_told_once() {
    let (mut server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    large_and_small(&tree, &back);
    let id = server.client().backup(&tree);
    let link = Link::to(server.url(), Quality::distant(ROUND_TRIP).limited(2 << 20));
    let running = half_way(&Client::of(&link.url()), &id, &back);
    server.kill();
    running.finish().code(1).one_line_with(&["the connection to the server broke"]);
    assert_no_half_file(&tree, &back);
    server.start();
    restore(&server.client(), &id, &back, &[]).ok();
    assert_same(&tree, &back);
}

/// Whether a large file lies there that is not whole: it has its length at once, and its blocks as they come.
fn half_written(back: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(back) else { return false };
    let mut all = entries.filter_map(|entry| entry.and_then(|entry| entry.metadata()).ok());
    all.any(|meta| meta.len() == 8 << 20 && meta.blocks() > 0 && meta.blocks() * 512 < meta.len())
}

fn restore_command(client: &Client, id: &str, target: &Path, options: &[&str]) -> Command {
    let mut command = client.command(["restore", id, "--target"]);
    command.arg(target).args(options);
    command
}

fn restore(client: &Client, id: &str, target: &Path, options: &[&str]) -> Run {
    Run::from(restore_command(client, id, target, options).output().expect("the client starts"))
}
