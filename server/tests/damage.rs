//! The damage matrix: every kind of damage to every kind of file, then list, restore, back up again, rebuild.
//!
//! The outcome is exact bytes or an error that says something, never wrong bytes and never a panic. Where more can be
//! promised (other files stay readable, the next backup heals, a whole index still gives everything back), it is checked.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use datadb::{Backup, BackupKey, Kind};
use datadb_server::{
    engine::{
        Engine,
        open::{DataDir, OpenError, heal, rebuild},
    },
    store::{testing::conformance::sample, testing::power_cut::CutDisk},
};
use rustix::io::Errno;
use support::{Tree, back_up, backups, copy_dir, open, restore};

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Delete,
    Truncate,
    FlipByte,
    ZeroBlock,
    Duplicate,
    SwapTwo,
}

const HARMS: [Harm; 6] =
    [Harm::Delete, Harm::Truncate, Harm::FlipByte, Harm::ZeroBlock, Harm::Duplicate, Harm::SwapTwo];

impl Harm {
    /// The bytes of a file after the harm, done around `at`; `None` if it is gone.
    fn done_to(self, bytes: &[u8], at: usize) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let at = at.min(bytes.len().saturating_sub(1));
        let end = (at + 64).min(bytes.len());
        match self {
            Self::Delete => return None,
            Self::Truncate => bytes.truncate(at),
            Self::FlipByte => bytes[at] ^= 0x55,
            Self::ZeroBlock => bytes[at..end].fill(0),
            Self::Duplicate => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            Self::SwapTwo => {
                let middle = bytes.len() / 2;
                let len = 64.min(middle).min(bytes.len() - middle);
                let (front, back) = bytes.split_at_mut(middle);
                front[middle - len..].swap_with_slice(&mut back[..len]);
            }
        }
        Some(bytes)
    }
}

/// A repository with a few backups whose last tree holds all that the others hold.
struct Repository {
    root: tempfile::TempDir,
    disk: CutDisk,
    model: BTreeMap<BackupKey, Tree>,
    last: Tree,
}

async fn repository() -> Repository {
    let (root, disk) = (tempfile::tempdir().unwrap(), CutDisk::default());
    let (engine, _) = open(root.path(), Arc::new(disk.clone())).await.unwrap();
    let (mut model, mut last) = (BTreeMap::new(), Tree::new());
    for number in 0..4u64 {
        for file in 0..4 {
            last.insert(format!("{number}-{file}"), sample(number * 10 + file, 2500));
        }
        let backup = back_up(&engine, "/tree", &last).await.unwrap();
        model.insert(backup.key(), last.clone());
    }
    engine.close().await.unwrap();
    Repository { root, disk, model, last }
}

impl Repository {
    fn packs(&self, dir: &str) -> Vec<PathBuf> {
        let dir = self.root.path().join(dir);
        let is_pack = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pack");
        self.disk.files().into_iter().filter(|path| path.parent() == Some(&dir) && is_pack(path)).collect()
    }

    async fn open(&self) -> Result<Engine, OpenError> {
        open(self.root.path(), Arc::new(self.disk.clone())).await.map(|(engine, _)| engine)
    }

    async fn rebuild(&self) -> Result<(), OpenError> {
        let dir = DataDir::hold(self.root.path(), Arc::new(self.disk.clone()))?;
        rebuild(dir, &mut |_| ()).await.map(drop)
    }

    /// Restores every listed backup: exact bytes or an error. Gives how many came back whole.
    async fn restore_all(&self, engine: &Engine, context: &str) -> usize {
        let mut whole = 0;
        for (key, backup) in backups(engine).await {
            whole += usize::from(self.restores(engine, &key, &backup, context).await);
        }
        whole
    }

    async fn restores(&self, engine: &Engine, key: &BackupKey, backup: &Backup, context: &str) -> bool {
        match restore(engine, backup).await {
            Ok(tree) => {
                let expected = self.model.get(key).unwrap_or(&self.last);
                assert_eq!(&tree, expected, "{context}: wrong bytes");
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "{context}");
                false
            }
        }
    }
}

fn says_something(error: &dyn std::error::Error, context: &str) {
    assert!(error.to_string().len() > 10, "{context}: {error}");
}

