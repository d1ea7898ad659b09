//! What comes into the archive, in the order of the tree: a directory, then what is in it. Directories above what is
//! included come when something in them does.

use std::collections::VecDeque;

use datadb::{Fault, FileType, Kind, Meta, ObjectKey};
use tokio::runtime::Handle;

use super::Request;
use crate::{
    connection::Connection,
    fetch::tree::{self, Look, Tree},
    report::{Report, escape},
    restore::choice::{Choice, Pick},
};

/// A directory on the way from the root to the present place.
#[derive(Debug)]
struct Level {
    pick: Pick,
    /// Length of its path.
    path_len: usize,
    /// It has not come yet.
    later: Option<Box<Meta>>,
}

/// A walk through the backup.
pub struct Plan<'a> {
    request: &'a Request,
    tree: Option<Tree<'a>>,
    choice: Choice,
    levels: Vec<Level>,
    /// Of the present entry; that of the root is empty.
    path: Vec<u8>,
    ready: VecDeque<(Vec<u8>, Meta)>,
    chosen: u64,
}

impl<'a> Plan<'a> {
    /// At the beginning.
    pub fn new((handle, connection): (&'a Handle, &'a Connection), request: &'a Request) -> Result<Self, Fault> {
        let choice = Choice::new(&request.options)?;
        let root = choice.root();
        let set = tree::set_of(&request.meta);
        let tree = set.map(|set| Tree::new(handle, connection, set, choice.look(b"", root)));
        let levels = vec![Level { pick: root, path_len: 0, later: None }];
        let mut plan = Self { request, tree, choice, levels, path: Vec::new(), ready: VecDeque::new(), chosen: 0 };
        if request.meta.file_type != FileType::Dir {
            plan.entry(0, &request.name, request.meta.clone());
        } else if root == Pick::In {
            plan.ready.push_back((b"/".to_vec(), request.meta.clone()));
        } else {
            plan.levels[0].later = Some(Box::new(request.meta.clone()));
        }
        Ok(plan)
    }

    /// The next entry with its path; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(Vec<u8>, Meta)>, Fault> {
        while self.ready.is_empty() {
            let Some(tree) = &mut self.tree else { return Ok(None) };
            let Some((depth, meta)) = tree.next()? else {
                self.tree = None;
                continue;
            };
            let name = meta.name_bytes().to_vec();
            if let (Some((set, look)), Some(tree)) = (self.entry(depth, &name, meta), &mut self.tree) {
                tree.enter(set, look)?;
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Deals with one entry; gives the set of a directory that is to be looked into.
    fn entry(&mut self, depth: usize, name: &[u8], meta: Meta) -> Option<(ObjectKey, Look)> {
        self.levels.truncate(depth + 1);
        let Level { pick: parent, path_len, .. } = self.levels[depth];
        self.path.truncate(path_len);
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        let is_dir = meta.file_type == FileType::Dir;
        let pick = self.choice.pick(&self.path, is_dir, parent);
        if pick == Pick::Out {
            return None;
        }
        let set = tree::set_of(&meta);
        let later = if pick == Pick::In {
            self.chosen += 1;
            self.above();
            self.ready.push_back((self.path.clone(), meta));
            None
        } else {
            Some(Box::new(meta))
        };
        let set = set?;
        self.levels.push(Level { pick, path_len: self.path.len(), later });
        Some((set, self.choice.look(&self.path, pick)))
    }

    /// The directories above the present entry that have not come yet.
    fn above(&mut self) {
        for level in &mut self.levels {
            if let Some(meta) = level.later.take() {
                let path = &self.path[..level.path_len];
                self.ready.push_back((if path.is_empty() { b"/".to_vec() } else { path.to_vec() }, *meta));
            }
        }
    }

    /// A choice that chose nothing must not look like success, nor a pattern that did.
    pub fn judge(&self, report: &Report) -> Result<(), Fault> {
        let options = &self.request.options;
        if self.chosen == 0 && !options.is_all() {
            let choice = escape(options.choice().as_bytes());
            let line =
                format!("nothing is left to dump by {choice}: `datadb-client ls -R BACKUP[:PATH]` shows what is there");
            return Err(Fault::new(Kind::NotFound, line));
        }
        for pattern in self.choice.unmatched() {
            report.error(format!("--include {pattern}").as_bytes(), "matches nothing that is dumped");
        }
        Ok(())
    }
}
