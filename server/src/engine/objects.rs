//! Accepting objects.
//!
//! **Blob before reference.** An object is accepted only after everything that it names is there: its blobs in the store,
//! its children in the index, among the pending objects, or earlier in the same batch. What it says of them (lengths,
//! kinds, counts) must be true. Keys are computed here, never believed.

use std::collections::HashMap;

use bytes::Bytes;
use datadb::{
    BlobId, FileType, Meta, Object, ObjectKey, ObjectRef, limits,
    meta::Content,
    object::{Chunk, Encoded, set_members},
    wire::Answer,
};

use super::{Engine, EngineError};
use crate::{
    db::{
        Family,
        apply::{OBJECT_HEAD_BYTES, meta_mark},
    },
    store::{Presence, blocking},
};

/// What became of a batch of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Per object.
    pub answers: Vec<Answer>,
    /// Ids and keys that objects named and that are not there; at most `MISSING_KEYS_MAX`.
    pub missing: Vec<[u8; 20]>,
    /// Keys that belong to other content.
    pub conflicts: Vec<ObjectKey>,
}

/// An object that was decoded.
struct Candidate {
    encoded: Encoded,
    object: Object,
    /// Keys and marks of the metas in a set.
    metas: Vec<(ObjectKey, [u8; 16])>,
}

impl Candidate {
    fn decode(bytes: Bytes) -> Result<Self, EngineError> {
        let object = Object::decode(&bytes)?;
        let metas = match &object {
            Object::Set(_) => set_members(&bytes)?.into_iter().map(|m| (ObjectKey::of(m), meta_mark(m))).collect(),
            _ => Vec::new(),
        };
        Ok(Self { encoded: Encoded { object: ObjectRef::of(&bytes), bytes }, object, metas })
    }
}

/// What objects name, looked up once for a whole batch.
struct Surroundings {
    blobs: HashMap<BlobId, u32>,
    /// Encodings of children that are there; of sets and segments only what tells their kind.
    children: HashMap<ObjectKey, Bytes>,
}

impl Engine {
    /// Accepts objects, children first. Those accepted are found by later ones at once; they are durable when a commit
    /// that came later returns.
    pub async fn put_objects(&self, objects: Vec<Bytes>) -> Result<Accepted, EngineError> {
        let epoch = self.inner.pending.epoch();
        let candidates = blocking(move || objects.into_iter().map(Candidate::decode).collect::<Result<Vec<_>, _>>());
        let candidates = candidates.await?;
        let known =
            self.known_objects(candidates.iter().map(|candidate| candidate.encoded.object.key).collect()).await?;
        let taken_metas = self.taken_metas(&candidates).await?;
        let mut around = self.surroundings(&candidates).await?;
        let mut accepted = Accepted::default();
        for (candidate, known) in candidates.into_iter().zip(known) {
            let answer = self.judge(epoch, candidate, known, &taken_metas, &mut around, &mut accepted)?;
            accepted.answers.push(answer);
        }
        if let Some((epoch, part)) = self.inner.pending.take(limits::LOG_PART_BYTES) {
            self.inner.committer.part(epoch, part).await?;
        }
        Ok(accepted)
    }

    fn judge(
        &self,
        epoch: u64,
        candidate: Candidate,
        known: Option<ObjectRef>,
        taken_metas: &[ObjectKey],
        around: &mut Surroundings,
        accepted: &mut Accepted,
    ) -> Result<Answer, EngineError> {
        let key = candidate.encoded.object.key;
        match known {
            Some(known) if known == candidate.encoded.object => return Ok(Answer::Have),
            Some(_) => {
                accepted.conflicts.push(key);
                return Ok(Answer::Conflict);
            }
            None => {}
        }
        let taken: Vec<ObjectKey> =
            candidate.metas.iter().map(|(key, _)| *key).filter(|key| taken_metas.contains(key)).collect();
        if !taken.is_empty() {
            accepted.conflicts.extend(taken);
            return Ok(Answer::Conflict);
        }
        let missing = around.missing(&candidate.object)?;
        if !missing.is_empty() {
            let room = limits::MISSING_KEYS_MAX.saturating_sub(accepted.missing.len());
            accepted.missing.extend(missing.into_iter().take(room));
            return Ok(Answer::Missing);
        }
        let Candidate { encoded, metas, .. } = candidate;
        around.children.insert(key, encoded.bytes.clone());
        match self.inner.pending.insert(epoch, encoded, metas) {
            Some(_) => Ok(Answer::Have),
            // Something could not be made durable meanwhile: the client asks and sends again.
            None => Ok(Answer::Missing),
        }
    }

