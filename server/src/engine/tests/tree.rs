//! A walk from directory to directory, against the tree that it goes through.

use std::collections::BTreeMap;

use datadb::{TreePath, meta::Content};
use proptest::prelude::*;

use super::trees::{Node, Repository, node};
use crate::engine::tree::Tree;

/// The paths of all directories with anything in them, each with its names, in the order of a walk.
fn directories(path: &str, node: &Node, found: &mut Vec<(String, Vec<String>)>) {
    let Node::Dir(names) = node else { return };
    if names.is_empty() {
        return;
    }
    found.push((if path.is_empty() { "/".to_owned() } else { path.to_owned() }, names.keys().cloned().collect()));
    names.iter().for_each(|(name, node)| directories(&format!("{path}/{name}"), node, found));
}

fn walk(repository: &Repository, from: &str, entries_max: usize) -> (Vec<Vec<String>>, Option<String>) {
    let root = crate::engine::browse::object(&repository.index, &repository.backups[0].root).unwrap();
    let datadb::Object::Meta(root) = root else { panic!("a root is a meta") };
    let Content::Ref(set) = root.content else { panic!("the root is not empty") };
    let index = &repository.index;
    let from = TreePath::lenient(from.as_bytes()).unwrap();
    let mut tree = Tree::open(index, &set, &from, entries_max).unwrap();
    let (mut told, mut open) = (Vec::new(), Vec::new());
    loop {
        let page = tree.next_page(index).unwrap();
        if page.is_empty() {
            break;
        }
        for part in page {
            let name = |meta: &datadb::Meta| String::from_utf8(meta.name_bytes().to_vec()).unwrap();
            open.extend(part.entries.iter().map(|entry| name(&entry.meta)));
            if part.is_last {
                told.push(std::mem::take(&mut open));
            }
        }
    }
    assert!(open.is_empty(), "every directory ends");
    (told, tree.place(index).unwrap().map(|path| path.to_string()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_tells_every_directory_once_and_goes_on_where_it_ended(inner in node(), max in 1usize..20) {
        // Something that is never empty.
        let tree = Node::Dir(BTreeMap::from([("a".to_owned(), inner), ("z".to_owned(), Node::File(1))]));
        let repository = Repository::of(std::slice::from_ref(&tree));
        let mut expected = Vec::new();
        directories("", &tree, &mut expected);
        let names: Vec<Vec<String>> = expected.iter().map(|(_, names)| names.clone()).collect();
        prop_assert_eq!(&walk(&repository, "/", usize::MAX), &(names.clone(), None));
        for (number, (path, _)) in expected.iter().enumerate() {
            prop_assert_eq!(&walk(&repository, path, usize::MAX).0[..], &names[number..], "from {}", path);
        }
        let (mut told, mut from) = (Vec::new(), Some("/".to_owned()));
        while let Some(path) = from {
            let (some, next) = walk(&repository, &path, max);
            prop_assert!(!some.is_empty());
            told.extend(some);
            from = next;
        }
        prop_assert_eq!(told, names);
    }
}

#[test]
fn a_directory_of_many_segments_is_told_whole() {
    let many: BTreeMap<String, Node> = (0..5000).map(|number| (format!("{number:05}"), Node::File(0))).collect();
    let names: Vec<String> = many.keys().cloned().collect();
    let inner = Node::Dir(BTreeMap::from([("file".to_owned(), Node::File(1))]));
    let tree = BTreeMap::from([("many".to_owned(), Node::Dir(many)), ("next".to_owned(), inner)]);
    let repository = Repository::of(&[Node::Dir(tree)]);
    let (told, next) = walk(&repository, "/many", 10);
    assert_eq!((told, next.as_deref()), (vec![names], Some("/next")));
}
