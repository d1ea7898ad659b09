//! What of a backup is restored: `--include`, `--exclude` and `--strip`, against plain models, and against tar.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
};

use support::{
    chance::{Chance, number_from},
    compare::{assert_same, differences},
    place::scratch,
    processes::{Client, Run, Server, count},
    tree::write,
};

fn restore(client: &Client, what: &str, target: &Path, options: &[&str]) -> Run {
    let mut command = client.command(["--json", "restore", what, "--target"]);
    Run::from(command.arg(target).args(options).output().expect("the client starts"))
}

/// A small tree: paths with the slash that patterns have, and whether they are directories.
type Tree = BTreeMap<String, bool>;

/// Every path below a directory.
fn paths(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            let is_dir = entry.file_type().expect("a type").is_dir();
            let below = entry.path().strip_prefix(root).expect("it lies below").to_str().expect("UTF-8").to_owned();
            found.insert(format!("/{below}"), is_dir);
            if is_dir {
                open.push(entry.path());
            }
        }
    }
    found
}

/// Whether a name is matched by a part of a pattern with `*` and `?`.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|from| name_matches(rest, &name[from..])),
        Some((b'?', rest)) => !name.is_empty() && name_matches(rest, &name[1..]),
        Some((byte, rest)) => name.first() == Some(byte) && name_matches(rest, &name[1..]),
    }
}

fn names_match(pattern: &[&str], names: &[&str]) -> bool {
    match pattern.split_first() {
        None => names.is_empty(),
        Some((&"**", [])) => !names.is_empty(),
        Some((&"**", rest)) => (0..=names.len()).any(|from| names_match(rest, &names[from..])),
        Some((first, rest)) => match names.split_first() {
            Some((name, others)) => name_matches(first.as_bytes(), name.as_bytes()) && names_match(rest, others),
            None => false,
        },
    }
}

/// Whether a whole pattern matches a path; no help from the program's own.
fn matches(pattern: &str, path: &str, is_dir: bool) -> bool {
    let (pattern, dirs_only) = pattern.strip_suffix('/').map_or((pattern, false), |pattern| (pattern, true));
    let names: Vec<&str> = path[1..].split('/').collect();
    let parts: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
    let starts = if pattern.starts_with('/') { 0..=0 } else { 0..=names.len() - 1 };
    (is_dir || !dirs_only) && starts.into_iter().any(|from| names_match(&parts, &names[from..]))
}

/// A path and those above it, the topmost first.
fn with_above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').skip(1).map(|(at, _)| &path[..at]).chain([path])
}

/// What is to be restored: what is chosen, and what lies above that.
fn chosen(tree: &Tree, include: &[String], exclude: &[String]) -> (BTreeSet<String>, BTreeSet<String>) {
    let any = |patterns: &[String], path: &str| {
        with_above(path)
            .any(|above| patterns.iter().any(|pattern| matches(pattern, above, above != path || tree[path])))
    };
    let is_in = |path: &&String| (include.is_empty() || any(include, path)) && !any(exclude, path);
    let chosen: BTreeSet<String> = tree.keys().filter(is_in).cloned().collect();
    let whole = chosen.iter().flat_map(|path| with_above(path)).map(ToOwned::to_owned).collect();
    (chosen, whole)
}

fn random_name(chance: &mut Chance) -> &'static str {
    const NAMES: [&str; 6] = ["a", "b", "ab", "a.c", "b.c", "x"];
    NAMES[chance.below(6) as usize]
}

fn random_tree(root: &Path, chance: &mut Chance) {
    fs::create_dir_all(root).expect("a directory");
    for _ in 0..60 {
        let depth = 1 + chance.below(4);
        let names: Vec<&str> = (0..depth).map(|_| random_name(chance)).collect();
        let path = root.join(names.join("/"));
        // Where a file is in the way there will be no directory.
        if chance.one_in(3) {
            drop(fs::create_dir_all(&path));
        } else if fs::create_dir_all(path.parent().expect("it has one")).is_ok() && !path.exists() {
            write(&path, names.concat());
        }
    }
}