    /// For each key the object that has it, pending or in the index. (Pending first: an object goes from there to the
    /// index, never back.)
    pub(super) async fn known_objects(&self, keys: Vec<ObjectKey>) -> Result<Vec<Option<ObjectRef>>, EngineError> {
        let waiting = self.inner.pending.objects(&keys);
        self.with_index(move |index| {
            let packed: Vec<&[u8; 20]> = keys.iter().map(ObjectKey::as_bytes).collect();
            let heads = index.multi_get_head(Family::Objects, &packed, OBJECT_HEAD_BYTES)?;
            let found = keys.iter().zip(waiting).zip(heads).map(|((key, waiting), head)| {
                let stored = || {
                    let digest = datadb::Digest::try_from(head?.get(..OBJECT_HEAD_BYTES)?).ok()?;
                    Some(ObjectRef { key: *key, digest })
                };
                waiting.map(|encoded| encoded.object).or_else(stored)
            });
            Ok(found.collect())
        })
        .await
    }

    /// Keys of metas in these sets that belong to other metas.
    async fn taken_metas(&self, candidates: &[Candidate]) -> Result<Vec<ObjectKey>, EngineError> {
        let metas: Vec<(ObjectKey, [u8; 16])> =
            candidates.iter().flat_map(|candidate| candidate.metas.iter().copied()).collect();
        let keys: Vec<ObjectKey> = metas.iter().map(|(key, _)| *key).collect();
        let waiting = self.inner.pending.metas(&keys);
        self.with_index(move |index| {
            let packed: Vec<&[u8; 20]> = keys.iter().map(ObjectKey::as_bytes).collect();
            let stored = index.multi_get_head(Family::Metas, &packed, 16)?;
            let is_taken = |mark: &[u8; 16], waiting: Option<[u8; 16]>, stored: Option<Vec<u8>>| {
                waiting.is_some_and(|other| other != *mark) || stored.is_some_and(|other| other != mark)
            };
            let judged = metas.iter().zip(waiting).zip(stored);
            Ok(judged
                .filter_map(|(((key, mark), waiting), stored)| is_taken(mark, waiting, stored).then_some(*key))
                .collect())
        })
        .await
    }

    async fn surroundings(&self, candidates: &[Candidate]) -> Result<Surroundings, EngineError> {
        let mut ids: Vec<BlobId> = candidates.iter().flat_map(|candidate| candidate.object.blobs()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut blobs = HashMap::with_capacity(ids.len());
        for (id, presence) in ids.iter().zip(self.inner.blobs.find(&ids).await?) {
            if let Presence::Have(found) = presence {
                blobs.insert(*id, found.len);
            }
        }
        let mut keys: Vec<ObjectKey> = candidates.iter().flat_map(|candidate| candidate.object.children()).collect();
        keys.sort_unstable();
        keys.dedup();
        let waiting = self.inner.pending.objects(&keys);
        let children = self
            .with_index(move |index| {
                let packed: Vec<&[u8; 20]> = keys.iter().map(ObjectKey::as_bytes).collect();
                let stored = index.multi_get(Family::Objects, &packed)?;
                let both = keys.iter().zip(waiting).zip(stored);
                Ok(both
                    .filter_map(|((key, waiting), stored)| {
                        let stored = || Some(Bytes::from(stored?).slice(OBJECT_HEAD_BYTES..));
                        Some((*key, waiting.map(|encoded| encoded.bytes).or_else(stored)?))
                    })
                    .collect())
            })
            .await?;
        Ok(Surroundings { blobs, children })
    }
}

impl Surroundings {
    /// What an object names that is not there; an error if what it says of what is there is wrong.
    fn missing(&self, object: &Object) -> Result<Vec<[u8; 20]>, EngineError> {
        let blobs = object.blobs().into_iter().filter(|id| !self.blobs.contains_key(id)).map(|id| *id.as_bytes());
        let children = object.children().into_iter().filter(|key| !self.children.contains_key(key));
        let missing: Vec<[u8; 20]> = blobs.chain(children.map(|key| *key.as_bytes())).collect();
        if missing.is_empty() {
            self.check(object)?;
        }
        Ok(missing)
    }

