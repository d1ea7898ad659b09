//! The walk against a plain model that looks at every path of every backup.

use std::{cell::Cell, collections::BTreeMap};

use datadb::{Backup, BackupKey, FileType, Meta, Object, ObjectKey, TreePath, Version, meta::Content};
use proptest::prelude::*;

use super::trees::{Node, Repository, node};
use crate::{
    engine::{
        EngineError,
        walk::{Visit, Walk},
    },
    index::Index,
};

impl Repository {
    /// Every row that the walk gives, in the order of paths, and the keys that it read.
    fn walk(&self, below: &str, bytes_max: usize, visit: &mut dyn Visit) -> (Vec<Row>, u64) {
        let index = self.index.view();
        let mut walk = Walk::new(TreePath::new(below.as_bytes()).unwrap(), bytes_max);
        self.backups.iter().for_each(|backup| walk.add(&index, backup, visit).unwrap());
        while walk.step(&index, visit).unwrap() {}
        assert_eq!(walk.held_bytes, 0);
        let mut rows: Vec<Row> = walk.found().drain(..).map(|version| self.row(version)).collect();
        rows.sort();
        (rows, index.keys_read())
    }

    fn row(&self, version: Version) -> Row {
        let number = |key: BackupKey| self.backups.iter().position(|backup| backup.key() == key).unwrap();
        let (first, last) = (number(version.first.backup), number(version.last.backup));
        assert_eq!(version.backups, (last - first + 1) as u64);
        let meta = version.meta.unwrap();
        let mtime = (meta.file_type == FileType::File).then_some(meta.mtime.seconds as u64);
        (String::from_utf8(version.path.as_bytes().to_vec()).unwrap(), first, last, mtime)
    }
}

/// Path, first backup, last backup, and a file's mtime.
type Row = (String, usize, usize, Option<u64>);

/// What a path shows in a backup: the mtime of a file, or all of a directory.
fn look(node: &Node) -> String {
    format!("{node:?}")
}

fn paths(at: &str, node: &Node, found: &mut BTreeMap<String, Node>) {
    if let Node::Dir(names) = node {
        for (name, below) in names {
            found.insert(format!("{at}/{name}"), below.clone());
            paths(&format!("{at}/{name}"), below, found);
        }
    }
}

/// The rows as somebody finds them who looks at every path of every backup.
fn model(trees: &[Node], wanted: impl Fn(&str, &Node) -> bool) -> Vec<Row> {
    let mut open: BTreeMap<String, (String, Row)> = BTreeMap::new();
    let mut rows = Vec::new();
    for (number, tree) in trees.iter().enumerate() {
        let mut now = BTreeMap::new();
        paths("", tree, &mut now);
        if let Node::File(_) = tree {
            now.insert("/tree".to_owned(), tree.clone());
        }
        now.retain(|path, node| wanted(path, node));
        let gone: Vec<String> = open
            .iter()
            .filter(|(path, (seen, _))| now.get(*path).map(look).as_ref() != Some(seen))
            .map(|(p, _)| p.clone())
            .collect();
        rows.extend(gone.iter().filter_map(|path| open.remove(path)).map(|(_, row)| row));
        for (path, node) in now {
            let mtime = if let Node::File(mtime) = &node { Some(*mtime) } else { None };
            let row = open.entry(path.clone()).or_insert_with(|| (look(&node), (path, number, number, mtime)));
            row.1.2 = number;
        }
    }
    rows.extend(open.into_values().map(|(_, row)| row));
    rows.sort();
    rows
}

/// Wants what the model's closure wants, by path alone.
struct Wanted(fn(&str) -> bool, Cell<u64>);

impl Visit for Wanted {
    fn visit(&mut self, _: &Index, path: &[u8], _: &Meta) -> Result<bool, EngineError> {
        self.1.set(self.1.get() + 1);
        Ok(self.0(std::str::from_utf8(path).unwrap()))
    }
}