/// Everything that a person would try after damage. `heals` says that the next backup must make all whole again.
async fn aftermath(repository: &Repository, heals: bool, context: &str) {
    match repository.open().await {
        Err(error) => {
            assert!(!heals, "{context}: {error}");
            says_something(&error, context);
        }
        Ok(engine) => {
            let whole = repository.restore_all(&engine, context).await;
            if heals {
                assert_eq!(backups(&engine).await.len(), repository.model.len(), "{context}: all are listed");
            }
            match back_up(&engine, "/tree", &repository.last).await {
                Ok(backup) => assert_eq!(restore(&engine, &backup).await.unwrap(), repository.last, "{context}"),
                Err(error) => {
                    assert!(!heals, "{context}: {error}");
                    says_something(&error, context);
                    assert_eq!(whole, repository.model.len(), "{context}: read-only, but all there");
                }
            }
            if heals {
                let all = repository.model.len() + 1;
                assert_eq!(repository.restore_all(&engine, context).await, all, "{context}: healed");
            }
            drop(engine.close().await);
        }
    }
    match repository.rebuild().await {
        Err(error) => {
            assert!(!heals, "{context}: rebuild: {error}");
            says_something(&error, context);
        }
        Ok(()) => {
            let engine = repository.open().await.unwrap_or_else(|error| panic!("{context}: after a rebuild: {error}"));
            let whole = repository.restore_all(&engine, context).await;
            if heals {
                assert_eq!(whole, repository.model.len() + 1, "{context}: after a rebuild");
            }
            drop(engine.close().await);
        }
    }
}

/// Packs of blobs, sealed and open, anywhere in them, their footers included: the files that lie there are named, all
/// others come back, and the next backup of the same files heals all that is hurt.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_pack_costs_at_most_the_files_in_it_until_the_next_backup() {
    let count = repository().await.packs("blobs").len();
    assert!(count >= 2, "there is a sealed pack and an open one");
    for number in 0..count {
        for harm in HARMS {
            // Header, first record, middle, and the end (a footer's, in a sealed pack).
            for part in [0, 3, 50, 99] {
                let repository = repository().await;
                let path = repository.packs("blobs")[number].clone();
                let bytes = repository.disk.read(&path).unwrap();
                let at = bytes.len() * part / 100;
                repository.disk.replace(&path, harm.done_to(&bytes, at));
                aftermath(&repository, true, &format!("{harm:?} at {part} % of blob pack {number}")).await;
            }
        }
    }
}

/// Packs of the log: with a whole index everything still comes back; without one, what can't be read is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_loses_nothing_while_the_index_is_whole() {
    for harm in HARMS {
        for part in [0, 3, 50, 99] {
            let repository = repository().await;
            let path = repository.packs("meta")[0].clone();
            let bytes = repository.disk.read(&path).unwrap();
            repository.disk.replace(&path, harm.done_to(&bytes, bytes.len() * part / 100));
            let context = format!("{harm:?} at {part} % of the log");
            let engine = repository.open().await.unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(repository.restore_all(&engine, &context).await, repository.model.len(), "{context}");
            drop(engine.close().await);
            drop(engine);
            aftermath(&repository, false, &context).await;
        }
    }
}

/// A log cut at the border of a record, whose index is gone too, is a shorter history: a rebuild succeeds, says where the
/// log ends, and every backup of that history comes back whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_cut_at_a_record_without_an_index_is_a_shorter_history() {
    let repository = repository().await;
    let path = repository.packs("meta")[0].clone();
    let bytes = repository.disk.read(&path).unwrap();
    let magic = &bytes[24..32];
    let borders: Vec<usize> = (24..bytes.len() - 8).filter(|at| bytes[*at..].starts_with(magic)).collect();
    // The first record begins the repository; each backup is a record or two behind it.
    let mut lengths = Vec::new();
    for (records, border) in borders.iter().enumerate().skip(1) {
        repository.disk.replace(&path, Some(bytes[..*border].to_vec()));
        let held = DataDir::hold(repository.root.path(), Arc::new(repository.disk.clone())).unwrap();
        let found = rebuild(held, &mut |_| ()).await.unwrap();
        assert_eq!(found.last, records as u64, "the last record is named");
        assert!(found.last_time > 0, "and its time");
        let engine = repository.open().await.unwrap();
        let listed = backups(&engine).await.len();
        assert_eq!(repository.restore_all(&engine, "a shorter history").await, listed);
        lengths.push(listed);
        engine.close().await.unwrap();
    }
    assert!(lengths.is_sorted() && lengths.first() < lengths.last(), "{lengths:?}");
}

