//! Reading: the first level side in the config's order answers; what it lacks comes from the next, and goes back to it.

use std::sync::Arc;

use datadb::BlobId;

use super::{Inner, tag};
use crate::store::{Cursor, Found, Item, Presence, SharedStore, StoreError, StoreStats, Stored};

impl Inner {
    pub(super) async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        let mut presence = vec![Presence::Missing; ids.len()];
        let mut open: Vec<usize> = (0..ids.len()).collect();
        let mut lacking: Vec<usize> = Vec::new();
        let mut is_unknown = false;
        for (at, store, is_level) in self.readable() {
            if open.is_empty() {
                break;
            }
            let asked: Vec<BlobId> = open.iter().map(|position| ids[*position]).collect();
            let answers = match store.find(&asked).await {
                Ok(answers) => answers,
                Err(error) => {
                    self.demote(at, &error);
                    is_unknown = true;
                    continue;
                }
            };
            let mut left = Vec::new();
            for (position, answer) in std::mem::take(&mut open).into_iter().zip(answers) {
                match answer {
                    Presence::Have(found) if self.owe(&lacking, ids[position]) => {
                        let place = tag::tag_place(at, found.place);
                        presence[position] = Presence::Have(Found { place, ..found });
                    }
                    Presence::Missing => left.push(position),
                    // It is there, but so much is to be healed that it can't be noted: asked later, it is known.
                    Presence::Have(_) | Presence::Unknown => {
                        presence[position] = Presence::Unknown;
                        left.push(position);
                    }
                }
            }
            open = left;
            lacking.extend(is_level.then_some(at));
        }
        if is_unknown || self.lacks_readable() {
            open.into_iter().for_each(|position| presence[position] = Presence::Unknown);
        }
        Ok(presence)
    }

    pub(super) async fn get(self: Arc<Self>, id: BlobId) -> Result<Option<Stored>, StoreError> {
        let mut hurt = Vec::new();
        let (found, first_error) = self.get_from(self.readable(), &id, &mut hurt).await;
        match (found, first_error) {
            (Some(stored), _) => {
                for at in hurt {
                    self.put_again(at, &id, &stored).await;
                }
                Ok(Some(stored))
            }
            (None, Some(error)) => Err(error),
            (None, None) if self.lacks_readable() => Err(self.away("a side that may hold a blob can't be asked")),
            (None, None) => Ok(None),
        }
    }

    /// The first good copy, and the level sides before it that should have had one.
    pub(super) async fn get_from(
        &self,
        sides: Vec<(usize, SharedStore, bool)>,
        id: &BlobId,
        hurt: &mut Vec<usize>,
    ) -> (Option<Stored>, Option<StoreError>) {
        let mut first_error = None;
        for (at, store, is_level) in sides {
            match store.get(id).await {
                Ok(Some(stored)) => return (Some(stored), first_error),
                Ok(None) => hurt.extend(is_level.then_some(at)),
                Err(error) => {
                    tracing::warn!(side = %self.sides[at], %error, "a side can't give a blob; the next one is asked");
                    match error {
                        StoreError::Damaged { .. } => {
                            self.note_damage(&error);
                            hurt.push(at);
                        }
                        _ => self.demote(at, &error),
                    }
                    first_error.get_or_insert(error);
                }
            }
        }
        (None, first_error)
    }

    pub(super) async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        // What a side that is behind lacks comes to lie behind the places that it gives out now: whoever goes on from one of
        // these would miss it.
        let mut level = self.readable().into_iter().filter(|(.., is_level)| *is_level);
        let (at, store, after) = match after.map(tag::untag) {
            None => {
                let (at, store, _) = level.next().ok_or_else(|| self.away("no side has all that counts"))?;
                (at, store, None)
            }
            Some((at, cursor)) => {
                let same = level.find(|(side, ..)| *side == at);
                let (at, store, _) = same.ok_or_else(|| self.away("the side that gave this cursor can't go on"))?;
                (at, store, Some(cursor))
            }
        };
        let mut items = store.enumerate(after, max).await.inspect_err(|error| self.demote(at, error))?;
        for item in &mut items {
            let cursor = match item {
                Item::Record { cursor, .. } => cursor,
                Item::Damage(damage) => &mut damage.cursor,
            };
            *cursor = tag::checked(at, *cursor)?;
        }
        Ok(items)
    }

    /// Those of the first side; bytes and files of all.
    pub(super) async fn stats(&self) -> Result<StoreStats, StoreError> {
        let mut stats: Option<StoreStats> = None;
        for (at, store, is_level) in self.readable() {
            let one = match store.stats().await {
                Ok(one) => one,
                Err(error) => {
                    self.demote(at, &error);
                    continue;
                }
            };
            match &mut stats {
                None => stats = Some(one),
                Some(stats) => {
                    stats.stored_bytes += one.stored_bytes;
                    stats.open_files += one.open_files;
                    // What one side lost, another has.
                    if is_level {
                        stats.bad_blobs = stats.bad_blobs.min(one.bad_blobs);
                    }
                }
            }
        }
        stats.ok_or_else(|| self.away("no side can be read"))
    }
}
