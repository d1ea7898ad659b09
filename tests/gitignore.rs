//! `snapshot --gitignore` leaves out what `git check-ignore --no-index` names, and nothing else: random trees, random
//! patterns, the real git.
//!
//! `DATADB_GITIGNORE_CASES` says how many trees (20), `DATADB_GITIGNORE_SEED` what chance decides.

mod support;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs,
    io::Write as _,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::symlink,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use support::{
    chance::{Chance, number_from},
    place::scratch,
    processes::{Client, Run, Server, count},
    tree::{paths, write},
};

/// Names that patterns like to get wrong.
const NAMES: [&[u8]; 30] = [
    b"a",
    b"b",
    b"c",
    b"ab",
    b"abc",
    b"foo",
    b"foo.o",
    b"x.o",
    b".o",
    b"build",
    b"A",
    b"1",
    b"a b",
    b"tail ",
    b" ",
    b"#h",
    b"!n",
    b"[a]",
    b"a]",
    b"b*",
    b"\\s",
    b"-",
    b"{a,b}",
    b"a,b",
    b"~",
    b".hid",
    b"\xc3\xa9",
    b"\xff\xfe",
    b"n\nl",
    b"?",
];

/// What patterns are made of.
const PARTS: [&[u8]; 36] = [
    b"a",
    b"b",
    b"c",
    b"o",
    b".",
    b"foo",
    b"ab",
    b"/",
    b"/",
    b"/",
    b"*",
    b"*",
    b"**",
    b"**/",
    b"/**",
    b"/**/",
    b"***",
    b"?",
    b"[a-c]",
    b"[!a]",
    b"[^b-c]",
    b"[]a]",
    b"[a-]",
    b"[c-a]",
    b"[[:alpha:]]",
    b"[[:punct:]x]",
    b"[a/]",
    b"[",
    b"]",
    b"\\",
    b"\\*",
    b" ",
    b"{a,b}",
    b"\xff",
    b"-",
    b"#",
];

/// How lines end.
const ENDS: [&[u8]; 8] = [b"\n", b"\n", b"\n", b"\r\n", b" \n", b"  \n", b"\\ \n", b"\n\n"];

struct World<'a> {
    chance: &'a mut Chance,
    home: &'a Path,
    /// Beside the trees, for repositories whose `.git` is a file.
    apart: PathBuf,
    repositories: u64,
}

