//! Places that are not there: a disk that is not mounted, another's directory, a log that is older than the index.
//!
//! What an index relies on is found where it was, or the server says so by name: it never begins anew by itself, and never
//! writes beside what is somewhere else.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use datadb::Backup;
use datadb_server::{
    config::Config,
    engine::{
        Engine,
        accept::accept_empty,
        open::{DataDir, Found, OpenError, heal, rebuild},
    },
    index::{Family, Index, keys},
    store::{disk::RealDisk, encrypt::key::Key, testing::conformance::sample},
};
use support::{Ticking, Tree, back_up, backups, restore, send};
use tempfile::TempDir;

/// A data directory, and places beside it.
struct Scene {
    scratch: TempDir,
    config: Option<String>,
}

impl Scene {
    /// With these stores; `SCRATCH` is filled in.
    fn new(config: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        Key::generate().unwrap().write(&scratch.path().join("key")).unwrap();
        Self { scratch, config: Some(config.to_owned()) }
    }

    fn embedded() -> Self {
        Self { config: None, ..Self::new("") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn hold(&self) -> DataDir {
        let dir = DataDir::hold(&self.path("data"), Arc::new(RealDisk)).unwrap().with_pack_bytes(20_000);
        match &self.config {
            None => dir,
            Some(text) => {
                let text = text.replace("SCRATCH", &self.scratch.path().display().to_string());
                dir.with_config(Config::parse(Path::new("stores.toml"), &text).unwrap())
            }
        }
    }

    async fn open(&self) -> Result<(Engine, Found), OpenError> {
        Engine::open(self.hold(), Arc::new(Ticking::default())).await
    }

    async fn rebuild(&self) -> Result<Found, OpenError> {
        rebuild(self.hold(), &mut |_| ()).await
    }

    /// A backup of files that no other number has.
    async fn back_up(&self, number: u64) -> Backup {
        let (engine, _) = self.open().await.unwrap();
        let backup = back_up(&engine, "/tree", &tree(number)).await.unwrap();
        engine.close().await.unwrap();
        backup
    }

    /// The error of a start, which names this place, and leaves everything as it is.
    async fn refuses(&self, place: &Path) -> String {
        let before = listing(self.scratch.path());
        let error = self.open().await.map(drop).unwrap_err().to_string();
        assert!(error.contains(&place.display().to_string()), "{error}");
        assert_eq!(listing(self.scratch.path()), before, "nothing is made or removed: {error}");
        error
    }

    /// Why nothing is written.
    async fn is_read_only(&self, all: usize) -> String {
        let (engine, _) = self.open().await.unwrap();
        assert_eq!(backups(&engine).await.len(), all, "what is in the index is there");
        let reason = engine.check_writable().unwrap_err().to_string();
        engine.close().await.unwrap();
        reason
    }
}

fn tree(number: u64) -> Tree {
    (0..6).map(|file| (format!("{number}-{file}"), sample(number * 10 + file, 5000))).collect()
}

/// All files and directories, but those of the index.
fn listing(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "index") {
        all.push(entry.path());
        if entry.path().is_dir() {
            all.extend(listing(&entry.path()));
        }
    }
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

const BESIDE: &str =
    "blobs = { type = \"blobsfile\", path = \"blobs\" }\nmeta = { type = \"blobsfile\", path = \"SCRATCH/log\" }\n";
const OWN: &str = "blobs = { type = \"blobsfile\", path = \"blobs\" }\n";
const PLAIN: &str = "blobs = { type = \"blobsfile\", path = \"SCRATCH/blobs\" }\n";
const SEALED: &str = "[blobs]\ntype = \"encrypt\"\nkey_file = \"SCRATCH/key\"\ninner = { type = \"blobsfile\", path = \"SCRATCH/blobs\" }\n[meta]\ntype = \"blobsfile\"\npath = \"meta\"\n";
const LOG_APART: &str =
    "[blobs]\ntype = \"blobsfile\"\npath = \"SCRATCH/blobs\"\n[meta]\ntype = \"blobsfile\"\npath = \"meta\"\n";
const TWO: &str = "[blobs]\ntype = \"mirror\"\n[[blobs.sides]]\ntype = \"blobsfile\"\npath = \"SCRATCH/one\"\n[[blobs.sides]]\ntype = \"blobsfile\"\npath = \"SCRATCH/two\"\n";

/// Whether the place is empty or missing, the log goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_place_for_the_log_beside_an_old_index_is_refused_by_name() {
    let mut scene = Scene::embedded();
    scene.back_up(1).await;
    scene.config = Some(BESIDE.to_owned());
    scene.refuses(&scene.path("log")).await;
    fs::create_dir(scene.path("log")).unwrap();
    let error = scene.refuses(&scene.path("log")).await;
    assert!(error.contains("--accept-empty"), "{error}");
    for config in [None, Some(OWN.to_owned())] {
        scene.config = config;
        scene.back_up(2).await;
    }
    scene.rebuild().await.unwrap();
    assert_eq!(backups(&scene.open().await.unwrap().0).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_moved_whole_starts_as_before_and_the_old_copy_is_not_continued() {
    let mut scene = Scene::embedded();
    scene.back_up(1).await;
    copy(&scene.path("data/meta"), &scene.path("log"));
    scene.config = Some(BESIDE.to_owned());
    for number in 2..4 {
        scene.back_up(number).await;
    }
    // The old place has less, whoever asks first.
    scene.config = None;
    for _ in 0..2 {
        let reason = scene.is_read_only(3).await;
        assert!(reason.contains("it ends at record") && reason.contains("rebuild"), "{reason}");
    }
    scene.config = Some(BESIDE.to_owned());
    scene.back_up(4).await;
    scene.rebuild().await.unwrap();
    assert_eq!(backups(&scene.open().await.unwrap().0).await.len(), 4);
}

/// As when it was restored from a copy of yesterday.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_older_than_the_index_is_read_only_and_says_what_to_do() {
    let scene = Scene::embedded();
    scene.back_up(1).await;
    copy(&scene.path("data/meta"), &scene.path("yesterday"));
    scene.back_up(2).await;
    fs::rename(scene.path("data/meta"), scene.path("today")).unwrap();
    copy(&scene.path("yesterday"), &scene.path("data/meta"));
    let reason = scene.is_read_only(2).await;
    assert!(reason.contains("datadb-server rebuild") && reason.contains("can still be restored"), "{reason}");
    fs::remove_dir_all(scene.path("data/meta")).unwrap();
    fs::rename(scene.path("today"), scene.path("data/meta")).unwrap();
    scene.back_up(3).await;
}

/// Two servers went on from one log: the same number, another record.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_another_record_at_the_same_number_is_read_only() {
    let mut scene = Scene::embedded();
    scene.back_up(1).await;
    copy(&scene.path("data"), &scene.path("other"));
    scene.back_up(2).await;
    let other = scene.path("other");
    let held = DataDir::hold(&other, Arc::new(RealDisk)).unwrap();
    let (engine, _) = Engine::open(held, Arc::new(Ticking::default())).await.unwrap();
    back_up(&engine, "/tree", &tree(3)).await.unwrap();
    engine.close().await.unwrap();
    drop(engine);
    fs::rename(other.join("meta"), scene.path("log")).unwrap();
    scene.config = Some(BESIDE.to_owned());
    let reason = scene.is_read_only(2).await;
    assert!(reason.contains("is not the one that the index holds"), "{reason}");
    scene.config = None;
    scene.back_up(4).await;
}

/// Both sides are old, or one: what the other has comes back to it.
#[tokio::test(flavor = "multi_thread")]
async fn sides_of_a_log_older_than_the_index_are_not_continued_unless_one_has_all_of_it() {
    for sides in [&["one", "two"][..], &["one"], &["two"]] {
        let scene = Scene::new(TWO);
        scene.back_up(1).await;
        for side in sides {
            copy(&scene.path(side), &scene.path(&format!("{side}-yesterday")));
        }
        scene.back_up(2).await;
        for side in sides {
            fs::remove_dir_all(scene.path(side)).unwrap();
            fs::rename(scene.path(&format!("{side}-yesterday")), scene.path(side)).unwrap();
        }
        if sides.len() == 2 {
            let reason = scene.is_read_only(2).await;
            assert!(reason.contains("it ends at record"), "{reason}");
        } else {
            scene.back_up(3).await;
            scene.rebuild().await.unwrap();
            assert_eq!(backups(&scene.open().await.unwrap().0).await.len(), 3, "{sides:?}");
        }
    }
}

/// Blobs alone, sealed, with the log below them or elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_blobs_that_is_missing_empty_or_anothers_is_refused_by_name_and_never_made_again() {
    for config in [PLAIN, SEALED, LOG_APART] {
        let scene = Scene::new(config);
        let (blobs, kept) = (scene.path("blobs"), scene.path("kept"));
        scene.back_up(1).await;
        fs::rename(&blobs, &kept).unwrap();
        let error = scene.refuses(&blobs).await;
        assert!(error.contains("missing") && error.contains("--accept-empty"), "{error}");
        heal(scene.hold(), false, 0, &mut |_| ()).await.unwrap_err();
        assert!(!blobs.exists(), "heal makes it no more than a start");
        fs::create_dir(&blobs).unwrap();
        let error = scene.refuses(&blobs).await;
        assert!(error.contains("empty"), "{error}");
        let other = Scene::new(config);
        other.back_up(2).await;
        fs::remove_dir(&blobs).unwrap();
        copy(&other.path("blobs"), &blobs);
        let error = scene.refuses(&blobs).await;
        assert!(error.contains("another's"), "{error}");
        fs::remove_dir_all(&blobs).unwrap();
        fs::rename(&kept, &blobs).unwrap();
        let backup = scene.back_up(1).await;
        let (engine, _) = scene.open().await.unwrap();
        assert_eq!(restore(&engine, &backup).await.unwrap(), tree(1));
        engine.close().await.unwrap();
    }
}

