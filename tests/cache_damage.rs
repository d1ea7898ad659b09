//! The client's cache, damaged in every way: it may cost reading, never bytes, and never a backup.

mod support;

use std::fs;

use support::{
    compare::assert_same,
    place::scratch,
    processes::{Server, count},
    tree::{files, let_settle, random_bytes, write},
};

/// What is done to the bytes of the cache file.
type Damage = fn(&mut Vec<u8>);

const HARMS: [(&str, Damage); 6] = [
    ("emptied", Vec::clear),
    ("truncated", |bytes| bytes.truncate(bytes.len() / 2)),
    ("a byte flipped", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x20;
    }),
    ("a block zeroed", |bytes| {
        let middle = bytes.len() / 2;
        let end = (middle + 512).min(bytes.len());
        bytes[middle..end].fill(0);
    }),
    ("a part duplicated", |bytes| {
        let part = bytes[100..200].to_vec();
        bytes.splice(100..100, part);
    }),
    ("two parts swapped", |bytes| {
        let (front, back) = bytes.split_at_mut(200);
        front[100..200].swap_with_slice(&mut back[..100]);
    }),
];

/// After any damage to the cache the next backup succeeds, uploads nothing that is there, and restores equal; the one
/// after it reads nothing again.
#[test]
fn a_damaged_cache_costs_reading_and_nothing_else() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for number in 0..300u64 {
        write(tree.join(format!("dir{}/file{number}", number % 7)), random_bytes(number, 400));
    }
    let_settle();
    let client = server.client();
    client.snapshot(&tree).ok();
    for (harm, damage) in HARMS {
        let caches = files(&client.home().join("cache"));
        let [(cache, _)] = &caches[..] else { panic!("one cache file, not {caches:?}") };
        let mut bytes = fs::read(cache).expect("readable");
        damage(&mut bytes);
        fs::write(cache, bytes).expect("writable");
        let after = client.snapshot(&tree).ok().summary();
        assert!(count(&after, "files_read") > 0, "{harm}: {after}");
        assert_eq!(count(&after, "blobs_new"), 0, "{harm}: {after}");
        let back = scratch.path().join(harm);
        client.restore(after["id"].as_str().expect("an id"), &back).ok();
        assert_same(&tree, &back);
        let again = client.snapshot(&tree).ok().summary();
        assert_eq!(count(&again, "files_read"), 0, "{harm}: {again}");
    }
}
