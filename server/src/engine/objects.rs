//! Accepting objects.
//!
//! **Blob before reference.** An object is accepted only after everything that it names is there: its blobs in the store,
//! its children in the index, among the pending objects, or earlier in the same batch. What it says of them (lengths,
//! kinds, counts) must be true. Keys are computed here, never believed.
//!
//! **Bounded.** A batch is judged in groups of at most `GROUP_BYTES`, or of one object, and off the async workers. Of what
//! an object names no more is kept than a [`Summary`], and that of `CHILDREN_MAX` at a time, so that the head of a directory of
//! many million entries takes no more memory than its own encoding does.

use std::{collections::HashMap, iter, slice};

use bytes::Bytes;
use datadb::{
    BlobId, FileType, Meta, Object, ObjectKey, ObjectRef, limits,
    meta::Content,
    object::{Chunk, Encoded, Summary, set_members},
    wire::Answer,
};

use super::{
    Engine, EngineError,
    pending::{Inserted, Pending},
};
use crate::{
    index::{
        Family, Index,
        apply::{OBJECT_HEAD_BYTES, meta_mark},
    },
    store::{Presence, blocking},
};

/// Encoded bytes of objects that are decoded and judged together.
const GROUP_BYTES: usize = 256 << 10;

/// Children whose summaries are in memory at the same time: some MiB with the longest names.
const CHILDREN_MAX: usize = 4096;

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
    /// Keys and fingerprints of the metas in a set.
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

impl Engine {
    /// Accepts objects, children first. Those accepted are found by later ones at once; they are durable when a commit
    /// that came later returns.
    pub async fn put_objects(&self, objects: Vec<Bytes>) -> Result<Accepted, EngineError> {
        let epoch = self.inner.pending.epoch();
        let mut accepted = Accepted::default();
        let mut objects = objects.into_iter().peekable();
        while let Some(first) = objects.next() {
            let mut bytes = first.len();
            let mut group = vec![first];
            group.extend(iter::from_fn(|| {
                objects.next_if(|next| {
                    bytes += next.len();
                    bytes <= GROUP_BYTES
                })
            }));
            accepted = self.put_group(epoch, group, accepted).await?;
        }
        self.inner.committer.parts(&self.inner.pending, limits::LOG_PART_BYTES).await?;
        Ok(accepted)
    }

    async fn put_group(&self, epoch: u64, group: Vec<Bytes>, mut accepted: Accepted) -> Result<Accepted, EngineError> {
        let decode = move || -> Result<_, EngineError> {
            let candidates = group.into_iter().map(Candidate::decode).collect::<Result<Vec<_>, _>>()?;
            let mut ids: Vec<BlobId> = candidates.iter().flat_map(|candidate| candidate.object.blobs()).collect();
            ids.sort_unstable();
            ids.dedup();
            Ok((candidates, ids))
        };
        let (candidates, ids) = blocking(decode).await?;
        let found = if ids.is_empty() { Vec::new() } else { self.inner.blobs.find(&ids).await? };
        let (index, pending) = (self.inner.index.clone(), self.inner.pending.clone());
        blocking(move || {
            let there = ids.into_iter().zip(found).filter_map(|(id, presence)| match presence {
                Presence::Have(found) => Some((id, found.len)),
                Presence::Missing | Presence::Unknown => None,
            });
            let around = Surroundings { index: &index, pending: &pending, blobs: there.collect() };
            let keys: Vec<ObjectKey> = candidates.iter().map(|candidate| candidate.encoded.object.key).collect();
            let known = known_objects(&index, &pending, &keys)?;
            let taken_metas = around.taken_metas(&candidates)?;
            for (candidate, known) in candidates.into_iter().zip(known) {
                let answer = around.judge(epoch, candidate, known, &taken_metas, &mut accepted)?;
                accepted.answers.push(answer);
            }
            Ok(accepted)
        })
        .await
    }

    /// For each key the object that has it, pending or in the index.
    pub(super) async fn known_objects(&self, keys: Vec<ObjectKey>) -> Result<Vec<Option<ObjectRef>>, EngineError> {
        let pending = self.inner.pending.clone();
        self.with_index(move |index| known_objects(index, &pending, &keys)).await
    }
}

