//! Invariant 2 the hard way: processes die at every named place, and by kill -9 at random moments, round after round.
//!
//! `DATADB_KILL_ROUNDS` says how many rounds (60), `DATADB_KILL_SEED` what chance decides. A run prints one line.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use datadb::failpoint;
use support::{
    chance::{Chance, number_from},
    changing::{Changing, Fingerprint, fingerprint},
    place::scratch,
    processes::{Client, Run, Running, Server, count, rebuilding, rebuilding_with, server_command},
    s3::{ACCESS_KEY, S3Server, SECRET_KEY},
    tree::{random_bytes, write},
};
use tempfile::TempDir;

/// So short that every record fills a pack of its own.
const PACK_OF_ONE: u64 = 256;

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// A repository that is mistreated, and all that must be in it.
struct Patient {
    scratch: TempDir,
    server: Server,
    client: Client,
    tree: Changing,
    /// Every backup that is known to be committed, with the state of the tree that it must give back.
    committed: BTreeMap<String, Fingerprint>,
    /// The states of the tree that were under way when something was killed. Each may turn out to be committed, at once or,
    /// where only the client died, a little later.
    broken_off: Vec<Fingerprint>,
    verified_bytes: u64,
    /// Says where things are kept, if not in the data directory.
    config: Option<PathBuf>,
    /// A bucket, if things are kept in one.
    _bucket: Option<S3Server>,
}

impl Patient {
    /// Seals its packs at so many bytes. The server listens on a path, so that after a restart clients find it again.
    fn new(seed: u64, pack_bytes: u64) -> Self {
        Self::on(seed, pack_bytes, None, None)
    }

    /// The same with the stores of this config.
    fn on(seed: u64, pack_bytes: u64, config: Option<&str>, bucket: Option<S3Server>) -> Self {
        let scratch = scratch();
        let socket = format!("unix:{}", scratch.path().join("s").display());
        let pack_bytes = pack_bytes.to_string();
        let mut options = vec!["--listen", &socket, "--pack-bytes", &pack_bytes];
        let config = config.map(|text| {
            let path = scratch.path().join("stores.toml");
            write(&path, text.replace("SCRATCH", &scratch.path().display().to_string()));
            path
        });
        if let Some(config) = &config {
            options.extend(["--config", config.to_str().expect("UTF-8")]);
        }
        let server = Server::down(&scratch.path().join("data"), &options);
        let tree = Changing::new(&scratch.path().join("tree"), seed);
        let client = Client::of(&socket);
        Self {
            scratch,
            server,
            client,
            tree,
            committed: BTreeMap::new(),
            broken_off: Vec::new(),
            verified_bytes: 0,
            config,
            _bucket: bucket,
        }
    }

    /// One that has a backup, and a tree that changed since.
    fn with_backup(seed: u64, pack_bytes: u64) -> Self {
        let mut patient = Self::new(seed, pack_bytes);
        patient.server.start();
        patient.backup();
        patient.tree.change();
        patient
    }

    fn state(&self) -> Fingerprint {
        fingerprint(self.tree.root()).0
    }

    fn snapshot(&self, failpoint: Option<&str>) -> Running {
        let mut command = self.client.snapshot_command(self.tree.root());
        command.envs(failpoint.map(|name| (failpoint::VARIABLE, name)));
        Running::start(command)
    }

    /// A backup that must succeed.
    fn backup(&mut self) -> serde_json::Value {
        let summary = self.client.snapshot(self.tree.root()).ok().summary();
        self.committed.insert(summary["id"].as_str().expect("an id").to_owned(), self.state());
        summary
    }

    /// Notes how a snapshot ended that something was killed under.
    #[track_caller]
    fn note(&mut self, run: &Run) {
        if run.code == Some(0) {
            self.committed.insert(run.summary()["id"].as_str().expect("an id").to_owned(), self.state());
            return;
        }
        match run.code {
            Some(1) => drop(run.one_line_with(&["datadb-client"])),
            code => assert!(matches!(run.signal, Some(SIGKILL | SIGABRT)), "{code:?}: {}", run.stderr),
        }
        self.broken_off.push(self.state());
    }

