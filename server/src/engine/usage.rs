//! What one backup takes: its distinct blobs, what they are in plain and as they are stored, and which of them no other
//! backup holds.

use std::collections::BTreeMap;

use datadb::{
    Backup, BackupKey, BlobId, FileType, Kind, Meta, ObjectKey, TreePath, limits,
    meta::{Content, XattrValue},
};
use lru::LruCache;

use super::{
    Engine, EngineError,
    browse::{BackupPages, Filter},
    find::READS_PER_STEP,
    list::ChunkPages,
    sample::Sample,
    walk::{
        Visit,
        survey::{Progress, Survey},
    },
};
use crate::{
    index::Index,
    store::{Presence, blocking},
};

/// File lists remembered as read already, so that a directory that changes does not bring back its large files.
const LISTS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(1 << 14).expect("it is not 0");

/// What one backup takes.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The backup.
    pub backup: Backup,
    /// The blobs that it names.
    pub all: BlobSums,
    /// Those that no other backup names, if asked for.
    pub unique: Option<BlobSums>,
    /// Index keys read.
    pub keys_read: u64,
}

/// Sums over distinct blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobSums {
    /// How many.
    pub blobs: u64,
    /// Their plain lengths.
    pub bytes: u64,
    /// Their shares of the bundles as they are stored.
    pub stored_bytes: u64,
    /// Those that are not there, or only damaged; not in the other figures.
    pub missing: u64,
    /// Whether the counts come from a sample.
    pub is_estimated: bool,
    /// Whether `stored_bytes` comes from a sample.
    pub is_stored_estimated: bool,
}

/// Takes the blobs of all entries into a sample, or out of it.
struct Blobs {
    sample: Sample,
    are_others: bool,
    lists: LruCache<ObjectKey, ()>,
}

impl Blobs {
    fn new() -> Self {
        Self { sample: Sample::new(limits::SAMPLE_BLOBS_MAX), are_others: false, lists: LruCache::new(LISTS) }
    }

    /// From now on, blobs are taken out.
    fn turn(&mut self) {
        self.are_others = true;
        self.lists.clear();
    }

    fn blob(&mut self, id: BlobId) {
        if self.are_others {
            self.sample.remove(&id);
        } else {
            self.sample.add(id);
        }
    }

    fn list(&mut self, index: &Index, list: ObjectKey) -> Result<(), EngineError> {
        if self.lists.put(list, ()).is_some() {
            return Ok(());
        }
        let mut pages = ChunkPages::open(index, &list, 0)?;
        loop {
            let page = pages.next_page(index)?;
            if page.is_empty() {
                return Ok(());
            }
            page.iter().filter_map(|chunk| chunk.blob).for_each(|id| self.blob(id));
        }
    }
}

impl Visit for Blobs {
    fn visit(&mut self, index: &Index, _: &[u8], meta: &Meta) -> Result<bool, EngineError> {
        for xattr in &meta.xattrs {
            if let XattrValue::Blob(id) = xattr.value {
                self.blob(id);
            }
        }
        match (meta.file_type, meta.content) {
            (FileType::File, Content::Blob(id)) => self.blob(id),
            (FileType::File, Content::Ref(list)) => self.list(index, list)?,
            _ => {}
        }
        Ok(false)
    }
}

/// Goes through everything that a survey covers, a part at a time, so that it ends where nobody waits any more.
async fn go_through(mut index: Index, mut blobs: Blobs, mut survey: Survey) -> Result<(Index, Blobs), EngineError> {
    let mut progress = Progress::Within;
    while progress != Progress::Over {
        (index, blobs, survey, progress) = blocking(move || {
            let until = index.keys_read() + READS_PER_STEP;
            let mut progress = Progress::Within;
            while progress != Progress::Over && index.keys_read() < until {
                progress = survey.step(&index, &mut blobs)?;
            }
            Ok::<_, EngineError>((index, blobs, survey, progress))
        })
        .await?;
    }
    Ok((index, blobs))
}

/// A bundle, by one of its blobs, and the plain bytes in it that are counted.
#[derive(Clone, Copy, Debug)]
struct Part {
    id: BlobId,
    bytes: u64,
}

impl Engine {
    /// What a backup takes. Reads its whole tree, and for what is unique to it every state of every directory of all others.
    pub async fn usage(&self, key: BackupKey, with_unique: bool) -> Result<Usage, EngineError> {
        let backup = self.backup_by_key(key).await?;
        let backup =
            backup.ok_or_else(|| EngineError::refused(Kind::NotFound, format!("backup {key} is not there")))?;
        let own = Survey::of_one(backup.clone(), TreePath::root());
        let (mut index, mut blobs) = go_through(self.inner.index.view(), Blobs::new(), own).await?;
        let all = self.sums(&blobs.sample).await?;
        let mut unique = None;
        if with_unique {
            blobs.turn();
            let others = Survey::of_all(BackupPages::new(Filter::default()), Some(key), TreePath::root());
            (index, blobs) = go_through(index, blobs, others).await?;
            unique = Some(self.sums(&blobs.sample).await?);
        }
        Ok(Usage { backup, all, unique, keys_read: index.keys_read() })
    }

    async fn sums(&self, sample: &Sample) -> Result<BlobSums, EngineError> {
        let mut sums = BlobSums { is_estimated: sample.weight() > 1, ..BlobSums::default() };
        let mut bundles: BTreeMap<u64, Part> = BTreeMap::new();
        for ids in sample.ids().chunks(limits::QUESTION_REFS_MAX) {
            for (id, presence) in ids.iter().zip(self.inner.blobs.find(ids).await?) {
                match presence {
                    Presence::Have(found) => {
                        sums.blobs += 1;
                        sums.bytes += u64::from(found.len);
                        bundles.entry(found.place).or_insert(Part { id: *id, bytes: 0 }).bytes += u64::from(found.len);
                    }
                    Presence::Missing => sums.missing += 1,
                    Presence::Unknown => {
                        let message = format!("a store that may hold blob {id} can't be reached now");
                        return Err(EngineError::refused(Kind::Unavailable, message));
                    }
                }
            }
        }
        for figure in [&mut sums.blobs, &mut sums.bytes, &mut sums.missing] {
            *figure = figure.saturating_mul(sample.weight());
        }
        self.add_stored(&mut sums, bundles).await?;
        Ok(sums)
    }

    /// Reads the bundles, or some of them evenly spread over the packs, and concludes from their shares.
    async fn add_stored(&self, sums: &mut BlobSums, bundles: BTreeMap<u64, Part>) -> Result<(), EngineError> {
        let step = bundles.len().div_ceil(limits::SAMPLE_BUNDLES_MAX).max(1);
        let (mut plain, mut stored, mut damaged) = (0, 0, 0u64);
        for part in bundles.into_values().step_by(step) {
            match self.read_stored(&part.id).await {
                Ok(Some(found)) => {
                    let whole = found.bundle.data().len() + found.bundle.table().len();
                    stored += proportion(part.bytes, whole as u64, u64::from(found.bundle.plain_bytes()));
                    plain += part.bytes;
                }
                Ok(None) => damaged += 1,
                Err(error) if error.kind() == Kind::Damaged => damaged += 1,
                Err(error) => return Err(error),
            }
        }
        sums.stored_bytes = proportion(sums.bytes, stored, plain);
        sums.is_stored_estimated = sums.is_estimated || step > 1 || damaged > 0;
        Ok(())
    }
}

/// `value * part / whole`; 0 of nothing.
fn proportion(value: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
