//! Patterns by the hundred, beside the real git: one process of it judges them all. Whole trees are compared in the root
//! test `gitignore`.
//!
//! `DATADB_PATTERN_CASES` says how many times 200 files of patterns are judged (5).

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::rules::Rules;

fn git(dir: &Path, words: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(words).current_dir(dir).env_clear().env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", dir);
    git.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    git
}

/// Which of the paths in each file's directory git ignores.
fn judged(files: &[(Vec<u8>, Vec<String>)]) -> Vec<Vec<bool>> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert!(git(dir.path(), &["init", "-q", "--template="]).status().expect("git runs").success());
    let mut asked = Vec::new();
    for (i, (rules, paths)) in files.iter().enumerate() {
        fs::create_dir(dir.path().join(i.to_string())).expect("made");
        fs::write(dir.path().join(format!("{i}/.gitignore")), rules).expect("written");
        paths.iter().for_each(|path| asked.extend(format!("{i}/{path}\0").into_bytes()));
    }
    let mut check = git(dir.path(), &["check-ignore", "--no-index", "--verbose", "--non-matching", "-z", "--stdin"]);
    let mut child = check.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git runs");
    let mut to = child.stdin.take().expect("a pipe");
    let asking = std::thread::spawn(move || to.write_all(&asked));
    let output = child.wait_with_output().expect("git answers");
    asking.join().expect("no panic").expect("git listens");
    assert!(matches!(output.status.code(), Some(0 | 1)), "git check-ignore failed");
    // Source, line, pattern and path, each with a NUL behind it; a pattern with `!` takes back.
    let fields: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
    let mut answers = fields.chunks_exact(4).map(|answer| !answer[0].is_empty() && !answer[2].starts_with(b"!"));
    files.iter().map(|(_, paths)| answers.by_ref().take(paths.len()).collect()).collect()
}

/// Directories first, as the walk goes.
fn ignores(rules: &Rules, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(at, _)| (at, true)).chain([(path.len(), false)]);
    ends.into_iter().any(|(end, is_dir)| rules.verdict(&path.as_bytes()[..end], is_dir) == Some(true))
}

fn pattern() -> impl Strategy<Value = String> {
    let parts = [
        "a",
        "b",
        "c",
        "ab",
        "/",
        "/",
        "*",
        "*",
        "?",
        "**",
        "/**/",
        "**/",
        "/**",
        "[a-c]",
        "[!a]",
        "[^-b]",
        "[]ab]",
        "[c-a]",
        "[a/b]",
        "[[:alpha:]]",
        "[![:punct:]a]",
        "[[:x]",
        "[",
        "]",
        "\\",
        "\\*",
        "\\/",
        " ",
        "!",
        "#",
        "{a,b}",
        "-",
        "é",
    ];
    let start = prop::sample::select(vec!["", "", "", "/", "!", "\\"]);
    let end = prop::sample::select(vec!["", "", "", "/", "\r", "  ", "\\ "]);
    let middle = prop::collection::vec(prop::sample::select(parts.to_vec()), 1..7);
    (start, middle, end).prop_map(|(start, middle, end)| format!("{start}{}{end}", middle.concat()))
}

fn path() -> impl Strategy<Value = String> {
    let parts = ["a", "b", "c", "ab", "-", "*", "{a,b}", "[", "]", "\\", " ", "!", "#", "é"];
    let name = prop::collection::vec(prop::sample::select(parts.to_vec()), 1..4).prop_map(|parts| parts.concat());
    prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"))
}

fn cases() -> u32 {
    std::env::var("DATADB_PATTERN_CASES").map_or(5, |text| text.parse().expect("DATADB_PATTERN_CASES is a number"))
}

/// Corners in which other matchers differ from git.
#[test]
fn corners_are_as_in_git() {
    for (rules, path, expected) in [
        ("{a,b}", "a", false),
        ("{a,b}", "{a,b}", true),
        ("[[:digit:]]x", "1x", true),
        ("[a", "[a", false),
        ("foo\\", "foo", false),
        ("a/b**/c", "a/bc", true),
        ("x/foo**", "x/foo/d/e", true),
        ("a[/]b", "a/b", false),
        ("a/**\\/b", "a/b", false),
        ("[z-a]", "z", true),
        ("a/\n!a/b", "a/b", true),
    ] {
        let file = (rules.as_bytes().to_vec(), vec![path.to_owned()]);
        assert_eq!(judged(&[file]), [[expected]], "git on {rules:?} and {path:?}");
        assert_eq!(ignores(&Rules::parse(rules.as_bytes()), path), expected, "{rules:?} and {path:?}");
    }
}

proptest! {
    // Each step of shrinking starts git.
    #![proptest_config(ProptestConfig { max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn every_pattern_matches_what_it_matches_for_git(
        files in prop::collection::vec(
            (prop::collection::vec(pattern(), 1..4), prop::collection::vec(path(), 1..30)),
            200,
        )
    ) {
        let files: Vec<(Vec<u8>, Vec<String>)> =
            files.into_iter().map(|(lines, paths)| (lines.join("\n").into_bytes(), paths)).collect();
        for ((text, paths), judged) in files.iter().zip(judged(&files)) {
            let rules = Rules::parse(text);
            prop_assert_eq!(paths.len(), judged.len());
            for (path, judged) in paths.iter().zip(judged) {
                prop_assert_eq!(ignores(&rules, path), judged, "{:?} in {:?}", path, text.escape_ascii().to_string());
            }
        }
    }
}
