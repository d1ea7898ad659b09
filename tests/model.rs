//! The whole system against a plain model: random operations, and after each of them what must be there is there.
//!
//! `DATADB_MODEL_STEPS` says how many (25), `DATADB_MODEL_SEED` what chance decides.

mod support;

use std::{collections::BTreeMap, fs};

use support::{
    chance::{Chance, number_from},
    changing::{Changing, Fingerprint, fingerprint},
    place::scratch,
    processes::{Client, Server, count, rebuilding, refused_server},
};
use tempfile::TempDir;

/// What must be there: by host and path, each backup in the order of time with the tree that it gives back.
type Model = BTreeMap<(String, String), Vec<(String, Fingerprint)>>;

struct Real {
    scratch: TempDir,
    server: Server,
    clients: Vec<(String, Client)>,
    trees: Vec<Changing>,
}

/// What may be done.
#[derive(Clone, Copy, Debug)]
enum Step {
    Change,
    Snapshot,
    SnapshotAgain,
    ForgetCache,
    Kill,
    Restart,
    Rebuild,
    RebuildInPlace,
    Restore,
}

const STEPS: [Step; 14] = [
    Step::Change,
    Step::Change,
    Step::Snapshot,
    Step::Snapshot,
    Step::Snapshot,
    Step::Snapshot,
    Step::SnapshotAgain,
    Step::ForgetCache,
    Step::Kill,
    Step::Restart,
    Step::Rebuild,
    Step::RebuildInPlace,
    Step::Restore,
    Step::Restore,
];

#[test]
fn random_operations_agree_with_the_model() {
    let (steps, seed) = (number_from("DATADB_MODEL_STEPS", 25), number_from("DATADB_MODEL_SEED", 7));
    let mut chance = Chance::new(seed);
    let scratch = scratch();
    let server = Server::with_options(&scratch.path().join("data"), &["--pack-bytes", "1000000"]);
    let hosts = ["alpha", "beta"].map(|host| (host.to_owned(), Client::of(server.url()).on_host(host)));
    let trees = ["one", "two"].map(|name| Changing::new(&scratch.path().join(name), chance.number()));
    let mut real = Real { scratch, server, clients: hosts.into(), trees: trees.into() };
    let mut model = Model::new();
    for number in 0..steps {
        let step = *chance.pick(&STEPS);
        println!("step {number} of seed {seed}: {step:?}");
        real.step(step, &mut chance, &mut model);
        real.assert_listing(&model);
    }
    for (id, state) in model.values().flatten() {
        real.assert_restores(id, *state);
    }
    println!("model test: seed {seed}, {steps} steps, {} backups", model.values().flatten().count());
}

impl Real {
    fn step(&mut self, step: Step, chance: &mut Chance, model: &mut Model) {
        match step {
            Step::Change => chance_of(&mut self.trees, chance).change(),
            Step::Snapshot => drop(self.snapshot(chance, model)),
            Step::SnapshotAgain => {
                let (host, tree, _) = self.snapshot(chance, model);
                let again = self.snapshot_of(host, tree, model);
                assert_eq!((count(&again, "blobs_new"), count(&again, "bytes_uploaded")), (0, 0), "{again}");
            }
            Step::ForgetCache => {
                let (_, client) = chance.pick(&self.clients);
                let cache = client.home().join("cache");
                if cache.exists() {
                    fs::remove_dir_all(cache).expect("the cache is removed");
                }
            }
            Step::Kill => {
                self.server.kill();
                self.server.start();
            }
            Step::Restart => self.server.restart(),
            Step::Rebuild => {
                if chance.one_in(2) {
                    self.server.kill();
                } else {
                    self.server.stop();
                }
                fs::remove_dir_all(self.server.data().join("index")).expect("the index is deleted");
                refused_server(self.server.data(), &[]).code(1).one_line_with(&["datadb-server rebuild"]);
                rebuilding(self.server.data(), None).finish().ok();
                self.server.start();
            }
            Step::RebuildInPlace => {
                self.server.stop();
                rebuilding(self.server.data(), None).finish().ok();
                self.server.start();
            }
            Step::Restore => {
                let all: Vec<&(String, Fingerprint)> = model.values().flatten().collect();
                if !all.is_empty() {
                    let (id, state) = chance.pick(&all);
                    self.assert_restores(id, *state);
                }
            }
        }
        let url = self.server.url().to_owned();
        for (_, client) in &mut self.clients {
            *client = client.at(&url);
        }
    }

    fn snapshot(&self, chance: &mut Chance, model: &mut Model) -> (usize, usize, serde_json::Value) {
        let (host, tree) = (chance.below(2) as usize, chance.below(2) as usize);
        (host, tree, self.snapshot_of(host, tree, model))
    }

    fn snapshot_of(&self, host: usize, tree: usize, model: &mut Model) -> serde_json::Value {
        let ((host, client), root) = (&self.clients[host], self.trees[tree].root());
        let summary = client.snapshot(root).ok().summary();
        let id = summary["id"].as_str().expect("an id").to_owned();
        model.entry((host.clone(), root.display().to_string())).or_default().push((id, fingerprint(root).0));
        summary
    }

    /// The listing has the model's backups, in its order, and no others; `latest` of each snapshot is its last.
    #[track_caller]
    fn assert_listing(&self, model: &Model) {
        let (_, client) = &self.clients[0];
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let mut listed: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for one in client.backups() {
            listed.entry((text(&one["host"]), text(&one["path"]))).or_default().push(text(&one["id"]));
        }
        let ids = |backups: &Vec<(String, Fingerprint)>| backups.iter().map(|(id, _)| id.clone()).collect();
        let expected: BTreeMap<(String, String), Vec<String>> =
            model.iter().map(|(key, backups)| (key.clone(), ids(backups))).collect();
        assert_eq!(listed, expected);
    }

    #[track_caller]
    fn assert_restores(&self, id: &str, state: Fingerprint) {
        let back = self.scratch.path().join("back");
        self.clients[0].1.restore(id, &back).ok();
        assert_eq!(fingerprint(&back).0, state, "{id} does not come back as it was");
        fs::remove_dir_all(back).expect("what was restored is removed");
    }
}

fn chance_of<'a, T>(among: &'a mut [T], chance: &mut Chance) -> &'a mut T {
    let at = chance.below(among.len() as u64) as usize;
    &mut among[at]
}
