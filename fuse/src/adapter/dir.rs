//! Reading directories.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, sync::Arc, time::Duration};

use fuser::{Errno, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use tokio::sync::Mutex;

use super::{
    GENERATION, Inner,
    attr::{self, FOREVER},
};
use crate::view::{
    list::{Child, Listing},
    node::{Kind, Node},
    trouble::Trouble,
};

/// Entries before those of the directory itself: `.` and `..`.
const DOTS: u64 = 2;

/// A directory that is open.
#[derive(Debug)]
pub(super) struct OpenDir {
    node: Arc<Node>,
    listing: Mutex<Option<Listing>>,
}

impl OpenDir {
    /// Nothing is read so far.
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, listing: Mutex::new(None) }
    }

    /// The entries from this number on.
    async fn from(&self, inner: &Inner, number: u64) -> Result<Vec<Child>, Trouble> {
        let mut listing = self.listing.lock().await;
        let listing = match &mut *listing {
            // From the beginning again means: as it is now.
            Some(known) if number > 0 => known,
            other => other.insert(inner.view.list(&self.node).await?),
        };
        listing.from(&inner.view, usize::try_from(number).unwrap_or(usize::MAX)).await
    }

    /// `.` and `..`.
    fn dots(&self) -> [(&'static str, INodeNo); 2] {
        let parent = self.node.parent.as_ref().unwrap_or(&self.node);
        [(".", INodeNo(self.node.ino.0)), ("..", INodeNo(parent.ino.0))]
    }

    /// Answers with names, numbers and types.
    pub(super) async fn read(&self, inner: &Inner, offset: u64, mut reply: ReplyDirectory) {
        let children = match self.from(inner, offset.saturating_sub(DOTS)).await {
            Ok(children) => children,
            Err(trouble) => return reply.error(Errno::from(&trouble)),
        };
        for (number, (name, ino)) in (1..).zip(self.dots()).skip(offset as usize) {
            if reply.add(ino, number, fuser::FileType::Directory, name) {
                return reply.ok();
            }
        }
        for (number, child) in (offset.max(DOTS) + 1..).zip(&children) {
            let (ino, kind) = (self.node.number(&child.name, &child.kind), attr::kind(child.file_type()));
            if reply.add(INodeNo(ino.0), number, kind, OsStr::from_bytes(&child.name)) {
                break;
            }
        }
        reply.ok();
    }

    /// Answers with everything, as if each entry had been looked up.
    pub(super) async fn read_plus(&self, inner: &Inner, offset: u64, mut reply: ReplyDirectoryPlus) {
        let children = match self.from(inner, offset.saturating_sub(DOTS)).await {
            Ok(children) => children,
            Err(trouble) => return reply.error(Errno::from(&trouble)),
        };
        for (number, (name, ino)) in (1..).zip(self.dots()).skip(offset as usize) {
            // The kernel looks at the number and the type of these alone.
            let attr = fuser::FileAttr { ino, kind: fuser::FileType::Directory, ..attr::nothing() };
            if reply.add(ino, number, name, &Duration::ZERO, &attr, GENERATION) {
                return reply.ok();
            }
        }
        for (number, child) in (offset.max(DOTS) + 1..).zip(children) {
            if !self.add(inner, number, child, &mut reply) {
                break;
            }
        }
        reply.ok();
    }

    /// Adds an entry; false if there is no room for it.
    fn add(&self, inner: &Inner, number: u64, child: Child, reply: &mut ReplyDirectoryPlus) -> bool {
        let file_type = child.file_type();
        let node = inner.nodes.child(&self.node, &child.name, child.kind);
        let name = OsStr::from_bytes(&child.name);
        let ino = INodeNo(node.ino.0);
        let is_full = match inner.view.entry_now(&node) {
            Some(entry) if matches!(node.kind, Kind::Entry(_)) => {
                reply.add(ino, number, name, &FOREVER, &attr::attr(node.ino, &entry), GENERATION)
            }
            // Of what may be something else soon, or was not looked at, the kernel asks again when it is used.
            _ => {
                let attr = fuser::FileAttr { ino, kind: attr::kind(file_type), ..attr::nothing() };
                reply.add(ino, number, name, &Duration::ZERO, &attr, GENERATION)
            }
        };
        if !is_full {
            inner.nodes.told(&node);
        }
        !is_full
    }
}