impl World<'_> {
    fn piece(&mut self, among: &[&'static [u8]]) -> &'static [u8] {
        among[self.chance.below(among.len() as u64) as usize]
    }

    fn git(&self, dir: &Path, words: &[&OsStr]) -> Command {
        let mut git = Command::new("git");
        git.args(words).current_dir(dir).env_clear().env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", self.home);
        git.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        git
    }

    fn init(&mut self, dir: &Path) {
        self.repositories += 1;
        let mut words = ["init", "-q", "--template="].map(OsString::from).to_vec();
        if self.chance.one_in(4) {
            let apart = self.apart.join(self.repositories.to_string());
            words.push([OsStr::new("--separate-git-dir="), apart.as_os_str()].into_iter().collect());
        }
        let words: Vec<&OsStr> = words.iter().map(|word| &**word).collect();
        let done = self.git(dir, &words).status().expect("git runs");
        assert!(done.success(), "git init in {}", dir.display());
        if self.chance.one_in(2) {
            let git_dir =
                self.git(dir, &["rev-parse", "--absolute-git-dir"].map(OsStr::new)).output().expect("git runs");
            let git_dir = OsString::from_vec(git_dir.stdout.trim_ascii_end().to_vec());
            let patterns = self.patterns(&[]);
            write(Path::new(&git_dir).join("info/exclude"), patterns);
        }
    }

    /// A tree with repositories and `.gitignore` files in it.
    fn grow(&mut self, dir: &Path, depth: u64) {
        fs::create_dir_all(dir).expect("a directory");
        for _ in 0..2 + self.chance.below(7) {
            let path = dir.join(OsStr::from_bytes(self.piece(&NAMES)));
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match self.chance.below(8) {
                0..4 if depth < 4 => self.grow(&path, depth + 1),
                7 => symlink("a", &path).expect("a symlink"),
                _ => write(&path, "x"),
            }
        }
        if self.chance.one_in(if depth == 0 { 2 } else { 9 }) {
            self.init(dir);
        }
        if self.chance.one_in(2) {
            let names: Vec<Vec<u8>> = paths(dir).into_iter().collect();
            let patterns = self.patterns(&names);
            match self.chance.below(20) {
                0 => symlink("a", dir.join(".gitignore")).expect("a symlink"),
                _ => write(dir.join(".gitignore"), patterns),
            }
        }
    }

    fn patterns(&mut self, names: &[Vec<u8>]) -> Vec<u8> {
        let mut text = if self.chance.one_in(9) { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        for _ in 0..1 + self.chance.below(5) {
            text.extend(self.line(names));
            text.extend_from_slice(self.piece(&ENDS));
        }
        if self.chance.one_in(5) {
            text.pop();
        }
        text
    }

    fn line(&mut self, names: &[Vec<u8>]) -> Vec<u8> {
        let mut line = match (self.chance.below(3), names) {
            (0, _) | (_, []) => (0..1 + self.chance.below(6)).flat_map(|_| self.piece(&PARTS).to_vec()).collect(),
            _ => {
                let name = self.chance.pick(names).clone();
                self.changed(name)
            }
        };
        if self.chance.one_in(5) {
            line.insert(0, b'/');
        }
        if self.chance.one_in(4) {
            line.insert(0, b'!');
        }
        if self.chance.one_in(5) {
            line.push(b'/');
        }
        line
    }

    /// A path of the tree, or the end of one, with wildcards in it.
    fn changed(&mut self, mut path: Vec<u8>) -> Vec<u8> {
        if self.chance.one_in(2) {
            path = path.rsplit(|byte| *byte == b'/').next().expect("a name").to_vec();
        }
        for _ in 0..self.chance.below(3) {
            let at = self.chance.below(path.len() as u64) as usize;
            let len = self.chance.below(2) as usize;
            let new = self.piece(&PARTS);
            path.splice(at..(at + len).min(path.len()), new.iter().copied());
        }
        path
    }

    /// What is excluded in all repositories of this user, in one of the places that may say so.
    fn of_user(&mut self) {
        drop(fs::remove_file(self.home.join(".gitconfig")));
        drop(fs::remove_dir_all(self.home.join(".config")));
        let patterns = self.patterns(&[]);
        match self.chance.below(4) {
            0 => write(self.home.join(".config/git/ignore"), patterns),
            1 => {
                write(self.home.join(".gitconfig"), "[core]\n\texcludesFile = ~/my \"own\" # said here\n");
                write(self.home.join("my own"), patterns);
            }
            _ => {}
        }
    }

    /// Everything below a directory that git does not ignore, by its path from `root`. `ignored` is what the repository
    /// around it says.
    fn kept(&self, root: &Path, dir: &Path, ignored: &BTreeSet<PathBuf>, kept: &mut BTreeSet<Vec<u8>>) {
        let own = dir.join(".git").exists().then(|| self.ignored(dir));
        let ignored = own.as_ref().unwrap_or(ignored);
        for path in entries(dir).into_iter().filter(|path| !ignored.contains(path)) {
            kept.insert(path.strip_prefix(root).expect("it lies below").as_os_str().as_bytes().to_vec());
            if path.is_symlink() || !path.is_dir() {
                continue;
            }
            let nobody = BTreeSet::new();
            self.kept(root, &path, if path.ends_with(".git") { &nobody } else { ignored }, kept);
        }
    }

    /// What git ignores in a repository, by whole paths.
    fn ignored(&self, top: &Path) -> BTreeSet<PathBuf> {
        let mut asked = Vec::new();
        ask(top, top, &mut asked);
        let mut git = self.git(top, &["check-ignore", "--no-index", "-z", "--stdin"].map(OsStr::new));
        git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = git.spawn().expect("git runs");
        let mut to = child.stdin.take().expect("a pipe");
        let asking = thread::spawn(move || to.write_all(&asked));
        let output = child.wait_with_output().expect("git answers");
        asking.join().expect("no panic").expect("git listens");
        assert!(matches!(output.status.code(), Some(0 | 1)), "git check-ignore in {}", top.display());
        let paths = output.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        paths.map(|path| top.join(OsStr::from_bytes(path))).collect()
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
}

/// The paths of a repository, each with a NUL behind it: without `.git`, and without what is in another repository.
fn ask(top: &Path, dir: &Path, asked: &mut Vec<u8>) {
    for path in entries(dir).into_iter().filter(|path| !path.ends_with(".git")) {
        asked.extend_from_slice(path.strip_prefix(top).expect("it lies below").as_os_str().as_bytes());
        asked.push(0);
        if path.is_dir() && !path.is_symlink() && !path.join(".git").exists() {
            ask(top, &path, asked);
        }
    }
}

/// What a backup holds.
fn backed_up(client: &Client, root: &Path, back: &Path) -> (BTreeSet<Vec<u8>>, u64) {
    let words = ["--json", "snapshot", "--gitignore"].map(OsStr::new);
    let mut command = client.command(words.into_iter().chain([root.as_os_str()]));
    let summary =
        Run::from(command.env("GIT_CONFIG_NOSYSTEM", "1").output().expect("the client starts")).ok().summary();
    client.restore(summary["id"].as_str().expect("an id"), back).ok();
    (paths(back), count(&summary, "excluded"))
}

fn shown(paths: &BTreeSet<Vec<u8>>, others: &BTreeSet<Vec<u8>>) -> Vec<String> {
    paths.difference(others).map(|path| path.escape_ascii().to_string()).collect()
}

#[test]
fn a_backup_holds_what_git_does_not_ignore() {
    let (cases, seed) = (number_from("DATADB_GITIGNORE_CASES", 20), number_from("DATADB_GITIGNORE_SEED", 11));
    let (server, scratch) = (Server::new(), scratch());
    let client = server.client();
    let mut left_out = 0;
    for case in 0..cases {
        let mut chance = Chance::new(seed.wrapping_add(case));
        let base = scratch.path().canonicalize().expect("a scratch directory").join(case.to_string());
        let mut world = World { chance: &mut chance, home: client.home(), apart: base.join("apart"), repositories: 0 };
        fs::create_dir_all(&world.apart).expect("a directory");
        world.of_user();
        let tree = base.join("tree");
        world.grow(&tree, 0);
        for round in 0..2 {
            if round > 0 {
                // Other rules than in the backup that the client remembers.
                world.of_user();
                drop(fs::remove_file(tree.join(".gitignore")));
                let names: Vec<Vec<u8>> = paths(&tree).into_iter().collect();
                write(tree.join(".gitignore"), world.patterns(&names));
            }
            let mut expected = BTreeSet::new();
            world.kept(&tree, &tree, &BTreeSet::new(), &mut expected);
            let (found, excluded) = backed_up(&client, &tree, &base.join(format!("back {round}")));
            let (lost, kept) = (shown(&expected, &found), shown(&found, &expected));
            let again = format!("DATADB_GITIGNORE_SEED={} DATADB_GITIGNORE_CASES=1", seed.wrapping_add(case));
            assert!(
                lost.is_empty() && kept.is_empty(),
                "{again}, round {round}: left out against git: {lost:?}; kept against git: {kept:?}\n{}",
                rules(&tree),
            );
            assert_eq!(excluded == 0, expected == paths(&tree), "what is left out is counted");
            left_out += excluded;
        }
        fs::remove_dir_all(&base).expect("the case is removed");
    }
    assert!(left_out > 8 * cases || cases < 10, "too little was ignored to mean anything: {left_out}");
    println!("{cases} trees, {left_out} entries ignored");
}

/// All pattern files of a tree, for whoever looks for the reason.
fn rules(tree: &Path) -> String {
    let is_rules = |path: &&Vec<u8>| path.ends_with(b".gitignore") || path.ends_with(b"info/exclude");
    let show = |path: &Vec<u8>| {
        let text = fs::read(tree.join(OsStr::from_bytes(path))).unwrap_or_default();
        format!("{}: {}\n", path.escape_ascii(), text.escape_ascii())
    };
    paths(tree).iter().filter(is_rules).map(show).collect()
}

/// What one repository says where it is not all in one place: a backup of a part of it follows what is above, a linked
/// worktree the `info/exclude` of the repository; the backup's own root is not judged, and an empty `.git` is no repository.
#[test]
fn rules_reach_parts_and_worktrees_and_not_the_root() {
    let (server, scratch) = (Server::new(), scratch());
    let client = server.client();
    let base = scratch.path().canonicalize().expect("a scratch directory");
    let mut chance = Chance::new(1);
    let world = World { chance: &mut chance, home: client.home(), apart: base.join("apart"), repositories: 0 };
    let git = |dir: &Path, words: &[&str]| {
        let words: Vec<&OsStr> =
            ["-c", "user.name=me", "-c", "user.email=me@here"].iter().chain(words).map(OsStr::new).collect();
        assert!(world.git(dir, &words).status().expect("git runs").success(), "{words:?}");
    };
    let repository = base.join("repository");
    fs::create_dir(&repository).expect("a directory");
    git(&repository, &["init", "-q", "--template="]);
    git(&repository, &["commit", "-q", "--allow-empty", "-m", "first"]);
    git(&repository, &["worktree", "add", "-q", "../linked"]);
    write(repository.join(".git/info/exclude"), "*.own\n");
    write(repository.join(".gitignore"), "*.o\n/build/\n/build/x/out\n");
    for name in ["a.own", "a.o", "b", "out", "x/out", "x/.git/empty"] {
        write(repository.join("build").join(name), "x");
        write(base.join("linked").join(name), "x");
    }
    let kept = |root: &Path, back: &str| {
        let (kept, excluded) = backed_up(&client, root, &base.join(back));
        let kept: Vec<String> = kept.iter().map(|path| path.escape_ascii().to_string()).collect();
        (kept.join(" "), excluded)
    };
    let (found, excluded) = kept(&repository.join("build"), "back 1");
    assert_eq!((&*found, excluded), ("b out x x/.git x/.git/empty", 3));
    let (found, excluded) = kept(&base.join("linked"), "back 2");
    assert_eq!((&*found, excluded), (".git a.o b out x x/.git x/.git/empty x/out", 1));
}