/// The data directory's own places may be mount points, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_data_directorys_own_blobs_and_log_are_not_made_again_either() {
    for own in ["data/blobs", "data/meta"] {
        let scene = Scene::embedded();
        scene.back_up(1).await;
        let (place, kept) = (scene.path(own), scene.path("kept"));
        fs::rename(&place, &kept).unwrap();
        scene.refuses(&place).await;
        fs::create_dir(&place).unwrap();
        scene.refuses(&place).await;
        fs::remove_dir(&place).unwrap();
        fs::rename(&kept, &place).unwrap();
        scene.back_up(2).await;
    }
}

/// The way out: what was lost is told, and the next backup of the same files makes all whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_place_of_blobs_that_a_person_accepts_starts_and_what_is_missing_is_told() {
    for config in [LOG_APART, SEALED] {
        for is_there in [false, true] {
            let scene = Scene::new(config);
            let blobs = scene.path("blobs");
            let backup = scene.back_up(1).await;
            fs::remove_dir_all(&blobs).unwrap();
            if is_there {
                fs::create_dir(&blobs).unwrap();
            }
            scene.refuses(&blobs).await;
            accept_empty(&scene.hold(), &blobs).unwrap();
            let (engine, found) = scene.open().await.unwrap();
            assert!(found.blobs.lost_blobs > 0);
            assert!(restore(&engine, &backup).await.is_err());
            assert_eq!(send(&engine, &tree(1)).await.unwrap(), tree(1).len(), "they are asked for again");
            let again = back_up(&engine, "/tree", &tree(1)).await.unwrap();
            for backup in [&backup, &again] {
                assert_eq!(restore(&engine, backup).await.unwrap(), tree(1));
            }
            engine.close().await.unwrap();
            drop(engine);
            scene.rebuild().await.unwrap();
            let (engine, _) = scene.open().await.unwrap();
            assert_eq!(restore(&engine, &backup).await.unwrap(), tree(1));
        }
    }
}

