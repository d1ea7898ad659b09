//! What places, links and directories of a restore promise.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use datadb::{
    FileType, Meta,
    meta::{Content, Timestamp},
};

use super::{
    Act, Options,
    dir::Dir,
    file::File,
    links::{Another, Link},
    place::Place,
    shared::{Pass, Shared},
    wanted::Wanted,
};
use crate::report::{Report, get};

fn shared() -> Arc<Shared> {
    let report = Arc::new(Report::lines_only());
    Arc::new(Shared::new(Pass::Restore, &Options::default(), report, Arc::default()))
}

fn meta(file_type: FileType) -> Meta {
    let mut meta = Meta::bare(None, file_type);
    meta.mode = if file_type == FileType::Dir { 0o750 } else { 0o640 };
    (meta.uid, meta.gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    meta.mtime = Timestamp { seconds: -100, nanos: 5 };
    meta
}

fn wanted(dir: &Arc<Dir>, name: &[u8], meta: Meta) -> Wanted {
    Wanted { dir: Arc::clone(dir), name: name.to_vec(), meta }
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
    dir.set_meta(meta(FileType::Dir), true);
    let file = File::new(&shared, wanted(&dir, b"f", meta(FileType::File)), Act::Create, None);
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
        File::new(&shared, wanted(&root, name, meta), Act::Create, None).write(
            0,
            0,
            b"abc",
            datadb::Digest::of(b"abc"),
        );
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
    meta.content = Content::Ref(datadb::ObjectKey::of(b"its list"));
    let file = File::new(&shared, wanted(&root, b"f", meta), Act::Create, None);
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
    drop(File::new(&shared, wanted(&dir, b"x", meta(FileType::File)), Act::Create, None));
    drop(File::new(&shared, wanted(&root, b"f", meta(FileType::File)), Act::Create, None));
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
    assert!(Place::make(&root, b"full", |_, _| Ok(())).is_err());
    assert!(Place::make(&root, b"empty", |_, _| Ok(())).is_ok());
    assert!(at.path().join("full/x").exists() && !at.path().join("empty").exists());
}

#[test]
fn hard_links_are_made_when_the_first_name_is_whole() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    let root = target(at.path(), &shared);
    let dir = root.child(b"d").expect("made");
    let link = Link::new(&root, &dir, b"first", None);
    let file = File::new(&shared, wanted(&dir, b"first", meta(FileType::File)), Act::Create, Some(Arc::clone(&link)));
    let another = |name: &[u8]| Another { dir: Arc::clone(&root), name: name.to_vec(), act: Act::Create };
    link.add(&shared, another(b"second"));
    assert!(!at.path().join("second").exists());
    drop((file, dir));
    link.add(&shared, another(b"third"));
    let inode = |name: &str| fs::metadata(at.path().join(name)).expect("there").ino();
    assert_eq!((inode("second"), inode("third")), (inode("d/first"), inode("d/first")));
    assert_eq!(errors(&shared), 0);
}

#[test]
fn a_directory_that_was_closed_is_opened_again_and_never_another_in_its_place() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    let root = target(at.path(), &shared);
    let first = root.child(b"first").expect("made");
    let below = first.child(b"below").expect("made");
    // More than ever stay open.
    let others: Vec<_> = (0..1100).map(|i| root.child(format!("{i}").as_bytes()).expect("made")).collect();
    let file = |dir: &Arc<Dir>| drop(File::new(&shared, wanted(dir, b"f", meta(FileType::File)), Act::Create, None));
    file(&below);
    assert!(at.path().join("first/below/f").exists());
    drop(others);
    let others: Vec<_> = (0..1100).map(|i| root.child(format!("{i}").as_bytes()).expect("there")).collect();
    fs::rename(at.path().join("first"), at.path().join("moved")).expect("moved away");
    fs::create_dir_all(at.path().join("first/below")).expect("made");
    assert_eq!(errors(&shared), 0);
    file(&below);
    assert_eq!(fs::read_dir(at.path().join("first/below")).expect("there").count(), 0);
    assert_eq!(errors(&shared), 1);
    drop(others);
}

#[test]
fn a_chain_of_directories_deeper_than_a_stack_ends_well() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    let mut dir = target(at.path(), &shared);
    for _ in 0..5000 {
        dir = Dir::imagined(Some(&dir), b"d", &shared);
    }
    std::thread::Builder::new().stack_size(64 << 10).spawn(move || drop(dir)).expect("started").join().expect("ended");
}

#[test]
fn what_is_made_in_a_directory_with_a_default_acl_has_none_of_it() {
    let (at, shared) = (tempfile::tempdir().expect("temporary"), shared());
    let acl: Vec<u8> = [2u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(
            [(0x01u16, 7u16, u32::MAX), (0x02, 7, 1234), (0x04, 5, u32::MAX), (0x10, 7, u32::MAX), (0x20, 5, u32::MAX)]
                .map(|(tag, bits, id)| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()),
        )
        .flatten()
        .collect();
    let default = c"system.posix_acl_default";
    if rustix::fs::setxattr(at.path(), default, &acl, rustix::fs::XattrFlags::empty()).is_err() {
        println!("skipped: no ACLs here");
        return;
    }
    let root = target(at.path(), &shared);
    assert!(root.has_default_acl);
    let dir = root.child(b"d").expect("made");
    drop(File::new(&shared, wanted(&root, b"f", meta(FileType::File)), Act::Create, None));
    for made in ["d", "f"] {
        let list = rustix::fs::listxattr(at.path().join(made), &mut [0u8; 1000][..]).expect("listed");
        assert_eq!(list, 0, "{made}");
    }
    assert!(!dir.has_default_acl);
    drop((dir, root));
    assert!(rustix::fs::getxattr(at.path(), default, &mut [0u8; 100][..]).is_ok(), "the directory keeps its own");
}
