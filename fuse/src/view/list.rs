//! Listing directories.

use std::{collections::VecDeque, sync::Arc};

use datadb::{
    FileType, HostName, ObjectKey, TreePath,
    clock::format_time,
    meta::{Content, Name},
};
use datadb_client::connection::Filter;

use super::{
    View, filter_of, lookup,
    node::{Kind, Node, Snapshot, Top},
    readme,
    trouble::Trouble,
};
use crate::cache::{
    dirs::{Dir, Listed},
    walks::{self, Place},
};
use crate::entry::Entry;

/// Something in a directory.
#[derive(Clone, Debug)]
pub struct Child {
    /// What it is called.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
}

impl Child {
    fn new(name: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// A directory that is being read.
#[derive(Debug)]
pub enum Listing {
    /// One of ours.
    Own(Vec<Child>),
    /// One of a backup.
    Whole(Arc<Dir>),
    /// One of a backup, too large to be kept.
    Long(Long),
}

/// A long directory: some entries around where it is read.
#[derive(Debug)]
pub struct Long {
    set: ObjectKey,
    /// The number of the first entry that is held.
    first: usize,
    held: VecDeque<(Name, Arc<Entry>)>,
    is_at_end: bool,
}

/// Entries behind the place where somebody reads that are still held.
const HELD_MAX: usize = 4 * datadb::limits::PAGE_ENTRIES_MAX;

fn child((name, entry): &(Name, Arc<Entry>)) -> Child {
    Child::new(name.as_bytes(), Kind::Entry(entry.clone()))
}

impl View {
    /// Begins to read a directory.
    pub async fn list(&self, dir: &Arc<Node>) -> Result<Listing, Trouble> {
        let own = match &dir.kind {
            Kind::Hosts => self.hosts().await?,
            Kind::Host(host) => lookup::of_host(host).map(|(name, kind)| Child::new(name, kind)).into(),
            Kind::Latest(host) => self.newest_of(host).await?,
            Kind::Snapshots(host) => self.snapshots_of(host, Kind::Versions).await?,
            Kind::At(host) => self.snapshots_of(host, Kind::Times).await?,
            Kind::Versions(snapshot) => self.versions(snapshot).await?,
            Kind::Times(_) => vec![Child::new(b"README.txt", Kind::Text(readme::TIMES))],
            Kind::Text(_) => return Err(Trouble::NotDir),
            Kind::Top(_) | Kind::Entry(_) => return self.list_backup(dir).await,
        };
        Ok(Listing::Own(own))
    }

    async fn list_backup(&self, dir: &Arc<Node>) -> Result<Listing, Trouble> {
        let Some(set) = self.set(dir).await? else { return Ok(Listing::Own(Vec::new())) };
        if let Some((place, begins)) = self.place(dir, set) {
            walks::come_to(&self.dirs, &self.server, &place, begins).await;
        }
        Ok(match self.dirs.list(&self.server, &set).await? {
            Listed::Whole(dir) => Listing::Whole(dir),
            Listed::Begun(entries) => Listing::Long(Long { set, first: 0, held: entries.into(), is_at_end: false }),
        })
    }

    /// Where a directory lies in its backup, and whether the one that holds it was listed, too.
    fn place(&self, dir: &Arc<Node>, set: ObjectKey) -> Option<(Place, bool)> {
        let Content::Ref(top) = self.entry_now(dir.top()?.0)?.content else { return None };
        let begins = match self.entry_now(dir.parent.as_ref()?).map(|parent| parent.content) {
            Some(Content::Ref(parent)) => self.dirs.get(&parent).is_some(),
            _ => false,
        };
        Some((Place { top, path: TreePath::lenient(&dir.path()).ok()?, set }, begins))
    }

    async fn hosts(&self) -> Result<Vec<Child>, Trouble> {
        let filter = &Filter::default();
        let listed = self.server.ask_once(|connection| async move { connection.list_names(filter).await }).await?;
        let mut hosts: Vec<HostName> = listed.into_iter().map(|name| name.newest.host).collect();
        hosts.sort();
        hosts.dedup();
        let mut children = vec![Child::new(b"README.txt", Kind::Text(readme::ROOT))];
        // The text keeps its name, should a host be called so.
        hosts.retain(|host| host.as_str() != "README.txt");
        children.extend(hosts.into_iter().map(|host| Child::new(host.as_str().to_owned(), Kind::Host(host))));
        Ok(children)
    }

    async fn newest_of(&self, host: &HostName) -> Result<Vec<Child>, Trouble> {
        let names = self.names_of(host).await?;
        Ok(names.into_iter().map(|(name, of)| Child { name, kind: Kind::Top(Top::new(of.newest)) }).collect())
    }

    async fn snapshots_of(&self, host: &HostName, kind: impl Fn(Arc<Snapshot>) -> Kind) -> Result<Vec<Child>, Trouble> {
        let snapshot = |path| kind(Arc::new(Snapshot { host: host.clone(), path }));
        let names = self.names_of(host).await?;
        Ok(names.into_iter().map(|(name, of)| Child { name, kind: snapshot(of.newest.path) }).collect())
    }

    async fn versions(&self, snapshot: &Snapshot) -> Result<Vec<Child>, Trouble> {
        let filter = &filter_of(snapshot);
        let listed = self.server.ask_once(|connection| async move {
            let mut backups = Vec::new();
            let push = |backup| {
                backups.push(backup);
                Ok(())
            };
            connection.list_backups(filter, push).await?;
            Ok(backups)
        });
        let version = |backup: datadb::Backup| {
            Child::new(format_time(backup.time.seconds(), &self.zone), Kind::Top(Top::new(backup)))
        };
        Ok(listed.await?.into_iter().map(version).collect())
    }
}

impl Listing {
    /// The entries from this number on, at least one of them if there are any.
    pub async fn from(&mut self, view: &View, number: usize) -> Result<Vec<Child>, Trouble> {
        match self {
            Self::Own(children) => Ok(children.get(number..).unwrap_or_default().to_vec()),
            Self::Whole(dir) => {
                let entries = dir.entries().get(number..).unwrap_or_default();
                Ok(entries.iter().take(HELD_MAX).map(child).collect())
            }
            Self::Long(long) => long.from(view, number).await,
        }
    }
}

impl Long {
    async fn from(&mut self, view: &View, number: usize) -> Result<Vec<Child>, Trouble> {
        if number < self.first {
            // Back to the beginning: whoever seeks in such a directory has to wait.
            (self.first, self.is_at_end) = (0, false);
            self.held.clear();
        }
        while number >= self.first + self.held.len() && !self.is_at_end {
            self.more(view, number).await?;
        }
        Ok(self.held.iter().skip(number - self.first).take(HELD_MAX).map(child).collect())
    }

    async fn more(&mut self, view: &View, number: usize) -> Result<(), Trouble> {
        let (set, after) = (&self.set, self.held.back().map(|(name, _)| name));
        let server = &view.server;
        let page = server.ask(|connection| async move {
            let mut listing = server.within(connection.list_with_holes(set, after)).await?;
            let mut held = Vec::new();
            while held.len() < HELD_MAX
                && let Some(page) = server.within(listing.page_with_holes()).await?
            {
                held.extend(page);
            }
            Ok(held)
        });
        let page = page.await?;
        self.is_at_end = page.is_empty();
        self.held.extend(page.into_iter().filter_map(|(_, mut meta, holes)| {
            let name = meta.name.take()?;
            Some((name, Arc::new(Entry::new(meta, holes))))
        }));
        // The last one stays: the next page begins behind its name.
        while self.held.len() > 2 * HELD_MAX && self.first < number {
            self.held.pop_front();
            self.first += 1;
        }
        Ok(())
    }
}

impl Child {
    /// What it is, as far as a listing tells.
    pub fn file_type(&self) -> FileType {
        match &self.kind {
            Kind::Entry(entry) => entry.file_type,
            Kind::Top(top) => top.backup.file_type,
            Kind::Text(_) => FileType::File,
            _ => FileType::Dir,
        }
    }
}
