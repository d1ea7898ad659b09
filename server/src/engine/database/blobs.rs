//! Commands of blobs.

use bytes::Bytes;
use datadb::{
    BlobId, BlobRef,
    bundle::BundleBuilder,
    command::{Command, Refusal, Reply},
    limits,
};

use super::Stop;
use crate::{
    engine::{Engine, EngineError},
    store::{Presence, blocking},
};

/// zstd level of blobs that are put one by one.
const LEVEL: i32 = 1;

impl Engine {
    pub(super) async fn blob_command(&self, command: Command) -> Result<Reply, Stop> {
        Ok(match command {
            Command::Bput(args) => self.put_blob(args.data).await?,
            Command::Hash(args) => Reply::Value(BlobId::of(&args.data).to_string().into()),
            Command::Bget(args) => Reply::value(self.read_blob(&args.blob).await?),
            Command::Bexists(args) => Reply::Integer(i64::from(self.lengths(&[args.blob]).await?[0].is_some())),
            Command::Bmexists(args) => {
                let there = self.lengths(&args.blobs).await?;
                Reply::Integers(there.iter().map(|len| i64::from(len.is_some())).collect())
            }
            Command::Blen(args) => {
                self.lengths(&[args.blob]).await?[0].map_or(Reply::Nil, |len| Reply::Integer(i64::from(len)))
            }
            Command::Bcnt(_) => Reply::count(self.stats().await?.blobs.blobs),
            Command::Bsize(_) => Reply::count(self.stats().await?.blobs.blob_bytes),
            other => return Err(Refusal::err(format!("'{}' is no command of blobs", other.name())).into()),
        })
    }

    /// The blob is durable when this returns.
    async fn put_blob(&self, data: Bytes) -> Result<Reply, Stop> {
        if data.is_empty() {
            return Err(Refusal::err("nothing is no blob: the shortest has a byte").into());
        }
        if data.len() > limits::BLOB_BYTES_MAX {
            return Err(Refusal::err(format!("a blob has at most {} bytes", limits::BLOB_BYTES_MAX)).into());
        }
        self.check_writable()?;
        let (blob, bundle) = blocking(move || {
            let blob = BlobRef::of(&data);
            let mut bundle = BundleBuilder::new();
            bundle.push(&blob, &data);
            (blob, bundle.seal(LEVEL))
        })
        .await;
        let bundle = self.verify_bundle(bundle).await?;
        let epoch = self.epoch();
        let stored = self.put_bundle(bundle).await?;
        if !stored.conflicts.is_empty() {
            return Err(Refusal::err(format!("the id {} belongs to other bytes", blob.id)).into());
        }
        self.flush_store(epoch).await?;
        Ok(Reply::Value(blob.id.to_string().into()))
    }

    async fn lengths(&self, ids: &[BlobId]) -> Result<Vec<Option<u32>>, EngineError> {
        let found = self.inner.blobs.find(ids).await?;
        let len = |(id, presence): (&BlobId, Presence)| match presence {
            Presence::Have(found) => Ok(Some(found.len)),
            Presence::Missing => Ok(None),
            Presence::Unknown => {
                let message = format!("a store that may hold blob {id} can't be reached now");
                Err(EngineError::refused(datadb::Kind::Unavailable, message))
            }
        };
        ids.iter().zip(found).map(len).collect()
    }
}