    /// Restores a backup and holds it against the state it must have.
    #[track_caller]
    fn verify(&mut self, id: &str, state: Fingerprint) {
        assert_eq!(self.restored(id), state, "{id} does not come back as it was");
    }

    /// The state that a backup gives back.
    #[track_caller]
    fn restored(&mut self, id: &str) -> Fingerprint {
        let back = self.scratch.path().join("back");
        self.client.restore(id, &back).ok();
        let (found, bytes) = fingerprint(&back);
        self.verified_bytes += bytes;
        fs::remove_dir_all(back).expect("what was restored is removed");
        found
    }

    /// Every committed backup is listed. What else is listed was committed without anybody being told: it is whole, it is
    /// what one of the runs that were broken off had before it, and from now on it counts as the others do.
    #[track_caller]
    fn check_listing(&mut self) {
        let listed: Vec<String> =
            self.client.backups().iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
        for id in self.committed.keys() {
            assert!(listed.contains(id), "{id} was committed and is lost");
        }
        let untold: Vec<String> = listed.into_iter().filter(|id| !self.committed.contains_key(id)).collect();
        for id in untold {
            let state = self.restored(&id);
            let found = self.broken_off.iter().position(|broken_off| *broken_off == state);
            let found = found.unwrap_or_else(|| panic!("nobody asked for {id}, or one run became several backups"));
            self.broken_off.remove(found);
            self.committed.insert(id, state);
        }
    }

    fn verify_all(&mut self) {
        for (id, state) in self.committed.clone() {
            self.verify(&id, state);
        }
    }

    fn stored_blobs(&self) -> u64 {
        count(&self.client.run(["--json", "stats"]).ok().summary(), "blobs")
    }

    /// The next snapshot succeeds and stores only what had not arrived; once more stores and sends nothing at all.
    #[track_caller]
    fn check_next(&mut self) {
        let arrived = self.stored_blobs();
        let next = self.backup();
        // Not equal: what a killed client had sent may have been taken in meanwhile.
        let added = self.stored_blobs() - arrived;
        assert!(count(&next, "blobs_new") <= added, "{next} although only {added} were missing");
        let again = self.backup();
        assert_eq!((count(&again, "blobs_new"), count(&again, "bytes_uploaded")), (0, 0), "{again}");
    }

    fn index(&self) -> PathBuf {
        self.server.data().join("index")
    }
}

/// The places at which a server can die while it serves a snapshot.
fn is_serving(name: &str) -> bool {
    ["blobs.", "log.", "apply."].iter().any(|prefix| name.starts_with(prefix))
}

/// A process dies at every place there is, the first and the second time it gets there: nothing committed is lost, nothing
/// half is shown, the next snapshot succeeds.
#[test]
fn invariant_2_all_or_nothing_at_every_failpoint() {
    for name in failpoint::ALL {
        println!("{name}");
        let again = format!("{name}:2");
        match name {
            _ if name.starts_with("create.") => dies_creating(name),
            "apply.part" => dies_serving(name, true),
            _ if is_serving(name) => [name, &again].into_iter().for_each(|name| dies_serving(name, false)),
            _ if name.starts_with("rebuild.") => dies_rebuilding(name),
            _ if name.starts_with("merge.") => dies_merging(name),
            _ => dies_uploading(name),
        }
    }
}

fn dies_creating(name: &str) {
    let mut patient = Patient::new(1, PACK_OF_ONE);
    assert!(!patient.server.start_armed(name), "{name} was not reached");
    assert_aborted(&mut patient.server, name);
    patient.server.start();
    assert_eq!(patient.client.backups().len(), 0);
    patient.check_next();
    patient.verify_all();
}

