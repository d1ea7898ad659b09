//! Power cuts: packs and log on a disk that forgets what was not synced, and an index that forgets what it had not flushed.
//!
//! After each cut the server is started on what is left. Every backup whose commit had returned must be there, byte for
//! byte; every backup that is listed must be whole; the next backup succeeds; and a rebuild from packs and log alone gives
//! the same answers. `DATADB_POWER_CUTS` sets the number of random rounds.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use datadb::BackupKey;
use datadb_server::{
    engine::open::{DataDir, rebuild},
    store::{
        testing::conformance::sample,
        testing::power_cut::{Chance, CutDisk},
    },
};
use support::{Tree, back_up, back_up_as, backups, copy_dir, open, restore, send};
use tempfile::TempDir;

/// What a client tried and what it was told.
#[derive(Default)]
struct Model {
    /// Every tree that was ever offered to a commit.
    tried: Vec<Tree>,
    /// Trees whose commit returned.
    committed: BTreeMap<BackupKey, Tree>,
    /// The index as the last clean stop left it: what it holds then is on the medium.
    flushed: Option<TempDir>,
}

/// The trees of a scenario: each shares most files with the one before.
fn trees(seed: u64, count: u64) -> Vec<Tree> {
    let mut chance = Chance::new(seed);
    let mut tree = Tree::new();
    (0..count)
        .map(|_| {
            for _ in 0..2 + chance.below(5) {
                let len = 1 + chance.below(6000) as usize;
                tree.insert(format!("file{}", chance.below(12)), sample(chance.below(1 << 40), len));
            }
            tree.clone()
        })
        .collect()
}

/// Backs up each tree in turn; from the first error on nothing works any more.
async fn run(root: &Path, disk: &CutDisk, host: &str, trees: &[Tree], model: &mut Model) {
    model.flushed = None;
    let Ok((mut engine, _)) = open(root, Arc::new(disk.clone())).await else { return };
    for (number, tree) in trees.iter().enumerate() {
        if number % 3 == 0 {
            if engine.close().await.is_err() {
                return;
            }
            drop(engine);
            keep_index(root, model);
            let Ok((again, _)) = open(root, Arc::new(disk.clone())).await else { return };
            engine = again;
        }
        // Some blobs arrive without ever being committed.
        if number % 2 == 1 {
            let stray = Tree::from([("stray".to_owned(), sample(900 + number as u64, 500))]);
            drop(send(&engine, &stray).await);
        }
        model.tried.push(tree.clone());
        match back_up_as(&engine, host, "/tree", tree).await {
            Ok(backup) => model.committed.insert(backup.key(), tree.clone()),
            Err(_) => break,
        };
    }
    // As after a crash: nothing is closed, whatever is queued fails on the dead disk.
    drop(engine.close().await);
}

fn keep_index(root: &Path, model: &mut Model) {
    let kept = tempfile::tempdir().unwrap();
    copy_dir(&root.join("index"), &kept.path().join("index"));
    model.flushed = Some(kept);
}

/// Takes from the index what it was told since the last clean stop, or nothing: as if its buffers had just been flushed.
fn forget_of_index(root: &Path, model: &Model, chance: &mut Chance) {
    let Some(kept) = &model.flushed else { return };
    if chance.below(3) > 0 {
        std::fs::remove_dir_all(root.join("index")).unwrap();
        copy_dir(&kept.path().join("index"), &root.join("index"));
    }
}

