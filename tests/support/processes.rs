//! The real programs: a server on a free port with a data directory of its own, and a client with a cache of its own.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::place::scratch;

/// How long a server may take until it is ready, or until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often one looks whether a process has ended.
const POLL: Duration = Duration::from_millis(5);

/// A program of this workspace, which lies beside the tests in the target directory.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.ancestors().nth(2).expect("deps lies in the profile's directory").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --release --workspace` (or `make test`)", path.display());
    path
}

/// A running server, which ends with the test.
pub struct Server {
    child: Option<Child>,
    data: PathBuf,
    options: Vec<String>,
    /// Soft and hard limit of open files.
    files: Option<(u32, u32)>,
    url: String,
    http: Option<String>,
    /// Shared by threads, as the rest is.
    ready: Mutex<Option<mpsc::Receiver<String>>>,
    stderr: Arc<Mutex<String>>,
    /// Who reads it, to its end.
    reader: Option<thread::JoinHandle<()>>,
    _scratch: Option<TempDir>,
}

impl Server {
    /// Starts one on a new data directory.
    pub fn new() -> Self {
        let scratch = scratch();
        let mut server = Self::on(&scratch.path().join("data"));
        server._scratch = Some(scratch);
        server
    }

    /// Starts one on this data directory.
    pub fn on(data: &Path) -> Self {
        Self::with_options(data, &[])
    }

    /// Starts one with more options.
    pub fn with_options(data: &Path, options: &[&str]) -> Self {
        let mut server = Self::down(data, options);
        server.start();
        server
    }

    /// One that is not started yet.
    pub fn down(data: &Path, options: &[&str]) -> Self {
        Self {
            child: None,
            data: data.to_owned(),
            options: options.iter().map(ToString::to_string).collect(),
            files: None,
            url: String::new(),
            http: None,
            ready: Mutex::default(),
            stderr: Arc::default(),
            reader: None,
            _scratch: None,
        }
    }

