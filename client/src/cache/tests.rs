//! What a cache promises.

use datadb::{
    BackupKey, ObjectKey,
    meta::{Content, FileType, Timestamp},
};
use proptest::prelude::*;

use super::{Cursor, Writer};
use crate::fs::Stat;

const REPOSITORY: [u8; 16] = [7; 16];

fn stat(file_type: FileType, inode: u64) -> Stat {
    let time = Timestamp { seconds: -5, nanos: 17 };
    Stat {
        file_type: Some(file_type),
        mode: 0o644,
        nlink: 1,
        uid: 0,
        gid: 0,
        size: inode * 3,
        blocks: 8,
        rdev: (0, 0),
        dev: (8, 1),
        inode,
        mtime: time,
        ctime: time,
    }
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("deep/cache");
    let mut writer = Writer::create(&path).expect("created");
    write(&mut writer);
    writer.finish(&REPOSITORY, BackupKey::new([9; 20])).expect("finished");
    std::fs::read(path).expect("in its place")
}

fn sample() -> Vec<u8> {
    written(|w| {
        w.entry(b"", &stat(FileType::Dir, 1), FileType::Dir, true, b"root");
        w.entry(b"a", &stat(FileType::Dir, 2), FileType::Dir, true, b"meta a");
        for i in 0..3000u64 {
            let name = format!("f{i:05}");
            w.entry(name.as_bytes(), &stat(FileType::File, 100 + i), FileType::File, i % 2 == 0, &[b'x'; 40]);
        }
        w.leave(&Content::Ref(ObjectKey::new([3; 20])));
        w.entry(b"b", &stat(FileType::File, 4), FileType::File, true, b"meta b");
        w.leave(&Content::Ref(ObjectKey::new([4; 20])));
    })
}

#[test]
fn the_cursor_follows_a_walk_through_an_unchanged_tree() {
    let bytes = sample();
    let mut cursor = Cursor::new(&bytes[..], &REPOSITORY).expect("a cache");
    assert_eq!(cursor.base(), BackupKey::new([9; 20]));
    assert!(cursor.root().expect("root").is_unchanged(&stat(FileType::Dir, 1)));
    cursor.descend();
    assert_eq!(cursor.seek_child(b"a").known.expect("a").meta, b"meta a");
    cursor.descend();
    for i in 0..3000u64 {
        let seek = cursor.seek_child(format!("f{i:05}").as_bytes());
        assert!(!seek.skipped);
        assert_eq!(seek.known.expect("known").is_unchanged(&stat(FileType::File, 100 + i)), i % 2 == 0);
    }
    assert_eq!(cursor.leave(), Some(Content::Ref(ObjectKey::new([3; 20]))));
    assert_eq!(cursor.seek_child(b"b").known.expect("b").meta, b"meta b");
    assert_eq!(cursor.leave(), Some(Content::Ref(ObjectKey::new([4; 20]))));
}

#[test]
fn entries_that_are_gone_are_noticed() {
    let bytes = sample();
    let mut cursor = Cursor::new(&bytes[..], &REPOSITORY).expect("a cache");
    cursor.root();
    cursor.descend();
    let seek = cursor.seek_child(b"b");
    assert!(seek.skipped && seek.known.is_some());
    assert!(cursor.leave().is_some());
    let mut cursor = Cursor::new(&bytes[..], &REPOSITORY).expect("a cache");
    cursor.root();
    cursor.descend();
    cursor.seek_child(b"a");
    cursor.descend();
    assert_eq!(cursor.leave(), None);
    assert!(cursor.seek_child(b"aa").known.is_none());
    assert!(cursor.seek_child(b"b").known.is_some());
}

#[test]
fn a_directory_that_became_a_file_does_not_confuse_the_cursor() {
    let bytes = sample();
    let mut cursor = Cursor::new(&bytes[..], &REPOSITORY).expect("a cache");
    cursor.root();
    cursor.descend();
    assert!(!cursor.seek_child(b"a").known.expect("a").is_unchanged(&stat(FileType::File, 2)));
    assert!(cursor.seek_child(b"b").known.is_some());
}

#[test]
fn a_foreign_or_newer_cache_is_refused() {
    let mut bytes = sample();
    assert!(Cursor::new(&bytes[..], &[8; 16]).is_err());
    bytes[12] = 2;
    assert!(Cursor::new(&bytes[..], &REPOSITORY).is_err());
}

fn walk_all(bytes: &[u8]) -> usize {
    let Ok(mut cursor) = Cursor::new(bytes, &REPOSITORY) else { return 0 };
    let mut found = usize::from(cursor.root().is_some());
    cursor.descend();
    found += usize::from(cursor.seek_child(b"a").known.is_some());
    cursor.descend();
    for i in 0..3000u64 {
        found += usize::from(cursor.seek_child(format!("f{i:05}").as_bytes()).known.is_some());
    }
    cursor.leave();
    found += usize::from(cursor.seek_child(b"b").known.is_some());
    cursor.leave();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flipped_byte_is_never_believed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = sample();
        let whole = walk_all(&bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(walk_all(&bytes) < whole);
    }

    #[test]
    fn a_cache_cut_short_gives_less_and_no_panic(at in any::<prop::sample::Index>()) {
        let bytes = sample();
        walk_all(&bytes[..at.index(bytes.len())]);
    }

    #[test]
    fn any_bytes_are_an_error_and_no_panic(tail in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mut bytes = super::block::head(&REPOSITORY, BackupKey::new([9; 20])).to_vec();
        bytes.extend_from_slice(&tail);
        walk_all(&bytes);
        walk_all(&tail);
        if let Ok((_, end)) = super::record::parse(&tail, 0) {
            prop_assert!(end <= tail.len());
        }
    }
}
