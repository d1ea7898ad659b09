//! Opening: are all keys there, and which labels have not been read yet?

use std::sync::Arc;

use datadb::{BlobId, BlobRef};

use super::{
    Core, State,
    content::{self, Contents},
    entry::{Entry, Progress},
    key::KeyId,
    put::judge,
    read::Known,
    seal::{self, SealError},
};
use crate::{
    index::{Family, IndexError, keys},
    store::{Cursor, Damage, Item, Presence, StoreError, blocking},
};

/// Records whose labels are read at once: a long label has 256 KiB.
const PAGE: usize = 64;

/// Entries that wait in memory for the index, at most (roughly): some 8 MiB.
const ENTRIES_MAX: usize = 1 << 16;

/// How often the labels are read from the front because the place of the last ones was refused in between.
const RESTARTS_MAX: usize = 4;

/// What `open` found that a person should know.
#[derive(Debug, Default)]
pub struct EncryptReport {
    /// Records whose label is not what was sealed for them, and what the inner store calls damage.
    pub damage: Vec<Damage>,
    /// Records found behind those that the index knew, and added to it.
    pub records_added: u64,
}

/// A record as its label tells of it.
struct Opened {
    cursor: Cursor,
    inner: BlobId,
    key: KeyId,
    contents: Contents,
}

/// What an item of the inner store's enumeration is.
enum Seen {
    Record(Opened),
    Damage(Damage),
    /// A record without a seal.
    Plain(Damage),
}

impl Core {
    /// Brings the entries up to the end of the inner store.
    pub(super) async fn catch_up(self: Arc<Self>) -> Result<EncryptReport, StoreError> {
        let core = self.clone();
        let progress = blocking(move || core.load_progress()).await?;
        if let Some(missing) = progress.keys.iter().find(|key| self.keys.get(**key).is_none()) {
            return Err(self.wrong_key(*missing));
        }
        let mut after = progress.read_to;
        *self.state() = State { progress: progress.clone(), durable: progress, ..State::default() };
        // What the inner store can't know of now may come from a side that is away, behind what is read here.
        let nobodys = BlobId::new([0; BlobId::LEN]);
        self.state().is_held_back = self.inner.find(&[nobodys]).await? == [Presence::Unknown];
        let mut report = EncryptReport::default();
        let mut restarts = 0;
        let mut page = self.first_page(&mut after).await?;
        while !page.is_empty() {
            after = page.last().map(cursor);
            let core = self.clone();
            let seen = blocking(move || page.into_iter().map(|item| core.look_at(item)).collect::<Vec<_>>()).await;
            for seen in seen {
                match seen? {
                    Seen::Plain(_) if self.state().progress.records == 0 => return Err(self.plain()),
                    Seen::Plain(damage) | Seen::Damage(damage) => report.damage.push(damage),
                    Seen::Record(opened) => report.records_added += u64::from(self.add_record(opened).await?),
                }
            }
            self.state().has_read(after);
            if self.state().pending.len() >= ENTRIES_MAX {
                self.clone().write_caught_up().await?;
            }
            page = match self.inner.enumerate(after, PAGE).await {
                // The side of a mirror that gave the place is behind now.
                Err(StoreError::Away { .. }) if restarts < RESTARTS_MAX => {
                    restarts += 1;
                    self.first_page(&mut after).await?
                }
                page => page?,
            };
        }
        self.write_caught_up().await?;
        Ok(report)
    }

    fn load_progress(&self) -> Result<Progress, StoreError> {
        match self.space.index().get(Family::State, &keys::leaf(&self.name))? {
            Some(bytes) => Ok(Progress::decode(&bytes).map_err(IndexError::value("the state of an encrypted store"))?),
            None => Ok(Progress::default()),
        }
    }

