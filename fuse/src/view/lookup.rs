//! Finding things by name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use datadb::{HostName, TreePath, backup::BackupSpec, clock, object::ObjectKey};

use crate::entry::Entry;
use datadb_client::connection::SnapshotName;

use super::{
    View, filter_of_host,
    names::{self, Candidate},
    node::{Kind, Node, Snapshot, Top},
    readme,
    trouble::Trouble,
};

/// Names that are looked up alone in a directory before all of it is listed.
const ALONE_MAX: u32 = 3;

/// Directories for which it is counted how many names were looked up alone.
const COUNTED_MAX: usize = 1024;

/// What names mean, as far as that is known. A name never changes its meaning, so what was learned may be kept.
#[derive(Debug, Default)]
pub(super) struct Paths {
    known: Mutex<HashMap<HostName, BTreeMap<Vec<u8>, TreePath>>>,
    /// Names that were looked up alone.
    alone: Mutex<HashMap<ObjectKey, u32>>,
}

impl Paths {
    fn known(&self) -> MutexGuard<'_, HashMap<HostName, BTreeMap<Vec<u8>, TreePath>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another name should still be looked up alone.
    fn is_alone(&self, set: &ObjectKey) -> bool {
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        if alone.len() >= COUNTED_MAX {
            alone.clear();
        }
        let times = alone.entry(*set).or_default();
        *times += 1;
        *times <= ALONE_MAX
    }
}

