//! What places, links and directories of a restore promise.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use datadb::{FileType, Meta, meta::Timestamp};

use super::{
    dir::Dir,
    file::File,
    links::Link,
    place::Place,
    shared::{Overwrite, Shared},
};
use crate::report::{Report, get};

fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(Overwrite::IfChanged, Arc::new(Report::new("restored", true))))
}

fn meta(file_type: FileType) -> Meta {
    let mut meta = Meta::bare(None, file_type);
    meta.mode = if file_type == FileType::Dir { 0o750 } else { 0o640 };
    (meta.uid, meta.gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    meta.mtime = Timestamp { seconds: -100, nanos: 5 };
    meta
}

fn errors(shared: &Shared) -> u64 {
    get(&shared.report.counters.errors)
}

fn target(at: &Path, shared: &Arc<Shared>) -> Arc<Dir> {
    Dir::target(at, shared).expect("made")
}

#[test]
fn a_directory_gets_its_metadata_when_the_last_file_in_it_is_done() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    let root = target(at.path(), &shared);
    let dir = root.child(b"d").expect("made");
    dir.set_meta(meta(FileType::Dir));
    let file = File::new(&shared, &dir, b"f", meta(FileType::File), false, None);
    drop(dir);
    assert_ne!(fs::metadata(at.path().join("d")).expect("there").mtime(), -100);
    drop(file);
    let made = fs::metadata(at.path().join("d")).expect("there");
    assert_eq!((made.mtime(), made.mtime_nsec(), made.mode() & 0o7777), (-100, 5, 0o750));
    assert_eq!(fs::metadata(at.path().join("d/f")).expect("there").mtime(), -100);
    assert_eq!(errors(&shared), 0);
}

#[test]
fn a_file_that_does_not_match_its_digest_is_not_left_under_its_name() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    let root = target(at.path(), &shared);
    fs::write(at.path().join("old"), "old").expect("written");
    for name in [&b"new"[..], b"old"] {
        let mut meta = meta(FileType::File);
        meta.size = 3;
        meta.digest = Some(datadb::Digest::of(b"something else"));
        File::new(&shared, &root, name, meta, false, None).write(0, 0, b"abc", datadb::Digest::of(b"abc"));
    }
    assert!(!at.path().join("new").exists());
    assert_eq!(fs::read(at.path().join("old")).expect("left"), b"old");
    assert_eq!(fs::read_dir(at.path()).expect("there").count(), 1);
    assert_eq!(errors(&shared), 2);
}

#[test]
fn chunks_may_come_in_any_order() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    let root = target(at.path(), &shared);
    let mut digest = datadb::blob::FileDigest::new();
    let (a, b) = (datadb::Digest::of(b"aa"), datadb::Digest::of(b"bb"));
    digest.chunk(&a);
    digest.chunk(&b);
    let mut meta = meta(FileType::File);
    (meta.size, meta.digest) = (6, Some(digest.finish()));
    let file = File::new(&shared, &root, b"f", meta, true, None);
    file.write(1, 4, b"bb", b);
    file.write(0, 0, b"aa", a);
    drop(file);
    assert_eq!(fs::read(at.path().join("f")).expect("there"), b"aa\0\0bb");
}

#[test]
fn a_symlink_in_the_target_is_never_followed() {
    let (at, outside) = (tempfile::tempdir().expect("temporary"), tempfile::tempdir().expect("temporary"));
    let shared = shared();
    let root = target(at.path(), &shared);
    std::os::unix::fs::symlink(outside.path(), at.path().join("d")).expect("linked");
    std::os::unix::fs::symlink(outside.path().join("f"), at.path().join("f")).expect("linked");
    let dir = root.child(b"d").expect("replaced");
    drop(File::new(&shared, &dir, b"x", meta(FileType::File), false, None));
    drop(File::new(&shared, &root, b"f", meta(FileType::File), false, None));
    assert_eq!(fs::read_dir(outside.path()).expect("there").count(), 0);
    assert!(fs::symlink_metadata(at.path().join("f")).expect("there").is_file());
    assert!(at.path().join("d/x").exists());
}

#[test]
fn a_full_directory_in_the_way_of_a_file_is_an_error() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    fs::create_dir_all(at.path().join("full/x")).expect("made");
    fs::create_dir_all(at.path().join("empty")).expect("made");
    let root = target(at.path(), &shared);
    assert!(Place::find(&root, b"full").is_err());
    assert!(Place::find(&root, b"empty").is_ok());
}

#[test]
fn hard_links_are_made_when_the_first_name_is_whole() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    let root = target(at.path(), &shared);
    let dir = root.child(b"d").expect("made");
    let link = Link::new(&root, &dir, b"first");
    let file = File::new(&shared, &dir, b"first", meta(FileType::File), false, Some(Arc::clone(&link)));
    link.add(&shared, &root, b"second");
    assert!(!at.path().join("second").exists());
    drop((file, dir));
    link.add(&shared, &root, b"third");
    let inode = |name: &str| fs::metadata(at.path().join(name)).expect("there").ino();
    assert_eq!((inode("second"), inode("third")), (inode("d/first"), inode("d/first")));
    assert_eq!(errors(&shared), 0);
}
