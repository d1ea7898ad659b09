//! A side that hangs, as on a mount whose server is gone: nobody waits for it longer than it takes to be certain.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use datadb_server::{
    config::Config,
    engine::{
        Engine,
        open::{DataDir, OpenError},
    },
    store::{
        disk::RealDisk,
        mirror::{SideStatus, Standing},
        testing::conformance::sample,
        testing::hanging::HangingDisk,
        threads::LEAF_THREADS_MAX,
    },
};
use tempfile::TempDir;

use crate::{
    scene::PATIENCE,
    support::{Ticking, Tree, back_up, backups, restore},
};

/// After so long a side hangs, here.
const SILENCE: Duration = Duration::from_millis(600);

/// What one step may take while a side hangs: a silence for the blobs, one for the log, and what a loaded machine needs.
const BOUND: Duration = Duration::from_secs(15);

/// A repository on three sides, two of which must have a write.
struct Hanging {
    root: TempDir,
    disk: HangingDisk,
}

impl Hanging {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), disk: HangingDisk::around(Arc::new(RealDisk)) }
    }

    fn side(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    async fn open(&self) -> Result<Engine, OpenError> {
        let side = |name: &str| format!(r#"{{ type = "blobsfile", path = "{}" }}"#, self.side(name).display());
        let sides = ["a", "b", "c"].map(side).join(", ");
        let text = format!("blobs = {{ type = \"mirror\", ack = 2, sides = [{sides}] }}\n");
        let config = Config::parse(Path::new("hanging.toml"), &text).unwrap();
        let dir = DataDir::hold(&self.side("data"), Arc::new(self.disk.clone()))?.with_config(config);
        Ok(Engine::open(dir.with_silence(SILENCE), Arc::new(Ticking::default())).await?.0)
    }
}

fn tree(seed: u64) -> Tree {
    (0..8).map(|number| (format!("file{number}"), sample(seed * 100 + number, 4000))).collect()
}

/// What takes longer than the bound is waited for by nobody.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = tokio::time::timeout(BOUND, work).await;
    done.unwrap_or_else(|_| panic!("{what} took {:?}", began.elapsed()))
}

async fn sides(engine: &Engine, name: &str) -> Vec<SideStatus> {
    let mut sides = Vec::new();
    for mirror in engine.mirrors() {
        sides.extend(mirror.status().await.sides);
    }
    sides.retain(|side| side.name.contains(&format!("/{name}")));
    assert_eq!(sides.len(), 2, "one of the blobs and one of the log: {sides:?}");
    sides
}

async fn wait_for(engine: &Engine, name: &str, wanted: Standing) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sides = sides(engine, name).await;
        if sides.iter().all(|side| side.standing == wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{sides:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whichever side it is: what is read first, and what is only written.
#[tokio::test(flavor = "multi_thread")]
async fn backups_and_restores_go_on_while_a_side_hangs_and_it_catches_up_when_it_answers() {
    for name in ["a", "c"] {
        let hanging = Hanging::new();
        let engine = hanging.open().await.unwrap();
        let before = tree(1);
        let first = back_up(&engine, "/tree", &before).await.unwrap();
        hanging.disk.hang(&hanging.side(name));
        assert_eq!(in_time("a restore", restore(&engine, &first)).await.unwrap(), before);
        let mut last = None;
        for seed in 2..6 {
            let changed = tree(seed);
            let backup = in_time("a backup", back_up(&engine, "/tree", &changed)).await.unwrap();
            assert_eq!(in_time("a restore", restore(&engine, &backup)).await.unwrap(), changed);
            last = Some((backup, changed));
        }
        for side in in_time("the status", sides(&engine, name)).await {
            assert_eq!(side.standing, Standing::Away);
            assert!(side.trouble.contains("hangs") && side.trouble.contains("0.6 s"), "{}", side.trouble);
        }
        for backend in engine.backends() {
            let is_hung = backend.name.contains(&format!("/{name}"));
            let stats = in_time("the counts of a backend", backend.stats()).await;
            assert!(is_hung || stats.is_ok(), "{stats:?}");
        }
        assert!(hanging.disk.most_stuck() <= 2 * LEAF_THREADS_MAX, "{}", hanging.disk.most_stuck());
        hanging.disk.release();
        wait_for(&engine, name, Standing::Level).await;
        // All of it came: the others are not needed for what was put meanwhile.
        let (backup, changed) = last.unwrap();
        for other in ["a", "b", "c"].into_iter().filter(|other| *other != name) {
            hanging.disk.hang(&hanging.side(other));
        }
        assert_eq!(in_time("a restore from it", restore(&engine, &backup)).await.unwrap(), changed);
        hanging.disk.release();
        in_time("closing", engine.close()).await.unwrap();
    }
}

/// What is asked of a side that hangs does not pile up, however many ask.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_while_a_side_hangs_gets_stuck_with_no_more_than_the_threads_of_a_leaf() {
    let hanging = Hanging::new();
    let engine = hanging.open().await.unwrap();
    let whole = tree(1);
    let backup = back_up(&engine, "/tree", &whole).await.unwrap();
    hanging.disk.hang(&hanging.side("a"));
    let restores = (0..40).map(|_| {
        let (engine, backup) = (engine.clone(), backup.clone());
        tokio::spawn(async move { restore(&engine, &backup).await })
    });
    for restored in restores.collect::<Vec<_>>() {
        assert_eq!(in_time("a restore", restored).await.unwrap().unwrap(), whole);
    }
    assert!(hanging.disk.most_stuck() <= 2 * LEAF_THREADS_MAX, "{}", hanging.disk.most_stuck());
    hanging.disk.release();
    engine.close().await.unwrap();
}

/// A server starts while a side hangs, and stops; not even what is stuck for ever holds it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_and_stops_while_a_side_hangs() {
    let hanging = Hanging::new();
    let engine = hanging.open().await.unwrap();
    let before = tree(1);
    let first = back_up(&engine, "/tree", &before).await.unwrap();
    engine.close().await.unwrap();
    // What is stuck while a server stops keeps its index, in this process; so the side hangs only now.
    drop(engine);
    hanging.disk.hang(&hanging.side("b"));

    let engine = in_time("starting", hanging.open()).await.unwrap();
    for side in in_time("the status", sides(&engine, "b")).await {
        assert_eq!(side.standing, Standing::Away);
        assert!(side.trouble.contains("hangs"), "{}", side.trouble);
    }
    assert_eq!(backups(&engine).await.len(), 1);
    assert_eq!(in_time("a restore", restore(&engine, &first)).await.unwrap(), before);
    let changed = tree(2);
    let second = in_time("a backup", back_up(&engine, "/tree", &changed)).await.unwrap();
    assert_eq!(in_time("a restore", restore(&engine, &second)).await.unwrap(), changed);
    hanging.disk.release();
    wait_for(&engine, "b", Standing::Level).await;
    hanging.disk.hang(&hanging.side("b"));
    in_time("stopping", engine.close()).await.unwrap();
}
