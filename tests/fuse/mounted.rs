//! A mount that ends with its test.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    place::is_root,
    processes::{Server, program},
};

/// How long a mount may take to be there, or to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often one looks.
const POLL: Duration = Duration::from_millis(5);

/// Two hours east of Greenwich in summer, one in winter.
pub const ZONE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// A running mount.
pub struct Mounted {
    child: Option<Child>,
    dir: PathBuf,
    stderr: Arc<Mutex<String>>,
}

/// Whether file systems of programs can be mounted here; says so if not.
pub fn is_possible() -> bool {
    match fs::File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => true,
        Err(error) => {
            println!("skipped: /dev/fuse: {error}");
            false
        }
    }
}

/// What unmounts; who is not root has a program for that.
pub fn unmount(dir: &Path) -> Command {
    let words = if is_root() { &["umount"][..] } else { &["fusermount3", "-u"] };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(dir);
    command
}

/// The command line of a mount that is not started yet.
pub fn command(url: &str, dir: &Path, options: &[&str]) -> Command {
    fs::create_dir_all(dir).expect("a mount point");
    let mut command = Command::new(program("datadb-fuse"));
    command
        .arg("mount")
        .arg(dir)
        .args(options)
        .env("DATADB_SERVER", url)
        .env("TZ", ZONE)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("DATADB_TOKEN")
        .env_remove("DATADB_TOKEN_FILE")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Mounted {
    /// Mounts what a server has on a directory, which is made; returns when it is there.
    #[track_caller]
    pub fn new(server: &Server, dir: &Path, options: &[&str]) -> Self {
        Self::at(server.url(), dir, options)
    }

    /// The same, by the server's address.
    #[track_caller]
    pub fn at(url: &str, dir: &Path, options: &[&str]) -> Self {
        let mut child = command(url, dir, options).spawn().expect("datadb-fuse starts");
        let stderr = Arc::<Mutex<String>>::default();
        let (mut said, kept) = (child.stderr.take().expect("piped"), stderr.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = said.read(&mut buffer) {
                kept.lock().expect("no reader panicked").push_str(&String::from_utf8_lossy(&buffer[..len]));
            }
        });
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let mounted = Self { child: Some(child), dir: dir.to_owned(), stderr };
        let expected = [format!("Mounting read-only filesystem on {}", dir.display()), "Ctrl+C to unmount.".to_owned()];
        for expected in expected {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => assert_eq!(line, expected),
                Err(error) => panic!("no {expected:?} ({error}); stderr says:\n{}", mounted.stderr()),
            }
        }
        mounted
    }

    /// A path below the mount.
    pub fn path(&self, below: &str) -> PathBuf {
        if below.is_empty() { self.dir.clone() } else { self.dir.join(below) }
    }

    /// What it wrote to stderr.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("no reader panicked").clone()
    }

    /// The peak of its resident memory so far, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let pid = self.child.as_ref().expect("it runs").id();
        let status = text(Path::new(&format!("/proc/{pid}/status")));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("a child can be signalled");
    }

    /// Waits for words on stderr.
    #[track_caller]
    pub fn wait_said(&self, words: &str) {
        wait_until(&format!("{words:?} on stderr"), || self.stderr().contains(words));
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the end of the mount", || {
            status = self.child.as_mut().expect("it runs").try_wait().expect("a child can be waited for");
            status.is_some()
        });
        self.child = None;
        status.expect("waited for")
    }

    /// Ends it, and sees to it that nothing is left. A process that another test is just starting may hold a copy of an
    /// open file for a moment.
    #[track_caller]
    pub fn end(mut self) {
        let unmounted = || unmount(&self.dir).output().expect("it runs").status.success();
        wait_until("an unmount", unmounted);
        let status = self.wait();
        assert!(status.success(), "{status}; stderr says:\n{}", self.stderr());
        assert!(!is_mounted(&self.dir));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = Command::new("umount").arg("-l").arg(&self.dir).output();
            let _ended = child.kill().and_then(|()| child.wait());
            if thread::panicking() {
                eprintln!("the mount's stderr:\n{}", self.stderr());
            }
        }
    }
}

/// Whether something is mounted on a directory.
pub fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the table of mounts");
    mounts.lines().any(|line| line.split(' ').nth(1) == dir.to_str())
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        thread::sleep(POLL);
    }
}

/// The names in a directory, in order.
#[track_caller]
pub fn names(dir: &Path) -> Vec<String> {
    let listed = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = listed.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What a file says.
#[track_caller]
pub fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a program prints, which must end well and complain of nothing.
#[track_caller]
pub fn printed(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let done = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.is_empty(), "{program} ended with {}: {said}", done.status);
    String::from_utf8_lossy(&done.stdout).into_owned()
}