    /// From its next start on it may have so many files open: soft and hard limit.
    pub fn limit_files(&mut self, soft: u32, hard: u32) {
        self.files = Some((soft, hard));
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Starts it again, on another port.
    #[track_caller]
    pub fn start(&mut self) {
        self.launch(None);
        assert!(self.wait_ready(), "no ready line on stdout; stderr says:\n{}", self.stderr());
    }

    /// Starts it with a failpoint (`NAME` or `NAME:N`) at which it dies; tells whether it became ready before that.
    #[track_caller]
    pub fn start_armed(&mut self, failpoint: &str) -> bool {
        self.launch(Some(failpoint));
        self.wait_ready()
    }

    /// Starts it, and does not wait until it is ready.
    #[track_caller]
    pub fn launch(&mut self, failpoint: Option<&str>) {
        assert!(self.child.is_none(), "the server runs already");
        let command = serve(&self.data, &self.options);
        let mut command = match self.files {
            Some((soft, hard)) => with_open_files(&command, soft, hard),
            None => command,
        };
        let mut child = command
            .envs(failpoint.map(|name| (datadb::failpoint::VARIABLE, name)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        self.reader = Some(collect(child.stderr.take().expect("stderr is piped"), &self.stderr));
        let stdout = child.stdout.take().expect("stdout is piped");
        let (send, ready) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        self.child = Some(child);
        self.ready = Mutex::new(Some(ready));
    }

    /// Waits for the ready line of a launched server; false if it ended without one.
    #[track_caller]
    pub fn wait_ready(&mut self) -> bool {
        let ready = std::mem::take(&mut self.ready).into_inner().expect("no panic").expect("the server was launched");
        let line = match ready.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("neither ready nor ended; stderr says:\n{}", self.stderr()),
        };
        let url = line.split([' ', ',']).find(|word| word.starts_with("http://") || word.starts_with("unix:"));
        self.url = url.unwrap_or_else(|| panic!("no URL in the ready line {line:?}")).to_owned();
        let http = line.split_once(", http http://").and_then(|(_, rest)| rest.split(',').next());
        self.http = http.map(ToOwned::to_owned);
        true
    }

    /// Its address, for clients.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port of its pages over HTTP.
    #[track_caller]
    pub fn http(&self) -> &str {
        self.http.as_deref().expect("started with --http")
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it wrote to stderr since it was first started.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("no reader panicked").clone()
    }

    /// kill -9, in the middle of whatever it does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }

    /// Waits until it has ended by itself, and all that it wrote has been read.
    #[track_caller]
    pub fn wait_dead(&mut self) -> ExitStatus {
        let status = wait(self.child.take().expect("the server was started"));
        self.reader.take().expect("it was launched").join().expect("no reader panicked");
        status
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub fn stop(&mut self) {
        let child = self.child.take().expect("the server runs");
        let status = end(child, Signal::TERM);
        assert!(status.success(), "after SIGTERM the server ended with {status}; stderr says:\n{}", self.stderr());
    }

    /// `stop` and `start`.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// A client of it with a cache of its own.
    pub fn client(&self) -> Client {
        Client::of(self.url())
    }

    /// The peak of its resident memory so far, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended = child.kill().and_then(|()| child.wait());
            if thread::panicking() {
                eprintln!("the server's stderr:\n{}", self.stderr());
            }
        }
    }
}

/// On a free port and without HTTP, unless the options say otherwise.
fn serve(data: &Path, options: &[String]) -> Command {
    let mut command = Command::new(program("datadb-server"));
    command.arg("--data-dir").arg(data).args(options);
    if !options.iter().any(|option| option == "--http") {
        command.args(["--http", "off"]);
    }
    if !options.iter().any(|option| option == "--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

/// Runs a server that is expected not to start; it is stopped if it does.
#[track_caller]
pub fn refused_server(data: &Path, options: &[&str]) -> Run {
    let options: Vec<String> = options.iter().map(ToString::to_string).collect();
    Running::start(serve(data, &options)).finish()
}

/// Runs another command of the server's program, such as `rebuild`.
#[track_caller]
pub fn server_command(arguments: &[&OsStr]) -> Run {
    let mut command = Command::new(program("datadb-server"));
    command.args(arguments);
    Running::start(command).finish()
}

/// A rebuild of this data directory, on its way.
pub fn rebuilding(data: &Path, failpoint: Option<&str>) -> Running {
    rebuilding_with(data, None, failpoint)
}

/// The same with the stores of a config.
pub fn rebuilding_with(data: &Path, config: Option<&Path>, failpoint: Option<&str>) -> Running {
    let mut command = Command::new(program("datadb-server"));
    command.arg("rebuild").arg("--data-dir").arg(data);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.envs(failpoint.map(|name| (datadb::failpoint::VARIABLE, name)));
    Running::start(command)
}

/// A program that runs while the test goes on. It says little, so that its pipes hold it.
pub struct Running(Child);

impl Running {
    /// Starts a command line.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the program starts"))
    }

    /// kill -9, unless it has ended already.
    pub fn kill(&mut self) {
        self.0.kill().expect("a child can be killed");
    }

    /// SIGINT, as Ctrl+C sends it.
    pub fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a pid")).expect("not 0");
        kill_process(pid, Signal::INT).expect("a child can be signalled");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(self) -> Run {
        let Self(mut child) = self;
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("a child can be waited for").is_none() {
            if Instant::now() > deadline {
                child.kill().expect("a child can be killed");
                panic!("it should have ended: {:?}", child.wait_with_output());
            }
            thread::sleep(POLL);
        }
        Run::from(child.wait_with_output().expect("a child can be waited for"))
    }
}

fn collect(mut from: impl Read + Send + 'static, to: &Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    let to = Arc::clone(to);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            to.lock().expect("no reader panicked").push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
    })
}

#[track_caller]
fn end(child: Child, signal: Signal) -> ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0");
    kill_process(pid, signal).expect("a child can be signalled");
    wait(child)
}

