//! Invariant 5: a SHA-1 collision harms nobody. With the two published pairs of files: SHAttered (2017) and SHA-mbles (2020).

mod support;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
};

use sha1::{Digest as _, Sha1};
use support::{
    compare::assert_same,
    place::scratch,
    processes::{Client, Server, server_command},
};

/// The pairs: different bytes, same SHA-1.
const PAIRS: [[&str; 2]; 2] = [["shattered-1.pdf", "shattered-2.pdf"], ["sha-mbles-1.bin", "sha-mbles-2.bin"]];

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sha1-collisions").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A tree of these files, each under a name that says its place.
fn tree_of(dir: &Path, names: &[&str]) -> PathBuf {
    for (place, name) in names.iter().enumerate() {
        support::tree::write(dir.join(format!("file{place}")), fixture(name));
    }
    dir.to_owned()
}

#[test]
fn the_pairs_really_collide() {
    for [first, second] in PAIRS.map(|pair| pair.map(fixture)) {
        assert_ne!(first, second);
        assert_eq!(Sha1::digest(&first), Sha1::digest(&second));
    }
}

#[track_caller]
fn assert_restores(client: &Client, id: &str, tree: &Path) {
    let back = scratch();
    client.restore(id, back.path()).ok();
    assert_same(tree, back.path());
}

/// The index is made anew, and the server serves from it.
fn rebuild(server: &mut Server) {
    server.stop();
    fs::remove_dir_all(server.data().join("index")).expect("the index is deleted");
    server_command(&[OsStr::new("rebuild"), "--data-dir".as_ref(), server.data().as_os_str()]).ok();
    server.start();
}

/// Both files of a pair in one tree, in both orders: each comes back as it was, after a rebuild too.
#[test]
fn invariant_5_a_collision_harms_nobody_within_one_tree() {
    for [first, second] in PAIRS {
        for names in [[first, second], [second, first]] {
            let (mut server, scratch) = (Server::new(), scratch());
            let tree = tree_of(&scratch.path().join("tree"), &names);
            let id = server.client().backup(&tree);
            assert_restores(&server.client(), &id, &tree);
            rebuild(&mut server);
            assert_restores(&server.client(), &id, &tree);
            let again = server.client().snapshot(&tree).ok().summary();
            assert_eq!(support::processes::count(&again, "blobs_new"), 0, "what was cut is found again: {again}");
        }
    }
}

/// One file of a pair in one run, the other in the next, in both orders, on the same path and on others.
#[test]
fn invariant_5_a_collision_harms_nobody_across_runs() {
    for [first, second] in PAIRS {
        for names in [[first, second], [second, first]] {
            let (mut server, scratch) = (Server::new(), scratch());
            let client = server.client();
            let ids = names.map(|name| client.backup(&tree_of(&scratch.path().join("same"), &[name])));
            let other = tree_of(&scratch.path().join("other"), &[names[1], names[0], names[1]]);
            let third = client.backup(&other);
            for is_rebuilt in [false, true] {
                if is_rebuilt {
                    rebuild(&mut server);
                }
                let client = client.at(server.url());
                for (id, name) in ids.iter().zip(names) {
                    let back = support::place::scratch();
                    client.restore(id, back.path()).ok();
                    assert!(
                        fs::read(back.path().join("file0")).expect("a file") == fixture(name),
                        "{name} is mixed up"
                    );
                }
                assert_restores(&client, &third, &other);
            }
        }
    }
}

/// Two hosts send one file of a pair each, at the same time: neither fails, neither gets the other's bytes.
#[test]
fn invariant_5_a_collision_harms_nobody_with_two_clients_at_once() {
    for pair in PAIRS {
        for _ in 0..5 {
            let (mut server, scratch) = (Server::new(), scratch());
            let start = Barrier::new(2);
            let (server_ref, start, scratch_path) = (&server, &start, scratch.path());
            let ids: Vec<String> = thread::scope(|scope| {
                let running = pair.map(|name| {
                    scope.spawn(move || {
                        let tree = tree_of(&scratch_path.join(name), &[name]);
                        let client = server_ref.client().on_host(name);
                        start.wait();
                        client.backup(&tree)
                    })
                });
                running.map(|one| one.join().expect("a client's thread")).into()
            });
            for is_rebuilt in [false, true] {
                if is_rebuilt {
                    rebuild(&mut server);
                }
                for (id, name) in ids.iter().zip(pair) {
                    assert_restores(&server.client(), id, &scratch.path().join(name));
                }
            }
        }
    }
}
