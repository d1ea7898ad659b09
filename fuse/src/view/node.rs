//! What a place in the tree is.

use std::sync::{Arc, OnceLock};

use datadb::{Backup, HostName, TreePath};

use super::ino::Ino;
use crate::entry::Entry;

/// A place in the tree.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub ino: Ino,
    /// The directory that it was first seen in; `None` for the root.
    pub parent: Option<Arc<Node>>,
    /// What it is called there.
    pub name: Box<[u8]>,
    /// What it is.
    pub kind: Kind,
}

/// A path of a host that is backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The host.
    pub host: HostName,
    /// The path.
    pub path: TreePath,
}

/// What a place is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The directory of all hosts.
    Hosts,
    /// What there is of one host: `latest`, `snapshots`, `at`.
    Host(HostName),
    /// The newest backup of every snapshot.
    Latest(HostName),
    /// Every snapshot with all its backups.
    Snapshots(HostName),
    /// Every snapshot at any time.
    At(HostName),
    /// All backups of a snapshot, by their times.
    Versions(Arc<Snapshot>),
    /// A snapshot, at times that somebody types.
    Times(Arc<Snapshot>),
    /// A text of ours.
    Text(&'static str),
    /// A backup's root.
    Top(Top),
    /// Something in a backup.
    Entry(Arc<Entry>),
}

impl Kind {
    /// Whether its name means something else a second later, or nothing any more.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Entry(_) | Self::Text(_))
    }
}

/// A backup's root. What it is like is asked for when somebody looks.
#[derive(Clone, Debug)]
pub struct Top {
    /// The backup.
    pub backup: Arc<Backup>,
    /// What its root is like, once that is known.
    pub root: Arc<OnceLock<Arc<Entry>>>,
}

impl Top {
    /// A backup whose root is not known.
    pub fn new(backup: Backup) -> Self {
        Self { backup: Arc::new(backup), root: Arc::default() }
    }

    /// A backup with what its root is like.
    pub fn with_root(backup: Backup, root: Entry) -> Self {
        Self { backup: Arc::new(backup), root: Arc::new(OnceLock::from(Arc::new(root))) }
    }
}

impl Node {
    /// The node of the mount's root.
    pub fn root(kind: Kind) -> Self {
        Self { ino: Ino::ROOT, parent: None, name: Box::default(), kind }
    }

    /// The number that an entry of this directory has.
    pub fn number(self: &Arc<Self>, name: &[u8], kind: &Kind) -> Ino {
        match kind {
            Kind::Top(top) => Ino::of_backup(self.ino, name, &top.backup.key()),
            Kind::Entry(entry) => match (entry.link, self.top()) {
                (Some(link), Some((top, _))) => Ino::of_link(top.ino, &link),
                _ => Ino::of_name(self.ino, name),
            },
            _ => Ino::of_name(self.ino, name),
        }
    }

    /// Whether this is what another node of the same number is.
    pub fn is_same(&self, other: &Self) -> bool {
        let parents = (self.parent.as_ref().map(|parent| parent.ino), other.parent.as_ref().map(|parent| parent.ino));
        let is_link = |kind: &Kind| if let Kind::Entry(entry) = kind { entry.link } else { None };
        let is_one_file = is_link(&self.kind).is_some() && is_link(&self.kind) == is_link(&other.kind);
        is_one_file || (parents.0 == parents.1 && self.name == other.name)
    }

    /// The backup that it lies in, and that backup's root.
    pub fn top(self: &Arc<Self>) -> Option<(&Arc<Self>, &Top)> {
        let mut node = self;
        loop {
            if let Kind::Top(top) = &node.kind {
                return Some((node, top));
            }
            node = node.parent.as_ref()?;
        }
    }

    /// Its path below its backup's root, beginning with `/`.
    pub fn path(&self) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut node = self;
        while let (Kind::Entry(_), Some(parent)) = (&node.kind, &node.parent) {
            names.push(&node.name);
            node = parent;
        }
        if names.is_empty() {
            return b"/".to_vec();
        }
        names.iter().rev().flat_map(|name| [b"/", *name].concat()).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use datadb::{
        FileType, Meta, Name, ObjectKey,
        backup::{BackupTime, Counts},
        meta::HardLink,
    };

    pub fn backup(time: i64) -> Backup {
        Backup {
            host: HostName::new("desk").unwrap(),
            path: TreePath::new(b"/home/me").unwrap(),
            time: BackupTime::new(time).unwrap(),
            root: ObjectKey::new([1; 20]),
            file_type: FileType::Dir,
            counts: Counts::default(),
            tags: Default::default(),
            token: [0; 16],
        }
    }

    pub fn below(parent: &Arc<Node>, name: &str, kind: Kind) -> Arc<Node> {
        let ino = parent.number(name.as_bytes(), &kind);
        Arc::new(Node { ino, parent: Some(parent.clone()), name: name.as_bytes().into(), kind })
    }

    pub fn entry(file_type: FileType, link: Option<[u8; 16]>) -> Kind {
        let link = link.map(|id| HardLink { nlink: 2, id });
        let meta = Meta { link, ..Meta::bare(Some(Name::new(b"x").unwrap()), file_type) };
        Kind::Entry(Arc::new(Entry::new(meta, 0)))
    }

    #[test]
    fn names_of_one_file_share_a_number_within_a_backup_and_not_beyond() {
        let root = Arc::new(Node::root(Kind::Latest(HostName::new("desk").unwrap())));
        let one = below(&root, "me", Kind::Top(Top::new(backup(1))));
        let two = below(&root, "me", Kind::Top(Top::new(backup(2))));
        let dir = below(&one, "dir", entry(FileType::Dir, None));
        let file = || entry(FileType::File, Some([9; 16]));
        let (a, b) = (below(&one, "a", file()), below(&dir, "b", file()));
        assert_eq!(a.ino, b.ino);
        assert!(a.is_same(&b));
        let elsewhere = below(&two, "a", file());
        assert_ne!(elsewhere.ino, a.ino);
        let other = below(&one, "c", entry(FileType::File, Some([8; 16])));
        assert!(!other.is_same(&a) && other.ino != a.ino);
    }

    #[test]
    fn a_path_begins_at_the_root_of_the_backup() {
        let root = Arc::new(Node::root(Kind::Latest(HostName::new("desk").unwrap())));
        let top = below(&root, "me", Kind::Top(Top::new(backup(1))));
        assert_eq!(top.path(), b"/");
        let dir = below(&top, "some", entry(FileType::Dir, None));
        assert_eq!(below(&dir, "file", entry(FileType::File, None)).path(), b"/some/file");
        assert_eq!(dir.top().unwrap().0.ino, top.ino);
        assert!(root.top().is_none());
    }
}
