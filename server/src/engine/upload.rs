//! Questions and bundles.
//!
//! **Verified at every border.** SHA-1 and BLAKE3 of every blob are recomputed before a bundle is stored.
//! **A SHA-1 collision harms nobody.** Questions carry both hashes; an id that belongs to other bytes is a conflict.

use datadb::{BlobId, BlobRef, Bundle, Digest, ObjectRef, wire::Answer};

use super::{Engine, EngineError, verify};
use crate::store::{Outcome, Presence};

/// When so many stored bytes wait for a flush, one is begun.
const UNFLUSHED_BYTES_SOFT: u64 = 128 << 20;
/// When so many stored bytes wait for a flush, uploads wait for it.
const UNFLUSHED_BYTES_HARD: u64 = 512 << 20;
/// The same for entries, which wait in memory.
const UNFLUSHED_BLOBS_SOFT: usize = 1 << 15;
/// The same for entries, which wait in memory.
const UNFLUSHED_BLOBS_HARD: usize = 1 << 17;

/// A bundle that is verified and may be stored.
#[derive(Debug)]
pub struct Verified(Bundle);

impl Verified {
    /// The bundle.
    pub fn into_bundle(self) -> Bundle {
        self.0
    }
}

/// What became of a bundle's blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Blobs that were not there before.
    pub blobs_new: u32,
    /// Blobs that were there before.
    pub blobs_known: u32,
    /// Ids that belong to other bytes; those blobs were not stored.
    pub conflicts: Vec<BlobId>,
}

impl Engine {
    /// Which of these blobs are there?
    pub async fn find_blobs(&self, question: Vec<(BlobId, Digest)>) -> Result<Vec<Answer>, EngineError> {
        let ids: Vec<BlobId> = question.iter().map(|(id, _)| *id).collect();
        let found = self.inner.blobs.find(&ids).await?;
        self.report_marks().await?;
        let observed = &self.inner.observed;
        let answer = |((_, digest), presence): (&(BlobId, Digest), Presence)| match presence {
            Presence::Have(found) if found.digest == *digest => {
                observed.dedup_blobs.add(1);
                observed.dedup_bytes.add(u64::from(found.len));
                Answer::Have
            }
            Presence::Have(_) => Answer::Conflict,
            Presence::Missing | Presence::Unknown => Answer::Missing,
        };
        Ok(question.iter().zip(found).map(answer).collect())
    }

    /// Which of these objects are there?
    pub async fn find_objects(&self, question: Vec<ObjectRef>) -> Result<Vec<Answer>, EngineError> {
        let known = self.known_objects(question.iter().map(|object| object.key).collect()).await?;
        let answer = |(asked, known): (&ObjectRef, Option<ObjectRef>)| match known {
            Some(known) if known == *asked => Answer::Have,
            Some(_) => Answer::Conflict,
            None => Answer::Missing,
        };
        Ok(question.iter().zip(known).map(answer).collect())
    }

    /// Verifies a bundle. Several may be verified at once; they are stored in order by `put_bundle`.
    pub async fn verify_bundle(&self, bundle: Bundle) -> Result<Verified, EngineError> {
        let too_long = bundle.refs().find(|blob| blob.len as usize > datadb::limits::BLOB_BYTES_MAX);
        if let Some(blob) = too_long {
            return Err(EngineError::refused(
                datadb::Kind::Invalid,
                format!("blob {} is longer than the limit of {} bytes", blob.id, datadb::limits::BLOB_BYTES_MAX),
            ));
        }
        Ok(Verified(verify(bundle).await?.0))
    }

    /// Stores a verified bundle. It is durable when a commit that came later returns.
    pub async fn put_bundle(&self, Verified(bundle): Verified) -> Result<Stored, EngineError> {
        let blobs: Vec<BlobRef> = bundle.refs().collect();
        let put = self.inner.blobs.put(bundle, bytes::Bytes::new()).await?;
        if put.unflushed_bytes > UNFLUSHED_BYTES_HARD || put.unflushed_blobs > UNFLUSHED_BLOBS_HARD {
            self.inner.committer.flush().await?;
        } else if put.unflushed_bytes > UNFLUSHED_BYTES_SOFT || put.unflushed_blobs > UNFLUSHED_BLOBS_SOFT {
            self.flush_in_background();
        }
        let mut stored = Stored::default();
        for (blob, outcome) in blobs.into_iter().zip(put.outcomes) {
            match outcome {
                Outcome::New => stored.blobs_new += 1,
                Outcome::Known => {
                    stored.blobs_known += 1;
                    self.inner.observed.dedup_blobs.add(1);
                    self.inner.observed.dedup_bytes.add(u64::from(blob.len));
                }
                Outcome::Conflict => stored.conflicts.push(blob.id),
            }
        }
        Ok(stored)
    }

    /// Begins a flush unless one is under way. What fails here fails again, and loudly, at the commit.
    fn flush_in_background(&self) {
        use std::sync::atomic::Ordering::AcqRel;
        if self.inner.is_flushing.swap(true, AcqRel) {
            return;
        }
        let engine = self.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.inner.committer.flush().await {
                tracing::error!(%error, "a flush between commits failed");
            }
            engine.inner.is_flushing.store(false, std::sync::atomic::Ordering::Release);
        });
    }
}
