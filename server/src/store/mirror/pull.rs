//! Pulling: a side takes from another what it lacks, in the other's order, from its checkpoint on.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use datadb::{BlobId, BlobRef};

use super::{Inner, Standing};
use crate::store::{Item, Outcome, Presence, SharedStore, StoreError, Stored};

/// Records compared at once.
const PAGE: usize = 256;

/// After so many bytes what was copied is made durable, and the checkpoint moves on: what an interruption repeats at most.
const STRIDE_BYTES: u64 = 64 << 20;

/// Knows which records must never meet, such as two of one sequence number in a log.
#[async_trait]
pub trait Kin: Send + Sync {
    /// Refuses two sides each of which holds records that the other lacks, if any two of these contradict each other.
    async fn check(&self, one: &Alone<'_>, other: &Alone<'_>) -> Result<(), StoreError>;
}

/// What one side holds and another doesn't.
#[derive(Debug)]
pub struct Alone<'a> {
    /// The side's name.
    pub name: &'a str,
    /// Its store.
    pub store: SharedStore,
    /// What it alone holds, in its order.
    pub blobs: Vec<BlobRef>,
}

/// What a pull did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulled {
    /// Records of the other side that were compared.
    pub records: u64,
    /// Blobs that were copied.
    pub blobs: u64,
    /// Bytes of the bundles that were copied.
    pub bytes: u64,
}

/// Where copies go.
enum Sink {
    Side(usize, SharedStore),
    /// All level sides at once, so that none of them has what another lacks.
    Level(SharedStore),
}

impl Sink {
    fn store(&self) -> &SharedStore {
        match self {
            Self::Side(_, store) | Self::Level(store) => store,
        }
    }
}

impl Inner {
    /// Brings a side up to the end of another, as far as that one is readable. Notes the checkpoint when it is durable.
    pub(super) async fn pull(&self, to: usize, from: usize) -> Result<Pulled, StoreError> {
        let (_, Some(store)) = self.sides[to].now() else { return Err(self.closed(to)) };
        self.copy(from, self.checkpoints.get(to, from), &Sink::Side(to, store)).await
    }

    /// Gives all level sides what a side alone holds.
    pub(super) async fn give(&self, from: usize) -> Result<Pulled, StoreError> {
        let Some((first, store, true)) = self.readable().into_iter().next() else { return Ok(Pulled::default()) };
        self.copy(from, self.checkpoints.get(first, from), &Sink::Level(store)).await
    }

    fn closed(&self, at: usize) -> StoreError {
        StoreError::Away { place: self.sides[at].to_string(), what: self.sides[at].trouble() }
    }

    async fn copy(
        &self,
        from: usize,
        checkpoint: Option<crate::store::Cursor>,
        sink: &Sink,
    ) -> Result<Pulled, StoreError> {
        let (_, Some(source)) = self.sides[from].now() else { return Err(self.closed(from)) };
        let mut pulled = Pulled::default();
        let (mut after, mut unflushed) = (checkpoint, 0);
        loop {
            let page = self.page(from, &source, &mut after).await?;
            for item in &page {
                let (cursor, refs) = match item {
                    Item::Record { cursor, refs, .. } => (*cursor, &refs[..]),
                    Item::Damage(damage) => (damage.cursor, &[][..]),
                };
                pulled.records += 1;
                let copied = self.copy_record(from, refs, sink, &mut pulled).await?;
                (after, unflushed) = (Some(cursor), unflushed + copied);
                if unflushed > STRIDE_BYTES {
                    self.note(from, after, sink).await?;
                    unflushed = 0;
                }
                if self.is_stopping() {
                    let what = "the server is stopping".to_owned();
                    return Err(StoreError::Away { place: self.sides[from].to_string(), what });
                }
            }
            if page.len() < PAGE {
                if after != checkpoint {
                    self.note(from, after, sink).await?;
                }
                return Ok(pulled);
            }
        }
    }