/// `latest`, `snapshots`, `at` and their text, which lie in the directory of every host.
pub(super) fn of_host(host: &HostName) -> [(&'static [u8], Kind); 4] {
    [
        (b"README.txt", Kind::Text(readme::ROOT)),
        (b"at", Kind::At(host.clone())),
        (b"latest", Kind::Latest(host.clone())),
        (b"snapshots", Kind::Snapshots(host.clone())),
    ]
}

fn one_of(entries: impl IntoIterator<Item = (&'static [u8], Kind)>, name: &[u8]) -> Result<Kind, Trouble> {
    entries.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind).ok_or(Trouble::Absent)
}

impl View {
    /// What lies under a name in a directory.
    pub async fn lookup(&self, dir: &Arc<Node>, name: &[u8]) -> Result<Kind, Trouble> {
        match &dir.kind {
            Kind::Hosts if name == b"README.txt" => Ok(Kind::Text(readme::ROOT)),
            Kind::Hosts => self.host(name).await,
            Kind::Host(host) => one_of(of_host(host), name),
            Kind::Latest(host) => self.latest(host, name).await,
            Kind::Snapshots(host) => Ok(Kind::Versions(Arc::new(self.snapshot(host, name).await?))),
            Kind::At(host) => Ok(Kind::Times(Arc::new(self.snapshot(host, name).await?))),
            Kind::Versions(snapshot) => self.version(snapshot, name).await,
            Kind::Times(_) if name == b"README.txt" => Ok(Kind::Text(readme::TIMES)),
            Kind::Times(snapshot) => self.at(snapshot, name).await.map(Kind::Top),
            Kind::Text(_) => Err(Trouble::NotDir),
            Kind::Top(_) | Kind::Entry(_) => self.in_backup(dir, name).await.map(Kind::Entry),
        }
    }

    /// The same, if nobody needs to be asked.
    pub fn lookup_now(&self, dir: &Arc<Node>, name: &[u8]) -> Option<Result<Kind, Trouble>> {
        let entry = self.entry_now(dir)?;
        let datadb::meta::Content::Ref(set) = entry.content else { return None };
        let found = self.dirs.get(&set)?.get(name).cloned();
        Some(found.map(Kind::Entry).ok_or(Trouble::Absent))
    }

    async fn host(&self, name: &[u8]) -> Result<Kind, Trouble> {
        let host = std::str::from_utf8(name).ok().and_then(|name| HostName::new(name).ok()).ok_or(Trouble::Absent)?;
        let is_known = self.paths.known().contains_key(&host);
        if is_known || !self.names_of(&host).await?.is_empty() { Ok(Kind::Host(host)) } else { Err(Trouble::Absent) }
    }

    /// The snapshots of a host by name, from the server.
    pub(super) async fn names_of(&self, host: &HostName) -> Result<Vec<(Vec<u8>, SnapshotName)>, Trouble> {
        let filter = &filter_of_host(host);
        let listed = self.server.ask_once(|connection| async move { connection.list_names(filter).await }).await?;
        let candidate = |name: &SnapshotName| Candidate {
            path: name.newest.path.clone(),
            key: name.newest.snapshot(),
            rank: name.rank,
        };
        let names = names::assign(listed.iter().map(candidate).collect());
        let mut by_path: HashMap<TreePath, SnapshotName> =
            listed.into_iter().map(|name| (name.newest.path.clone(), name)).collect();
        if !names.is_empty() {
            self.paths.known().insert(host.clone(), names.clone());
        }
        Ok(names.into_iter().filter_map(|(name, path)| Some((name, by_path.remove(&path)?))).collect())
    }

    async fn snapshot(&self, host: &HostName, name: &[u8]) -> Result<Snapshot, Trouble> {
        let known = || self.paths.known().get(host).and_then(|names| names.get(name).cloned());
        let path = match known() {
            Some(path) => path,
            None => {
                self.names_of(host).await?;
                known().ok_or(Trouble::Absent)?
            }
        };
        Ok(Snapshot { host: host.clone(), path })
    }

    async fn latest(&self, host: &HostName, name: &[u8]) -> Result<Kind, Trouble> {
        let snapshot = self.snapshot(host, name).await?;
        let (backup, root) = self.resolve(BackupSpec::Latest(0), Some(&snapshot), &TreePath::root()).await?;
        Ok(Kind::Top(Top::with_root(backup, root)))
    }

    /// The backup of exactly this time, written exactly so.
    async fn version(&self, snapshot: &Snapshot, name: &[u8]) -> Result<Kind, Trouble> {
        let text = std::str::from_utf8(name).map_err(|_| Trouble::Absent)?;
        let seconds = clock::parse_time(text, 0, &self.zone).map_err(|_| Trouble::Absent)?;
        if clock::format_time(seconds, &self.zone) != text {
            return Err(Trouble::Absent);
        }
        let top = self.at(snapshot, name).await?;
        if top.backup.time.seconds() == seconds { Ok(Kind::Top(top)) } else { Err(Trouble::Absent) }
    }

    /// The newest backup at a time.
    async fn at(&self, snapshot: &Snapshot, time: &[u8]) -> Result<Top, Trouble> {
        let time = std::str::from_utf8(time).map_err(|_| Trouble::Absent)?.to_owned();
        // What is no time is no name of anything here.
        clock::parse_time(&time, datadb_client::clock::now().seconds, &self.zone).map_err(|_| Trouble::Absent)?;
        let spec = BackupSpec::NameAtTime { name: snapshot.path.as_bytes().to_vec(), time };
        let (backup, root) = self.resolve(spec, Some(snapshot), &TreePath::root()).await?;
        Ok(Top::with_root(backup, root))
    }

    /// An entry of a directory of a backup.
    async fn in_backup(&self, dir: &Arc<Node>, name: &[u8]) -> Result<Arc<Entry>, Trouble> {
        let Some(set) = self.set(dir).await? else { return Err(Trouble::Absent) };
        if self.dirs.get(&set).is_none() && self.paths.is_alone(&set) {
            return self.alone(dir, name).await.map(Arc::new);
        }
        match self.dirs.list(&self.server, &set).await? {
            crate::cache::dirs::Listed::Whole(dir) => dir.get(name).cloned().ok_or(Trouble::Absent),
            crate::cache::dirs::Listed::Begun(_) => self.alone(dir, name).await.map(Arc::new),
        }
    }

    /// The same, without a look at the others.
    async fn alone(&self, dir: &Arc<Node>, name: &[u8]) -> Result<Entry, Trouble> {
        let (_, top) = dir.top().ok_or(Trouble::Absent)?;
        let path = TreePath::lenient(&[&dir.path()[..], b"/", name].concat()).map_err(|_| Trouble::Absent)?;
        let (_, entry) = self.resolve(BackupSpec::Prefix(top.backup.key().to_string()), None, &path).await?;
        Ok(entry)
    }
}