fn dies_serving(name: &str, with_many_objects: bool) {
    let mut patient = Patient::with_backup(2, PACK_OF_ONE);
    if with_many_objects {
        // Targets that stand in the objects, so that one part needs several batches of the index.
        for number in 0..1500 {
            let target = format!("{number:->4000}");
            symlink(target, patient.tree.root().join(format!("long{number}"))).expect("a symlink");
        }
    }
    patient.server.stop();
    assert!(patient.server.start_armed(name), "{name} is reached too early");
    let running = patient.snapshot(None);
    assert_aborted(&mut patient.server, name);
    patient.server.start();
    let run = running.finish();
    patient.note(&run);
    patient.check_listing();
    patient.check_next();
    patient.verify_all();
}

fn dies_uploading(name: &str) {
    let mut patient = Patient::with_backup(3, 1 << 20);
    let run = patient.snapshot(Some(name)).finish();
    patient.note(&run);
    assert_eq!(run.signal, Some(SIGABRT), "{name} was not reached: {}", run.stderr);
    patient.check_listing();
    assert_eq!(patient.committed.len(), 1 + usize::from(name == "client.committed"), "{name}");
    patient.check_next();
    patient.verify_all();
}

fn dies_rebuilding(name: &str) {
    for has_index in [true, false] {
        let mut patient = Patient::with_backup(4, PACK_OF_ONE);
        patient.server.stop();
        if !has_index {
            fs::remove_dir_all(patient.index()).expect("the index is deleted");
        }
        let run = rebuilding(patient.server.data(), Some(name)).finish();
        assert_eq!(run.signal, Some(SIGABRT), "{name} was not reached: {}", run.stderr);
        if !has_index && !patient.index().exists() {
            rebuilding(patient.server.data(), None).finish().ok();
        }
        patient.server.start();
        assert!(patient.index().exists());
        for left in ["index.new", "index.old"] {
            assert!(!patient.server.data().join(left).exists(), "{name} left {left} behind for ever");
        }
        patient.check_listing();
        patient.check_next();
        patient.verify_all();
    }
}

/// A server that has nothing else to do merges the packs in its bucket, and dies over it.
fn dies_merging(name: &str) {
    const COMMITS: usize = 17;
    let mut patient = in_a_bucket(5, 0);
    patient.server.start();
    for _ in 0..COMMITS {
        patient.tree.change();
        patient.backup();
    }
    patient.server.stop();
    let config = patient.config.clone().expect("a bucket needs a config");
    let text = fs::read_to_string(&config).expect("it was written");
    write(&config, text.replace("merge_after_seconds = 0", "merge_after_seconds = 1"));
    assert!(patient.server.start_armed(name), "{name} is reached too early");
    assert_aborted(&mut patient.server, name);
    patient.server.start();
    patient.check_listing();
    patient.check_next();
    patient.verify_all();
    patient.server.stop();
    fs::remove_dir_all(patient.server.data()).expect("everything here is lost");
    rebuilding_with(patient.server.data(), Some(&config), None).finish().ok();
    patient.server.start();
    patient.check_listing();
    patient.verify_all();
}

#[track_caller]
fn assert_aborted(server: &mut Server, name: &str) {
    use std::os::unix::process::ExitStatusExt as _;
    let status = server.wait_dead();
    assert_eq!(status.signal(), Some(SIGABRT), "at {name} the server ended with {status}: {}", server.stderr());
    assert!(server.stderr().contains("is reached"), "{}", server.stderr());
}

/// Whoever adds a failpoint adds it to the list, and whoever removes one removes it there.
#[test]
fn the_list_of_failpoints_is_complete() {
    let mut found: Vec<String> = Vec::new();
    for (path, _) in
        ["src", "server/src", "client/src"].iter().flat_map(|room| support::tree::files(&root().join(room)))
    {
        let text = fs::read_to_string(&path).unwrap_or_default();
        found.extend(between(&text, "failpoint::hit(\"").map(ToOwned::to_owned));
        for place in between(&text, "failpoint::hit_in(&self.config.name, \"") {
            found.extend(["blobs", "log"].map(|leaf| format!("{leaf}.{place}")));
        }
    }
    found.sort();
    let mut listed = failpoint::ALL.to_vec();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between each `start` and the next quotation mark.
fn between<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(|rest| rest.split('"').next())
}

