//! Finding backups, and finding a path in one.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;
use datadb::{Backup, BackupKey, HostName, Kind, Meta, Object, ObjectKey, SnapshotKey, TreePath, backup::prefix_range};

use super::{Engine, EngineError, trail::Trail};
use crate::index::{Family, Index, IndexError, apply::OBJECT_HEAD_BYTES, keys};

/// Keys read at once.
const PAGE: usize = 256;

/// Candidates that an "ambiguous" names.
const CANDIDATES_MAX: usize = 4;

/// Which backups count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this host's.
    pub host: Option<HostName>,
    /// Only this path's.
    pub path: Option<TreePath>,
    /// Only of paths that are this one or lie above it.
    pub holding: Option<TreePath>,
}

impl Filter {
    pub(super) fn lets(&self, host: &HostName, path: &TreePath) -> bool {
        self.host.as_ref().is_none_or(|wanted| wanted == host)
            && self.path.as_ref().is_none_or(|wanted| wanted == path)
            && self.holding.as_ref().is_none_or(|held| held.below(path).is_some())
    }

    /// Where in the index the names lie that it may let through.
    pub(super) fn names(&self) -> Range<Vec<u8>> {
        match (&self.host, &self.path) {
            (None, _) => b"n".to_vec()..b"o".to_vec(),
            (Some(host), None) => keys::names_of(host),
            (Some(host), Some(path)) => {
                let name = keys::name(host, path);
                name.clone()..[&name[..], &[0]].concat()
            }
        }
    }
}

/// How one backup is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The beginning of its 40 hex digits.
    Prefix(String),
    /// The N-th before the newest.
    Latest(u32),
    /// The nearest at or before a time, of the snapshot with this path or last component.
    NameAtTime {
        /// Path or last component.
        name: Vec<u8>,
        /// Unix seconds.
        time: i64,
    },
}

/// Walks over all backups, snapshots by host and path, oldest first within each.
#[derive(Debug)]
pub struct BackupPages {
    filter: Filter,
    /// Keys of names that were not looked at.
    names: Range<Vec<u8>>,
    snapshots: VecDeque<SnapshotKey>,
    next_version: Option<Vec<u8>>,
    is_at_end: bool,
}

impl BackupPages {
    /// Starts at the first.
    pub fn new(filter: Filter) -> Self {
        let names = filter.names();
        Self { filter, names, snapshots: VecDeque::new(), next_version: None, is_at_end: false }
    }

    /// The next page, of one snapshot; an empty one is the end.
    pub(super) fn next(&mut self, index: &Index) -> Result<Vec<Backup>, EngineError> {
        loop {
            if let Some(snapshot) = self.snapshots.front() {
                let (first, last) = keys::versions(snapshot);
                let from = self.next_version.take().unwrap_or(first);
                let page = index.scan(Family::Backups, &from, &last, PAGE)?;
                match page.last() {
                    Some((key, _)) if page.len() == PAGE => self.next_version = Some([key, &[0][..]].concat()),
                    _ => drop(self.snapshots.pop_front()),
                }
                if !page.is_empty() {
                    return page.iter().map(|(_, key)| backup(index, key)).collect();
                }
            } else if self.is_at_end {
                return Ok(Vec::new());
            } else {
                let page = index.scan(Family::Backups, &self.names.start, &self.names.end, PAGE)?;
                self.is_at_end = page.len() < PAGE;
                for (key, snapshot) in &page {
                    if keys::parse_name(key).is_some_and(|(host, path)| self.filter.lets(&host, &path)) {
                        self.snapshots.push_back(SnapshotKey::try_from(&snapshot[..])?);
                    }
                    self.names.start = [key, &[0][..]].concat();
                }
            }
        }
    }
}

pub(super) fn backup(index: &Index, key: &[u8]) -> Result<Backup, EngineError> {
    let key = BackupKey::try_from(key)?;
    index.backup(&key)?.ok_or_else(|| not_found(format!("backup {key} is not there")))
}

fn not_found(message: impl Into<String>) -> EngineError {
    EngineError::refused(Kind::NotFound, message)
}

impl Engine {
    /// The next page of a listing; an empty one is the end.
    pub async fn next_backups(&self, mut pages: BackupPages) -> Result<(BackupPages, Vec<Backup>), EngineError> {
        self.with_index(move |index| {
            let page = pages.next(index)?;
            Ok((pages, page))
        })
        .await
    }

    /// Finds one backup.
    pub async fn find_backup(&self, wanted: Wanted, filter: Filter) -> Result<Backup, EngineError> {
        self.with_index(move |index| match wanted {
            Wanted::Prefix(prefix) => by_prefix(index, &prefix),
            Wanted::Latest(back) => latest(index, back, &filter),
            Wanted::NameAtTime { name, time } => by_name(index, &name, time, &filter),
        })
        .await
    }

    /// A backup by its whole key.
    pub async fn backup_by_key(&self, key: BackupKey) -> Result<Option<Backup>, EngineError> {
        self.with_index(move |index| Ok(index.backup(&key)?)).await
    }

