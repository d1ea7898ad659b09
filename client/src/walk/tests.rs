//! What a walk promises.

use std::{collections::BTreeSet, fs, path::Path};

use proptest::prelude::*;

use super::{Past, Step, Walk};
use crate::{report::Report, select::Selection};

/// The walk as text: paths below the root, a directory's end as `<`.
fn steps(root: &Path) -> Vec<String> {
    let report = Report::lines_only();
    let root = root.canonicalize().expect("there");
    let selection = Selection::default();
    let mut walk = Walk::start(&root, Past::default(), &selection, &report).expect("started");
    let mut steps = Vec::new();
    while let Some(step) = walk.step() {
        steps.push(match step {
            Step::Leaf(entry) => String::from_utf8_lossy(&entry.name).into_owned(),
            Step::Enter(entry) => format!("{}/", String::from_utf8_lossy(&entry.name)),
            Step::Leave(_) => "<".to_owned(),
        });
    }
    steps[0] = "root/".to_owned();
    steps
}

#[test]
fn names_come_in_byte_order_and_directories_at_their_place() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in ["b", "a.txt", "a-b", "B"] {
        fs::write(dir.path().join(name), "").expect("written");
    }
    fs::create_dir_all(dir.path().join("a/z")).expect("made");
    fs::write(dir.path().join("a/z/f"), "").expect("written");
    assert_eq!(steps(dir.path()), ["root/", "B", "a/", "z/", "f", "<", "<", "a-b", "a.txt", "b", "<"]);
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_walked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = "n".repeat(200);
    let mut at = rustix::fs::open(dir.path(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("open");
    for _ in 0..40 {
        rustix::fs::mkdirat(&at, &name, 0o700.into()).expect("made");
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("open");
    }
    assert_eq!(steps(dir.path()).len(), 82);
}

#[test]
fn a_socket_is_passed_by() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).expect("bound");
    assert_eq!(steps(dir.path()), ["root/", "<"]);
}

#[test]
fn a_single_file_is_a_tree_too() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("f"), "x").expect("written");
    assert_eq!(steps(&dir.path().join("f")).len(), 1);
}

#[test]
fn affected_paths_and_their_parents_are_not_trusted() {
    let report = Report::lines_only();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let affected = vec![b"/a-b".to_vec(), b"/a/x/y".to_vec(), b"/c".to_vec()];
    let past = Past { cursor: None, affected };
    let (root, selection) = (dir.path().canonicalize().expect("there"), Selection::default());
    let mut walk = Walk::start(&root, past, &selection, &report).expect("started");
    assert!(walk.is_affected(b""));
    walk.step();
    assert!(walk.is_affected(b"a") && walk.is_affected(b"c") && walk.is_affected(b"a-b"));
    assert!(!walk.is_affected(b"b") && !walk.is_affected(b"a-") && !walk.is_affected(b"x"));
    walk.below = b"/a".to_vec();
    assert!(walk.is_affected(b"x") && !walk.is_affected(b"y"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_name_is_met_once_and_in_order(names in proptest::collection::btree_set("[a-c.-]{1,6}", 0..20)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names: BTreeSet<String> = names.into_iter().filter(|name| name != "." && name != "..").collect();
        for name in &names {
            fs::write(dir.path().join(name), "").expect("written");
        }
        let met = steps(dir.path());
        prop_assert!(met[1..met.len() - 1].iter().eq(names.iter()));
    }
}
