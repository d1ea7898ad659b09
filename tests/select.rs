//! What `snapshot` leaves out, against a plain model that shares no code with it: random trees, random options.
//!
//! `DATADB_SELECT_CASES` says how many trees (12), `DATADB_SELECT_SEED` what chance decides.

mod support;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs,
    io::Write as _,
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use support::{
    chance::{Chance, number_from},
    place::{SmallDisk, scratch},
    processes::{Client, Run, Server, count},
    tree::{let_settle, paths, write},
};

const SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55";
const NAMES: [&str; 14] =
    ["a", "b", "c", "ab", "abc", "a.o", "b.O", ".nobackup", "CACHEDIR.TAG", "tmp", "Tmp", "é", "x y", "#h"];
const PATTERNS: [&str; 24] = [
    "a",
    "*.o",
    "*.O",
    "a*",
    "?",
    "??",
    "tmp/",
    "a/b",
    "a/*",
    "**/b/c",
    "a/**/c",
    "b/**",
    "/**/ab",
    "tree/a",
    "/a",
    "*",
    "tree/*/a*",
    "tmp",
    "é",
    "x y",
    "a/",
    "ab/**/",
    "*b*",
    "c",
];

/// What is asked for.
#[derive(Clone, Debug, Default)]
struct Asked {
    /// With whether large and small letters are alike.
    patterns: Vec<(String, bool)>,
    if_present: bool,
    caches: bool,
    larger_than: Option<u64>,
    listed: Option<Vec<String>>,
}

impl Asked {
    fn random(chance: &mut Chance, tree: &Path) -> Self {
        let mut asked = Self::default();
        for _ in 0..chance.below(5) {
            let mut pattern = if chance.one_in(6) {
                let all: Vec<Vec<u8>> = paths(tree).into_iter().collect();
                let path = if all.is_empty() { b"a".to_vec() } else { chance.pick(&all).clone() };
                tree.join(OsStr::from_bytes(&path)).to_str().expect("UTF-8").to_owned()
            } else {
                (*chance.pick(&PATTERNS)).to_owned()
            };
            if chance.one_in(4) {
                pattern.insert(0, '!');
            }
            asked.patterns.push((pattern, chance.one_in(4)));
        }
        asked.if_present = chance.one_in(3);
        asked.caches = chance.one_in(3);
        asked.larger_than = chance.one_in(3).then(|| chance.below(3) * 500);
        if chance.one_in(4) {
            let all: Vec<Vec<u8>> = paths(tree).into_iter().collect();
            let listed = (0..1 + chance.below(6)).map(|_| String::from_utf8(chance.pick(&all).clone()).expect("UTF-8"));
            asked.listed = (!all.is_empty()).then(|| listed.collect());
        }
        asked
    }

    /// Backs the tree up so.
    fn snapshot(&self, client: &Client, tree: &Path, scratch: &Path) -> serde_json::Value {
        let mut words: Vec<OsString> = ["--json", "snapshot"].map(OsString::from).to_vec();
        for (number, (pattern, any_case)) in self.patterns.iter().enumerate() {
            match (any_case, number % 2) {
                (true, _) => words.push(format!("--iexclude={pattern}").into()),
                (false, 0) => words.push(format!("--exclude={pattern}").into()),
                (false, _) => {
                    let file = scratch.join(format!("patterns {number}"));
                    write(&file, format!("# a comment\n\n {pattern}\n"));
                    words.extend(["--exclude-file".into(), file.into_os_string()]);
                }
            }
        }
        if self.if_present {
            words.push("--exclude-if-present=.nobackup".into());
        }
        if self.caches {
            words.push("--exclude-caches".into());
        }
        if let Some(bytes) = self.larger_than {
            words.push(format!("--exclude-larger-than={bytes}").into());
        }
        if let Some(listed) = &self.listed {
            let file = scratch.join("list");
            write(&file, listed.join("\n"));
            words.extend(["--files-from".into(), file.into_os_string()]);
        }
        words.push(tree.into());
        client.run(words).ok().summary()
    }
}

/// One name against one part of a pattern: `*` and `?` only, which stand for bytes.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|taken| name_matches(rest, &name[taken..])),
        (Some((b'?', rest)), Some((_, behind))) => name_matches(rest, behind),
        (Some((wanted, rest)), Some((byte, behind))) => wanted == byte && name_matches(rest, behind),
        _ => false,
    }
}