    /// The next records of a side. Where that is a mirror, the side of it that knows the place may be away or behind: then
    /// all are compared, from the front of another.
    async fn page(
        &self,
        from: usize,
        source: &SharedStore,
        after: &mut Option<crate::store::Cursor>,
    ) -> Result<Vec<Item>, StoreError> {
        let mut page = source.enumerate(*after, PAGE).await;
        if let (Err(StoreError::Away { .. }), Some(_)) = (&page, *after) {
            *after = None;
            page = source.enumerate(None, PAGE).await;
        }
        page.inspect_err(|error| self.demote(from, error))
    }

    /// Makes durable what was copied and moves the checkpoint.
    async fn note(&self, from: usize, after: Option<crate::store::Cursor>, sink: &Sink) -> Result<(), StoreError> {
        let (Sink::Side(to, store), Some(cursor)) = (sink, after) else { return Ok(()) };
        store.flush().await.inspect_err(|error| self.demote(*to, error))?;
        self.checkpoints.set([(*to, from, cursor)]).await
    }

    /// Copies what is lacking of a record, and gives the bytes.
    async fn copy_record(
        &self,
        from: usize,
        refs: &[BlobRef],
        sink: &Sink,
        pulled: &mut Pulled,
    ) -> Result<u64, StoreError> {
        let ids: Vec<BlobId> = refs.iter().map(|blob| blob.id).collect();
        let presence = match sink.store().find(&ids).await {
            Ok(presence) => presence,
            Err(error) => {
                if let Sink::Side(to, _) = sink {
                    self.demote(*to, &error);
                }
                return Err(error);
            }
        };
        let mut lacking: HashSet<BlobId> = HashSet::new();
        for (blob, presence) in refs.iter().zip(presence) {
            match presence {
                Presence::Missing => {
                    lacking.insert(blob.id);
                }
                Presence::Have(found) if found.digest != blob.digest => {
                    tracing::error!(blob = %blob.id, side = %self.sides[from], "two sides hold different bytes of one id");
                }
                Presence::Have(_) => {}
                Presence::Unknown => {
                    let what = "it can't tell which blobs it has".to_owned();
                    return Err(StoreError::Away { place: sink.store().to_string(), what });
                }
            }
        }
        let mut bytes = 0;
        for id in ids {
            if !lacking.contains(&id) {
                continue;
            }
            lacking.remove(&id);
            let Some(stored) = self.good_copy(from, &id, sink).await else {
                tracing::error!(blob = %id, side = %self.sides[from], "no side has a good copy of a blob");
                continue;
            };
            for blob in stored.bundle.refs() {
                lacking.remove(&blob.id);
            }
            bytes += stored.bundle.data().len() as u64;
            pulled.blobs += self.hand_over(&stored, sink).await?;
        }
        pulled.bytes += bytes;
        Ok(bytes)
    }

    /// From the side that is pulled from if it can, else from any other.
    async fn good_copy(&self, from: usize, id: &BlobId, sink: &Sink) -> Option<Stored> {
        let mut sides = self.readable();
        if let Sink::Side(to, _) = sink {
            sides.retain(|(at, ..)| at != to);
        }
        sides.sort_by_key(|(at, ..)| *at != from);
        self.get_from(sides, id, &mut Vec::new()).await.0
    }

    /// Gives the number of blobs that were new.
    async fn hand_over(&self, stored: &Stored, sink: &Sink) -> Result<u64, StoreError> {
        let count = |put: &crate::store::Put| put.outcomes.iter().filter(|it| **it == Outcome::New).count() as u64;
        match sink {
            Sink::Side(to, store) => {
                let put = store.put(stored.bundle.clone(), stored.label.clone()).await;
                let new = count(&put.inspect_err(|error| self.demote(*to, error))?);
                self.sides[*to].copied_blobs.add(new);
                self.sides[*to].copied_bytes.add(stored.bundle.data().len() as u64);
                Ok(new)
            }
            Sink::Level(_) => {
                let _gate = self.gate.read().await;
                let answers = self.put_level(&stored.bundle, &stored.label).await;
                let mut new = 0;
                for (_, answer) in answers {
                    new = new.max(count(&answer?));
                }
                Ok(new)
            }
        }
    }