fn random_pattern(chance: &mut Chance) -> String {
    let part = |chance: &mut Chance| *chance.pick(&["a", "b", "x", "a*", "*.c", "?", "*", "**", "ab", "nothing"]);
    let parts: Vec<&str> = (0..1 + chance.below(3)).map(|_| part(chance)).collect();
    let (start, end) = (if chance.one_in(2) { "/" } else { "" }, if chance.one_in(4) { "/" } else { "" });
    format!("{start}{}{end}", parts.join("/"))
}

/// Random trees, random patterns: restored is what a plain model says, and nothing else; the exit code tells whether
/// something matched. `DATADB_CHOICE_ROUNDS` runs more of them.
#[test]
fn includes_and_excludes_choose_what_a_plain_model_says() {
    let (server, scratch) = (Server::new(), scratch());
    let client = server.client();
    let mut codes = BTreeMap::new();
    for seed in 0..number_from("DATADB_CHOICE_ROUNDS", 6) {
        let mut chance = Chance::new(seed);
        let root = scratch.path().join(format!("tree{seed}"));
        random_tree(&root, &mut chance);
        let (tree, id) = (paths(&root), client.backup(&root));
        for round in 0..25 {
            let patterns = |chance: &mut Chance, max| -> Vec<String> {
                (0..chance.below(max)).map(|_| random_pattern(chance)).collect()
            };
            let (include, exclude) = (patterns(&mut chance, 4), patterns(&mut chance, 3));
            let (chosen, expected) = chosen(&tree, &include, &exclude);
            let flags = |flag, patterns: &[String]| -> Vec<String> {
                patterns.iter().map(|pattern| format!("--{flag}={pattern}")).collect()
            };
            let options = [flags("include", &include), flags("exclude", &exclude)].concat();
            let options: Vec<&str> = options.iter().map(|option| &option[..]).collect();
            let back = scratch.path().join(format!("back{seed}-{round}"));
            let run = restore(&client, &id, &back, &options);
            let is_unmatched = |pattern: &String| !chosen.iter().any(|path| matches(pattern, path, tree[path]));
            let code = match () {
                () if chosen.is_empty() && !options.is_empty() => 1,
                () if include.iter().any(is_unmatched) => 3,
                () => 0,
            };
            assert_eq!(run.code, Some(code), "seed {seed}, {options:?}: {run:?}");
            *codes.entry(code).or_insert(0) += 1;
            assert_eq!(back.exists(), code != 1, "nothing is made where nothing is restored");
            let found: BTreeSet<String> = if code == 1 { BTreeSet::new() } else { paths(&back).into_keys().collect() };
            assert_eq!(found, expected, "seed {seed}, {options:?}");
            let other = if code == 1 { Vec::new() } else { differences(&back, &root) };
            assert!(other.iter().all(|one| one.what == "presence"), "seed {seed}, {options:?}: {other:?}");
        }
    }
    println!("exit codes: {codes:?}");
    assert_eq!(codes.len(), 3, "every case was met: {codes:?}");
}

/// `!` takes back what the patterns before it chose, for includes and excludes alike.
#[test]
fn a_pattern_with_an_exclamation_mark_takes_back() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for path in ["a.log", "keep.log", "src/a.c", "src/gen/b.c", "src/gen/keep/c.c"] {
        write(tree.join(path), path);
    }
    let client = server.client();
    let id = client.backup(&tree);
    let files = |name: &str, options: &[&str]| {
        let back = scratch.path().join(name);
        restore(&client, &id, &back, options).ok();
        paths(&back).into_iter().filter(|(_, is_dir)| !is_dir).map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(files("one", &["--exclude", "*.log", "--exclude", "!keep.log", "--exclude", "src"]), ["/keep.log"]);
    let options = ["--include", "/src", "--include", "!/src/gen", "--include", "/src/gen/keep"];
    assert_eq!(files("two", &options), ["/src/a.c", "/src/gen/keep/c.c"]);
}