/// Everything that must hold after a cut.
async fn verify(root: &Path, disk: &CutDisk, model: &mut Model, context: &str) {
    let (engine, found) = open(root, Arc::new(disk.clone())).await.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(found.blobs.damage.is_empty() && found.log.damage.is_empty(), "{context}: {found:?}");
    engine.check_writable().unwrap_or_else(|error| panic!("{context}: {error}"));
    let listed = backups(&engine).await;
    for (key, tree) in &model.committed {
        let backup = listed.get(key).unwrap_or_else(|| panic!("{context}: committed backup {key} is gone"));
        assert_eq!(&restore(&engine, backup).await.unwrap(), tree, "{context}");
        assert_eq!(send(&engine, tree).await.unwrap(), 0, "{context}: what is committed is not missing");
    }
    for backup in listed.values() {
        let tree = restore(&engine, backup).await.unwrap_or_else(|error| panic!("{context}: half a backup: {error}"));
        assert!(model.tried.contains(&tree), "{context}: a backup that nobody made");
    }
    let next = model.tried.last().cloned().unwrap_or_else(|| trees(1, 1).remove(0));
    let backup = back_up(&engine, "/tree", &next).await.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(restore(&engine, &backup).await.unwrap(), next, "{context}");
    model.tried.push(next.clone());
    model.committed.insert(backup.key(), next);
    let before = backups(&engine).await;
    engine.close().await.unwrap();
    drop(engine);
    let dir = DataDir::hold(root, Arc::new(disk.clone())).unwrap();
    rebuild(dir, &mut |_| ()).await.unwrap_or_else(|error| panic!("{context}: rebuild: {error}"));
    let (engine, _) = open(root, Arc::new(disk.clone())).await.unwrap();
    assert_eq!(backups(&engine).await, before, "{context}: after a rebuild");
    for backup in before.values() {
        restore(&engine, backup).await.unwrap_or_else(|error| panic!("{context}: after a rebuild: {error}"));
    }
    engine.close().await.unwrap();
}

/// One round: run until the cut, lose what chance takes, verify. Gives the directory in which the power went.
async fn round(trees: &[Tree], cut_at: u64, seed: u64) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let disk = CutDisk::default();
    disk.cut_power_at(cut_at);
    let mut model = Model::default();
    run(dir.path(), &disk, "host", trees, &mut model).await;
    let mut chance = Chance::new(seed ^ 0x5eed);
    forget_of_index(dir.path(), &model, &mut chance);
    let after = disk.after_the_cut(seed);
    verify(dir.path(), &after, &mut model, &format!("cut at operation {cut_at}, seed {seed}")).await;
    let path = disk.cut_at()?;
    let inside = path.strip_prefix(dir.path()).unwrap().components().next()?;
    Some(inside.as_os_str().to_string_lossy().into_owned())
}

/// Rounds that each test of many seeds has.
fn rounds(short: u64) -> u64 {
    std::env::var("DATADB_POWER_CUTS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(short)
}

/// The number of cuts that fell into each directory: a suite that never hits one of them proves nothing of it.
fn assert_both_are_hit(hit: &BTreeMap<String, u64>, at_least: u64) {
    for dir in ["blobs", "meta"] {
        assert!(hit.get(dir).is_some_and(|cuts| *cuts >= at_least), "{dir} was hit too rarely: {hit:?}");
    }
    println!("power cuts by directory: {hit:?}");
}

/// **Invariant 2, all or nothing**, for a power cut at every single operation of a small scenario.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_2_a_power_cut_at_every_operation_loses_no_committed_backup_and_shows_no_half_one() {
    let trees = trees(7, 4);
    let dir = tempfile::tempdir().unwrap();
    let disk = CutDisk::default();
    let mut model = Model::default();
    run(dir.path(), &disk, "host", &trees, &mut model).await;
    assert_eq!(model.committed.len(), trees.len());
    let operations = disk.operations();
    let mut hit = BTreeMap::new();
    for cut_at in 0..=operations {
        if let Some(dir) = round(&trees, cut_at, cut_at).await {
            *hit.entry(dir).or_default() += 1;
        }
    }
    assert_both_are_hit(&hit, 10);
    println!("power cut at each of {operations} operations: all committed backups intact");
}