/// Files of the index: the server starts and gives exact bytes, or says that a rebuild is due; a rebuild makes all whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_refused_or_right_and_a_rebuild_mends_it() {
    let names = ["CURRENT", "MANIFEST", "sst", "log", "IDENTITY", "OPTIONS"];
    for name in names {
        for harm in HARMS {
            let repository = repository().await;
            let Some(path) = index_file(&repository.root.path().join("index"), name) else { continue };
            let bytes = fs::read(&path).unwrap();
            match harm.done_to(&bytes, bytes.len() / 2) {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let context = format!("{harm:?} of the index's {name}");
            match repository.open().await {
                Ok(engine) => {
                    repository.restore_all(&engine, &context).await;
                    drop(engine.close().await);
                }
                Err(error) => {
                    assert!(error.to_string().contains("rebuild"), "{context}: {error}");
                }
            }
            repository.rebuild().await.unwrap_or_else(|error| panic!("{context}: {error}"));
            let engine = repository.open().await.unwrap();
            assert_eq!(repository.restore_all(&engine, &context).await, repository.model.len(), "{context}");
            drop(engine.close().await);
        }
    }
}

fn index_file(index: &Path, name: &str) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(index).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        file.starts_with(name) || path.extension().is_some_and(|extension| extension == name)
    };
    files.into_iter().rfind(|path| is_it(path) && fs::metadata(path).unwrap().len() > 0)
}

/// The file `format`: a missing one is written again, anything else that is not right is refused by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_format_file_is_refused_by_name() {
    for harm in HARMS {
        let repository = repository().await;
        let path = repository.root.path().join("format");
        let bytes = fs::read(&path).unwrap();
        match harm.done_to(&bytes, 3) {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        match repository.open().await {
            Ok(engine) => {
                assert_eq!(harm, Harm::Delete);
                assert_eq!(repository.restore_all(&engine, "format").await, repository.model.len());
                drop(engine.close().await);
            }
            Err(error) => assert!(error.to_string().contains("format"), "{harm:?}: {error}"),
        }
    }
}

/// A pack deleted whole while the server was down is found at start: its blobs count as missing, not as there.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_pack_is_noticed_at_start() {
    let repository = repository().await;
    repository.disk.replace(&repository.packs("blobs")[0], None);
    let (engine, found) = open(repository.root.path(), Arc::new(repository.disk.clone())).await.unwrap();
    assert!(found.blobs.lost_blobs > 0);
    assert_eq!(engine.stats().await.unwrap().blobs.bad_blobs, found.blobs.lost_blobs);
    assert!(support::send(&engine, &repository.last).await.unwrap() > 0, "they are asked for again");
    engine.close().await.unwrap();
}

/// A repository of one tiny backup, for damage at every single byte.
async fn tiny() -> Repository {
    let (root, disk) = (tempfile::tempdir().unwrap(), CutDisk::default());
    let (engine, _) = open(root.path(), Arc::new(disk.clone())).await.unwrap();
    let last = Tree::from([("a".to_owned(), sample(1, 40)), ("b".to_owned(), sample(2, 9))]);
    let backup = back_up(&engine, "/tree", &last).await.unwrap();
    engine.close().await.unwrap();
    let model = BTreeMap::from([(backup.key(), last.clone())]);
    Repository { root, disk, model, last }
}