/// For each key the object that has it. (Pending first: an object goes from there to the index, never back.)
fn known_objects(index: &Index, pending: &Pending, keys: &[ObjectKey]) -> Result<Vec<Option<ObjectRef>>, EngineError> {
    let waiting = pending.objects(keys);
    let packed: Vec<&[u8; 20]> = keys.iter().map(ObjectKey::as_bytes).collect();
    let read = |value: &[u8]| datadb::Digest::try_from(value.get(..OBJECT_HEAD_BYTES)?).ok();
    let stored = index.read_each(Family::Objects, &packed, read)?;
    let known = keys.iter().zip(waiting).zip(stored).map(|((key, waiting), stored)| {
        let stored = || Some(ObjectRef { key: *key, digest: stored?? });
        waiting.map(|encoded| encoded.object).or_else(stored)
    });
    Ok(known.collect())
}

/// What objects name: their blobs, looked up once for a group, and where to look for their children.
struct Surroundings<'a> {
    index: &'a Index,
    pending: &'a Pending,
    blobs: HashMap<BlobId, u32>,
}

/// What an object names that is not there, or what it says that is not true.
#[derive(Default)]
struct Findings {
    /// At most `MISSING_KEYS_MAX`.
    missing: Vec<[u8; 20]>,
    wrong: Option<EngineError>,
}

impl Findings {
    fn miss(&mut self, key: &[u8; 20]) {
        if self.missing.len() < limits::MISSING_KEYS_MAX {
            self.missing.push(*key);
        }
    }

    /// Notes whether a child is there and what it must be.
    fn child(
        &mut self,
        key: &ObjectKey,
        child: Option<&Summary>,
        is_right: impl Fn(&Summary) -> bool,
        rule: &'static str,
    ) {
        match child {
            None => self.miss(key.as_bytes()),
            Some(child) if is_right(child) => {}
            Some(_) => self.must(false, rule),
        }
    }

    fn must(&mut self, is_true: bool, rule: &'static str) {
        if !is_true {
            self.wrong.get_or_insert_with(|| datadb::codec::DecodeError::rule("object", rule).into());
        }
    }
}

