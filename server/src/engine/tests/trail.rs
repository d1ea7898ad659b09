//! The trail against a plain look into each tree.

use datadb::{FileType, TreePath};
use proptest::prelude::*;

use super::trees::{Node, Repository, node};
use crate::engine::trail::Trail;

/// What lies at a path: the mtime of a file, or that it is a directory.
fn look(tree: &Node, path: &str) -> Option<Option<u64>> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    if let (Node::File(mtime), ["tree"]) = (tree, &names[..]) {
        return Some(Some(*mtime));
    }
    let mut node = tree;
    for name in names {
        let Node::Dir(names) = node else { return None };
        node = names.get(name)?;
    }
    Some(if let Node::File(mtime) = node { Some(*mtime) } else { None })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_trail_through_many_backups_ends_where_a_look_into_each_does(trees in prop::collection::vec(node(), 1..8)) {
        let repository = Repository::of(&trees);
        for path in ["/", "/a", "/b", "/a/a", "/a/b", "/b/a", "/ab/a", "/a/a/a", "/a/b/a", "/tree"] {
            let mut trail = Trail::new(TreePath::new(path.as_bytes()).unwrap());
            for (backup, tree) in repository.backups.iter().zip(&trees) {
                let found = trail.find(&repository.index, backup).unwrap();
                let found = found.map(|meta| (meta.file_type == FileType::File).then_some(meta.mtime.seconds as u64));
                prop_assert_eq!(found, look(tree, path), "{} at {}", path, backup.time.seconds());
            }
        }
    }
}

fn dir(names: &[(&str, Node)]) -> Node {
    Node::Dir(names.iter().map(|(name, node)| ((*name).to_owned(), node.clone())).collect())
}

/// The root of the second backup is what `/a` was in the first: the same set, but nothing lies below `/a` any more.
#[test]
fn the_same_set_at_another_level_is_another_place() {
    let inner = dir(&[("a", Node::File(1))]);
    let trees = [dir(&[("a", inner.clone())]), inner];
    let repository = Repository::of(&trees);
    let mut trail = Trail::new(TreePath::new(b"/a/a").unwrap());
    assert!(trail.find(&repository.index, &repository.backups[0]).unwrap().is_some());
    assert!(trail.find(&repository.index, &repository.backups[1]).unwrap().is_none());
}

#[test]
fn what_backups_share_is_read_once() {
    let tree = |other| dir(&[("a", dir(&[("b", dir(&[("c", Node::File(1))]))])), ("other", Node::File(other))]);
    let repository = Repository::of(&[tree(1), tree(1), tree(2), tree(2)]);
    let index = repository.index.view();
    let mut trail = Trail::new(TreePath::new(b"/a/b/c").unwrap());
    let cost = |backup| {
        let before = index.keys_read();
        assert!(trail.find(&index, backup).unwrap().is_some());
        index.keys_read() - before
    };
    // The root's meta and three sets; nothing; the root's meta and set, below which all is as before; nothing.
    assert_eq!(repository.backups.iter().map(cost).collect::<Vec<u64>>(), [4, 0, 2, 0]);
}
