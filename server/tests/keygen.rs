//! `datadb-server keygen`: makes a key file once, and the same one again from its recovery phrase.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs `keygen` with this on its stdin.
fn keygen(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datadb-server"));
    let command = command.arg("keygen").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that has ended already doesn't want it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Makes a key, and gives its file's text and its phrase.
fn made(path: &Path) -> (String, Vec<String>) {
    let said = done(&keygen(&[path.to_str().unwrap()], ""));
    let phrase = said.lines().filter(|line| line.starts_with("  ")).flat_map(str::split_whitespace);
    let phrase: Vec<String> = phrase.map(ToOwned::to_owned).collect();
    assert_eq!(phrase.len(), 18, "{said}");
    let text = fs::read_to_string(path).unwrap();
    let id = text.split_whitespace().nth(3).unwrap();
    assert!(said.starts_with(&format!("key {id} is in {}\n", path.display())), "{said}");
    assert!(!said.contains(text.split_whitespace().nth(2).unwrap()), "the key itself is not shown");
    (text, phrase)
}

#[test]
fn a_key_file_is_made_again_from_its_phrase_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (text, phrase) = made(&path("key"));
    assert_eq!(fs::metadata(path("key")).unwrap().permissions().mode() & 0o7777, 0o600);
    let (other, _) = made(&path("other"));
    assert_ne!(text, other);
    let said = done(&keygen(&[path("again").to_str().unwrap(), "--recover"], &phrase.join("\n")));
    assert!(!said.contains(&phrase[0]), "who has the phrase needn't see it again: {said}");
    fs::write(path("phrase"), phrase.join(" ").to_uppercase()).unwrap();
    let phrase_file = path("phrase");
    let args = [path("third"), phrase_file].map(|path| path.to_str().unwrap().to_owned());
    done(&keygen(&[&args[0], "--recover", "--phrase-file", &args[1]], ""));
    for name in ["again", "third"] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), text);
        assert_eq!(fs::metadata(path(name)).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let (text, phrase) = made(&path);
    let path_arg = path.to_str().unwrap();
    for (args, input) in [(vec![path_arg], String::new()), (vec![path_arg, "--recover"], phrase.join(" "))] {
        let said = refused(&keygen(&args, &input));
        assert!(said.contains("not overwritten") && said.contains(path_arg), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_wrong_phrase_makes_no_file_and_the_wrong_word_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_, phrase) = made(&dir.path().join("key"));
    let again = dir.path().join("again");
    let with = |place: usize, word: &str| {
        let mut words = phrase.clone();
        word.clone_into(&mut words[place]);
        words.join(" ")
    };
    let typo = if phrase[6] == "lusab" { "babad" } else { "lusab" };
    let swapped = {
        let mut words = phrase.clone();
        let other = words.iter().position(|word| *word != words[0]).unwrap();
        words.swap(0, other);
        words.join(" ")
    };
    let cases = [
        (with(2, "word!"), "word 3, `word!`, is none".to_owned()),
        (with(6, typo), format!("word 7, `{typo}`, does not fit the others; `{}` would", phrase[6])),
        (phrase[1..].join(" "), "has 18 words, here are 17".to_owned()),
        (swapped, "two or more of them are wrong, or in another order".to_owned()),
        (String::new(), "here are 0".to_owned()),
        ("lusab ".repeat(2000), "longer than any".to_owned()),
    ];
    for (input, expected) in cases {
        let said = refused(&keygen(&[again.to_str().unwrap(), "--recover"], &input));
        assert!(said.contains(&expected), "{said} lacks {expected}");
        assert!(!again.exists());
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none/key");
    let said = refused(&keygen(&[path.to_str().unwrap()], ""));
    assert!(said.contains("none/key") && said.contains("No such file"), "{said}");
}
