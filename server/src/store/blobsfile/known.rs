//! Whether the packs in a directory are those that the index knows of, found out before anything relies on it.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    io,
    path::Path,
    sync::Arc,
};

use datadb::BlobId;

use super::{BlobsFile, Totals, entry::Entry, pack};
use crate::{
    index::{Family, IndexError, SharedIndex, keys, space::Space},
    store::{
        StoreError,
        disk::{Disk, DiskFile},
    },
};

/// Entries that are looked at: ids are spread like chance, and with them the packs.
const LOOKED_AT: usize = 64;

/// How many of some entries are where the index says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Entries that were looked at.
    pub looked: usize,
    /// Those whose record lies in its place.
    pub same: usize,
}

impl Known {
    /// Looks at some entries of a leaf in a directory.
    pub fn of(disk: &dyn Disk, dir: &Path, index: &SharedIndex, leaf: &str) -> Result<Self, StoreError> {
        let mut known = Self::default();
        let mut files: HashMap<u64, Option<Arc<dyn DiskFile>>> = HashMap::new();
        for (id, value) in Space::of(index, leaf)?.page(None, LOOKED_AT)? {
            let entry = Entry::decode(&value).map_err(IndexError::value("a blob's entry"))?;
            let Ok(id) = BlobId::try_from(&id[..]) else { continue };
            if entry.is_bad {
                continue;
            }
            known.looked += 1;
            let number = entry.cursor.pack;
            let path = dir.join(pack::file_name(number));
            let io = |source| StoreError::io(path.display(), source);
            let file = match files.entry(number) {
                Slot::Occupied(slot) => slot.into_mut(),
                Slot::Vacant(slot) => slot.insert(match disk.open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    opened => Some(opened.map_err(io)?),
                }),
            };
            if let Some(file) = file
                && let Ok(head) = pack::read_head(&**file, entry.cursor.offset).map_err(io)?
                && entry.names(&head, &id)
            {
                known.same += 1;
            }
        }
        Ok(known)
    }

    /// Whether it is the directory that the index knows, though some of it may be damaged.
    pub const fn is_it(self) -> bool {
        self.same * 2 >= self.looked
    }
}

impl BlobsFile {
    /// Whether the index has indexed packs of a leaf; `None` if it never knew that leaf.
    pub fn is_known(index: &SharedIndex, leaf: &str) -> Result<Option<bool>, StoreError> {
        let Some(state) = index.get(Family::State, &keys::leaf(leaf))? else { return Ok(None) };
        let (_, totals) = Totals::decode(&state).map_err(IndexError::value("a leaf's state"))?;
        Ok(Some(totals.records > 0))
    }
}
