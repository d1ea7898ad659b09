//! What crosses the link: no more bytes than needed, and few round trips.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    mounted::{Mounted, is_possible, printed},
    support::{
        link::{Link, Quality},
        place::scratch,
        processes::Server,
        tree::{paths, random_bytes, sources, write},
    },
};

/// What reading one small file may cost beyond its own bytes: the names on the way, and what frames it all.
const BEYOND_BYTES: u64 = 64 << 10;

fn mounted_over(link: &Link, dir: &Path) -> Mounted {
    Mounted::at(&link.url(), dir, &["--host", "desk"])
}

/// However much is read, the mount keeps no more than its caches may hold.
#[test]
fn invariant_6_bounded_memory_of_a_mount() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for number in 0..4 {
        write(tree.join(format!("large{number}")), random_bytes(number, 150 << 20));
    }
    for number in 0..20_000 {
        write(tree.join(format!("many/{:03}/{number:05}", number % 200)), format!("{number}"));
    }
    server.client().on_host("desk").backup(&tree);
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &["--host", "desk"]);
    let latest = mounted.path("latest/tree");
    // Several at once, so that each of them is read ahead of.
    std::thread::scope(|scope| {
        for number in 0..4 {
            let path = latest.join(format!("large{number}"));
            scope.spawn(move || {
                std::io::copy(&mut fs::File::open(path).expect("a file"), &mut std::io::sink()).expect("read")
            });
        }
        scope.spawn(|| printed("grep", ["-r", "-c", "", latest.join("many").to_str().expect("UTF-8")]));
    });
    let peak = mounted.memory_peak_bytes() >> 20;
    println!("the mount took {peak} MiB at most");
    assert!(peak < 400, "the mount took {peak} MiB");
    mounted.end();
}

/// One small file out of many costs itself, not its neighbours, its directory or its backup.
#[test]
fn one_small_file_costs_little_more_than_itself() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for number in 0..3000 {
        write(tree.join(format!("some/where/file{number:04}")), format!("{number} ").repeat(700));
    }
    sources(&tree.join("more"), 4);
    let client = server.client().on_host("desk");
    for _ in 0..3 {
        client.backup(&tree);
    }
    let link = Link::to(server.url(), Quality::default());
    let mounted = mounted_over(&link, &scratch.path().join("mnt"));
    let before = link.down_bytes();
    let bytes = fs::read(mounted.path("latest/tree/some/where/file1234")).expect("a file");
    let came = link.down_bytes() - before;
    assert!(came <= bytes.len() as u64 + BEYOND_BYTES, "{came} bytes came for {}", bytes.len());
    mounted.end();
}

/// Through a distant server, a walk takes a few round trips and not one for each directory or file.
#[test]
fn a_walk_over_a_distant_link_takes_few_round_trips() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for number in 0..2000 {
        write(tree.join(format!("{:02}/{number:04}/file", number % 50)), format!("{number}\n"));
    }
    server.client().on_host("desk").backup(&tree);
    let round_trip = Duration::from_millis(50);
    let link = Link::to(server.url(), Quality::distant(round_trip));
    let mounted = mounted_over(&link, &scratch.path().join("mnt"));
    let latest = mounted.path("latest/tree");
    let top = latest.to_str().expect("UTF-8");
    let began = Instant::now();
    assert_eq!(printed("find", [top]).lines().count(), paths(&tree).len() + 1);
    // 2,051 directories: one by one they would take 100 seconds.
    assert!(began.elapsed() < 100 * round_trip, "find took {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(printed("grep", ["-r", "-c", "", top]).lines().count(), 2000);
    assert!(began.elapsed() < 200 * round_trip, "grep took {:?}", began.elapsed());
    mounted.end();
}