#[track_caller]
fn wait(mut child: Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().expect("a child can be killed");
            panic!("it does not end within {} s", PATIENCE.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// Someone who uses `datadb-client`: a server's address, a host name, a home with a cache.
pub struct Client {
    url: String,
    host: Option<String>,
    home: Arc<TempDir>,
}

impl Client {
    /// One with a new home.
    pub fn of(url: &str) -> Self {
        Self { url: url.to_owned(), host: None, home: Arc::new(scratch()) }
    }

    /// The same client on a host of this name.
    pub fn on_host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// The same home, speaking to another address (a restarted server's).
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), host: self.host.clone(), home: Arc::clone(&self.home) }
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory that holds its cache.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command line that is not started yet.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(program("datadb-client"));
        command
            .args(arguments)
            .env("DATADB_SERVER", &self.url)
            .env("HOME", self.home.path())
            .env("XDG_CACHE_HOME", self.home.path().join("cache"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DATADB_TOKEN")
            .env_remove("DATADB_TOKEN_FILE")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line to its end.
    pub fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Run {
        Run::from(self.command(arguments).output().expect("the client starts"))
    }

    /// `--json snapshot PATH` as this host.
    pub fn snapshot(&self, path: &Path) -> Run {
        Run::from(self.snapshot_command(path).output().expect("the client starts"))
    }

    /// The same, not started yet.
    pub fn snapshot_command(&self, path: &Path) -> Command {
        let host = self.host.iter().flat_map(|host| ["--host", host]).map(OsStr::new);
        self.command([OsStr::new("--json"), OsStr::new("snapshot")].into_iter().chain(host).chain([path.as_os_str()]))
    }

    /// A backup that must succeed; gives its id.
    #[track_caller]
    pub fn backup(&self, path: &Path) -> String {
        self.snapshot(path).ok().summary()["id"].as_str().expect("an id").to_owned()
    }

    /// `--json restore BACKUP[:PATH] --target DIR`.
    pub fn restore(&self, backup: &str, target: &Path) -> Run {
        let words = ["--json", "restore", backup, "--target"].map(OsStr::new);
        self.run(words.into_iter().chain([target.as_os_str()]))
    }

    /// The backups that `--json snapshots` lists.
    #[track_caller]
    pub fn backups(&self) -> Vec<Value> {
        let lines = self.run(["--json", "snapshots"]).ok().json();
        lines.into_iter().filter(|line| line["type"] == "backup").collect()
    }
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Run {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), signal: output.status.signal(), stdout: output.stdout, stderr }
    }
}

impl Run {
    /// Ends the test unless it ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.text(), self.stderr);
        self
    }

    /// Ends the test unless it was done without trouble.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The objects of `--json`, one a line.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let lines = self.text();
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        lines.lines().map(parse).collect()
    }

    /// The last object, which sums up.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.json().pop().unwrap_or_else(|| panic!("no summary; stderr:\n{}", self.stderr));
        assert_eq!(last["type"], "summary", "{last}");
        last
    }

    /// Ends the test unless stderr is one line that holds all of these words; gives the line.
    #[track_caller]
    pub fn one_line_with(&self, words: &[&str]) -> &str {
        let line = self.stderr.trim_end();
        assert!(!line.is_empty() && !line.contains('\n'), "not one line on stderr:\n{line}");
        let lower = line.to_lowercase();
        for word in words {
            assert!(lower.contains(&word.to_lowercase()), "{word:?} is not in {line:?}");
        }
        assert!(!lower.contains("panicked"), "{line}");
        line
    }
}

/// A number of a summary.
#[track_caller]
pub fn count(summary: &Value, field: &str) -> u64 {
    summary[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {summary}"))
}

/// The same command for a process that may have so many files open: soft and hard limit.
pub fn with_open_files(inner: &Command, soft: u32, hard: u32) -> Command {
    let mut outer = Command::new("sh");
    outer.args(["-c", &format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"")]);
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// The same command for a process that permissions count for: root keeps its user id and loses the capabilities that let it
/// read everything (by `setpriv`, which `make test` installs); for everybody else it is the same.
pub fn heeding_permissions(inner: Command) -> Command {
    if !super::place::is_root() {
        return inner;
    }
    let drop = "-dac_override,-dac_read_search";
    let mut outer = Command::new("setpriv");
    outer.args(["--bounding-set", drop, "--inh-caps", drop, "--"]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer.stdin(Stdio::null());
    outer
}
