//! What one side lost comes back from another.

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use datadb::BlobId;
use datadb_server::{
    index::{Index, SharedIndex},
    store::mirror::Ack,
    store::{
        BlobStore as _, Presence,
        mirror::{Mirror, MirrorConfig, SILENCE, Standing},
        testing::conformance::{bundle, sample},
    },
};

use crate::scene::{assert_same, disk_side, leaf, put, standing};

async fn open(index: &SharedIndex, root: &Path) -> Mirror {
    let sides = ["a", "b"].map(|name| disk_side(index, name, &root.join(name)));
    let config = MirrorConfig {
        ack: Ack::All,
        sides: sides.into(),
        index: index.clone(),
        settle: None,
        needs_all_that_counts: true,
        kin: None,
        silence: SILENCE,
    };
    Mirror::open(config).await.unwrap()
}

async fn filled(index: &SharedIndex, root: &Path, count: u64) -> Vec<Bytes> {
    let mirror = open(index, root).await;
    let mut blobs = Vec::new();
    for seed in 0..count {
        blobs.push(put(&mirror, seed).await.unwrap());
    }
    mirror.flush().await.unwrap();
    mirror.stop().await;
    blobs
}

/// Flips a byte in every tenth record of a pack.
fn damage(pack: &Path) -> usize {
    let mut bytes = fs::read(pack).unwrap();
    let magic = bytes[24..32].to_vec();
    let records: Vec<usize> = (0..bytes.len() - 8).filter(|at| bytes[*at..at + 8] == magic).collect();
    let mut flipped = 0;
    for at in records.iter().step_by(10) {
        bytes[at + 200] ^= 1;
        flipped += 1;
    }
    fs::write(pack, bytes).unwrap();
    flipped
}

#[tokio::test]
async fn a_damaged_copy_is_read_from_the_next_side_and_healed() {
    let root = tempfile::tempdir().unwrap();
    let index = Arc::new(Index::open(&root.path().join("index")).unwrap());
    let blobs = filled(&index, root.path(), 40).await;
    assert_eq!(damage(&root.path().join("a/0000000000000001.pack")), 4);
    let mirror = open(&index, root.path()).await;
    for blob in &blobs {
        assert_same(mirror.get(&BlobId::of(blob)).await.unwrap(), blob);
    }
    let healed = mirror.status().await.sides[0].healed_blobs;
    assert_eq!(healed, 4);
    // Without any flush of the caller's: a clean stop is enough.
    mirror.stop().await;
    drop(mirror);
    let (alone, _) = leaf(&index, "a", &root.path().join("a"));
    for blob in &blobs {
        assert_same(alone.get(&BlobId::of(blob)).await.unwrap(), blob);
    }
    assert_eq!(alone.stats().await.unwrap().bad_blobs, 0);
}

#[tokio::test]
async fn a_wiped_side_is_filled_again() {
    let root = tempfile::tempdir().unwrap();
    let index = Arc::new(Index::open(&root.path().join("index")).unwrap());
    let blobs = filled(&index, root.path(), 40).await;
    fs::remove_dir_all(root.path().join("a")).unwrap();
    let mirror = open(&index, root.path()).await;
    assert_eq!(standing(&mirror, 0).await, Standing::Level);
    mirror.stop().await;
    drop(mirror);
    let (alone, _) = leaf(&index, "a", &root.path().join("a"));
    for blob in &blobs {
        assert_same(alone.get(&BlobId::of(blob)).await.unwrap(), blob);
    }
}

/// A new index knows no checkpoints: sides are compared from the front, and each gets what it lacks.
#[tokio::test]
async fn without_marks_sides_are_compared_from_the_front() {
    let root = tempfile::tempdir().unwrap();
    let old = Arc::new(Index::open(&root.path().join("old")).unwrap());
    let mut blobs = filled(&old, root.path(), 10).await;
    for (name, seed) in [("a", 100), ("b", 200)] {
        let (alone, _) = leaf(&old, name, &root.path().join(name));
        blobs.push(put(&alone, seed).await.unwrap());
        alone.flush().await.unwrap();
    }
    let index = Arc::new(Index::open(&root.path().join("new")).unwrap());
    let mirror = open(&index, root.path()).await;
    for side in 0..2 {
        assert_eq!(standing(&mirror, side).await, Standing::Level);
    }
    mirror.stop().await;
    drop(mirror);
    for name in ["a", "b"] {
        let (alone, _) = leaf(&index, name, &root.path().join(name));
        for blob in &blobs {
            assert_same(alone.get(&BlobId::of(blob)).await.unwrap(), blob);
        }
    }
}

/// `heal` with a thorough look finds damage that nobody met.
#[tokio::test]
async fn a_thorough_heal_finds_what_nobody_has_read() {
    let root = tempfile::tempdir().unwrap();
    let index = Arc::new(Index::open(&root.path().join("index")).unwrap());
    let blobs = filled(&index, root.path(), 40).await;
    damage(&root.path().join("b/0000000000000001.pack"));
    let mirror = open(&index, root.path()).await;
    let mut said = Vec::new();
    mirror.heal(true, &mut |line| said.push(line.to_owned())).await.unwrap();
    assert!(said.iter().any(|line| line.starts_with("b: ") && line.ends_with("4 of them damaged")), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("b from a: ") && line.contains(" 4 blobs copied")), "{said:?}");
    mirror.stop().await;
    drop(mirror);
    let (alone, _) = leaf(&index, "b", &root.path().join("b"));
    for blob in &blobs {
        assert_same(alone.get(&BlobId::of(blob)).await.unwrap(), blob);
    }
}

/// A blob that the first side lost, and another side has, is there: and before the next flush counts, the first has it.
#[tokio::test]
async fn what_a_question_finds_on_the_second_side_only_is_owed_to_the_first() {
    let root = tempfile::tempdir().unwrap();
    let index = Arc::new(Index::open(&root.path().join("index")).unwrap());
    let mirror = open(&index, root.path()).await;
    let blob = sample(7, 900);
    let id = BlobId::of(&blob);
    mirror.put(bundle(std::slice::from_ref(&blob)), Bytes::from("label")).await.unwrap();
    mirror.flush().await.unwrap();
    mirror.stop().await;
    drop(mirror);
    damage(&root.path().join("a/0000000000000001.pack"));
    let (alone, _) = leaf(&index, "a", &root.path().join("a"));
    assert!(alone.get(&id).await.is_err());
    drop(alone);
    let mirror = open(&index, root.path()).await;
    assert!(matches!(mirror.find(&[id]).await.unwrap()[..], [Presence::Have(_)]));
    mirror.flush().await.unwrap();
    mirror.stop().await;
    drop(mirror);
    let (alone, _) = leaf(&index, "a", &root.path().join("a"));
    assert_same(alone.get(&id).await.unwrap(), &blob);
}