fn wanted(wants: fn(&str) -> bool) -> Wanted {
    Wanted(wants, Cell::new(0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_finds_what_looking_everywhere_finds(trees in prop::collection::vec(node(), 1..7), bytes_max in 0usize..3000) {
        let repository = Repository::of(&trees);
        for wants in [|_: &str| true, |path: &str| path.ends_with('a'), |path: &str| path.matches('/').count() == 2] {
            let (rows, _) = repository.walk("/", bytes_max, &mut wanted(wants));
            prop_assert_eq!(rows, model(&trees, |path, _| wants(path)));
        }
    }
}

/// Directories of several segments that change in one place each time.
fn large(states: u64) -> Vec<Node> {
    let state = |state: u64| {
        let name = |number: u64| format!("{number:05}");
        let mut names: BTreeMap<String, Node> = (0..4000).map(|number| (name(number), Node::File(0))).collect();
        names.insert(name(state * 100), Node::File(1));
        names.remove(&name(3000 + state));
        names.insert(format!("{:05}", 5000 + state), Node::Dir([("x".to_owned(), Node::File(state))].into()));
        Node::Dir(names)
    };
    (0..states).map(state).collect()
}

#[test]
fn large_directories_are_told_right_in_one_pass_and_in_many() {
    let trees = large(6);
    let repository = Repository::of(&trees);
    let expected = model(&trees, |_, _| true);
    for bytes_max in [usize::MAX, 200_000, 30_000] {
        let (rows, _) = repository.walk("/", bytes_max, &mut wanted(|_| true));
        assert!(rows == expected, "{bytes_max} bytes: {} rows, expected {}", rows.len(), expected.len());
    }
}

#[test]
fn a_segment_that_stays_is_read_once() {
    let repository = Repository::of(&large(30));
    let mut visit = wanted(|_| false);
    let (rows, keys) = repository.walk("/", 1 << 20, &mut visit);
    assert!(rows.is_empty());
    // Of each backup the root, its head, the few segments around the changes, and a directory of one entry.
    assert!(keys < 30 * 8, "{keys} keys read");
    assert!(visit.1.get() < 4000 + 30 * 3 * 1024, "{} entries looked at", visit.1.get());
}

#[test]
fn names_that_do_not_fit_are_not_read_before_their_turn() {
    let names = (0..20_000).map(|number| (format!("{number:05}"), Node::File(0)));
    let repository = Repository::of(&[Node::Dir(names.collect())]);
    let (rows, keys) = repository.walk("/", 400_000, &mut wanted(|_| true));
    assert_eq!(rows.len(), 20_000);
    // Some 50 passes over about 30 segments: of each the head, and the two or three segments that hold its names.
    assert!(keys < 300, "{keys} keys read");
}

#[test]
fn a_walk_may_start_below_the_root_and_at_a_file() {
    let dir =
        |names: &[(&str, Node)]| Node::Dir(names.iter().map(|(n, node)| ((*n).to_owned(), node.clone())).collect());
    let trees = [
        dir(&[("sub", dir(&[("a", Node::File(1))]))]),
        dir(&[("sub", Node::File(2))]),
        Node::File(3),
        dir(&[("sub", dir(&[("a", Node::File(1)), ("b", Node::File(1))]))]),
    ];
    let repository = Repository::of(&trees);
    let (rows, _) = repository.walk("/sub", 0, &mut wanted(|_| true));
    let row = |path: &str, first, last, mtime| (path.to_owned(), first, last, Some(mtime));
    let expected = [row("/sub", 1, 1, 2), row("/sub/a", 0, 0, 1), row("/sub/a", 3, 3, 1), row("/sub/b", 3, 3, 1)];
    assert_eq!(rows, expected);
    let (rows, _) = repository.walk("/", 0, &mut wanted(|path| path == "/tree"));
    assert_eq!(rows, [row("/tree", 2, 2, 3)]);
}

#[test]
fn an_object_of_the_wrong_kind_is_an_error() {
    let repository = Repository::of(&[Node::File(1)]);
    let list = Object::List(vec![datadb::object::Chunk { len: 1, blob: None }]).encode(0);
    repository.put(ObjectKey::of(&list), &list);
    let root = Meta { content: Content::Ref(ObjectKey::of(&list)), ..Meta::bare(None, FileType::Dir) }.encode();
    repository.put(ObjectKey::of(&root), &root);
    let backup = Backup { root: ObjectKey::of(&root), ..repository.backups[0].clone() };
    let mut walk = Walk::new(TreePath::root(), 0);
    let mut visit = wanted(|_| true);
    walk.add(&repository.index, &backup, &mut visit).unwrap();
    let error = loop {
        match walk.step(&repository.index, &mut visit) {
            Ok(goes_on) => assert!(goes_on, "the walk ends without an error"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("no directory's set"), "{error}");
}