fn path_matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", [])), _) => !path.is_empty(),
        (Some((&"**", rest)), _) => (0..=path.len()).any(|taken| path_matches(rest, &path[taken..])),
        (Some((part, rest)), Some((name, behind))) => {
            name_matches(part.as_bytes(), name.as_bytes()) && path_matches(rest, behind)
        }
        _ => false,
    }
}

impl Asked {
    fn is_excluded(&self, path: &str, is_dir: bool) -> bool {
        let mut excluded = false;
        for (pattern, any_case) in &self.patterns {
            let (pattern, path) = if *any_case {
                (pattern.to_ascii_lowercase(), path.to_ascii_lowercase())
            } else {
                (pattern.clone(), path.to_owned())
            };
            let (pattern, verdict) = pattern.strip_prefix('!').map_or((&*pattern, true), |rest| (rest, false));
            let (pattern, fits) = pattern.strip_suffix('/').map_or((pattern, true), |rest| (rest, is_dir));
            let names: Vec<&str> = path.split('/').skip(1).collect();
            let starts = if pattern.starts_with('/') { 0..1 } else { 0..names.len() };
            let parts: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
            if fits && starts.into_iter().any(|start| path_matches(&parts, &names[start..])) {
                excluded = verdict;
            }
        }
        excluded
    }

    fn is_listed(&self, path: &str) -> bool {
        let leads =
            |to: &String| to == path || to.starts_with(&format!("{path}/")) || path.starts_with(&format!("{to}/"));
        self.listed.as_ref().is_none_or(|listed| listed.iter().any(leads))
    }

    /// Adds what is kept of a directory; gives how many entries were left out.
    fn keep(&self, tree: &Path, dir: &Path, kept: &mut BTreeSet<Vec<u8>>) -> u64 {
        let mut left_out = 0;
        for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let (whole, meta) = (path.to_str().expect("UTF-8"), entry.metadata().expect("metadata"));
            let below = path.strip_prefix(tree).expect("below").to_str().expect("UTF-8");
            if !self.is_listed(below) {
                continue;
            }
            let is_large = meta.is_file() && self.larger_than.is_some_and(|max| meta.len() > max);
            if is_large || self.is_excluded(whole, meta.is_dir()) {
                left_out += 1;
                continue;
            }
            kept.insert(below.as_bytes().to_vec());
            if !meta.is_dir() {
                continue;
            }
            let tag = path.join("CACHEDIR.TAG");
            if self.if_present && path.join(".nobackup").exists() {
                left_out += 1;
            } else if self.caches && fs::read(&tag).is_ok_and(|text| text.starts_with(SIGNATURE.as_bytes())) {
                left_out += u64::from(fs::read_dir(&path).expect("a directory").count() > 1);
                let mut only = self.clone();
                only.listed = Some(vec![format!("{below}/CACHEDIR.TAG")]);
                left_out += only.keep(tree, &path, kept);
            } else {
                left_out += self.keep(tree, &path, kept);
            }
        }
        left_out
    }
}

fn grow(chance: &mut Chance, dir: &Path, depth: u64) {
    fs::create_dir_all(dir).expect("a directory");
    for _ in 0..1 + chance.below(6) {
        let path = dir.join(chance.pick(&NAMES));
        if path.exists() {
            continue;
        }
        match (path.ends_with("CACHEDIR.TAG"), chance.below(5)) {
            (true, 0) => write(&path, &SIGNATURE[..42]),
            (true, _) => write(&path, format!("{SIGNATURE}\n# more")),
            (false, 0..3) if depth < 4 => grow(chance, &path, depth + 1),
            _ => write(&path, "x".repeat(chance.below(3) as usize * 500 + 1)),
        }
    }
}

fn id(summary: &serde_json::Value) -> &str {
    summary["id"].as_str().expect("an id")
}