/// The same at random points of larger scenarios.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_2_power_cuts_at_random_points_of_random_scenarios() {
    let rounds = rounds(40);
    let mut hit = BTreeMap::new();
    for seed in 0..rounds {
        let mut chance = Chance::new(1000 + seed);
        let trees = trees(seed, 3 + chance.below(12));
        if let Some(dir) = round(&trees, chance.below(250), seed).await {
            *hit.entry(dir).or_default() += 1;
        }
    }
    assert_both_are_hit(&hit, 2);
    println!("{rounds} random power cuts: all committed backups intact");
}

/// One repository through several power cuts, with backups of two hosts, restores and rebuilds in between: what was ever
/// committed is in it at the end.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_2_a_repository_survives_one_power_cut_after_the_other() {
    for seed in 0..6 {
        let (dir, mut disk, mut model) = (tempfile::tempdir().unwrap(), CutDisk::default(), Model::default());
        let mut chance = Chance::new(5000 + seed);
        for cycle in 0..5 {
            let host = ["alpha", "beta"][chance.below(2) as usize];
            disk.cut_power_at(disk.operations() + chance.below(120));
            run(dir.path(), &disk, host, &trees(seed * 100 + cycle, 2 + chance.below(6)), &mut model).await;
            forget_of_index(dir.path(), &model, &mut chance);
            disk = disk.after_the_cut(seed * 100 + cycle);
            verify(dir.path(), &disk, &mut model, &format!("seed {seed}, cut {cycle}")).await;
        }
        println!("seed {seed}: {} backups outlived 5 power cuts", model.committed.len());
    }
}

/// A sync that fails once: the commit says so, nothing that was written since is trusted, and the same backup made again
/// is whole, also when the power goes right after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_sync_left_behind_is_not_trusted() {
    for syncs_before in 0..3 {
        let (dir, disk) = (tempfile::tempdir().unwrap(), CutDisk::default());
        let trees = trees(11, 3);
        let mut model = Model { tried: trees.clone(), ..Model::default() };
        let (engine, _) = open(dir.path(), Arc::new(disk.clone())).await.unwrap();
        for tree in &trees[..syncs_before.min(2)] {
            let backup = back_up(&engine, "/tree", tree).await.unwrap();
            model.committed.insert(backup.key(), tree.clone());
        }
        disk.fail_next_sync();
        let error = back_up(&engine, "/tree", &trees[2]).await.unwrap_err();
        assert!(error.to_string().contains("durable"), "{error}");
        let backup = back_up(&engine, "/tree", &trees[2]).await.unwrap();
        model.committed.insert(backup.key(), trees[2].clone());
        drop(engine.close().await);
        drop(engine);
        verify(dir.path(), &disk.after_the_cut(0), &mut model, "after a failed sync").await;
    }
}

/// A sync fails somewhere, once; the client tries again, after a new start of the server if need be; and then the power
/// goes a few operations later. What was cut off after the failed sync must not come back beside what took its place.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_2_a_failed_sync_and_then_a_power_cut_lose_no_committed_backup() {
    let scenario = trees(21, 4);
    let whole = CutDisk::default();
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &whole, "host", &scenario, &mut Model::default()).await;
    let syncs = whole.syncs();
    let rounds = rounds(60);
    let mut failed = BTreeMap::new();
    for seed in 0..rounds {
        let (dir, disk, mut model) = (tempfile::tempdir().unwrap(), CutDisk::default(), Model::default());
        let mut chance = Chance::new(9000 + seed);
        let failing = seed % syncs;
        disk.fail_sync_at(failing);
        run(dir.path(), &disk, "host", &scenario, &mut model).await;
        *failed.entry(model.committed.len()).or_insert(0) += 1;
        disk.cut_power_at(disk.operations() + chance.below(40));
        run(dir.path(), &disk, "host", &scenario[1..], &mut model).await;
        forget_of_index(dir.path(), &model, &mut chance);
        let context = format!("sync {failing} failed, seed {seed}");
        verify(dir.path(), &disk.after_the_cut(seed), &mut model, &context).await;
    }
    assert!(failed.len() > 1, "syncs failed before and after the first backup: {failed:?}");
    println!("{rounds} failed syncs, each with a power cut after it: all committed backups intact");
}

