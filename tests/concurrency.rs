//! Many clients at once: each gets its own tree back, what they share is stored once, the server stays small.

mod support;

use std::{fs, path::Path, sync::Barrier, thread};

use support::{
    changing::fingerprint,
    compare::assert_same,
    place::scratch,
    processes::{Client, Server, count},
    tree::{random_bytes, write},
};

const CLIENTS: u64 = 16;
const ROUNDS: u64 = 3;

/// Bytes that the server may take; it takes as much for a thousand clients' files as for one's.
const SERVER_BYTES_MAX: u64 = 300 << 20;

/// The tree of one client in one round: half of it is what all have, a quarter what its neighbour has too, a quarter its
/// own; some of that changes from round to round.
fn fill(tree: &Path, client: u64, round: u64) {
    for number in 0..40u64 {
        let seed = match number % 4 {
            0 | 1 => number,
            2 => 1000 * (1 + client / 2) + number,
            _ => 100_000 * (1 + client) + number + if number % 8 == 3 { 50 * round } else { 0 },
        };
        write(tree.join(format!("dir{}/file{number}", number % 5)), random_bytes(seed, 1 + (seed % 60_000) as usize));
    }
    write(tree.join("shared"), random_bytes(7, 3 << 20));
    write(tree.join("own"), random_bytes(8 + client, 1 << 20));
}

/// 16 hosts back up overlapping trees at the same time, again and again, and restore in between: every restore gives what
/// was backed up. A blob that two send at the same moment is stored by the first and counted as dead bytes by the second;
/// beyond that nothing is stored twice.
#[test]
fn sixteen_clients_at_once_each_get_their_own_tree_back() {
    let (server, scratch) = (Server::new(), scratch());
    let start = Barrier::new(CLIENTS as usize);
    let (server, start, scratch_path) = (&server, &start, scratch.path());
    let backups: Vec<(String, String)> = thread::scope(|scope| {
        let running: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    let home = scratch_path.join(format!("client{number}"));
                    let client = server.client().on_host(&format!("host{number}"));
                    start.wait();
                    (0..ROUNDS).map(|round| one_round(&client, &home, number, round)).collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|one| one.join().expect("a client's thread")).collect()
    });

    let client = server.client();
    assert_eq!(client.backups().len() as u64, CLIENTS * ROUNDS);
    for (id, kept) in &backups {
        let back = scratch.path().join("back");
        client.restore(id, &back).ok();
        assert_same(Path::new(kept), &back);
        fs::remove_dir_all(&back).expect("what was restored is removed");
    }

    let memory = server.memory_peak_bytes();
    let stats = client.run(["--json", "stats"]).ok().summary();
    assert_is_stored_once(&stats, scratch.path());
    println!("16 clients, {} backups: server {} MiB at most, {stats}", backups.len(), memory >> 20);
    assert!(memory < SERVER_BYTES_MAX, "the server took {} MiB", memory >> 20);
}

/// Makes the tree of this round, backs it up, restores it at once beside the others' uploads; gives the backup and a
/// copy of its tree.
fn one_round(client: &Client, home: &Path, number: u64, round: u64) -> (String, String) {
    let (tree, kept) = (home.join("tree"), home.join(format!("kept{round}")));
    fill(&tree, number, round);
    let before = fingerprint(&tree).0;
    let id = client.backup(&tree);
    client.restore(&id, &kept).ok();
    assert_eq!(fingerprint(&kept).0, before, "host{number} in round {round}");
    (id, kept.display().to_string())
}

/// Counts what is stored against what a single client stores of all the trees, one after the other.
#[track_caller]
fn assert_is_stored_once(stats: &serde_json::Value, trees: &Path) {
    let alone = Server::new();
    for entry in fs::read_dir(trees).expect("the clients' homes") {
        let home = entry.expect("an entry").path();
        for round in 0..ROUNDS {
            let tree = home.join(format!("kept{round}"));
            if tree.exists() {
                alone.client().backup(&tree);
            }
        }
    }
    let once = alone.client().run(["--json", "stats"]).ok().summary();
    assert_eq!(count(&once, "dead_bytes"), 0, "one after the other sends nothing twice");
    // The large file is cut elsewhere in each repository, because the chunker's seed is secret. Bytes are the same.
    assert_eq!(count(stats, "blob_bytes"), count(&once, "blob_bytes"));
    let (dead, shared) = (count(stats, "dead_bytes"), CLIENTS * ((3 << 20) + 30 * 60_000));
    assert!(dead <= shared, "{dead} dead bytes, although only {shared} were ever sent by several at the same time");
}