/// A client that dies late in its upload does not begin again: what it had sent is there, also after a crash of the server.
#[test]
fn invariant_2_all_or_nothing_and_the_next_run_uploads_only_what_had_not_arrived() {
    let whole = {
        let (server, scratch) = (Server::new(), scratch());
        make_large(scratch.path());
        count(&server.client().snapshot(scratch.path()).ok().summary(), "bytes_uploaded")
    };
    // Of 20 bundles handed over, those that were still on the way may be lost: a window's worth.
    for (name, rest_max) in [("client.sent:20", whole - (20 << 20) + WINDOW_BYTES), ("client.commit", 2 << 10)] {
        for server_dies_too in [false, true] {
            let mut patient = Patient::new(1, 4 << 20);
            patient.server.start();
            let tree = patient.scratch.path().join("large");
            make_large(&tree);
            let mut command = patient.client.snapshot_command(&tree);
            let run = Running::start({
                command.env(failpoint::VARIABLE, name);
                command
            })
            .finish();
            assert_eq!(run.signal, Some(SIGABRT), "{}", run.stderr);
            if server_dies_too {
                patient.server.kill();
                patient.server.start();
            }
            let rest = count(&patient.client.snapshot(&tree).ok().summary(), "bytes_uploaded");
            // Objects that no commit made durable are lost with the server; they are small.
            let rest_max = rest_max + if server_dies_too { 64 << 10 } else { 0 };
            assert!(
                rest <= rest_max,
                "after {name} {rest} of {whole} bytes were sent, {rest_max} at most were missing"
            );
        }
    }
}

/// What a client may have handed over that has not arrived: the connection's window.
const WINDOW_BYTES: u64 = 8 << 20;

/// 32 files of 1 MiB that don't compress: 32 bundles or more.
fn make_large(tree: &Path) {
    for number in 0..32u64 {
        write(tree.join(format!("file{number:02}")), random_bytes(1000 + number, 1 << 20));
    }
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Client,
    Server,
    Both,
    /// The server, and again while it starts.
    Start,
    /// A rebuild, with or without an index to replace.
    Rebuild {
        has_index: bool,
    },
}

/// Real processes are killed with -9 at random moments while a changing tree is backed up.
#[test]
fn invariant_2_all_or_nothing_with_kill_9_at_random_moments() {
    let seed = number_from("DATADB_KILL_SEED", 1);
    kill_at_random("one directory", Patient::new(seed, 1 << 20), 60);
}

/// The same on a mirror of two directories: whatever one side has ahead of the other, after the next start both have it.
#[test]
fn invariant_2_all_or_nothing_with_kill_9_on_a_mirror() {
    let config = r#"
        [blobs]
        type = "mirror"
        sides = [{ type = "blobsfile", path = "blobs" }, { type = "blobsfile", path = "SCRATCH/second" }]
    "#;
    let patient = Patient::on(number_from("DATADB_KILL_SEED", 1), 1 << 20, Some(config), None);
    kill_at_random("mirror", patient, 16);
}

/// The same where everything lies sealed in a bucket.
#[test]
fn invariant_2_all_or_nothing_with_kill_9_on_an_encrypted_bucket() {
    kill_at_random("encrypt(s3)", in_a_bucket(number_from("DATADB_KILL_SEED", 1), 1), 8);
}

