//! The log's end against the index: a log that is older than what was derived from it, or another one, is never continued.

use bytes::Bytes;
use datadb::{BlobId, BlobRef};

use super::{LogError, Position};
use crate::record::Record;
use crate::store::{Cursor, Item, SharedStore, StoreError, Stored};

/// Records looked at at once.
const PAGE: usize = 256;

/// Reads the record that was applied last from a store of the log, and gives the blob that it is.
///
/// # Errors
/// [`LogError::Ends`] if it is not there, or can't be read; [`LogError::Differs`] if another one has its number.
pub async fn check(store: &SharedStore, applied: &Position) -> Result<Option<BlobId>, LogError> {
    if applied.sequence == 0 {
        return Ok(None);
    }
    let id = match applied.blob {
        Some(id) => Some(id),
        None => find(store, applied).await?,
    };
    if let Some(id) = id
        && let Some(stored) = get(store, &id).await?
        && blobs_of(&stored).iter().any(|(blob, _)| blob.id == id && blob.digest == applied.digest)
    {
        return Ok(Some(id));
    }
    Err(what_is_there(store, applied).await?)
}

/// The record's blob by its digest alone.
async fn find(store: &SharedStore, applied: &Position) -> Result<Option<BlobId>, LogError> {
    let mut after = None;
    loop {
        let page = store.enumerate(after, PAGE).await?;
        let found = page.iter().flat_map(refs_of).find(|blob| blob.digest == applied.digest);
        if found.is_some() || page.len() < PAGE {
            return Ok(found.map(|blob| blob.id));
        }
        after = page.last().map(cursor_of);
    }
}

/// Reads all records for their numbers.
async fn what_is_there(store: &SharedStore, applied: &Position) -> Result<LogError, LogError> {
    let (mut after, mut last) = (None, 0);
    loop {
        let page = store.enumerate(after, PAGE).await?;
        for blob in page.iter().flat_map(refs_of) {
            let Some(stored) = get(store, &blob.id).await? else { continue };
            let blobs = blobs_of(&stored);
            let bytes = blobs.iter().find(|(inside, _)| inside.id == blob.id).map(|(_, bytes)| bytes);
            let Some(record) = bytes.and_then(|bytes| Record::decode(bytes).ok()) else { continue };
            if record.sequence == applied.sequence && blob.digest != applied.digest {
                return Ok(LogError::Differs { sequence: record.sequence });
            }
            last = last.max(record.sequence);
        }
        if page.len() < PAGE {
            return Ok(LogError::Ends { last, applied: applied.sequence });
        }
        after = page.last().map(cursor_of);
    }
}

fn refs_of(item: &Item) -> &[BlobRef] {
    match item {
        Item::Record { refs, .. } => refs,
        Item::Damage(_) => &[],
    }
}

const fn cursor_of(item: &Item) -> Cursor {
    match item {
        Item::Record { cursor, .. } => *cursor,
        Item::Damage(damage) => damage.cursor,
    }
}

/// A damaged record is as good as none.
async fn get(store: &SharedStore, id: &BlobId) -> Result<Option<Stored>, LogError> {
    match store.get(id).await {
        Err(StoreError::Damaged { .. }) => Ok(None),
        other => Ok(other?),
    }
}

/// What is in a bundle; nothing, if it is not what it says.
fn blobs_of(stored: &Stored) -> Vec<(BlobRef, Bytes)> {
    stored.bundle.verify().map(|plain| plain.iter().collect()).unwrap_or_default()
}
