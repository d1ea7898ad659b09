//! A home with a configuration, a server, and schedulers that end with the test.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    place::scratch,
    processes::{Client, Run, Server, program},
};

/// How long anything may take that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A machine with a home, and a server behind a socket that keeps its name.
pub struct Scene {
    scratch: TempDir,
    pub server: Server,
}

impl Scene {
    /// With a server that runs.
    pub fn new() -> Self {
        let mut scene = Self::without_server();
        scene.server.start();
        scene
    }

    /// With a server that is not started yet.
    pub fn without_server() -> Self {
        let scratch = scratch();
        fs::create_dir_all(scratch.path().join("config/datadb")).expect("a directory");
        // The name of a socket may not be long.
        let socket = format!("unix:{}", scratch.path().join("s").display());
        let options = ["--listen", &*socket, "--http", "127.0.0.1:0"];
        let server = Server::down(&scratch.path().join("data"), &options);
        Self { scratch, server }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    /// A directory with a file to back up.
    pub fn tree(&self, name: &str) -> PathBuf {
        let tree = self.path(name);
        fs::create_dir_all(&tree).expect("a directory");
        fs::write(tree.join("file"), name).expect("written");
        tree
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("config/datadb/scheduler.toml")
    }

    /// Writes the configuration; `SCRATCH` in it is the scratch directory. It replaces the old one as an editor does.
    pub fn configure(&self, text: &str) {
        let head = format!("server = \"unix:{}\"\n", self.path("s").display());
        let text = head + &text.replace("SCRATCH", self.scratch.path().to_str().expect("UTF-8"));
        let new = self.path("config/datadb/new");
        fs::write(&new, text).expect("written");
        fs::rename(new, self.config_file()).expect("renamed");
    }

    /// A command line of the scheduler.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("datadb-scheduler"));
        command
            .args(arguments)
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        for name in
            ["DATADB_SERVER", "DATADB_TOKEN", "DATADB_TOKEN_FILE", "STATE_DIRECTORY", "NOTIFY_SOCKET", "DATADB_LOG"]
        {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command line to its end.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::from(self.command(arguments).output().expect("the scheduler starts"))
    }

    /// `status --json` of one entry.
    #[track_caller]
    pub fn status(&self, entry: &str) -> Value {
        let lines = self.run(&["status", "--json"]).json();
        lines.into_iter().find(|line| line["entry"] == entry).unwrap_or_else(|| panic!("no entry {entry}"))
    }

    /// `run --json`, when it is ready.
    #[track_caller]
    pub fn start(&self) -> Scheduler {
        let scheduler = Scheduler::start(self.command(&["run", "--json"]));
        scheduler.wait("it is ready", |lines, _| lines.iter().any(|line| line["type"] == "ready"));
        scheduler
    }

    pub fn client(&self) -> Client {
        Client::of(&format!("unix:{}", self.path("s").display()))
    }
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<Value>,
    stderr: String,
}

/// A scheduler that runs.
pub struct Scheduler {
    child: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
}

fn collect(from: impl Read + Send + 'static, to: &Arc<(Mutex<Said>, Condvar)>, take: fn(&mut Said, &str)) {
    let to = Arc::clone(to);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            take(&mut to.0.lock().expect("no reader panicked"), &line);
            to.1.notify_all();
        }
    });
}

impl Scheduler {
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the scheduler starts");
        let said = Arc::default();
        collect(child.stdout.take().expect("piped"), &said, |said, line| {
            said.lines.push(serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}")));
        });
        collect(child.stderr.take().expect("piped"), &said, |said, line| said.stderr += &format!("{line}\n"));
        Self { child, said }
    }

    /// Waits until what it said on stdout and stderr is as wished.
    #[track_caller]
    pub fn wait(&self, what: &str, is_so: impl Fn(&[Value], &str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.said.0.lock().expect("no reader panicked");
        while !is_so(&said.lines, &said.stderr) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not so; it said {:#?}\n{}", said.lines, said.stderr);
            said = self.said.1.wait_timeout(said, left).expect("no reader panicked").0;
        }
    }

    /// Waits for so many runs of an entry that ended like this; gives them all.
    #[track_caller]
    pub fn wait_runs(&self, entry: &str, outcome: &str, count: usize) -> Vec<Value> {
        let is_one = |line: &&Value| line["type"] == "run" && line["entry"] == entry && line["outcome"] == outcome;
        let what = format!("{count} runs of {entry} with {outcome}");
        self.wait(&what, |lines, _| lines.iter().filter(is_one).count() >= count);
        let said = self.said.0.lock().expect("no reader panicked");
        said.lines.iter().filter(is_one).cloned().collect()
    }

    /// Waits for a word on stderr.
    #[track_caller]
    pub fn wait_said(&self, word: &str) {
        self.wait(&format!("it says {word:?}"), |_, stderr| stderr.contains(word));
    }

    /// Runs of an entry so far.
    pub fn runs(&self, entry: &str) -> usize {
        let said = self.said.0.lock().expect("no reader panicked");
        said.lines.iter().filter(|line| line["type"] == "run" && line["entry"] == entry).count()
    }

    pub fn stderr(&self) -> String {
        self.said.0.lock().expect("no reader panicked").stderr.clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("not 0");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "{status}:\n{}", self.stderr());
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.ended();
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        wait_until("the scheduler ends", || self.child.try_wait().expect("a child can be waited for"))
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the scheduler's stderr:\n{}", self.stderr());
        }
        // One that a test did not end ends with it, and its children with it.
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::TERM);
            let _ended = self.child.wait();
        }
    }
}

/// Waits until something is there.
#[track_caller]
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a file that holds something.
#[track_caller]
pub fn wait_file(file: &Path) -> String {
    wait_until(&file.display().to_string(), || fs::read_to_string(file).ok().filter(|text| text.ends_with('\n')))
}