/// Whatever is asked for, in whatever order: the backup holds what the model says, and is the same that a client without
/// any past makes.
#[test]
fn what_is_left_out_agrees_with_a_plain_model() {
    let (cases, seed) = (number_from("DATADB_SELECT_CASES", 12), number_from("DATADB_SELECT_SEED", 3));
    let (server, scratch) = (Server::new(), scratch());
    let client = server.client();
    let mut left_out = 0;
    for case in 0..cases {
        let mut chance = Chance::new(seed.wrapping_add(case));
        let base = scratch.path().canonicalize().expect("a scratch directory").join(case.to_string());
        let tree = base.join("tree");
        grow(&mut chance, &tree, 0);
        for run in 0..4 {
            let asked = Asked::random(&mut chance, &tree);
            let shown =
                format!("DATADB_SELECT_SEED={} DATADB_SELECT_CASES=1, run {run}: {asked:?}", seed.wrapping_add(case));
            let mut expected = BTreeSet::new();
            let expected_count = asked.keep(&tree, &tree, &mut expected);
            let summary = asked.snapshot(&client, &tree, &base);
            let back = base.join(format!("back {run}"));
            client.restore(id(&summary), &back).ok();
            assert_eq!(paths(&back), expected, "{shown}");
            assert_eq!(count(&summary, "excluded"), expected_count, "{shown}");
            let fresh = asked.snapshot(&server.client(), &tree, &base);
            let diff = client.run(["--json", "diff", id(&summary), id(&fresh)]).ok().json();
            assert_eq!(diff.len(), 1, "another tree than without a past: {diff:?}; {shown}");
            left_out += expected_count;
        }
    }
    assert!(left_out > 2 * cases || cases < 10, "too little was left out to mean anything: {left_out}");
}

fn snapshot(client: &Client, options: &[&str], path: &Path) -> Run {
    client.run(["--json", "snapshot"].iter().chain(options).map(OsStr::new).chain([path.as_os_str()]))
}

/// The same patterns again: no file is read, nothing is uploaded. Other patterns: only what is new to the backup is read.
#[test]
fn a_tree_that_is_unchanged_under_its_patterns_is_not_read() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for name in ["a.c", "a.o", "src/b.c", "src/b.o", "src/deep/c.o", "cache/CACHEDIR.TAG", "cache/x", "whole/d.c"] {
        write(tree.join(name), if name.ends_with("TAG") { SIGNATURE } else { name });
    }
    write(tree.join(".gitignore"), "cache\n");
    let_settle();
    let client = server.client();
    let options = ["--exclude=*.o", "--exclude-caches", "--gitignore", "--one-file-system", "--exclude-larger-than=1M"];
    let first = snapshot(&client, &options, &tree).ok().summary();
    assert_eq!(count(&first, "files_read"), 5, "{first}");
    let second = snapshot(&client, &options, &tree).ok().summary();
    for field in ["files_read", "blobs_new", "bytes_uploaded"] {
        assert_eq!(count(&second, field), 0, "{second}");
    }
    assert_eq!(first["excluded"], second["excluded"]);
    let more = snapshot(&client, &["--exclude=*.o"], &tree).ok().summary();
    assert_eq!(count(&more, "files_read"), 1, "cache/x is new: {more}");
    let all = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&all, "files_read"), 3, "three .o files are new: {all}");
    assert_eq!(count(&all, "excluded"), 0);
    let fewer = snapshot(&client, &options, &tree).ok().summary();
    assert_eq!(count(&fewer, "files_read"), 0, "{fewer}");
    let diff = client.run(["--json", "diff", id(&first), id(&fewer)]).ok().json();
    assert_eq!(diff.len(), 1, "{diff:?}");
}

/// With `--one-file-system` the mount point stays, empty; without it what is mounted there is part of the backup.
#[test]
fn another_file_system_stays_out_where_that_is_asked_for() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("here/file"), "here");
    let Some(_disk) = SmallDisk::mount(&tree.join("mnt"), 1) else { return };
    write(tree.join("mnt/there"), "there");
    let client = server.client();
    let kept = |options: &[&str], back: &str| {
        let summary = snapshot(&client, options, &tree).ok().summary();
        let back = scratch.path().join(back);
        client.restore(id(&summary), &back).ok();
        let kept: Vec<String> = paths(&back).into_iter().map(|path| String::from_utf8(path).expect("UTF-8")).collect();
        (kept.join(" "), count(&summary, "excluded"))
    };
    assert_eq!(kept(&[], "all"), ("here here/file mnt mnt/there".to_owned(), 0));
    assert_eq!(kept(&["--one-file-system"], "one"), ("here here/file mnt".to_owned(), 1));
    assert_eq!(kept(&[], "all again"), ("here here/file mnt mnt/there".to_owned(), 0));
    let inside = snapshot(&client, &["--one-file-system"], &tree.join("mnt")).ok().summary();
    assert_eq!(count(&inside, "files"), 1, "the root's own device counts: {inside}");
}