    fn check(&self, object: &Object) -> Result<(), EngineError> {
        match object {
            Object::Meta(meta) => self.check_meta(meta),
            Object::Set(metas) => metas.iter().try_for_each(|meta| self.check_meta(meta)),
            Object::List(chunks) => self.check_chunks(chunks),
            Object::SetHead(segments) => segments.iter().try_for_each(|segment| match self.child(&segment.key)? {
                Object::Set(metas)
                    if metas.len() as u64 == segment.entries && metas[0].name.as_ref() == Some(&segment.first) =>
                {
                    Ok(())
                }
                _ => Err(wrong("a directory's segment is not the set that its head says")),
            }),
            Object::ListHead(segments) => segments.iter().try_for_each(|segment| match self.child(&segment.key)? {
                Object::List(chunks)
                    if chunks.len() as u64 == segment.chunks && total(&chunks) == Some(segment.len) =>
                {
                    Ok(())
                }
                _ => Err(wrong("a file's segment is not the list that its head says")),
            }),
        }
    }

    fn check_meta(&self, meta: &Meta) -> Result<(), EngineError> {
        match &meta.content {
            Content::None => Ok(()),
            Content::Blob(id) if self.blobs.get(id).is_some_and(|len| u64::from(*len) == meta.size) => Ok(()),
            Content::Blob(_) => Err(wrong("a file's size is not the length of its blob")),
            Content::Ref(key) if meta.file_type == FileType::Dir => match self.kind(key) {
                Some(kind) if datadb::object::is_directory_kind(kind) => Ok(()),
                _ => Err(wrong("a directory's ref is not a set")),
            },
            Content::Ref(key) => {
                let len = match self.child(key)? {
                    Object::List(chunks) => total(&chunks),
                    Object::ListHead(segments) => {
                        segments.iter().try_fold(0u64, |sum, segment| sum.checked_add(segment.len))
                    }
                    _ => None,
                };
                if len == Some(meta.size) { Ok(()) } else { Err(wrong("a file's size is not the length of its list")) }
            }
        }
    }

    fn check_chunks(&self, chunks: &[Chunk]) -> Result<(), EngineError> {
        let is_right = |chunk: &Chunk| match chunk.blob {
            Some(id) => self.blobs.get(&id).is_some_and(|len| u64::from(*len) == chunk.len),
            None => true,
        };
        if chunks.iter().all(is_right) { Ok(()) } else { Err(wrong("a chunk's length is not that of its blob")) }
    }

    fn kind(&self, key: &ObjectKey) -> Option<u8> {
        self.children.get(key)?.get(1).copied()
    }

    fn child(&self, key: &ObjectKey) -> Result<Object, EngineError> {
        let encoding = self.children.get(key).ok_or_else(|| wrong("a child is not there"))?;
        Ok(Object::decode(encoding)?)
    }
}

fn total(chunks: &[Chunk]) -> Option<u64> {
    chunks.iter().try_fold(0u64, |sum, chunk| sum.checked_add(chunk.len))
}

fn wrong(rule: &'static str) -> EngineError {
    datadb::codec::DecodeError::rule("object", rule).into()
}
