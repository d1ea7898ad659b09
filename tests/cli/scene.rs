//! A server, a client on the host `box`, and a small tree with known owners and times; and output in a form that is the
//! same in every run.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use expect_test::Expect;
use regex::{Captures, Regex};
use rustix::fs::{CWD, Mode, Timespec, Timestamps, chmodat, utimensat};
use tempfile::TempDir;

use crate::support::{
    place::scratch,
    processes::{Client, Run, Server},
    tree::write,
};

/// 2014-05-11T11:01:07Z, when everything in the tree was changed last.
const CHANGED_SECONDS: i64 = 1_399_806_067;

/// Where one test plays.
pub struct Scene {
    scratch: TempDir,
    server: Option<Server>,
    client: Client,
    /// Ids and the numbers that they stand for.
    ids: RefCell<HashMap<String, usize>>,
}

impl Scene {
    /// With a server, and a tree `home` in the scratch directory.
    pub fn new() -> Self {
        let server = Server::new();
        let client = server.client();
        let scene = Self { scratch: scratch(), server: Some(server), client, ids: RefCell::default() };
        write(scene.path("home/notes.txt"), "to do: back up\n");
        write(scene.path("home/src/main.c"), "int main(void) { return 0; }\n");
        write(scene.path("home/src/main.o"), [0x7f; 2000]);
        write(scene.path("home/photos/2013/sea.jpg"), [0xd8; 70_000]);
        std::os::unix::fs::symlink("notes.txt", scene.path("home/todo")).expect("a symlink");
        scene.settle("home");
        scene
    }

    /// With nobody to talk to.
    pub fn without_server() -> Self {
        // Port 9 discards: nobody listens there.
        Self { scratch: scratch(), server: None, client: Client::of("http://127.0.0.1:9"), ids: RefCell::default() }
    }

    /// A path in the scratch directory.
    pub fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    /// The server.
    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("a scene with a server")
    }

    /// The client, for what `shows` can't say.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Gives everything below a path known modes and times.
    pub fn settle(&self, below: &str) {
        settle(&self.path(below), true);
    }

    /// Gives everything below a path a known time.
    pub fn settle_times(&self, below: &str) {
        settle(&self.path(below), false);
    }

    /// Runs the client with these words, in the scratch directory and UTC.
    pub fn run_raw(&self, words: &[&str]) -> Run {
        let mut command = self.client.command(words);
        Run::from(command.current_dir(self.scratch.path()).env("TZ", "UTC").output().expect("the client starts"))
    }

    /// Backs `home` up as of a time, and gives the id.
    #[track_caller]
    pub fn backup(&self, time: &str) -> String {
        let run = self.run_raw(&["--json", "snapshot", "--host", "box", "--time", time, "home"]).ok();
        run.summary()["id"].as_str().expect("an id").to_owned()
    }

    /// Runs a line (words parted by spaces) and compares what it shows.
    #[track_caller]
    pub fn shows(&self, line: &str, expected: Expect) {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        expected.assert_eq(&self.shown(&self.run_raw(&words)));
    }

    /// Exit code (if it is not 0), stdout and stderr, in the form that is the same in every run.
    pub fn shown(&self, run: &Run) -> String {
        let mut shown = match run.code {
            Some(0) => String::new(),
            Some(code) => format!("exit code {code}\n"),
            None => format!("signal {}\n", run.signal.unwrap_or_default()),
        };
        shown += &run.text();
        if !run.stderr.is_empty() {
            shown += &format!("stderr:\n{}", run.stderr);
        }
        self.plain(&shown)
    }

    /// Replaces what differs from run to run.
    pub fn plain(&self, text: &str) -> String {
        let scratch = self.scratch.path().canonicalize().expect("the scratch directory");
        let mut text = text.replace(scratch.to_str().expect("a path in UTF-8"), "");
        if let Some(server) = &self.server {
            text = text.replace(server.url(), "[URL]");
        }
        for (pattern, word) in [
            (r"[0-9]+\.[0-9]+ s\b", "[N] s"),
            (r#"("seconds":)[0-9.e-]+"#, "$1[N]"),
            (r#"("[ug]id":)[0-9]+"#, "$1[N]"),
            (r#"("(user|group)":)"[^"]*""#, r#"$1"[NAME]""#),
            (r"[0-9.]+ [KMGT]?i?B/s", "[N]/s"),
            // Names of owners and the nanoseconds of times have no fixed length.
            (r"\b[1-9][0-9.]* [KMGT]?i?B( would be)? uploaded", "[SIZE]$1 uploaded"),
            (r#"("bytes_uploaded":)[1-9][0-9]*"#, "$1[N]"),
            // Help has lines of nothing but spaces, which a test's text can't hold.
            (r"(?m) +$", ""),
        ] {
            text = Regex::new(pattern).expect("a pattern").replace_all(&text, word).into_owned();
        }
        let mut ids = self.ids.borrow_mut();
        let mut number = |hex: &str| {
            let next = ids.len() + 1;
            *ids.entry(hex[..12].to_owned()).or_insert(next)
        };
        let id = Regex::new(r"\b[0-9a-f]{40}\b").expect("a pattern");
        let text = id.replace_all(&text, |found: &Captures<'_>| format!("[ID{}]", number(&found[0]))).into_owned();
        // A short id stands in a table: the column keeps its width.
        let short = Regex::new(r"\b[0-9a-f]{12}\b").expect("a pattern");
        short.replace_all(&text, |found: &Captures<'_>| format!("[ID{:<8}]", number(&found[0]))).into_owned()
    }

    /// Text in which everything that differs between two runs is the same.
    pub fn alike(&self, text: &str) -> String {
        let text = self.plain(text);
        // Ids count by their being ids alone, times by being there.
        let (id, time) = (r"\[ID[0-9]+ *\]", r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\+[0-9:]{5}|Z)");
        let id = Regex::new(id).expect("a pattern").replace_all(&text, "[ID]").into_owned();
        Regex::new(time).expect("a pattern").replace_all(&id, "[TIME]").into_owned()
    }
}

fn settle(path: &Path, with_modes: bool) {
    let meta = path.symlink_metadata().expect("an entry of the tree");
    if meta.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            settle(&entry.expect("an entry").path(), with_modes);
        }
    }
    if with_modes && !meta.is_symlink() {
        let mode = if meta.is_dir() { 0o755 } else { 0o644 };
        chmodat(CWD, path, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty()).expect("a mode");
    }
    let time = Timespec { tv_sec: CHANGED_SECONDS, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("a time");
}
