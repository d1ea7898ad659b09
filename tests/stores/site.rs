//! A server with a config, a tree that changes, and all backups that were made of it.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    compare::assert_same,
    http::page,
    place::scratch,
    processes::{Client, Run, Server, rebuilding_with, server_command},
    s3::{ACCESS_KEY, S3Server, SECRET_KEY},
    tree::{random_bytes, write},
};

/// How long a side may take until it is as it should be.
const PATIENCE: Duration = Duration::from_secs(40);

/// Two directories; the second is outside of the data directory.
pub const TWO: &str = r#"
[blobs]
type = "mirror"
ACK
[[blobs.sides]]
type = "blobsfile"
path = "blobs"
[[blobs.sides]]
type = "blobsfile"
path = "SCRATCH/second"
"#;

/// A repository whose stores a config names.
pub struct Site {
    pub scratch: TempDir,
    pub server: Server,
    pub client: Client,
    /// Each backup's id, and a copy of the tree as it was.
    pub backups: Vec<(String, PathBuf)>,
    pub bucket: Option<S3Server>,
}

/// A config with what is written in capitals filled in.
fn filled_in(text: &str, scratch: &Path, bucket: Option<&S3Server>) -> String {
    let endpoint = bucket.map_or("", S3Server::endpoint);
    text.replace("SCRATCH", &scratch.display().to_string()).replace("ENDPOINT", endpoint)
}

impl Site {
    /// A running server with these stores. In the config `SCRATCH` and `ENDPOINT` are filled in, `ACK` is left out.
    pub fn new(config: &str) -> Self {
        Self::in_scratch(scratch(), config)
    }

    /// The same in a directory where something is already.
    pub fn in_scratch(scratch: TempDir, config: &str) -> Self {
        let bucket = config.contains("ENDPOINT").then(|| S3Server::with_bucket("backups"));
        for (name, text) in [("access", ACCESS_KEY), ("secret", SECRET_KEY)] {
            write(scratch.path().join(name), text);
        }
        if config.contains("key_file") {
            server_command(&["keygen".as_ref(), scratch.path().join("key").as_os_str()]).ok();
        }
        let path = scratch.path().join("stores.toml");
        write(&path, filled_in(&config.replace("ACK\n", ""), scratch.path(), bucket.as_ref()));
        let (data, socket) = (scratch.path().join("data"), format!("unix:{}", scratch.path().join("s").display()));
        let config = path.to_str().expect("UTF-8");
        let options = ["--config", config, "--listen", &socket, "--http", "127.0.0.1:0", "--pack-bytes", "300000"];
        let server = Server::with_options(&data, &options);
        let client = Client::of(&socket);
        Self { scratch, server, client, backups: Vec::new(), bucket }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("stores.toml")
    }

    /// Another config for the next start, or for a command.
    pub fn write_config(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        write(&path, filled_in(text, self.scratch.path(), self.bucket.as_ref()));
        path
    }

    pub fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    /// Some new files, one that changes, and one that goes.
    pub fn change(&self, round: u64) {
        for file in 0..12u64 {
            let bytes = random_bytes(round * 100 + file, 3000 + (file * 4000) as usize);
            write(self.tree().join(format!("dir{}/file{round}-{file}", file % 3)), bytes);
        }
        write(self.tree().join("changing"), format!("round {round}"));
        if let Some(gone) = round.checked_sub(2) {
            fs::remove_file(self.tree().join(format!("dir0/file{gone}-0"))).expect("a file of two rounds ago");
        }
    }

    /// A backup that must succeed.
    #[track_caller]
    pub fn back_up(&mut self) {
        self.change(self.backups.len() as u64);
        self.back_up_as_it_is();
    }

    #[track_caller]
    pub fn back_up_as_it_is(&mut self) {
        let id = self.client.backup(&self.tree());
        let kept = self.path(&format!("kept-{}", self.backups.len()));
        copy(&self.tree(), &kept);
        self.backups.push((id, kept));
    }

    /// Every backup comes back as the tree was.
    #[track_caller]
    pub fn check_all(&self) {
        self.check_all_of(&self.client);
    }

    #[track_caller]
    pub fn check_all_of(&self, client: &Client) {
        for (id, kept) in &self.backups {
            let back = self.path("back");
            client.restore(id, &back).ok();
            assert_same_bytes(kept, &back);
            fs::remove_dir_all(back).expect("what was restored is removed");
        }
    }

    /// From these stores alone a new data directory gives every backup.
    #[track_caller]
    pub fn check_alone(&self, name: &str, config: &str) {
        let (config, data) = (self.write_config(&format!("{name}.toml"), config), self.path(name));
        rebuilding_with(&data, Some(&config), None).finish().ok();
        let mut server = Server::with_options(&data, &["--config", config.to_str().expect("UTF-8")]);
        self.check_all_of(&server.client());
        server.stop();
    }

    /// `heal` or `check-config` of this site.
    pub fn command(&self, name: &str, more: &[&str]) -> Run {
        let (data, config) = (self.server.data().to_owned(), self.config());
        let mut words =
            vec![name.as_ref(), "--data-dir".as_ref(), data.as_os_str(), "--config".as_ref(), config.as_os_str()];
        words.extend(more.iter().map(std::ffi::OsStr::new));
        server_command(&words)
    }

    /// The sides of the mirror of the blobs.
    pub fn sides(&self) -> Vec<Value> {
        let vars: Value = serde_json::from_str(&page(self.server.http(), "/debug/vars")).expect("JSON");
        let mirrors = vars["mirror"].as_object().expect("mirrors");
        let blobs = mirrors.iter().find(|(name, _)| !name.contains("meta")).expect("the mirror of the blobs").1;
        blobs.as_array().expect("sides").clone()
    }

    /// Waits until a side stands like this.
    #[track_caller]
    pub fn wait_for(&self, side: usize, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.sides()[side]["state"] != state {
            assert!(Instant::now() < deadline, "{:?}\n{}", self.sides(), self.server.stderr());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A copy of the bytes; nothing else of the files matters here.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// The same files with the same bytes. Times differ: copies were made.
#[track_caller]
fn assert_same_bytes(kept: &Path, back: &Path) {
    let (kept_files, back_files) = (crate::support::tree::paths(kept), crate::support::tree::paths(back));
    assert_eq!(kept_files, back_files);
    for (path, _) in crate::support::tree::files(kept) {
        let below = path.strip_prefix(kept).expect("it lies below");
        assert!(fs::read(&path).expect("a file") == fs::read(back.join(below)).expect("a file"), "{}", below.display());
    }
}

/// The tree as it is now, with all that belongs to files.
#[track_caller]
pub fn assert_latest_is_the_tree(site: &Site) {
    let back = site.path("latest");
    site.client.restore("latest", &back).ok();
    assert_same(&site.tree(), &back);
}