impl Surroundings<'_> {
    fn judge(
        &self,
        epoch: u64,
        candidate: Candidate,
        known: Option<ObjectRef>,
        taken_metas: &[ObjectKey],
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
        let missing = self.missing(&candidate.object)?;
        if !missing.is_empty() {
            let room = limits::MISSING_KEYS_MAX.saturating_sub(accepted.missing.len());
            accepted.missing.extend(missing.into_iter().take(room));
            return Ok(Answer::Missing);
        }
        let Candidate { encoded, metas, .. } = candidate;
        Ok(match self.pending.insert(epoch, encoded, metas) {
            Inserted::Waits => Answer::Have,
            Inserted::Conflict => {
                accepted.conflicts.push(key);
                Answer::Conflict
            }
            // Something could not be made durable meanwhile: the client asks and sends again.
            Inserted::Stale => Answer::Missing,
        })
    }

    /// Keys of metas in these sets that belong to other metas.
    fn taken_metas(&self, candidates: &[Candidate]) -> Result<Vec<ObjectKey>, EngineError> {
        let metas: Vec<(ObjectKey, [u8; 16])> =
            candidates.iter().flat_map(|candidate| candidate.metas.iter().copied()).collect();
        let keys: Vec<ObjectKey> = metas.iter().map(|(key, _)| *key).collect();
        let waiting = self.pending.metas(&keys);
        let packed: Vec<&[u8; 20]> = keys.iter().map(ObjectKey::as_bytes).collect();
        let stored = self.index.multi_get_head(Family::Metas, &packed, 16)?;
        let is_taken = |fingerprint: &[u8; 16], waiting: Option<[u8; 16]>, stored: Option<Vec<u8>>| {
            waiting.is_some_and(|other| other != *fingerprint) || stored.is_some_and(|other| other != fingerprint)
        };
        let judged = metas.iter().zip(waiting).zip(stored);
        Ok(judged
            .filter_map(|(((key, fingerprint), waiting), stored)| {
                is_taken(fingerprint, waiting, stored).then_some(*key)
            })
            .collect())
    }

    /// What an object names that is not there; an error if what it says of what is there is wrong.
    fn missing(&self, object: &Object) -> Result<Vec<[u8; 20]>, EngineError> {
        let mut findings = Findings::default();
        object.blobs().iter().filter(|id| !self.blobs.contains_key(id)).for_each(|id| findings.miss(id.as_bytes()));
        match object {
            Object::Meta(meta) => self.find_metas(slice::from_ref(&**meta), &mut findings)?,
            Object::Set(metas) => self.find_metas(metas, &mut findings)?,
            Object::List(chunks) => {
                findings.must(self.are_long_enough(chunks), "a chunk's length is not that of its blob");
            }
            Object::SetHead(segments) => {
                let rule = "a directory's segment is not the set that its head says";
                for some in segments.chunks(CHILDREN_MAX) {
                    let children = self.summaries(&some.iter().map(|segment| segment.key).collect::<Vec<_>>())?;
                    for (segment, child) in some.iter().zip(&children) {
                        let is_right = |child: &Summary| {
                            matches!(child, Summary::Set { entries, first }
                            if *entries == segment.entries && first.as_ref() == Some(&segment.first))
                        };
                        findings.child(&segment.key, child.as_ref(), is_right, rule);
                    }
                }
            }
            Object::ListHead(segments) => {
                let rule = "a file's segment is not the list that its head says";
                for some in segments.chunks(CHILDREN_MAX) {
                    let children = self.summaries(&some.iter().map(|segment| segment.key).collect::<Vec<_>>())?;
                    for (segment, child) in some.iter().zip(&children) {
                        let said = Summary::List { chunks: segment.chunks, len: segment.len };
                        findings.child(&segment.key, child.as_ref(), |child| *child == said, rule);
                    }
                }
            }
        }
        match findings.wrong {
            Some(wrong) if findings.missing.is_empty() => Err(wrong),
            _ => Ok(findings.missing),
        }
    }

    /// Looks at what the entries of one segment name.
    fn find_metas(&self, metas: &[Meta], findings: &mut Findings) -> Result<(), EngineError> {
        let reference = |meta: &Meta| match meta.content {
            Content::Ref(key) => Some(key),
            Content::None | Content::Blob(_) => None,
        };
        let keys: Vec<ObjectKey> = metas.iter().filter_map(reference).collect();
        let mut children = self.summaries(&keys)?.into_iter();
        for meta in metas {
            match &meta.content {
                Content::None => {}
                Content::Blob(id) => {
                    let is_right = self.blobs.get(id).is_none_or(|len| u64::from(*len) == meta.size);
                    findings.must(is_right, "a file's size is not the length of its blob");
                }
                Content::Ref(key) if meta.file_type == FileType::Dir => {
                    let child = children.next().flatten();
                    findings.child(key, child.as_ref(), Summary::is_directory, "a directory's ref is not a set");
                }
                Content::Ref(key) => {
                    let child = children.next().flatten();
                    let is_right = |child: &Summary| child.file_len() == Some(meta.size);
                    findings.child(key, child.as_ref(), is_right, "a file's size is not the length of its list");
                }
            }
        }
        Ok(())
    }

    fn are_long_enough(&self, chunks: &[Chunk]) -> bool {
        let known = |chunk: &Chunk| chunk.blob.and_then(|id| self.blobs.get(&id));
        chunks.iter().all(|chunk| known(chunk).is_none_or(|len| u64::from(*len) == chunk.len))
    }

    /// What these objects are, as far as they are there.
    fn summaries(&self, keys: &[ObjectKey]) -> Result<Vec<Option<Summary>>, EngineError> {
        let waiting = self.pending.objects(keys);
        let stored: Vec<&[u8; 20]> =
            keys.iter().zip(&waiting).filter(|it| it.1.is_none()).map(|it| it.0.as_bytes()).collect();
        let read = |value: &[u8]| Summary::of(value.get(OBJECT_HEAD_BYTES..).unwrap_or_default());
        let mut stored = self.index.read_each(Family::Objects, &stored, read)?.into_iter();
        let one = |waiting: Option<Encoded>| match waiting {
            Some(encoded) => Summary::of(&encoded.bytes).map(Some),
            None => stored.next().flatten().transpose(),
        };
        Ok(waiting.into_iter().map(one).collect::<Result<_, _>>()?)
    }
}