    /// The first items that were not read yet. Where the inner store doesn't know the place any more (it was wiped, or it is
    /// a mirror whose side is away), all are read again: what is known already is recognised.
    async fn first_page(&self, after: &mut Option<Cursor>) -> Result<Vec<Item>, StoreError> {
        match self.inner.enumerate(*after, PAGE).await {
            Err(error) if after.is_some() => {
                tracing::warn!(store = %self.name, %error, "the labels are read from the front");
                *after = None;
                self.inner.enumerate(None, PAGE).await
            }
            page => page,
        }
    }

    /// Opens a label. One that is sealed with another key, or not at all, is no damage but a mistake, which is told before
    /// anything is written.
    fn look_at(&self, item: Item) -> Result<Seen, StoreError> {
        let (cursor, refs, label) = match item {
            Item::Record { cursor, refs, label } => (cursor, refs, label),
            Item::Damage(damage) => return Ok(Seen::Damage(damage)),
        };
        let opened = content::open_label(&self.keys, &refs, &label).and_then(|contents| {
            let (inner, key) = (refs[0].id, seal::key_id(&label)?);
            Ok(Opened { cursor, inner, key, contents })
        });
        let error = match opened {
            Ok(opened) => return Ok(Seen::Record(opened)),
            Err(SealError::Key(needed)) => return Err(self.wrong_key(needed)),
            Err(SealError::Version(version)) => {
                return Err(StoreError::Newer { place: self.name.clone(), version: version.into() });
            }
            Err(error) => error,
        };
        tracing::warn!(store = %self.name, pack = cursor.pack, offset = cursor.offset, %error, "a label can't be opened");
        let damage = Damage { cursor, bytes: refs.iter().map(|blob| u64::from(blob.len)).sum() };
        Ok(if error == SealError::Absent { Seen::Plain(damage) } else { Seen::Damage(damage) })
    }

    fn plain(&self) -> StoreError {
        StoreError::Inconsistent {
            place: self.inner.to_string(),
            what: "it holds records that are not encrypted: take it out of `encrypt`, or begin with an empty place"
                .to_owned(),
        }
    }

    pub(super) fn wrong_key(&self, needed: KeyId) -> StoreError {
        StoreError::WrongKey { place: self.name.clone(), needed, keys: self.keys.to_string() }
    }

    /// Adds the entries of a record, unless they are there already, and tells whether it was new.
    async fn add_record(self: &Arc<Self>, opened: Opened) -> Result<bool, StoreError> {
        let Opened { cursor, inner, key, contents } = opened;
        let blobs: Vec<BlobRef> = contents.refs;
        let ids: Vec<BlobId> = blobs.iter().map(|blob| blob.id).collect();
        // An earlier copy that was lost, or is marked bad, gives way to this one.
        let known: Vec<Known> = self.known(&ids).await?;
        let is_known = known.iter().any(|known| known.entry.is_some_and(|entry| entry.inner == inner));
        let mut state = self.state();
        state.progress.keys.insert(key);
        if is_known {
            return Ok(false);
        }
        for ((blob, outcome), known) in blobs.iter().zip(judge(&blobs, &known)).zip(&known) {
            state.add(blob, outcome, known.entry, Entry::new(inner, cursor, blob));
        }
        state.progress.records += 1;
        Ok(true)
    }

    /// Gives what was read so far to the index.
    async fn write_caught_up(self: Arc<Self>) -> Result<(), StoreError> {
        blocking(move || {
            let (entries, progress): (Vec<(BlobId, Entry)>, Progress) = {
                let state = self.state();
                (state.pending.iter().map(|(id, entry)| (*id, *entry)).collect(), state.progress.clone())
            };
            self.write_entries(&entries, &progress)?;
            let mut state = self.state();
            state.pending.clear();
            state.durable = progress;
            Ok(())
        })
        .await
    }
}

fn cursor(item: &Item) -> Cursor {
    match item {
        Item::Record { cursor, .. } => *cursor,
        Item::Damage(damage) => damage.cursor,
    }
}