/// Patterns begin at the path that is restored: below `:/src`, `/main.c` is what lies there.
#[test]
fn patterns_mean_paths_below_what_is_restored() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("src/main.c"), "main");
    write(tree.join("src/src/main.c"), "deeper");
    let client = server.client();
    let id = client.backup(&tree);
    let back = scratch.path().join("back");
    restore(&client, &format!("{id}:/src"), &back, &["--include", "/main.c"]).ok();
    assert_eq!(paths(&back).into_keys().collect::<Vec<_>>(), ["/main.c"]);
    // A single file has its name.
    let one = scratch.path().join("one");
    restore(&client, &format!("{id}:/src/main.c"), &one, &["--include", "/main.c"]).ok();
    restore(&client, &format!("{id}:/src/main.c"), &one, &["--include", "/src/main.c"]).code(1);
}

/// A directory that is only made because of what lies below it has its own metadata; one that is there already is not
/// touched for the sake of something else.
#[test]
fn directories_above_what_is_chosen_are_made_as_they_were_and_left_as_they_are() {
    use std::os::unix::fs::PermissionsExt as _;
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("a/b/file"), "x");
    write(tree.join("a/other"), "x");
    fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o710)).expect("a mode");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    for dir in ["a/b", "a", ""] {
        fs::File::open(tree.join(dir)).and_then(|dir| dir.set_modified(time)).expect("a time");
    }
    let client = server.client();
    let id = client.backup(&tree);
    let fresh = scratch.path().join("fresh");
    restore(&client, &id, &fresh, &["--include", "file"]).ok();
    let found: Vec<_> = differences(&tree, &fresh).into_iter().map(|one| (one.path, one.what)).collect();
    assert_eq!(found, [(b"a/other".to_vec(), "presence".to_owned())]);
    let there = scratch.path().join("there");
    fs::create_dir_all(there.join("a")).expect("a directory");
    fs::set_permissions(there.join("a"), fs::Permissions::from_mode(0o700)).expect("a mode");
    let before = fs::metadata(there.join("a")).expect("it is there").permissions();
    restore(&client, &id, &there, &["--include", "file"]).ok();
    assert_eq!(fs::metadata(there.join("a")).expect("it is there").permissions(), before);
    assert_eq!(fs::metadata(there.join("a/b")).expect("it was made").permissions().mode() & 0o7777, 0o710);
}

/// A file with several names whose first one is excluded comes back under the others, with its bytes.
#[test]
fn a_hard_link_whose_first_name_is_left_out_has_its_content() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("a/first"), "the same bytes");
    fs::create_dir(tree.join("b")).expect("a directory");
    for name in ["b/second", "b/third"] {
        fs::hard_link(tree.join("a/first"), tree.join(name)).expect("a hard link");
    }
    let client = server.client();
    let id = client.backup(&tree);
    for (name, options) in [("one", ["--exclude", "/a"]), ("two", ["--include", "b/*"])] {
        let back = scratch.path().join(name);
        restore(&client, &id, &back, &options).ok();
        assert_eq!(fs::read(back.join("b/second")).expect("a file"), b"the same bytes");
        let inode = |name: &str| fs::metadata(back.join(name)).expect("it is there").ino();
        assert_eq!(inode("b/second"), inode("b/third"));
    }
}