    /// The meta of a path in a backup. In a backup of a file, `/` and `/NAME` are that file.
    pub async fn find_path(&self, backup: &Backup, path: &TreePath) -> Result<Meta, EngineError> {
        let (backup, path) = (backup.clone(), path.clone());
        self.with_index(move |index| {
            let mut trail = Trail::new(path.clone());
            let found = trail.find(index, &backup)?.cloned();
            found.ok_or_else(|| not_found(format!("{path} is not in the backup of {} ({})", backup.path, backup.key())))
        })
        .await
    }
}

/// An object's encoding.
pub(super) fn encoding(index: &Index, key: &ObjectKey) -> Result<Bytes, EngineError> {
    let value = index.get(Family::Objects, key.as_bytes())?;
    let value = value.ok_or_else(|| not_found(format!("object {key} is not there")))?;
    if value.len() < OBJECT_HEAD_BYTES {
        let short = datadb::codec::DecodeError::Short { field: "object" };
        return Err(IndexError::value("an object")(short).into());
    }
    Ok(Bytes::from(value).slice(OBJECT_HEAD_BYTES..))
}

/// An object.
pub(super) fn object(index: &Index, key: &ObjectKey) -> Result<Object, EngineError> {
    Ok(Object::decode(&encoding(index, key)?).map_err(IndexError::value("an object"))?)
}

fn by_prefix(index: &Index, prefix: &str) -> Result<Backup, EngineError> {
    let nothing = || not_found(format!("no backup begins with {prefix}: `datadb-client snapshots` lists them"));
    let (low, high) = prefix_range(prefix).ok_or_else(nothing)?;
    let end = [&keys::backup(&high)[..], &[0]].concat();
    let found = index.scan(Family::Backups, &keys::backup(&low), &end, CANDIDATES_MAX)?;
    match &found[..] {
        [] => Err(nothing()),
        [(key, _)] => backup(index, &key[1..]),
        several => {
            let keys: Result<Vec<BackupKey>, _> =
                several.iter().map(|(key, _)| BackupKey::try_from(&key[1..])).collect();
            let keys: Vec<String> = keys?.iter().map(ToString::to_string).collect();
            let message = format!("{prefix} is ambiguous: {} and perhaps more begin with it", keys.join(", "));
            Err(EngineError::refused(Kind::Ambiguous, message))
        }
    }
}

fn latest(index: &Index, back: u32, filter: &Filter) -> Result<Backup, EngineError> {
    let nothing = || {
        let what =
            if back == 0 { "there are no backups".to_owned() } else { format!("no latest~{back} is among those") };
        not_found(format!("{what} that match: `datadb-client snapshots` lists them"))
    };
    let mut left = u64::from(back);
    let (low, high) = match (&filter.host, &filter.path) {
        (Some(host), Some(path)) => keys::versions(&SnapshotKey::of(host, path)),
        _ => (b"t".to_vec(), b"u".to_vec()),
    };
    let mut from = high;
    loop {
        let page = index.scan_back(Family::Backups, &from, &low, PAGE)?;
        for (key, value) in &page {
            if key[..] == from[..] {
                continue;
            }
            let backup = backup(index, value)?;
            if filter.lets(&backup.host, &backup.path) {
                if left == 0 {
                    return Ok(backup);
                }
                left -= 1;
            }
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => from = key.to_vec(),
            _ => return Err(nothing()),
        }
    }
}

fn by_name(index: &Index, name: &[u8], time: i64, filter: &Filter) -> Result<Backup, EngineError> {
    let shown = String::from_utf8_lossy(name).into_owned();
    let mut found: Vec<(HostName, TreePath, SnapshotKey)> = Vec::new();
    let Range { start: mut from, end } = filter.names();
    loop {
        let page = index.scan(Family::Backups, &from, &end, PAGE)?;
        for (key, snapshot) in &page {
            from = [key, &[0][..]].concat();
            let Some((host, path)) = keys::parse_name(key) else { continue };
            let is_named = if name.starts_with(b"/") { path.as_bytes() == name } else { path.shown_name() == name };
            if is_named && filter.lets(&host, &path) && found.len() <= CANDIDATES_MAX {
                found.push((host, path, SnapshotKey::try_from(&snapshot[..])?));
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    let snapshot = match &found[..] {
        [] => return Err(not_found(format!("no snapshot is named {shown}: `datadb-client snapshots` lists them"))),
        [(_, _, snapshot)] => snapshot,
        several => {
            let several: Vec<String> = several.iter().map(|(host, path, _)| format!("{host}:{path}")).collect();
            let message =
                format!("{shown} is ambiguous: it names {}; give the full path, or --host", several.join(" and "));
            return Err(EngineError::refused(Kind::Ambiguous, message));
        }
    };
    let (low, _) = keys::versions(snapshot);
    let nothing = || not_found(format!("{shown} has no backup at or before that time"));
    let time = datadb::backup::BackupTime::new(time.clamp(0, datadb::limits::TIME_SECONDS_MAX))?;
    let nearest = index.scan_back(Family::Backups, &keys::version(snapshot, time), &low, 1)?;
    let (_, key) = nearest.first().ok_or_else(nothing)?;
    backup(index, key)
}
