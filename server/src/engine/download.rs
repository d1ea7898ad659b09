//! Downloads: blobs by id, as whole bundles where most of one is wanted, else as a cut-out.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use datadb::{
    BlobId, Bundle,
    bundle::{BundleBuilder, Plain, check},
};
use lru::LruCache;
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::Instrument as _;

use super::{Engine, EngineError, committer::bad_copy};
use crate::{
    record::CopyPlace,
    store::{Cursor, Presence, StoreError, blocking},
};

/// Decoded bundles kept, of at most 1 MiB each.
const CACHE_BUNDLES: NonZeroUsize = NonZeroUsize::new(32).expect("32 is not 0");

/// Bundles of one download that are read at the same time.
const READ_AHEAD: usize = 3;

/// zstd level of cut-outs, which are made while the client waits.
const CUT_OUT_LEVEL: i32 = 1;

/// Decoded bundles by their place.
#[derive(Debug)]
pub struct PlainCache(Mutex<LruCache<u64, Plain>>);

impl Default for PlainCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CACHE_BUNDLES)))
    }
}

impl PlainCache {
    fn get(&self, place: u64) -> Option<Plain> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned()
    }

    /// A bundle of one blob is not kept: whoever wants it wants all of it.
    fn put(&self, place: u64, plain: &Plain) {
        if plain.iter().nth(1).is_some() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).put(place, plain.clone());
        }
    }
}

/// A part of the answer to a download.
#[derive(Debug)]
pub enum Piece {
    /// Holds at least one of the blobs asked for.
    Bundle(Bundle),
    /// These are not there.
    Missing(Vec<BlobId>),
    /// The only copies of these failed verification.
    Damaged(Vec<BlobId>),
    /// These can't be read now, for this reason.
    Unreadable(Vec<BlobId>, String),
}