/// Whether anybody opened one of these since the last time somebody asked.
fn was_opened(watch: &OwnedFd) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    let mut opened = false;
    while let Ok(event) = events.next() {
        opened |= event.events().contains(ReadFlags::OPEN);
    }
    opened
}

/// What is left out is not opened: neither a file nor a directory.
#[test]
fn what_is_left_out_is_never_opened() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("secret/inside"), "x");
    write(tree.join("large"), "xxx");
    let watch = inotify::init(CreateFlags::NONBLOCK).expect("inotify");
    for name in ["secret", "large"] {
        inotify::add_watch(&watch, tree.join(name), WatchFlags::OPEN).expect("a watch");
    }
    snapshot(&server.client(), &["--exclude=secret", "--exclude-larger-than=2"], &tree).ok();
    assert!(!was_opened(&watch));
    snapshot(&server.client(), &[], &tree).ok();
    assert!(was_opened(&watch));
}

fn with_stdin(client: &Client, options: &[&str], path: &Path, text: &[u8]) -> Run {
    let words = ["--json", "snapshot"].iter().chain(options).map(OsStr::new).chain([path.as_os_str()]);
    let mut child = client
        .command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    child.stdin.take().expect("a pipe").write_all(text).expect("the client listens");
    Run::from(child.wait_with_output().expect("the client ends"))
}

/// A list of paths, whatever their names: relative ones and absolute ones, by lines or by NULs.
#[test]
fn a_list_chooses_what_is_taken() {
    let (server, scratch) = (Server::new(), scratch());
    let base = scratch.path().canonicalize().expect("a scratch directory");
    let tree = base.join("tree");
    for name in ["a/b/c", "a/b/d", "a/e", "f", "whole/g", "whole/deep/h", "line\nend"] {
        write(tree.join(name), name);
    }
    let odd = PathBuf::from(OsString::from_vec(b"od\xffd/\xfe".to_vec()));
    write(tree.join(&odd), "odd");
    let client = server.client();
    let mut number = 0;
    let mut kept = |options: &[&str], text: &[u8]| {
        let summary = with_stdin(&client, &[&["--files-from=-"], options].concat(), &tree, text).ok().summary();
        number += 1;
        let back = base.join(format!("back {number}"));
        client.restore(id(&summary), &back).ok();
        paths(&back).iter().map(|path| path.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
    };
    let absolute = format!("{}/a/e\nwhole/\n./a//b/c\n", tree.display());
    assert_eq!(kept(&[], absolute.as_bytes()), "a a/b a/b/c a/e whole whole/deep whole/deep/h whole/g");
    assert_eq!(kept(&[], b"od\xffd/\xfe\0line\nend\0"), "line\\nend od\\xffd od\\xffd/\\xfe");
    assert_eq!(kept(&["-0"], b"f"), "f");
    assert_eq!(kept(&["--exclude=c"], b"a/b\n"), "a a/b a/b/d");
    assert_eq!(kept(&[], b"f\n.\n").split(' ').count(), paths(&tree).len());
}

/// A path of the list that isn't there, or that no directory leads to, is an error of its own; the rest is backed up.
#[test]
fn a_listed_path_that_is_not_there_is_an_error() {
    let (server, scratch) = (Server::new(), scratch());
    let base = scratch.path().canonicalize().expect("a scratch directory");
    let tree = base.join("tree");
    write(tree.join("a/b"), "b");
    std::os::unix::fs::symlink("a", tree.join("link")).expect("a symlink");
    let client = server.client();
    let run = with_stdin(&client, &["--files-from=-"], &tree, b"a\na/c\nnone/x\nnone/y\nlink/b\na/b/d\na/no/e").code(3);
    assert_eq!(count(&run.summary(), "errors"), 6);
    let mut lines: Vec<&str> = run.stderr.lines().collect();
    lines.sort_unstable();
    let expected = [
        "a/b/d: what it lies below",
        "a/c: no such",
        "a/no/e: no such",
        "link/b: what it lies below",
        "none/x: no such",
        "none/y: no such",
    ];
    assert_eq!(lines.len(), expected.len(), "{}", run.stderr);
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("{}/{expected}", tree.display())), "{line}");
    }
    let back = base.join("back");
    client.restore(id(&run.summary()), &back).ok();
    assert_eq!(paths(&back), [b"a".to_vec(), b"a/b".to_vec()].into());
}
