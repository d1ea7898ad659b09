//! Backups as directories: what lies where, under which name, and what is in it. Nothing here knows the kernel.
//!
//! ```text
//! /                                  or, for all hosts, /HOST
//!   README.txt
//!   latest/NAME                      the newest backup of each snapshot
//!   snapshots/NAME/TIMESTAMP         all of them
//!   at/NAME/TIME                     the newest one at a time; README.txt is all that is listed
//! ```
//! Names of snapshots and times mean something else a second later; from the root of a backup on, nothing changes.

pub mod file;
pub mod ino;
pub mod list;
mod lookup;
pub mod losses;
mod map;
pub mod names;
mod neighbours;
pub mod node;
pub mod nodes;
pub mod readme;
pub mod room;
pub mod trouble;
pub mod xattr;

use std::sync::Arc;

use datadb::{Backup, FileType, HostName, Meta, TreePath, backup::BackupSpec, meta::Timestamp};
use datadb_client::{
    clock,
    connection::{Connection, Filter},
};
use jiff::tz::TimeZone;

use crate::cache::{blobs::Blobs, dirs::Dirs, patient::Patient};
use crate::entry::Entry;
use file::File;
use lookup::Paths;
use losses::Losses;
use neighbours::Neighbours;
use node::{Kind, Node, Snapshot, Top};
use room::RoomCache;
use trouble::Trouble;

/// All backups of a server.
#[derive(Debug)]
pub struct View {
    server: Patient,
    dirs: Arc<Dirs>,
    blobs: Blobs,
    losses: Losses,
    neighbours: Neighbours,
    paths: Paths,
    room: RoomCache,
    zone: TimeZone,
    born: Timestamp,
    owner: (u32, u32),
}

impl View {
    /// A view of what the server has. Directories and texts of ours belong to `owner`.
    pub fn new(server: Patient, blobs: Blobs, zone: TimeZone, owner: (u32, u32)) -> Self {
        Self {
            server,
            dirs: Arc::default(),
            blobs,
            losses: Losses::new(zone.clone()),
            neighbours: Neighbours::default(),
            paths: Paths::default(),
            room: RoomCache::default(),
            zone,
            born: clock::now(),
            owner,
        }
    }

    /// What a place is like.
    pub async fn entry(&self, node: &Node) -> Result<Arc<Entry>, Trouble> {
        match &node.kind {
            Kind::Entry(entry) => Ok(entry.clone()),
            Kind::Top(top) => self.root(top).await,
            Kind::Text(text) => Ok(Arc::new(self.own(FileType::File, 0o444, text.len() as u64))),
            _ => Ok(Arc::new(self.own(FileType::Dir, 0o555, 0))),
        }
    }

    /// The same, if nobody needs to be asked.
    pub fn entry_now(&self, node: &Node) -> Option<Arc<Entry>> {
        match &node.kind {
            Kind::Entry(entry) => Some(entry.clone()),
            Kind::Top(top) => top.root.get().cloned(),
            _ => None,
        }
    }

    /// Opens a file of a backup.
    pub async fn open(&self, node: Arc<Node>) -> Result<File, Trouble> {
        let entry = self.entry(&node).await?;
        self.read_neighbours(&node, &entry);
        Ok(File::new(node, entry))
    }

    /// The same, if nobody needs to be asked.
    pub fn open_now(&self, node: Arc<Node>) -> Option<File> {
        let entry = self.entry_now(&node)?;
        self.read_neighbours(&node, &entry);
        Some(File::new(node, entry))
    }

    /// Something of ours, not of a backup.
    fn own(&self, file_type: FileType, mode: u32, size: u64) -> Entry {
        let (uid, gid) = self.owner;
        let mtime = self.born;
        Entry { mode, uid, gid, ..Entry::new(Meta { mtime, size, ..Meta::bare(None, file_type) }, 0) }
    }

    /// What a backup's root is like.
    async fn root(&self, top: &Top) -> Result<Arc<Entry>, Trouble> {
        if let Some(root) = top.root.get() {
            return Ok(root.clone());
        }
        let (_, root) = self.resolve(BackupSpec::Prefix(top.backup.key().to_string()), None, &TreePath::root()).await?;
        Ok(top.root.get_or_init(|| Arc::new(root)).clone())
    }

    /// A backup, and an entry of it.
    async fn resolve(
        &self,
        spec: BackupSpec,
        among: Option<&Snapshot>,
        path: &TreePath,
    ) -> Result<(Backup, Entry), Trouble> {
        let filter = among.map(filter_of).unwrap_or_default();
        let now = clock::now().seconds;
        let (spec, filter, zone) = (&spec, &filter, &self.zone);
        let ask =
            |connection: Connection| async move { connection.resolve_with_holes(spec, filter, path, now, zone).await };
        match self.server.ask_once(ask).await {
            Ok((backup, meta, holes)) => Ok((backup, Entry::new(meta, holes))),
            Err(fault) if fault.kind == datadb::Kind::NotFound => Err(Trouble::Absent),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The set of a directory of a backup; `None` if it is empty.
    async fn set(&self, node: &Node) -> Result<Option<datadb::ObjectKey>, Trouble> {
        let entry = self.entry(node).await?;
        match (entry.file_type, entry.content, entry.error()) {
            (FileType::Dir, _, Some(error)) => Err(Trouble::Unread(error.to_owned())),
            (FileType::Dir, datadb::meta::Content::Ref(set), None) => Ok(Some(set)),
            (FileType::Dir, ..) => Ok(None),
            _ => Err(Trouble::NotDir),
        }
    }
}

fn filter_of(snapshot: &Snapshot) -> Filter {
    Filter { host: Some(snapshot.host.as_str().to_owned()), path: Some(snapshot.path.as_bytes().to_vec()) }
}

fn filter_of_host(host: &HostName) -> Filter {
    Filter { host: Some(host.as_str().to_owned()), path: None }
}