/// One whose packs lie sealed in a bucket, where they are merged after so many quiet seconds (0: never).
fn in_a_bucket(seed: u64, merge_after_seconds: u32) -> Patient {
    let bucket = S3Server::with_bucket("backups");
    let config = format!(
        r#"
        [blobs]
        type = "encrypt"
        key_file = "SCRATCH/key"
        [blobs.inner]
        type = "s3"
        bucket = "backups"
        endpoint = "{}"
        path_style = true
        access_key_file = "SCRATCH/access"
        secret_key_file = "SCRATCH/secret"
        merge_after_seconds = {merge_after_seconds}
        "#,
        bucket.endpoint()
    );
    let patient = Patient::on(seed, 1 << 20, Some(&config), Some(bucket));
    for (name, text) in [("access", ACCESS_KEY), ("secret", SECRET_KEY)] {
        write(patient.scratch.path().join(name), text);
    }
    server_command(&["keygen".as_ref(), patient.scratch.path().join("key").as_os_str()]).ok();
    patient
}

/// So many rounds, unless `DATADB_KILL_ROUNDS` says otherwise.
fn kill_at_random(stores: &str, mut patient: Patient, rounds: u64) {
    let (rounds, seed) = (number_from("DATADB_KILL_ROUNDS", rounds), number_from("DATADB_KILL_SEED", 1));
    let mut chance = Chance::new(seed);
    patient.server.start();
    let (mut kills, mut usual) = (0u64, Duration::from_millis(200));
    let began = Instant::now();
    for round in 0..rounds {
        patient.tree.change();
        let victim = *chance.pick(&[
            Victim::Client,
            Victim::Client,
            Victim::Server,
            Victim::Server,
            Victim::Server,
            Victim::Both,
            Victim::Start,
            Victim::Rebuild { has_index: round % 2 == 0 },
        ]);
        // Somewhat longer than it usually takes, so that the moments around the end are met too.
        let delay = usual.mul_f64(chance.below(1200) as f64 / 1000.0);
        kills += round_of(&mut patient, victim, delay, &mut chance);
        patient.check_listing();
        if victim != Victim::Client {
            // What the server had not committed when it died, it never will.
            patient.broken_off.clear();
        }
        let ids: Vec<String> = patient.committed.keys().cloned().collect();
        if !ids.is_empty() {
            let id = chance.pick(&ids);
            let state = patient.committed[id];
            patient.verify(id, state);
        }
        let started = Instant::now();
        if round % 4 == 0 {
            patient.check_next();
        } else {
            patient.backup();
            usual = (usual * 3 + started.elapsed()) / 4;
        }
    }
    patient.verify_all();
    patient.server.restart();
    patient.verify_all();
    println!(
        "kill test on {stores}: seed {seed}, {rounds} rounds, {kills} kills, {} backups, {} bytes verified, {} s",
        patient.committed.len(),
        patient.verified_bytes,
        began.elapsed().as_secs()
    );
}

/// One snapshot with its victim; the server runs again when this returns. Gives the number of kills.
fn round_of(patient: &mut Patient, victim: Victim, delay: Duration, chance: &mut Chance) -> u64 {
    let mut running = patient.snapshot(None);
    thread::sleep(delay);
    let mut kills = 1;
    match victim {
        Victim::Client => running.kill(),
        Victim::Server => patient.server.kill(),
        Victim::Both => {
            running.kill();
            patient.server.kill();
            kills += 1;
        }
        Victim::Start => {
            patient.server.kill();
            patient.server.launch(None);
            thread::sleep(Duration::from_millis(chance.below(100)));
            patient.server.kill();
            kills += 1;
        }
        Victim::Rebuild { has_index } => {
            patient.server.kill();
            if !has_index {
                fs::remove_dir_all(patient.index()).expect("the index is deleted");
            }
            let mut rebuild = rebuilding_with(patient.server.data(), patient.config.as_deref(), None);
            thread::sleep(Duration::from_millis(chance.below(200)));
            rebuild.kill();
            let run = rebuild.finish();
            assert!(run.code == Some(0) || run.signal == Some(SIGKILL), "{run:?}");
            if !patient.index().exists() {
                rebuilding_with(patient.server.data(), patient.config.as_deref(), None).finish().ok();
            }
            kills += 1;
        }
    }
    if victim != Victim::Client {
        patient.server.start();
    }
    let run = running.finish();
    patient.note(&run);
    kills
}
