//! Trees of a model, put right into an index as the backups of one snapshot.

use std::collections::BTreeMap;

use datadb::{
    Backup, FileType, HostName, Meta, Name, ObjectKey, TreePath,
    backup::{BackupTime, Counts},
    object::{Encoded, SetBuilder},
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::index::{Family, Index};

/// What lies at a path.
#[derive(Clone, Debug)]
pub enum Node {
    /// A file with an mtime in seconds.
    File(u64),
    /// A directory: names to what lies there.
    Dir(BTreeMap<String, Node>),
}

/// An index with backups of `/tree`, one a second.
pub struct Repository {
    /// The index.
    pub index: Index,
    /// The backups, oldest first.
    pub backups: Vec<Backup>,
    _dir: TempDir,
}

impl Repository {
    /// With a backup of each of these trees.
    pub fn of(trees: &[Node]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut repository =
            Self { index: Index::open(&dir.path().join("index")).unwrap(), backups: Vec::new(), _dir: dir };
        trees.iter().for_each(|tree| repository.commit(tree));
        repository
    }

    fn commit(&mut self, tree: &Node) {
        let root = self.put_node(None, tree);
        let encoding = root.encode();
        let key = ObjectKey::of(&encoding);
        self.put(key, &encoding);
        let backup = Backup {
            host: HostName::new("host").unwrap(),
            path: TreePath::new(b"/tree").unwrap(),
            time: BackupTime::new(self.backups.len() as i64).unwrap(),
            root: key,
            file_type: root.file_type,
            counts: Counts::default(),
            tags: BTreeMap::new(),
            token: [0; 16],
        };
        self.backups.push(backup);
    }

    fn put_node(&self, name: Option<Name>, node: &Node) -> Meta {
        let names = match node {
            Node::Dir(names) => names,
            Node::File(mtime) => {
                let mut meta = Meta::bare(name, FileType::File);
                meta.mtime.seconds = *mtime as i64;
                return meta;
            }
        };
        let (mut set, nothing_taken) = (SetBuilder::new(), |_: &ObjectKey| false);
        for (name, node) in names {
            let name = Name::new(name.as_bytes()).unwrap();
            let meta = self.put_node(Some(name.clone()), node);
            self.put_all(set.push(&name, meta.encode(), &nothing_taken));
        }
        let (rest, content) = set.finish(&nothing_taken);
        self.put_all(rest);
        Meta { content, ..Meta::bare(name, FileType::Dir) }
    }

    fn put_all(&self, objects: impl IntoIterator<Item = Encoded>) {
        objects.into_iter().for_each(|encoded| self.put(encoded.object.key, &encoded.bytes));
    }

    /// Puts an object.
    pub fn put(&self, key: ObjectKey, encoding: &[u8]) {
        let mut batch = self.index.batch();
        batch.put(Family::Objects, key.as_bytes(), &[&[0; 32], encoding].concat());
        self.index.write(batch).unwrap();
    }
}

/// Small random trees in which much is alike.
pub fn node() -> impl Strategy<Value = Node> {
    let file = (0u64..3).prop_map(Node::File);
    file.prop_recursive(3, 20, 4, |inner| prop::collection::btree_map("[ab]{1,2}", inner, 0..4).prop_map(Node::Dir))
}
