//! Counts of the whole repository, and what of a backup is damaged.

use datadb::{
    BackupKey, BlobId, FileType, TreePath,
    meta::{Content, XattrValue},
};

use super::{
    Engine, EngineError,
    list::{Entry, ListOptions},
};
use crate::{
    index::apply::Totals,
    store::{Presence, StoreStats},
};

/// Counts and sizes of everything.
#[derive(Clone, Debug)]
pub struct RepositoryStats {
    /// Sums over all backups.
    pub totals: Totals,
    /// The blob store.
    pub blobs: StoreStats,
    /// The log's store.
    pub log: StoreStats,
    /// The stack of stores.
    pub stack: String,
}

/// The base that a client would like to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// There is no such backup: trust nothing.
    Unknown,
    /// It is whole.
    Whole,
    /// Some copies are marked bad; `affected` tells the paths.
    Suspect,
}

impl Engine {
    /// Counts and sizes of everything.
    pub async fn stats(&self) -> Result<RepositoryStats, EngineError> {
        let totals = self.with_index(|index| Ok(index.totals()?)).await?;
        let (blobs, log) = (self.inner.blobs.stats().await?, self.inner.log.stats().await?);
        Ok(RepositoryStats { totals, blobs, log, stack: self.inner.blobs.to_string() })
    }

    /// Whether a backup can be trusted as the base of the next one.
    pub async fn judge_base(&self, base: BackupKey) -> Result<Base, EngineError> {
        if self.backup_by_key(base).await?.is_none() {
            return Ok(Base::Unknown);
        }
        let is_suspect = self.inner.blobs.stats().await?.bad_blobs > 0;
        Ok(if is_suspect { Base::Suspect } else { Base::Whole })
    }

    /// The paths below a backup's root whose content is not there any more, page by page through `found`. Reads the whole
    /// tree, which is why it is only asked for while copies are marked bad.
    pub async fn affected<F>(
        &self,
        base: BackupKey,
        mut found: impl FnMut(Vec<TreePath>) -> F,
    ) -> Result<(), EngineError>
    where
        F: Future<Output = bool>,
    {
        let Some(backup) = self.backup_by_key(base).await? else { return Ok(()) };
        let root = self.find_path(&backup, &TreePath::root()).await?;
        if self.has_lost(&Entry { depth: 0, key: backup.root, meta: root.clone(), hole_bytes: 0 }).await? {
            found(vec![TreePath::root()]).await;
        }
        let (FileType::Dir, Content::Ref(set)) = (root.file_type, root.content) else { return Ok(()) };
        let options = ListOptions { is_recursive: true, ..ListOptions::default() };
        let mut listing = self.list(set, options).await?;
        let mut names: Vec<Vec<u8>> = Vec::new();
        loop {
            let (rest, page) = self.next_entries(listing).await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut affected = Vec::new();
            for entry in &page {
                names.truncate(entry.depth as usize);
                names.push(entry.meta.name_bytes().to_vec());
                if self.has_lost(entry).await? {
                    let path: Vec<u8> = names.iter().flat_map(|name| [b"/", &name[..]].concat()).collect();
                    affected.push(TreePath::lenient(&path)?);
                }
            }
            if !affected.is_empty() && !found(affected).await {
                return Ok(());
            }
            listing = rest;
        }
    }

    /// Whether any blob of an entry itself is not there.
    async fn has_lost(&self, entry: &Entry) -> Result<bool, EngineError> {
        let mut ids: Vec<BlobId> = Vec::new();
        for xattr in &entry.meta.xattrs {
            if let XattrValue::Blob(id) = xattr.value {
                ids.push(id);
            }
        }
        match (entry.meta.file_type, entry.meta.content) {
            (_, Content::Blob(id)) => ids.push(id),
            (FileType::File, Content::Ref(list)) => {
                let mut pages = self.chunks(list, 0).await?;
                loop {
                    let (rest, page) = self.next_chunks(pages).await?;
                    if page.is_empty() {
                        break;
                    }
                    let blobs: Vec<BlobId> = page.iter().filter_map(|chunk| chunk.blob).collect();
                    if self.any_missing(&blobs).await? {
                        return Ok(true);
                    }
                    pages = rest;
                }
            }
            _ => {}
        }
        self.any_missing(&ids).await
    }

    async fn any_missing(&self, ids: &[BlobId]) -> Result<bool, EngineError> {
        if ids.is_empty() {
            return Ok(false);
        }
        Ok(self.inner.blobs.find(ids).await?.contains(&Presence::Missing))
    }
}