/// The log that is lost for good is not written on: its numbers would be given twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_place_of_the_log_that_a_person_accepts_opens_read_only() {
    let scene = Scene::embedded();
    let backup = scene.back_up(1).await;
    fs::remove_dir_all(scene.path("data/meta")).unwrap();
    accept_empty(&scene.hold(), &scene.path("data/meta")).unwrap();
    let reason = scene.is_read_only(1).await;
    assert!(reason.contains("the log lost"), "{reason}");
    let (engine, _) = scene.open().await.unwrap();
    assert_eq!(restore(&engine, &backup).await.unwrap(), tree(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_empty_place_of_the_config_is_accepted() {
    let scene = Scene::new(LOG_APART);
    scene.back_up(1).await;
    let error = accept_empty(&scene.hold(), &scene.path("elsewhere")).unwrap_err().to_string();
    assert!(error.contains(&scene.path("blobs").display().to_string()), "{error}");
    assert!(!scene.path("elsewhere").exists());
    let other = Scene::new(LOG_APART);
    other.back_up(2).await;
    fs::remove_dir_all(scene.path("blobs")).unwrap();
    copy(&other.path("blobs"), &scene.path("blobs"));
    let error = accept_empty(&scene.hold(), &scene.path("blobs")).unwrap_err().to_string();
    assert!(error.contains("not empty"), "{error}");
}

/// A side that is missing though it is known is made again by nobody but a person, and is filled then.
#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_a_person_accepts_is_filled_again() {
    let scene = Scene::new(TWO);
    let backup = scene.back_up(1).await;
    fs::remove_dir_all(scene.path("two")).unwrap();
    heal(scene.hold(), false, 0, &mut |_| ()).await.unwrap_err();
    assert!(!scene.path("two").exists());
    accept_empty(&scene.hold(), &scene.path("two")).unwrap();
    heal(scene.hold(), false, 0, &mut |_| ()).await.unwrap();
    fs::rename(scene.path("one"), scene.path("taken")).unwrap();
    let (engine, _) = scene.open().await.unwrap();
    assert_eq!(restore(&engine, &backup).await.unwrap(), tree(1));
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_makes_no_place_that_is_missing_and_takes_no_empty_one_for_the_blobs() {
    let scene = Scene::new(LOG_APART);
    let backup = scene.back_up(1).await;
    let (blobs, kept) = (scene.path("blobs"), scene.path("kept"));
    fs::rename(&blobs, &kept).unwrap();
    for is_there in [false, true] {
        if is_there {
            fs::create_dir(&blobs).unwrap();
        }
        let error = scene.rebuild().await.unwrap_err().to_string();
        assert!(error.contains(&blobs.display().to_string()), "{error}");
        assert_eq!(blobs.exists(), is_there);
    }
    fs::remove_dir(&blobs).unwrap();
    fs::rename(&kept, &blobs).unwrap();
    scene.rebuild().await.unwrap();
    let (engine, _) = scene.open().await.unwrap();
    assert_eq!(restore(&engine, &backup).await.unwrap(), tree(1));
    let missing_log = Scene::new(BESIDE);
    missing_log.back_up(1).await;
    fs::rename(missing_log.path("log"), missing_log.path("kept")).unwrap();
    let error = missing_log.rebuild().await.unwrap_err().to_string();
    assert!(error.contains(&missing_log.path("log").display().to_string()), "{error}");
    assert!(!missing_log.path("log").exists());
}

/// As a version left it that knew no proofs.
fn forget_proofs(scene: &Scene, places: &[&str]) {
    for place in places {
        fs::remove_file(scene.path(place).join("side")).unwrap();
    }
    let index = Index::open(&scene.path("data/index")).unwrap();
    let proofs = index.scan(Family::State, b"side:", b"side;", 100).unwrap();
    let names: Vec<&[u8]> = places.iter().map(|place| place.trim_start_matches("data/").as_bytes()).collect();
    let mut batch = index.batch();
    let of_them = proofs.iter().filter(|(key, _)| names.iter().any(|name| key.ends_with(name)));
    assert_eq!(of_them.map(|(key, _)| batch.delete(Family::State, key)).count(), places.len());
    batch.delete(Family::State, keys::APPLIED_BLOB);
    index.write(batch).unwrap();
    index.sync().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_from_before_gets_its_proofs_when_the_packs_are_its_own() {
    let scene = Scene::new(LOG_APART);
    for number in 1..4 {
        scene.back_up(number).await;
    }
    forget_proofs(&scene, &["blobs", "data/meta"]);
    scene.back_up(4).await;
    assert!(scene.path("blobs/side").exists() && scene.path("data/meta/side").exists());
    // Missing, empty, or another's: nothing is proved by that.
    forget_proofs(&scene, &["blobs"]);
    let (blobs, kept) = (scene.path("blobs"), scene.path("kept"));
    fs::rename(&blobs, &kept).unwrap();
    scene.refuses(&blobs).await;
    fs::create_dir(&blobs).unwrap();
    scene.refuses(&blobs).await;
    let other = Scene::new(LOG_APART);
    for number in 5..9 {
        other.back_up(number).await;
    }
    for has_proof in [true, false] {
        fs::remove_dir_all(&blobs).unwrap();
        copy(&other.path("blobs"), &blobs);
        if !has_proof {
            fs::remove_file(blobs.join("side")).unwrap();
        }
        let error = scene.refuses(&blobs).await;
        assert!(error.contains("not those that the index knows"), "{error}");
    }
    fs::remove_dir_all(&blobs).unwrap();
    fs::rename(&kept, &blobs).unwrap();
    scene.back_up(5).await;
}

/// A proof that is lost, torn or damaged is written anew beside the packs that it was for.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_proof_costs_nothing_while_the_packs_are_there() {
    for place in ["data/blobs", "data/meta"] {
        let scene = Scene::embedded();
        scene.back_up(1).await;
        let proof = scene.path(place).join("side");
        let bytes = fs::read(&proof).unwrap();
        for harm in [None, Some(&b""[..]), Some(&bytes[..20]), Some(&b"no proof at all\n"[..]), Some(&[0xff; 300])] {
            match harm {
                None => fs::remove_file(&proof).unwrap(),
                Some(bytes) => fs::write(&proof, bytes).unwrap(),
            }
            let (engine, found) = scene.open().await.unwrap();
            engine.check_writable().unwrap();
            assert_eq!(found.blobs.lost_blobs, 0);
            engine.close().await.unwrap();
            assert_eq!(fs::read(&proof).unwrap().len(), bytes.len(), "{harm:?}");
        }
    }
}

/// A directory that is taken away while the server runs: nothing is acknowledged that lies in a place without a name, and
/// nothing that can't be read meanwhile is damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_goes_away_while_it_is_open_fails_commits_and_marks_nothing() {
    let scene = Scene::new(LOG_APART);
    let (engine, _) = scene.open().await.unwrap();
    let first = back_up(&engine, "/tree", &tree(1)).await.unwrap();
    let (blobs, kept) = (scene.path("blobs"), scene.path("kept"));
    fs::rename(&blobs, &kept).unwrap();
    let error = back_up(&engine, "/tree", &tree(2)).await.unwrap_err().to_string();
    assert!(error.contains(&blobs.display().to_string()), "{error}");
    assert!(!blobs.exists());
    fs::rename(&kept, &blobs).unwrap();
    let second = back_up(&engine, "/tree", &tree(2)).await.unwrap();
    // What lies below the mount point takes no pack that counts, also when the disk is back.
    fs::rename(&blobs, &kept).unwrap();
    fs::create_dir(&blobs).unwrap();
    back_up(&engine, "/tree", &tree(3)).await.unwrap_err();
    fs::remove_dir_all(&blobs).unwrap();
    fs::rename(&kept, &blobs).unwrap();
    let error = back_up(&engine, "/tree", &tree(3)).await.unwrap_err().to_string();
    assert!(error.contains("start the server again"), "{error}");
    drop(engine.close().await);
    drop(engine);
    let (engine, found) = scene.open().await.unwrap();
    assert_eq!((found.blobs.lost_blobs, engine.stats().await.unwrap().blobs.bad_blobs), (0, 0));
    let third = back_up(&engine, "/tree", &tree(3)).await.unwrap();
    for (backup, number) in [(first, 1), (second, 2), (third, 3)] {
        assert_eq!(restore(&engine, &backup).await.unwrap(), tree(number));
    }
    engine.close().await.unwrap();
}
