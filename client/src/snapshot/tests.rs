//! What reading promises: every byte once, holes not at all, and what changed or could not be read is told.

use std::{fs, io::Write as _, os::unix::fs::FileExt as _, path::Path, sync::Arc, time::Duration};

use crossbeam_channel::{bounded, unbounded};
use datadb::{FileType, Meta, chunking::ChunkerParams};
use proptest::prelude::*;

use super::{
    dispatch::dispatch,
    item::{Item, State, Taken},
    read::{self, Reading},
};
use crate::{
    connection::Capabilities,
    fs::owners::Owners,
    report::Report,
    select::Selection,
    walk::{Past, Walk},
};

/// Everything that the readers make of a tree, in order.
fn items(root: &Path) -> Vec<Item> {
    let capabilities = Capabilities {
        repository: [0; 16],
        version: String::new(),
        chunker: ChunkerParams { bytes_min: 4096, bytes_avg: 16384, bytes_max: 65536, seed: 5 },
        link_secret: [1; 32],
        lease: Duration::from_secs(600),
    };
    let report = Report::lines_only();
    let reading =
        Reading { capabilities: &capabilities, owners: Arc::new(Owners::read()), report: &report, verbose: false };
    let (root, selection) = (root.canonicalize().expect("there"), Selection::default());
    let mut walk = Walk::start(&root, Past::default(), &selection, &report).expect("started");
    let (jobs, todo) = bounded(1);
    let (order, drained) = unbounded();
    std::thread::scope(|scope| {
        scope.spawn(move || dispatch(&mut walk, &jobs, &order));
        scope.spawn(|| read::work(&reading, &todo));
        drained.iter().flat_map(|job| job.into_iter().flat_map(|batch| batch.items)).collect()
    })
}

fn meta(taken: &Taken) -> &Meta {
    match &taken.state {
        State::Fresh(meta) => meta,
        State::Unchanged(_) => panic!("there is no past here"),
    }
}

/// The bytes of the only file, holes as zeros, and how many of them were read.
fn content(items: &[Item]) -> (Vec<u8>, usize) {
    let (mut bytes, mut read) = (Vec::new(), 0);
    for item in items {
        match item {
            Item::Blob(blob, chunk) => {
                assert_eq!(datadb::BlobRef::of(chunk), *blob);
                bytes.extend_from_slice(chunk);
                read += chunk.len();
            }
            Item::Hole(len) => bytes.resize(bytes.len() + *len as usize, 0),
            Item::Leaf(taken) => assert_eq!(meta(taken).size, bytes.len() as u64),
            _ => {}
        }
    }
    (bytes, read)
}

#[test]
fn holes_are_not_read_through() {
    let dir = tempfile::tempdir().expect("temporary");
    let path = dir.path().join("sparse");
    let file = fs::File::create(&path).expect("made");
    file.set_len(64 << 20).expect("long");
    file.write_all_at(b"in the middle", 32 << 20).expect("written");
    let (bytes, read) = content(&items(&path));
    assert_eq!(bytes, fs::read(&path).expect("read"));
    assert!(read < 1 << 20, "{read}");
}

#[test]
fn names_of_one_file_share_their_link_and_others_have_none() {
    let dir = tempfile::tempdir().expect("temporary");
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name).expect("written");
    }
    fs::hard_link(dir.path().join("a"), dir.path().join("z")).expect("linked");
    let all = items(dir.path());
    let leaves = all.iter().filter_map(|item| if let Item::Leaf(taken) = item { Some(meta(taken)) } else { None });
    let links: Vec<_> = leaves.map(|meta| meta.link.map(|link| link.id)).collect();
    assert!(links[0].is_some() && links[0] == links[3]);
    assert_eq!((links[1], links[2]), (None, None));
}

#[test]
fn an_empty_file_a_symlink_and_a_directory_have_no_chunks() {
    let dir = tempfile::tempdir().expect("temporary");
    fs::File::create(dir.path().join("empty")).expect("made").flush().expect("flushed");
    fs::create_dir(dir.path().join("dir")).expect("made");
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).expect("linked");
    let all = items(dir.path());
    let kinds: Vec<FileType> = all
        .iter()
        .filter_map(|item| match item {
            Item::Leaf(taken) | Item::Enter(taken) => Some(taken.file_type),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [FileType::Dir, FileType::Dir, FileType::File, FileType::Symlink]);
    assert!(!all.iter().any(|item| matches!(item, Item::Blob(..) | Item::Hole(_) | Item::Xattr(..))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_read_is_what_is_there(len in 0usize..6_000_000, holes in proptest::collection::vec(0usize..6_000_000, 0..4)) {
        let dir = tempfile::tempdir().expect("temporary");
        let path = dir.path().join("f");
        let mut state = len as u32 | 1;
        let mut byte = || { state ^= state << 13; state ^= state >> 17; state ^= state << 5; state as u8 };
        let data: Vec<u8> = (0..len).map(|_| byte()).collect();
        let file = fs::File::create(&path).expect("made");
        file.set_len(len as u64).expect("long");
        // Written in parts that leave holes of 64 KiB.
        let mut at = 0;
        let mut holes = holes; holes.sort_unstable();
        for hole in holes.into_iter().filter(|hole| *hole < len) {
            if hole > at { file.write_all_at(&data[at..hole], at as u64).expect("written"); }
            at = (hole + (64 << 10)).min(len);
        }
        file.write_all_at(&data[at..], at as u64).expect("written");
        prop_assert_eq!(content(&items(&path)).0, fs::read(&path).expect("read"));
    }
}