/// The same without a new start in between: the engine whose sync failed goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_2_an_engine_goes_on_after_a_failed_sync_and_a_power_cut_after_it_loses_nothing() {
    let rounds = rounds(60);
    let mut went_on = 0;
    for seed in 0..rounds {
        let (dir, disk, mut model) = (tempfile::tempdir().unwrap(), CutDisk::default(), Model::default());
        let mut chance = Chance::new(12_000 + seed);
        let scenario = trees(seed, 5);
        let (engine, _) = open(dir.path(), Arc::new(disk.clone())).await.unwrap();
        disk.fail_sync_at(disk.syncs() + chance.below(6));
        let mut has_failed = false;
        for tree in &scenario {
            model.tried.push(tree.clone());
            if has_failed && disk.cut_at().is_none() && chance.below(3) == 0 {
                disk.cut_power_at(disk.operations() + chance.below(12));
            }
            match back_up(&engine, "/tree", tree).await {
                Ok(backup) => {
                    went_on += u64::from(has_failed);
                    model.committed.insert(backup.key(), tree.clone());
                }
                Err(_) => has_failed = true,
            }
        }
        drop(engine.close().await);
        drop(engine);
        verify(dir.path(), &disk.after_the_cut(seed), &mut model, &format!("seed {seed}")).await;
    }
    assert!(went_on > rounds / 2, "{went_on} backups after a failed sync");
}

/// **Durable means durable:** who put something before a flush of somebody else failed is not told that it is durable by
/// the next one, which has nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_promises_nothing_of_what_a_failed_one_dropped() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), CutDisk::default());
    let (engine, _) = open(dir.path(), Arc::new(disk.clone())).await.unwrap();
    let tree = Tree::from([("a".to_owned(), sample(1, 3000))]);
    let epoch = engine.epoch();
    send(&engine, &tree).await.unwrap();
    disk.fail_next_sync();
    engine.flush_store(engine.epoch()).await.unwrap_err();
    let error = engine.flush_store(epoch).await.unwrap_err();
    assert!(error.to_string().contains("again"), "it says what to do: {error}");
    let epoch = engine.epoch();
    assert_eq!(send(&engine, &tree).await.unwrap(), 1, "it is asked for again");
    engine.flush_store(epoch).await.unwrap();
    drop(engine.close().await);
    drop(engine);
    let (engine, _) = open(dir.path(), Arc::new(disk.after_the_cut(0))).await.unwrap();
    assert_eq!(send(&engine, &tree).await.unwrap(), 0, "now it is durable");
    engine.close().await.unwrap();
}

/// The log has a reserve of its own: when there is no room for blobs any more, what was sent can still be committed, and
/// bad copies and deletions be noted. Without even that room a commit is refused in words.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_on_when_the_disk_is_full_for_blobs() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), CutDisk::default());
    let (engine, _) = open(dir.path(), Arc::new(disk.clone())).await.unwrap();
    let tree = trees(3, 1).remove(0);
    send(&engine, &tree).await.unwrap();
    disk.set_free_bytes(Some(10 << 20));
    let more = Tree::from([("more".to_owned(), sample(4, 3000))]);
    let error = send(&engine, &more).await.unwrap_err();
    assert_eq!(error.kind(), datadb::Kind::Full, "{error}");
    let backup = back_up(&engine, "/tree", &tree).await.unwrap();
    assert_eq!(restore(&engine, &backup).await.unwrap(), tree);
    disk.set_free_bytes(Some(1 << 20));
    let error = back_up(&engine, "/other", &tree).await.unwrap_err();
    assert_eq!(error.kind(), datadb::Kind::Full, "{error}");
    disk.set_free_bytes(None);
    back_up(&engine, "/other", &tree).await.unwrap();
    back_up(&engine, "/more", &more).await.unwrap();
    engine.close().await.unwrap();
}