    /// Compares all sides with each other and copies what any lacks, for so long (`None`: to the end). Sides that are done
    /// are level.
    pub(super) async fn settle(&self, limit: Option<Duration>) -> Result<(), StoreError> {
        self.check_kin().await?;
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        for to in self.open_sides(|_, _| true).into_iter().map(|(to, _)| to) {
            let level = match deadline {
                None => self.pull_from_all(to).await,
                Some(deadline) => tokio::time::timeout_at(deadline, self.pull_from_all(to)).await.unwrap_or(false),
            };
            if level {
                self.sides[to].becomes_level();
            }
        }
        // There was no time for any; who is read first can't be without.
        let is_none_level = self.readable().first().is_none_or(|(.., is_level)| !is_level);
        if let (true, Some((first, ..))) = (is_none_level, self.readable().first())
            && self.pull_from_all(*first).await
        {
            self.sides[*first].becomes_level();
        }
        Ok(())
    }

    /// Whether a side now has all that the others have that can be read. What fails is noted at the side that did.
    pub(super) async fn pull_from_all(&self, to: usize) -> bool {
        for (from, _) in self.open_sides(|side, _| !side.config.is_write_only) {
            if from == to {
                continue;
            }
            if let Err(error) = self.pull(to, from).await {
                tracing::warn!(side = %self.sides[to], from = %self.sides[from], %error, "a side can't catch up now");
                if self.sides[from].now().0 != Standing::Away {
                    return false;
                }
            }
        }
        self.sides[to].now().0 != Standing::Away
    }

    /// Refuses sides whose histories contradict each other, before anything of the one reaches the other.
    pub(super) async fn check_kin(&self) -> Result<(), StoreError> {
        let Some(kin) = &self.kin else { return Ok(()) };
        let readable = self.readable();
        for (position, (one, one_store, _)) in readable.iter().enumerate() {
            for (other, other_store, _) in &readable[position + 1..] {
                let ones = self.alone(*one, one_store, *other, other_store).await?;
                if ones.blobs.is_empty() {
                    continue;
                }
                let others = self.alone(*other, other_store, *one, one_store).await?;
                if !others.blobs.is_empty() {
                    kin.check(&ones, &others).await?;
                }
            }
        }
        Ok(())
    }

    /// What a side holds behind the checkpoint of another that the other lacks.
    async fn alone(
        &self,
        at: usize,
        store: &SharedStore,
        without: usize,
        without_store: &SharedStore,
    ) -> Result<Alone<'_>, StoreError> {
        let mut alone = Alone { name: &self.sides[at].config.prints_as, store: store.clone(), blobs: Vec::new() };
        let mut after = self.checkpoints.get(without, at);
        loop {
            let page = self.page(at, store, &mut after).await?;
            for item in &page {
                let (cursor, refs) = match item {
                    Item::Record { cursor, refs, .. } => (cursor, &refs[..]),
                    Item::Damage(damage) => (&damage.cursor, &[][..]),
                };
                after = Some(*cursor);
                let ids: Vec<BlobId> = refs.iter().map(|blob| blob.id).collect();
                let found = without_store.find(&ids).await.inspect_err(|error| self.demote(without, error))?;
                let lacking = refs.iter().zip(found).filter(|(_, found)| *found == Presence::Missing);
                alone.blobs.extend(lacking.map(|(blob, _)| *blob));
            }
            if page.len() < PAGE || alone.blobs.len() >= ALONE_MAX {
                return Ok(alone);
            }
        }
    }
}

/// Blobs that one side alone holds, looked at before two sides are brought together; contradictions begin where two
/// histories part, so they are among the first.
const ALONE_MAX: usize = 1 << 16;
