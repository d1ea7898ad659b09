//! Looking over many backups: the history of a path, finding entries, and what snapshots and backups come to.

use bytes::Bytes;
use datadb::{Backup, BackupKey, Fault, FileType, HostName, TreePath, Version, api};

use super::{Connection, Filter, fault, nonsense};

/// What one backup takes.
pub type BackupStats = api::BackupStatsReply;

/// Sums over distinct blobs.
pub type BlobStats = api::BlobStats;

/// Versions from one snapshot; perhaps none, which tells how far the server is.
#[derive(Debug)]
pub struct VersionsPage {
    /// The snapshot's host.
    pub host: HostName,
    /// The snapshot's path.
    pub path: TreePath,
    /// The versions.
    pub versions: Vec<Version>,
    /// Backups looked at so far, in all snapshots.
    pub backups: u64,
    /// Index keys that the server has read so far.
    pub keys_read: u64,
}

/// Versions, page by page.
#[derive(Debug)]
pub struct Versions(tonic::Streaming<api::VersionsReply>);

impl Versions {
    /// The next page; `None` at the end.
    pub async fn page(&mut self) -> Result<Option<VersionsPage>, Fault> {
        let Some(reply) = self.0.message().await.map_err(fault)? else { return Ok(None) };
        let versions = reply.versions.into_iter().map(|version| Ok(Version::try_from(version)?));
        Ok(Some(VersionsPage {
            host: HostName::new(&reply.host)?,
            path: TreePath::new(&reply.path)?,
            versions: versions.collect::<Result<_, Fault>>()?,
            backups: reply.backups,
            keys_read: reply.keys_read,
        }))
    }
}

/// What to find; what is `None`, or empty, lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// A pattern, see [`datadb::glob`].
    pub pattern: String,
    /// Whether `A` and `a` are alike.
    pub ignore_case: bool,
    /// One of these types.
    pub types: Vec<FileType>,
    /// Modified after this unix second.
    pub newer: Option<i64>,
    /// Modified at or before this unix second.
    pub older: Option<i64>,
    /// Files of more bytes.
    pub larger: Option<u64>,
    /// Files of fewer bytes.
    pub smaller: Option<u64>,
}

/// A snapshot, and what its backups come to.
#[derive(Clone, Debug)]
pub struct SnapshotTotals {
    /// Its newest backup.
    pub newest: Backup,
    /// How many backups.
    pub backups: u64,
    /// Their sizes added up, in bytes.
    pub bytes: u64,
}

impl Connection {
    /// All versions of a path as the hosts know it; folded where consecutive backups show the same, unless told not to.
    pub async fn history(&self, path: &TreePath, filter: &Filter, unfolded: bool) -> Result<Versions, Fault> {
        let path = Bytes::copy_from_slice(path.as_bytes());
        let request = api::HistoryRequest { path, filter: Some(filter.into()), unfolded };
        Ok(Versions(self.browse().history(request).await.map_err(fault)?.into_inner()))
    }

    /// All versions of all entries that a search wants, below a path of one backup or of all that the filter lets through.
    pub async fn find(
        &self,
        search: &Search,
        filter: &Filter,
        backup: Option<BackupKey>,
        below: &TreePath,
    ) -> Result<Versions, Fault> {
        let request = api::FindRequest {
            pattern: search.pattern.clone(),
            ignore_case: search.ignore_case,
            filter: Some(filter.into()),
            backup: backup.map(|key| Bytes::copy_from_slice(key.as_bytes())).unwrap_or_default(),
            below: Bytes::copy_from_slice(below.as_bytes()),
            types: search.types.iter().map(|file_type| *file_type as i32).collect(),
            newer: search.newer,
            older: search.older,
            larger: search.larger,
            smaller: search.smaller,
        };
        Ok(Versions(self.browse().find(request).await.map_err(fault)?.into_inner()))
    }

    /// All snapshots that the filter lets through, each handed on as it comes, by host and path.
    pub async fn list_snapshots(
        &self,
        filter: &Filter,
        mut each: impl FnMut(SnapshotTotals) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let request = api::ListSnapshotsRequest { filter: Some(filter.into()) };
        let mut replies = self.browse().list_snapshots(request).await.map_err(fault)?.into_inner();
        while let Some(reply) = replies.message().await.map_err(fault)? {
            for totals in reply.snapshots {
                let newest = totals.newest.ok_or_else(|| nonsense("a snapshot without a backup"))?;
                let newest = Backup::try_from(newest)?;
                each(SnapshotTotals { newest, backups: totals.backups, bytes: totals.bytes })?;
            }
        }
        Ok(())
    }

    /// What one backup takes; if wished also what no other backup holds, for which the server reads all of them.
    pub async fn backup_stats(&self, backup: BackupKey, unique: bool) -> Result<BackupStats, Fault> {
        let backup = Bytes::copy_from_slice(backup.as_bytes());
        let request = api::BackupStatsRequest { backup, unique };
        Ok(self.repository().backup_stats(request).await.map_err(fault)?.into_inner())
    }
}
