//! Affected paths: while copies are marked bad, the files that need them are read again, and no others.

mod support;

use std::collections::BTreeSet;

use support::{
    compare::{assert_same, differences},
    place::scratch,
    processes::{Server, count},
    tree::{files, flip_byte, let_settle, random_bytes, write},
};

/// A byte of a pack flips. Restore names what it can't bring back and exits with 3. The next backup of the same unchanged
/// tree, whose cache calls every file unchanged, reads exactly the damaged files and sends them again; then the old backup
/// is whole again, and the backup after it reads nothing.
#[test]
fn invariant_4_verified_an_unchanged_tree_heals_what_was_damaged() {
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for number in 0..8u64 {
        write(tree.join(format!("dir{}/file{number}", number % 3)), random_bytes(number, 3 << 20));
    }
    let_settle();
    let client = server.client();
    let id = client.backup(&tree);
    server.stop();
    let packs = files(&server.data().join("blobs"));
    let (pack, len) = packs.iter().max_by_key(|(_, len)| *len).expect("there is a pack");
    flip_byte(pack, len / 2);
    server.start();
    let client = client.at(server.url());

    let back = scratch.path().join("damaged");
    let run = client.restore(&id, &back).code(3);
    let lost: BTreeSet<String> = differences(&tree, &back)
        .iter()
        .filter(|one| one.what == "presence")
        .map(|one| String::from_utf8_lossy(&one.path).into())
        .collect();
    assert!(!lost.is_empty());
    for path in &lost {
        assert!(run.stderr.contains(path.as_str()), "{path} is not named: {}", run.stderr);
    }

    let healing = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&healing, "files_read"), lost.len() as u64, "{lost:?} are damaged: {healing}");
    assert!(count(&healing, "blobs_new") >= 1, "{healing}");
    for backup in [&id[..], healing["id"].as_str().expect("an id")] {
        let back = scratch.path().join(backup);
        client.restore(backup, &back).ok();
        assert_same(&tree, &back);
    }
    let after = client.snapshot(&tree).ok().summary();
    assert_eq!((count(&after, "files_read"), count(&after, "blobs_new")), (0, 0), "{after}");
    assert_eq!(count(&client.run(["--json", "stats"]).ok().summary(), "bad_blobs"), 0);
}