/// Every byte flipped and every length cut of the only pack in a directory, read with the index that belongs to it.
async fn every_byte_of(dir: &str) {
    let repository = tiny().await;
    let path = repository.packs(dir)[0].clone();
    let original = repository.disk.read(&path).unwrap();
    let index = repository.root.path().join("index");
    let saved = repository.root.path().join("saved");
    copy_dir(&index, &saved);
    for at in 0..original.len() {
        for harm in [Harm::FlipByte, Harm::Truncate] {
            repository.disk.replace(&path, harm.done_to(&original, at));
            fs::remove_dir_all(&index).unwrap();
            copy_dir(&saved, &index);
            let context = format!("{harm:?} at byte {at} of {dir}");
            match repository.open().await {
                Ok(engine) => {
                    let whole = repository.restore_all(&engine, &context).await;
                    assert!(dir == "blobs" || whole == 1, "{context}");
                    drop(engine.close().await);
                }
                Err(error) => says_something(&error, &context),
            }
        }
    }
    println!("{} damaged files of {dir}: exact bytes or an error", original.len() * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_byte_and_every_length_of_a_small_pack_is_exact_or_an_error() {
    every_byte_of("blobs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_byte_and_every_length_of_a_small_log_is_exact_or_an_error() {
    every_byte_of("meta").await;
}

/// **Invariant 4, verified at every border**: a copy that was found damaged stays bad although a crash takes from the index
/// all that happened since, and so does the newer copy that heals it.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_4_a_bad_copy_stays_bad_after_a_crash_that_the_index_did_not_survive() {
    for heals in [false, true] {
        let repository = repository().await;
        let (index, saved) = (repository.root.path().join("index"), repository.root.path().join("saved"));
        copy_dir(&index, &saved);
        let pack = repository.packs("blobs")[0].clone();
        let bytes = repository.disk.read(&pack).unwrap();
        repository.disk.replace(&pack, Harm::FlipByte.done_to(&bytes, bytes.len() / 2));
        let engine = repository.open().await.unwrap();
        assert!(repository.restore_all(&engine, "damaged").await < repository.model.len());
        let bad = engine.stats().await.unwrap().blobs.bad_blobs;
        assert!(bad > 0);
        if heals {
            back_up(&engine, "/tree", &repository.last).await.unwrap();
        }
        engine.close().await.unwrap();
        drop(engine);
        fs::remove_dir_all(&index).unwrap();
        copy_dir(&saved, &index);
        let engine = repository.open().await.unwrap();
        assert_eq!(engine.stats().await.unwrap().blobs.bad_blobs, if heals { 0 } else { bad });
        if heals {
            assert_eq!(repository.restore_all(&engine, "healed").await, repository.model.len() + 1);
        } else {
            assert!(support::send(&engine, &repository.last).await.unwrap() > 0, "they are asked for again");
        }
        engine.close().await.unwrap();
    }
}

/// What a machine may answer although nothing is damaged: too many open files, an error of the disk, no memory, a file of
/// another server's that went stale, a time-out.
const TROUBLES: [Errno; 6] = [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::NOMEM, Errno::STALE, Errno::TIMEDOUT];

/// **Only damage is damage:** a read that fails for another reason is told as trouble, marks nothing, not in the index and
/// not in the log, and goes well later.
#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_the_machine_marks_nothing_and_is_told_as_trouble() {
    for errno in TROUBLES {
        let repository = repository().await;
        let engine = repository.open().await.unwrap();
        let (key, first) = backups(&engine).await.pop_first().unwrap();
        repository.disk.fail_reads(errno.raw_os_error(), u64::MAX);
        let error = restore(&engine, &first).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{key}: {error}");
        assert!(error.to_string().contains("try again"), "{key}: {error}");
        repository.disk.fail_reads(0, 0);
        assert_eq!(engine.stats().await.unwrap().blobs.bad_blobs, 0, "{errno}");
        assert_eq!(support::send(&engine, &repository.last).await.unwrap(), 0, "{errno}: nothing is asked for again");
        assert_eq!(repository.restore_all(&engine, "after trouble").await, repository.model.len(), "{errno}");
        engine.close().await.unwrap();
        drop(engine);
        repository.rebuild().await.unwrap();
        let engine = repository.open().await.unwrap();
        assert_eq!(engine.stats().await.unwrap().blobs.bad_blobs, 0, "{errno}: after a rebuild");
        assert_eq!(repository.restore_all(&engine, "after a rebuild").await, repository.model.len(), "{errno}");
        engine.close().await.unwrap();
    }
}

/// Trouble that passes while it is tried again is nobody's concern.
#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_passes_is_not_noticed() {
    let repository = repository().await;
    let engine = repository.open().await.unwrap();
    for errno in TROUBLES {
        for (key, backup) in backups(&engine).await {
            repository.disk.fail_reads(errno.raw_os_error(), 2);
            assert!(repository.restores(&engine, &key, &backup, "passing trouble").await, "{errno}");
        }
    }
    engine.close().await.unwrap();
}

/// How a marked record comes to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    AskedFor,
    Start,
    Heal,
    Rebuild,
}

