//! The directories of a tree one after the other, each whole before those inside it: what a walk wants next, from any
//! place on.

use datadb::{FileType, Kind, Name, ObjectKey, TreePath, limits, meta::Content};

use super::{
    Engine, EngineError,
    holes::hole_bytes,
    list::{Entry, Level},
};
use crate::index::Index;

/// A directory, or a part of one.
#[derive(Debug)]
pub struct TreePart {
    /// The directory's set.
    pub set: ObjectKey,
    /// Its entries, or the next ones.
    pub entries: Vec<Entry>,
    /// Whether it ends here.
    pub is_last: bool,
}

/// A walk. Holds one segment of each open directory.
#[derive(Debug)]
pub struct Tree {
    /// The directories on the way, each behind the one that is told or was told last, with their names below the first.
    levels: Vec<(Option<Name>, Level)>,
    /// The directory that is told, and how many entries of it were.
    told: Option<(Option<Name>, ObjectKey, Level, usize)>,
    entries_max: usize,
    entries: usize,
}

impl Tree {
    /// From a path below the top on.
    pub(super) fn open(
        index: &Index,
        top: &ObjectKey,
        from: &TreePath,
        entries_max: usize,
    ) -> Result<Self, EngineError> {
        let (mut levels, mut set, mut below) = (Vec::new(), *top, None);
        for component in from.components() {
            let name = Name::new(component)?;
            let (level, found) = enter(index, &set, &name)?;
            levels.push((below.replace(name), level));
            set = found.ok_or_else(|| {
                EngineError::refused(Kind::NotFound, format!("{from} is not a directory with anything in it"))
            })?;
        }
        let told = Some((below, set, Level::open(index, &set, None)?, 0));
        Ok(Self { levels, told, entries_max, entries: 0 })
    }

    /// The next parts; none at the end.
    pub(super) fn next_page(&mut self, index: &Index) -> Result<Vec<TreePart>, EngineError> {
        let (mut page, mut left, mut bytes) = (Vec::new(), limits::PAGE_ENTRIES_MAX, 0);
        while left > 0 && bytes < limits::PAGE_BYTES {
            if self.told.is_none() && (self.entries >= self.entries_max || !self.advance(index)?) {
                break;
            }
            let Some((name, set, mut level, told)) = self.told.take() else { break };
            let mut part = TreePart { set, entries: Vec::new(), is_last: false };
            let room = left.min(limits::TREE_DIR_ENTRIES_MAX - told);
            while part.entries.len() < room && bytes < limits::PAGE_BYTES {
                let Some((key, meta)) = level.next(index)? else {
                    part.is_last = true;
                    break;
                };
                bytes += 128 + meta.xattrs.len() * 256;
                let hole_bytes = hole_bytes(index, &meta)?;
                part.entries.push(Entry { depth: 0, key, meta, hole_bytes });
            }
            let told = told + part.entries.len();
            self.entries += part.entries.len().max(1);
            left = left.saturating_sub(part.entries.len().max(1));
            if part.is_last || told >= limits::TREE_DIR_ENTRIES_MAX {
                self.levels.push((name, Level::open(index, &set, None)?));
            } else {
                self.told = Some((name, set, level, told));
            }
            page.push(part);
        }
        Ok(page)
    }

    /// Goes on to the next directory with anything in it; false if there is none.
    fn advance(&mut self, index: &Index) -> Result<bool, EngineError> {
        while let Some((_, level)) = self.levels.last_mut() {
            match level.next(index)? {
                None => drop(self.levels.pop()),
                Some((_, meta)) => {
                    if let (FileType::Dir, Content::Ref(set)) = (meta.file_type, meta.content) {
                        self.told = Some((meta.name, set, Level::open(index, &set, None)?, 0));
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Where the walk would go on; `None` where it has ended.
    pub(super) fn place(&mut self, index: &Index) -> Result<Option<TreePath>, EngineError> {
        if self.told.is_none() && !self.advance(index)? {
            return Ok(None);
        }
        let names = self.levels.iter().map(|(name, _)| name).chain(self.told.iter().map(|(name, ..)| name));
        let path: Vec<u8> = names.flatten().flat_map(|name| [b"/", name.as_bytes()].concat()).collect();
        Ok(Some(TreePath::lenient(&path)?))
    }
}

/// A directory behind one of its entries, and the set of that entry.
fn enter(index: &Index, set: &ObjectKey, name: &Name) -> Result<(Level, Option<ObjectKey>), EngineError> {
    let mut level = Level::open(index, set, Some(name))?;
    while let Some((_, meta)) = level.next(index)? {
        if meta.name.as_ref() >= Some(name) {
            let found = match meta.content {
                Content::Ref(set) if meta.file_type == FileType::Dir && meta.name.as_ref() == Some(name) => Some(set),
                _ => None,
            };
            return Ok((level, found));
        }
    }
    Ok((level, None))
}

impl Engine {
    /// Starts a walk through the directory of a set, from a path below it on; it ends behind the directory with which it
    /// has told so many entries.
    pub async fn tree(&self, set: ObjectKey, from: TreePath, entries_max: usize) -> Result<Tree, EngineError> {
        self.with_index(move |index| Tree::open(index, &set, &from, entries_max)).await
    }

    /// The next parts; none at the end.
    pub async fn next_parts(&self, mut tree: Tree) -> Result<(Tree, Vec<TreePart>), EngineError> {
        self.with_index(move |index| {
            let page = tree.next_page(index)?;
            Ok((tree, page))
        })
        .await
    }

    /// Where a walk would go on; `None` where it has ended.
    pub async fn next_place(&self, mut tree: Tree) -> Result<Option<TreePath>, EngineError> {
        self.with_index(move |index| tree.place(index)).await
    }
}
