//! The RESP sidecar as a process, and a client that reads what servers of Redis's protocol write, byte for byte.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{
    place::scratch,
    processes::{Run, program},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sidecar, on a free port; it ends with the test.
pub struct Sidecar {
    child: Child,
    address: SocketAddr,
}

impl Sidecar {
    /// In front of the server at this URL.
    #[track_caller]
    pub fn of(url: &str) -> Self {
        Self::with_options(url, &[])
    }

    /// With more options.
    #[track_caller]
    pub fn with_options(url: &str, options: &[&str]) -> Self {
        let mut child = Command::new(program("datadb-resp"))
            .args(["--listen", "127.0.0.1:0", "--server", url])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sidecar starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a ready line");
        let address = line.split(['/', ',']).find_map(|part| part.parse().ok());
        Self { child, address: address.unwrap_or_else(|| panic!("no address in the ready line {line:?}")) }
    }

    /// Its port.
    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Resp<TcpStream> {
        let stream = TcpStream::connect(self.address).expect("the sidecar listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Resp::new(stream)
    }

    /// `redis-cli` with these arguments.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Run {
        Run::from(
            Command::new("redis-cli").args(["-p", &self.port()]).args(arguments).output().expect("redis-cli runs"),
        )
    }

    /// The peak of its resident memory so far, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("not 0");
        kill_process(pid, Signal::TERM).expect("a child can be signalled");
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits for its end; whether it was a clean one.
    #[track_caller]
    pub fn ends_well(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "the sidecar does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// A real redis-server on a socket in a directory of its own; it ends with the test.
pub struct Redis {
    child: Child,
    scratch: TempDir,
}

impl Redis {
    /// Keeps nothing on disk.
    pub fn start() -> Self {
        let scratch = scratch();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(Self::socket_in(scratch.path())).arg("--dir").arg(scratch.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server starts");
        Self { child, scratch }
    }

    fn socket_in(dir: &Path) -> PathBuf {
        dir.join("redis.sock")
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Resp<std::os::unix::net::UnixStream> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::os::unix::net::UnixStream::connect(Self::socket_in(self.scratch.path())) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                    return Resp::new(stream);
                }
                Err(error) => assert!(Instant::now() < deadline, "redis-server does not listen: {error}"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// What a server wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrote {
    /// A line: `+OK`, `-ERR …`, `:1`, `_` and their like, with its first byte.
    Line(String),
    /// A string, with its first byte: `$`, or `=` where it is meant for people. `None` is the old nil.
    Bytes(char, Option<Vec<u8>>),
    /// Several, with their first byte: `*`, `~` or `%` (names and values one after the other).
    Many(char, Vec<Wrote>),
}

impl Wrote {
    /// The text of a string or a line without its first byte.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Line(line) => line[1..].to_owned(),
            Self::Bytes(_, Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?} is no text"),
        }
    }

    /// Parts of an array, a set or a map.
    #[track_caller]
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Many(_, parts) => parts,
            other => panic!("{other:?} has no parts"),
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Line(line) if line.starts_with('-'))
    }
}

/// A client that says exactly what it is told to.
pub struct Resp<S> {
    stream: BufReader<S>,
}

impl Resp<TcpStream> {
    /// Its own address.
    pub fn address(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().expect("it is connected")
    }
}

impl<S: Read + Write> Resp<S> {
    fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the server takes it");
    }

    /// Sends a command.
    #[track_caller]
    pub fn command<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        self.send(&encoded(words));
    }

    /// Sends a command and reads what comes back.
    #[track_caller]
    pub fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Wrote {
        self.command(words);
        self.read()
    }

    /// Sends a command whose words hold no blanks, and reads what comes back.
    #[track_caller]
    pub fn say(&mut self, line: &str) -> Wrote {
        self.ask(&line.split(' ').collect::<Vec<_>>())
    }

    /// Whether the server has closed the connection, with nothing more to say.
    #[track_caller]
    pub fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Reads what the server wrote.
    #[track_caller]
    pub fn read(&mut self) -> Wrote {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("an answer");
        let line = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no whole line: {line:?}"));
        let line = String::from_utf8_lossy(line).into_owned();
        let kind = line.chars().next().unwrap_or_else(|| panic!("an empty line"));
        let number = || line[1..].parse::<i64>().unwrap_or_else(|_| panic!("no number in {line:?}"));
        match kind {
            '$' | '=' if number() < 0 => Wrote::Bytes(kind, None),
            '$' | '=' => {
                let mut bytes = vec![0; usize::try_from(number()).expect("not negative") + 2];
                self.stream.read_exact(&mut bytes).expect("a whole string");
                assert_eq!(bytes.split_off(bytes.len() - 2), b"\r\n");
                Wrote::Bytes(kind, Some(bytes))
            }
            '*' | '~' if number() < 0 => Wrote::Bytes(kind, None),
            '*' | '~' => Wrote::Many(kind, (0..number()).map(|_| self.read()).collect()),
            '%' => Wrote::Many(kind, (0..number() * 2).map(|_| self.read()).collect()),
            '+' | '-' | ':' | '_' | '#' | ',' => Wrote::Line(line),
            other => panic!("{other:?} begins no answer: {line:?}"),
        }
    }
}

/// A command as clients write it.
pub fn encoded<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.as_ref().len()).bytes());
        out.extend(word.as_ref());
        out.extend(b"\r\n");
    }
    out
}
