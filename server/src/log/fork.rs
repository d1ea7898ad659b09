//! Two copies of a log that parted ways are never brought together: each would get the other's records.

use std::collections::HashMap;

use async_trait::async_trait;
use datadb::{BlobRef, Digest};

use crate::record::Record;
use crate::store::{
    SharedStore, StoreError,
    mirror::{Alone, Kin},
};

/// Refuses two different records of one number.
#[derive(Debug)]
pub struct LogKin;

#[async_trait]
impl Kin for LogKin {
    async fn check(&self, one: &Alone<'_>, other: &Alone<'_>) -> Result<(), StoreError> {
        let mut numbers: HashMap<u64, Digest> = HashMap::new();
        for blob in &one.blobs {
            if let Some(number) = number_of(&one.store, blob).await? {
                numbers.insert(number, blob.digest);
            }
        }
        for blob in &other.blobs {
            let Some(number) = number_of(&other.store, blob).await? else { continue };
            if numbers.get(&number).is_some_and(|digest| *digest != blob.digest) {
                let what = format!(
                    "its record number {number} is not the one of {}: the two were written apart, and are not merged. \
                     Take one of them out of the config",
                    one.name
                );
                return Err(StoreError::Inconsistent { place: other.name.to_owned(), what });
            }
        }
        Ok(())
    }
}

/// The number of a record; `None` if it can't be read, or is none.
async fn number_of(store: &SharedStore, blob: &BlobRef) -> Result<Option<u64>, StoreError> {
    let stored = match store.get(&blob.id).await {
        Ok(Some(stored)) => stored,
        Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(plain) = stored.bundle.verify() else { return Ok(None) };
    let bytes = plain.iter().find(|(inside, _)| inside.id == blob.id).map(|(_, bytes)| bytes);
    Ok(bytes.and_then(|bytes| Record::decode(&bytes).ok()).map(|record| record.sequence))
}