/// A mark is a suspicion: a record that was marked and verifies again counts again, whoever reads it first, and the log
/// knows, so that no rebuild brings the mark back.
#[tokio::test(flavor = "multi_thread")]
async fn a_marked_record_that_verifies_again_counts_again_for_good() {
    for again in [Again::AskedFor, Again::Start, Again::Heal, Again::Rebuild] {
        let repository = repository().await;
        let pack = repository.packs("blobs")[0].clone();
        let bytes = repository.disk.read(&pack).unwrap();
        let engine = repository.open().await.unwrap();
        repository.disk.replace(&pack, Harm::FlipByte.done_to(&bytes, bytes.len() / 2));
        assert!(repository.restore_all(&engine, "damaged").await < repository.model.len());
        assert!(engine.stats().await.unwrap().blobs.bad_blobs > 0);
        if again == Again::AskedFor {
            repository.disk.replace(&pack, Some(bytes.clone()));
            assert_eq!(repository.restore_all(&engine, "asked again").await, repository.model.len());
            assert_eq!(engine.stats().await.unwrap().blobs.bad_blobs, 0, "{again:?}");
        }
        engine.close().await.unwrap();
        drop(engine);
        repository.disk.replace(&pack, Some(bytes));
        match again {
            Again::AskedFor => {}
            Again::Start => {
                let opened = open(repository.root.path(), Arc::new(repository.disk.clone())).await.unwrap();
                assert!(opened.1.blobs.lifted_blobs > 0, "a start tells what counts again");
                opened.0.close().await.unwrap();
            }
            Again::Heal => {
                let dir = DataDir::hold(repository.root.path(), Arc::new(repository.disk.clone())).unwrap();
                heal(dir, true, 1_500_000_000, &mut |_| ()).await.unwrap();
            }
            Again::Rebuild => repository.rebuild().await.unwrap(),
        }
        // Had the log not been told, the rebuild would have had to look at the record again.
        let dir = DataDir::hold(repository.root.path(), Arc::new(repository.disk.clone())).unwrap();
        let rebuilt = rebuild(dir, &mut |_| ()).await.unwrap();
        assert!(rebuilt.blobs.lifted_blobs == 0 || again == Again::Rebuild, "{again:?}: {rebuilt:?}");
        let engine = repository.open().await.unwrap();
        assert_eq!(engine.stats().await.unwrap().blobs.bad_blobs, 0, "{again:?}: after a rebuild");
        assert_eq!(repository.restore_all(&engine, "lifted").await, repository.model.len(), "{again:?}");
        engine.close().await.unwrap();
    }
}

/// **Damage in the log is not an interrupted write:** behind what the index knows, a damaged record with intact ones after
/// it is kept, told, and makes the repository read-only; only the very last record can be one that was being written.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_of_the_log_with_intact_ones_behind_it_is_no_interrupted_write() {
    for is_last in [false, true] {
        let mut repository = repository().await;
        let (index, saved) = (repository.root.path().join("index"), repository.root.path().join("saved"));
        copy_dir(&index, &saved);
        let engine = repository.open().await.unwrap();
        let (mut tree, before) = (repository.last.clone(), repository.model.len());
        for number in 0..3 {
            tree.insert(format!("behind-{number}"), sample(700 + number, 900));
            let backup = back_up(&engine, "/tree", &tree).await.unwrap();
            repository.model.insert(backup.key(), tree.clone());
        }
        engine.close().await.unwrap();
        drop(engine);
        // A crash of the machine: the index forgot what it was told last.
        fs::remove_dir_all(&index).unwrap();
        copy_dir(&saved, &index);
        let path = repository.packs("meta").pop().unwrap();
        let bytes = repository.disk.read(&path).unwrap();
        let borders: Vec<usize> = (24..bytes.len() - 8).filter(|at| bytes[*at..].starts_with(&bytes[24..32])).collect();
        let hurt = borders[borders.len() - if is_last { 1 } else { 3 }] + 40;
        let harmed = Harm::FlipByte.done_to(&bytes, hurt).unwrap();
        repository.disk.replace(&path, Some(harmed.clone()));
        let (engine, found) = open(repository.root.path(), Arc::new(repository.disk.clone())).await.unwrap();
        assert_eq!(repository.restore_all(&engine, "damaged log").await, backups(&engine).await.len());
        if is_last {
            assert!(found.log.torn_bytes > 0 && found.log.damage.is_empty(), "{found:?}");
            engine.check_writable().unwrap();
            assert_eq!(backups(&engine).await.len(), before + 2, "all before it is there");
        } else {
            assert!(!found.log.damage.is_empty(), "{found:?}");
            let error = engine.check_writable().unwrap_err();
            assert!(error.to_string().contains("log"), "{error}");
            assert_eq!(repository.disk.read(&path).unwrap(), harmed, "nothing is cut off");
        }
        engine.close().await.unwrap();
    }
}