fn tar(arguments: &[&str], dir: &Path) {
    let done = Command::new("tar").args(arguments).current_dir(dir).output().expect("tar is here");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// `--strip N` is `tar --strip-components=N`, also where the contents of several directories come together; only that
/// what can't be there twice is an error.
#[test]
fn strip_does_what_tar_does() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("readme"), "one name");
    write(tree.join("one/a/x"), "1");
    write(tree.join("one/a/deep/er"), "2");
    write(tree.join("one/file"), "two names");
    write(tree.join("two/a/y"), "3");
    write(tree.join("two/b/deeper/er"), "4");
    fs::hard_link(tree.join("one/a/x"), tree.join("two/b/hard")).expect("a hard link");
    std::os::unix::fs::symlink("x", tree.join("two/a/soft")).expect("a symlink");
    fs::create_dir_all(tree.join("two/empty")).expect("a directory");
    let client = server.client();
    let id = client.backup(&tree);
    tar(&["--format=posix", "-cf", "../tree.tar", "one", "readme", "two"], &tree);
    for (strip, left_out) in [(1, 1), (2, 2), (3, 6), (4, 8)] {
        let (ours, theirs) = (scratch.path().join(format!("ours{strip}")), scratch.path().join(format!("tar{strip}")));
        fs::create_dir(&theirs).expect("a directory");
        tar(&["-xf", "../tree.tar", &format!("--strip-components={strip}")], &theirs);
        let run = restore(&client, &id, &ours, &["--strip", &strip.to_string()]);
        if strip == 4 {
            run.code(1).one_line_with(&["--strip"]);
            assert!(!ours.exists());
            continue;
        }
        // With three names fewer `one/a/deep/er` and `two/b/deeper/er` are one, of which tar keeps the last.
        let collides = strip == 3;
        let summary = run.code(if collides { 3 } else { 0 }).summary();
        assert_eq!((count(&summary, "stripped"), count(&summary, "errors")), (left_out, u64::from(collides)));
        let mut found = differences(&theirs, &ours);
        // Tar leaves the target's own time as it comes, and the bytes of the last; a hard link to what is left out it
        // can't make.
        found.retain(|one| !(one.path.is_empty() || collides && one.path == b"er"));
        assert!(found.is_empty(), "--strip {strip}: {found:?}");
    }
    assert_eq!(fs::read(scratch.path().join("ours3/er")).expect("a file"), b"2", "the first one stays");
}

/// Whatever meets: directories join, with the metadata of the last; anything else is named, left out, and exit code 3;
/// a rehearsal says the same.
#[test]
fn what_strip_would_put_in_one_place_is_an_error_and_no_overwrite() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("1/same"), "first");
    write(tree.join("1/dir/in 1"), "x");
    write(tree.join("1/file or dir"), "a file");
    write(tree.join("2/same"), "second");
    write(tree.join("2/dir/in 2"), "y");
    write(tree.join("2/file or dir/in it"), "z");
    write(tree.join("3/dir"), "a file");
    let client = server.client();
    let id = client.backup(&tree);
    let back = scratch.path().join("back");
    for (options, is_real) in
        [(&["--strip", "1", "-n"][..], false), (&["--strip", "1"], true), (&["--strip", "1"], true)]
    {
        let run = restore(&client, &id, &back, options).code(3);
        assert_eq!(run.stderr.lines().count(), 3, "{}", run.stderr);
        for line in ["same: /2/same comes", "file or dir: /2/file or dir comes", "dir: /3/dir comes"] {
            assert!(run.stderr.contains(line), "{line:?} is not in {}", run.stderr);
        }
        assert_eq!(back.exists(), is_real);
    }
    let expected = ["/dir", "/dir/in 1", "/dir/in 2", "/file or dir", "/same"];
    assert_eq!(paths(&back).into_keys().collect::<Vec<_>>(), expected);
    assert_eq!(fs::read(back.join("same")).expect("a file"), b"first");
    assert_eq!(
        restore(&client, &id, &scratch.path().join("read"), &["--strip=1", "--verify"]).code(3).summary()["repaired"],
        0
    );
    // Where includes leave only one of them nothing meets.
    restore(&client, &id, &scratch.path().join("one"), &["--strip", "1", "--include", "/2"]).ok();
    assert_same(&tree.join("2/dir"), &scratch.path().join("one/dir"));
}
