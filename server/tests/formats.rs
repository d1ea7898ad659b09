//! Formats: what each version wrote stays readable for ever, and what a newer one wrote is refused by name.
//!
//! `fixtures/format-N/` holds packs and log of a small repository as version N wrote them. They are never written again;
//! `DATADB_WRITE_FIXTURE=DIR` makes those of a new version.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::{fs, path::Path, sync::Arc};

use datadb_server::{
    engine::open::{DataDir, OpenError, rebuild},
    store::{disk::RealDisk, testing::conformance::sample},
};
use support::{Tree, back_up, backups, open, restore};

/// What the fixture of version 1 holds: three versions of one directory, enough for sealed packs.
fn history() -> Vec<Tree> {
    let mut tree = Tree::new();
    (0..3u64)
        .map(|version| {
            for file in 0..4 {
                tree.insert(format!("file-{version}-{file}"), sample(version * 10 + file, 900 + 3000 * file as usize));
            }
            tree.insert("changing".to_owned(), sample(100 + version, 400));
            tree.insert("empty".to_owned(), sample(0, 0));
            tree.clone()
        })
        .collect()
}

async fn write(root: &Path) {
    let (engine, _) = open(root, Arc::new(RealDisk)).await.unwrap();
    for tree in history() {
        back_up(&engine, "/home/someone", &tree).await.unwrap();
    }
    engine.close().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn fixture(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), dir.path());
    dir
}

/// A repository of format 1 is rebuilt from its packs and log, gives back every byte, and takes new backups.
#[tokio::test(flavor = "multi_thread")]
async fn format_1_stays_readable() {
    if let Ok(dir) = std::env::var("DATADB_WRITE_FIXTURE") {
        write(Path::new(&dir)).await;
        return;
    }
    let dir = fixture("format-1");
    rebuild(DataDir::hold(dir.path(), Arc::new(RealDisk)).unwrap(), &mut |_| ()).await.unwrap();
    let (engine, found) = open(dir.path(), Arc::new(RealDisk)).await.unwrap();
    assert!(found.blobs.damage.is_empty() && found.log.damage.is_empty());
    let mut listed: Vec<_> = backups(&engine).await.into_values().collect();
    listed.sort_by_key(|backup| backup.time);
    let mut trees = Vec::new();
    for backup in &listed {
        assert_eq!((backup.host.as_str(), backup.path.as_bytes()), ("host", &b"/home/someone"[..]));
        trees.push(restore(&engine, backup).await.unwrap());
    }
    assert_eq!(trees, history());
    assert_eq!(support::send(&engine, &history()[2]).await.unwrap(), 0, "nothing of it is missing");
    let next = Tree::from([("new".to_owned(), sample(7, 77))]);
    let backup = back_up(&engine, "/home/someone", &next).await.unwrap();
    assert_eq!(restore(&engine, &backup).await.unwrap(), next);
    engine.close().await.unwrap();
}

/// Bytes of a header with another version and a right checksum.
fn with_version(header: &[u8], version: u32) -> Vec<u8> {
    let mut header = header.to_vec();
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let sum = blake3::hash(&header[..20]);
    header[20..24].copy_from_slice(&sum.as_bytes()[..4]);
    header
}

/// A pack of a newer version is refused by its header, with the version in words.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_a_newer_version_is_refused() {
    for leaf in ["blobs", "meta"] {
        let dir = fixture("format-1");
        let pack = dir.path().join(leaf).join("0000000000000001.pack");
        let mut bytes = fs::read(&pack).unwrap();
        let header = with_version(&bytes[..24], 2);
        bytes[..24].copy_from_slice(&header);
        fs::write(&pack, bytes).unwrap();
        let held = DataDir::hold(dir.path(), Arc::new(RealDisk)).unwrap();
        let error = rebuild(held, &mut |_| ()).await.unwrap_err();
        assert!(error.to_string().contains("version 2"), "{leaf}: {error}");
    }
}

/// A data directory of a newer version is refused before anything in it is touched.
#[test]
fn a_newer_format_file_is_refused() {
    let dir = fixture("format-1");
    fs::write(dir.path().join("format"), "datadb 2\n").unwrap();
    match DataDir::hold(dir.path(), Arc::new(RealDisk)) {
        Err(OpenError::Newer { found: 2, .. }) => {}
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Without an index the server does not start, and names the command.
#[tokio::test(flavor = "multi_thread")]
async fn packs_without_an_index_are_refused_and_half_an_index_too() {
    let dir = fixture("format-1");
    let error = open(dir.path(), Arc::new(RealDisk)).await.unwrap_err();
    assert!(error.to_string().contains("datadb-server rebuild"), "{error}");
    // An index that was begun and not finished.
    drop(datadb_server::index::Index::open(&dir.path().join("index")).unwrap());
    let error = open(dir.path(), Arc::new(RealDisk)).await.unwrap_err();
    assert!(error.to_string().contains("datadb-server rebuild"), "{error}");
}
