//! The nodes that the kernel knows. It says when it forgets one, so there are as many as it keeps.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    ino::Ino,
    node::{Kind, Node},
};

/// The nodes by number, each with how often the kernel was told of it.
#[derive(Debug)]
pub struct Nodes(Mutex<HashMap<Ino, (Arc<Node>, u64)>>);

impl Nodes {
    /// Only the root, which is never forgotten.
    pub fn new(root: Node) -> Self {
        Self(Mutex::new(HashMap::from([(root.ino, (Arc::new(root), 1))])))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, (Arc<Node>, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node that the kernel knows.
    pub fn get(&self, ino: Ino) -> Option<Arc<Node>> {
        self.lock().get(&ino).map(|(node, _)| node.clone())
    }

    /// The node of an entry: the one that is known, or a new one, which is kept when `told`.
    pub fn child(&self, parent: &Arc<Node>, name: &[u8], kind: Kind) -> Arc<Node> {
        let mut ino = parent.number(name, &kind);
        let mut node = Node { ino, parent: Some(parent.clone()), name: name.into(), kind };
        let nodes = self.lock();
        while let Some((known, _)) = nodes.get(&ino) {
            if known.is_same(&node) {
                learn(known, &node);
                return known.clone();
            }
            ino = ino.next();
            node.ino = ino;
        }
        Arc::new(node)
    }

    /// The kernel is told of a node once more.
    pub fn told(&self, node: &Arc<Node>) {
        self.lock().entry(node.ino).or_insert_with(|| (node.clone(), 0)).1 += 1;
    }

    /// The kernel forgets what it was told so many times.
    pub fn forget(&self, ino: Ino, times: u64) {
        let mut nodes = self.lock();
        let Some((_, told)) = nodes.get_mut(&ino) else { return };
        *told = told.saturating_sub(times);
        if *told > 0 || ino == Ino::ROOT {
            return;
        }
        let forgotten = nodes.remove(&ino);
        drop(nodes);
        // Its parents may go with it, which takes a while.
        drop(forgotten);
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is known; the root always is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A known root of a backup learns what it is like.
fn learn(known: &Node, new: &Node) {
    if let (Kind::Top(known), Kind::Top(new)) = (&known.kind, &new.kind)
        && let Some(root) = new.root.get()
    {
        known.root.get_or_init(|| root.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::node::{
        Top,
        tests::{backup, entry},
    };
    use datadb::{FileType, HostName};

    fn nodes() -> (Nodes, Arc<Node>) {
        let nodes = Nodes::new(Node::root(Kind::Latest(HostName::new("desk").unwrap())));
        let root = nodes.get(Ino::ROOT).unwrap();
        let top = nodes.child(&root, b"me", Kind::Top(Top::new(backup(1))));
        nodes.told(&top);
        (nodes, top)
    }

    #[test]
    fn a_number_is_the_same_after_it_was_forgotten() {
        let (nodes, top) = nodes();
        let file = nodes.child(&top, b"file", entry(FileType::File, None));
        nodes.told(&file);
        nodes.told(&file);
        nodes.forget(file.ino, 1);
        assert!(nodes.get(file.ino).is_some());
        nodes.forget(file.ino, 1);
        assert!(nodes.get(file.ino).is_none());
        assert_eq!(nodes.child(&top, b"file", entry(FileType::File, None)).ino, file.ino);
        nodes.forget(Ino::ROOT, 100);
        assert!(nodes.get(Ino::ROOT).is_some(), "the root stays");
    }

    #[test]
    fn nobody_gets_the_number_of_somebody_else() {
        let (nodes, top) = nodes();
        let file = nodes.child(&top, b"file", entry(FileType::File, None));
        let thief = Arc::new(Node {
            ino: file.ino,
            parent: Some(top.clone()),
            name: b"thief"[..].into(),
            kind: entry(FileType::File, None),
        });
        nodes.told(&thief);
        let moved = nodes.child(&top, b"file", entry(FileType::File, None));
        assert_eq!(moved.ino, file.ino.next());
    }
}