impl Engine {
    /// Sends the answer to a download piece by piece, in the order in which packs are read forwards.
    pub async fn download(&self, ids: &[BlobId], pieces: &mpsc::Sender<Piece>) -> Result<(), EngineError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut missing = Vec::new();
        let mut places: BTreeMap<u64, Vec<BlobId>> = BTreeMap::new();
        let found = self.inner.blobs.find(&ids).await?;
        self.report_marks().await?;
        for (id, presence) in ids.iter().zip(found) {
            match presence {
                Presence::Have(found) => places.entry(found.place).or_default().push(*id),
                Presence::Missing => missing.push(*id),
                Presence::Unknown => {
                    let message = format!("a store that may hold blob {id} can't be reached now");
                    return Err(EngineError::refused(datadb::Kind::Unavailable, message));
                }
            }
        }
        if !missing.is_empty() && pieces.send(Piece::Missing(missing)).await.is_err() {
            return Ok(());
        }
        let mut reading: VecDeque<JoinHandle<Result<Vec<Piece>, EngineError>>> = VecDeque::new();
        let mut places = places.into_iter();
        loop {
            while reading.len() < READ_AHEAD
                && let Some((place, wanted)) = places.next()
            {
                let engine = self.clone();
                let fetch = async move { engine.fetch(place, wanted).await };
                reading.push_back(tokio::spawn(fetch.in_current_span()));
            }
            let Some(next) = reading.pop_front() else { return Ok(()) };
            for piece in next.await.map_err(|_| EngineError::Stopping)?? {
                if pieces.send(piece).await.is_err() {
                    // The client has gone away.
                    return Ok(());
                }
            }
        }
    }

    /// The wanted blobs of one place, in the order of their ids: of one bundle, unless another side of a mirror answers whose bundles are cut otherwise.
    async fn fetch(&self, place: u64, wanted: Vec<BlobId>) -> Result<Vec<Piece>, EngineError> {
        let (mut pieces, mut left) = (Vec::new(), wanted);
        while !left.is_empty() {
            let (piece, rest) = self.fetch_some(place, left).await?;
            pieces.push(piece);
            left = rest;
        }
        Ok(pieces)
    }

    /// Some of the wanted blobs, and those that are left.
    async fn fetch_some(&self, place: u64, wanted: Vec<BlobId>) -> Result<(Piece, Vec<BlobId>), EngineError> {
        if let Some(plain) = self.inner.cache.get(place) {
            let (inside, rest) = split(wanted.clone(), plain.iter().map(|(blob, _)| blob.id));
            if !inside.is_empty() {
                return Ok((Piece::Bundle(cut_out(plain, inside).await?), rest));
            }
        }
        let bundle = match self.inner.blobs.get(&wanted[0]).await {
            Ok(Some(stored)) => {
                self.report_marks().await?;
                stored.bundle
            }
            Ok(None) => return Ok((Piece::Missing(wanted), Vec::new())),
            // Trouble with one file is no reason to hold back all others.
            Err(error @ StoreError::Unreadable { .. }) => {
                tracing::error!(%error, "a blob can't be read");
                self.inner.observed.errors.count(error.kind());
                return Ok((Piece::Unreadable(wanted, error.to_string()), Vec::new()));
            }
            Err(error) => {
                self.report_damage(error).await?;
                self.inner.observed.errors.count(datadb::Kind::Damaged);
                return Ok((Piece::Damaged(wanted), Vec::new()));
            }
        };
        let (inside, rest) = split(wanted, bundle.refs().map(|blob| blob.id));
        if inside.is_empty() {
            return Err(EngineError::refused(datadb::Kind::Internal, "a bundle does not hold what the index says"));
        }
        let wanted_bytes: u64 =
            bundle.refs().filter(|blob| inside.binary_search(&blob.id).is_ok()).map(|blob| u64::from(blob.len)).sum();
        if wanted_bytes * 2 >= u64::from(bundle.plain_bytes()) {
            return Ok((Piece::Bundle(bundle), rest));
        }
        let plain = blocking(move || bundle.decode()).await?;
        self.inner.cache.put(place, &plain);
        Ok((Piece::Bundle(cut_out(plain, inside).await?), rest))
    }

    /// The bytes of one blob, verified; `None` if it is not there.
    pub async fn read_blob(&self, id: &BlobId) -> Result<Option<Bytes>, EngineError> {
        let Some(Presence::Have(found)) = self.inner.blobs.find(&[*id]).await?.pop() else { return Ok(None) };
        let holds = |plain: &Plain| plain.iter().any(|(blob, _)| blob.id == *id);
        let plain = match self.inner.cache.get(found.place).filter(holds) {
            Some(plain) => plain,
            None => {
                let Some(stored) = self.read_stored(id).await? else { return Ok(None) };
                let plain = blocking(move || stored.bundle.decode()).await?;
                self.inner.cache.put(found.place, &plain);
                plain
            }
        };
        let id = *id;
        blocking(move || {
            let inside = plain.iter().find(|(blob, _)| blob.id == id);
            inside.map(|(blob, bytes)| check(&blob, &bytes).map(|()| bytes)).transpose()
        })
        .await
        .map_err(EngineError::from)
    }

    /// A bundle as it is stored, for another server. A copy that fails its verification is marked bad.
    pub async fn read_stored(&self, id: &BlobId) -> Result<Option<crate::store::Stored>, EngineError> {
        match self.inner.blobs.get(id).await {
            Ok(stored) => {
                self.report_marks().await?;
                Ok(stored)
            }
            Err(error) => {
                let message = error.to_string();
                self.report_damage(error).await?;
                Err(EngineError::refused(datadb::Kind::Damaged, message))
            }
        }
    }

    /// Puts into the log, so that a rebuild knows of them too: damaged records that a mirror met and made up for, and marked
    /// records that verify again.
    pub(super) async fn report_marks(&self) -> Result<(), EngineError> {
        if self.inner.read_only.is_some() {
            return Ok(());
        }
        let copies = |places: Vec<(String, Cursor)>| -> Vec<CopyPlace> {
            places.into_iter().map(|(leaf, cursor)| CopyPlace { leaf, cursor }).collect()
        };
        let damaged = copies(self.inner.stacks[0].take_damaged());
        if !damaged.is_empty() {
            self.inner.committer.bad(damaged).await?;
        }
        let lifted = copies(self.inner.stacks[0].take_lifted());
        if !lifted.is_empty() {
            self.inner.committer.good(lifted).await?;
        }
        Ok(())
    }

    /// Puts a failed verification into the log, so that a rebuild knows of it too. Gives `Ok` if that is what the error
    /// was about.
    async fn report_damage(&self, error: StoreError) -> Result<(), EngineError> {
        let StoreError::Damaged { id, leaf, cursor, .. } = &error else { return Err(error.into()) };
        let copy = bad_copy(leaf, *cursor, id);
        if self.inner.read_only.is_none() {
            self.inner.committer.bad(vec![copy]).await?;
        }
        Ok(())
    }
}

/// The wanted blobs that are inside, and the others.
fn split(wanted: Vec<BlobId>, inside: impl Iterator<Item = BlobId>) -> (Vec<BlobId>, Vec<BlobId>) {
    let inside: HashSet<BlobId> = inside.collect();
    wanted.into_iter().partition(|id| inside.contains(id))
}

/// A bundle of the wanted blobs alone, verified; they come in the order of their ids.
async fn cut_out(plain: Plain, wanted: Vec<BlobId>) -> Result<Bundle, EngineError> {
    blocking(move || {
        let mut builder = BundleBuilder::new();
        for (blob, bytes) in plain.iter().filter(|(blob, _)| wanted.binary_search(&blob.id).is_ok()) {
            check(&blob, &bytes)?;
            builder.push(&blob, &bytes);
        }
        if builder.is_empty() {
            return Err(EngineError::refused(datadb::Kind::Internal, "a bundle does not hold what the index says"));
        }
        Ok(builder.seal(CUT_OUT_LEVEL))
    })
    .await
}
