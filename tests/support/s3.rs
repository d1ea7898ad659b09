//! A real S3 server for tests: `s3s-fs` on a free port, its buckets in a directory of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it lets in.
pub const ACCESS_KEY: &str = "DATADBTESTACCESSKEY0";
/// And this belongs to it.
pub const SECRET_KEY: &str = "a secret that must not be printed anywhere";

/// Says on stdout where it listens, after this.
const READY: &str = "server is running at http://";

/// A running server, which ends with the test.
pub struct S3Server {
    child: Child,
    endpoint: String,
    dir: TempDir,
}

/// The program, which `make test` builds once; `DATADB_S3` names it.
fn program() -> PathBuf {
    let named = std::env::var_os("DATADB_S3").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let built = || cache.map(|cache| cache.join("datadb/s3/bin/s3s-fs"));
    let path = named.or_else(built).filter(|path| path.exists());
    path.expect("s3s-fs is missing: run `make deps-test`, or name it with DATADB_S3")
}

impl S3Server {
    /// Starts one with an empty bucket of this name.
    pub fn with_bucket(bucket: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join(bucket)).expect("a bucket is a directory");
        let mut child = Command::new(program())
            .args(["--host", "127.0.0.1", "--port", "0", "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .arg(dir.path())
            .env("RUST_LOG", "s3s_fs=info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3s-fs starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (send, ready) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once(READY) {
                    let address: String =
                        address.chars().take_while(|c| c.is_ascii_digit() || [':', '.'].contains(c)).collect();
                    // Whoever waited may be gone; the rest is read all the same, or the server would stop.
                    drop(send.send(address));
                }
            }
        });
        let address = ready.recv_timeout(PATIENCE).expect("s3s-fs says where it listens");
        Self { child, endpoint: format!("http://{address}"), dir }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The files that are a bucket's objects, by key.
    pub fn bucket(&self, bucket: &str) -> PathBuf {
        self.dir.path().join(bucket)
    }

    /// Names of all objects of a bucket, in order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let root = self.bucket(bucket);
        let mut keys = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
                if entry.is_dir() {
                    open.push(entry);
                } else {
                    keys.push(key(&root, &entry));
                }
            }
        }
        keys.sort();
        keys
    }
}

fn key(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).expect("it lies in the bucket").to_string_lossy().into_owned()
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("s3s-fs ends");
    }
}
