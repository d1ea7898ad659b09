//! `datadb.v1.Store`: this server's blob store, for another server that keeps its bundles here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use datadb::{BlobId, Bundle, Fault, Kind, api, codec::DecodeError, limits, wire::unpack_ids};
use tonic::{Request, Response, Status};

use super::status;
use crate::{
    engine::{Engine, EngineError},
    store::{Cursor, Item, Outcome, Presence, check_put},
};

/// Bytes of tables and labels in one page, which leaves room for the longest single record in a message.
const PAGE_BYTES: usize = limits::MESSAGE_BYTES_MAX / 2;

/// The service.
#[derive(Debug)]
pub struct Service {
    engine: Engine,
    /// In which epoch something was put since the last flush.
    unflushed: Mutex<Option<u64>>,
}

impl Service {
    /// Serves an engine's blob store.
    pub fn new(engine: Engine) -> Self {
        Self { engine, unflushed: Mutex::default() }
    }

    fn unflushed(&self) -> MutexGuard<'_, Option<u64>> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Cursor> for api::StoreCursor {
    fn from(Cursor { pack, offset }: Cursor) -> Self {
        Self { pack, offset }
    }
}

fn item(item: Item) -> api::StoreItem {
    match item {
        Item::Record { cursor, refs, label } => {
            let mut table = Vec::with_capacity(refs.len() * datadb::BlobRef::LEN);
            refs.iter().for_each(|blob| blob.pack(&mut table));
            api::StoreItem { cursor: Some(cursor.into()), table: table.into(), label, damaged_bytes: 0 }
        }
        Item::Damage(damage) => {
            api::StoreItem { cursor: Some(damage.cursor.into()), damaged_bytes: damage.bytes, ..Default::default() }
        }
    }
}

#[tonic::async_trait]
impl api::store_server::Store for Service {
    async fn put(&self, request: Request<api::StorePutRequest>) -> Result<Response<api::StorePutReply>, Status> {
        self.engine.check_writable()?;
        let api::StorePutRequest { bundle, label } = request.into_inner();
        let bundle = bundle.ok_or_else(|| status(DecodeError::Short { field: "bundle" }))?;
        let bundle = Bundle::try_from(bundle).map_err(status)?;
        check_put(&bundle, &label).map_err(status)?;
        let verified = self.engine.verify_bundle(bundle).await?;
        self.unflushed().get_or_insert_with(|| self.engine.epoch());
        let put = self.engine.store().put(verified.into_bundle(), label).await.map_err(status)?;
        let outcome = |outcome: &Outcome| match outcome {
            Outcome::New => 1,
            Outcome::Known => 2,
            Outcome::Conflict => 3,
        };
        Ok(Response::new(api::StorePutReply {
            outcomes: put.outcomes.iter().map(outcome).collect::<Vec<u8>>().into(),
            cursor: put.cursor.map(Into::into),
            unflushed_bytes: put.unflushed_bytes,
            unflushed_blobs: put.unflushed_blobs as u64,
        }))
    }

    async fn find(&self, request: Request<api::StoreFindRequest>) -> Result<Response<api::StoreFindReply>, Status> {
        use api::store_presence::State;
        let ids = request.into_inner().ids;
        let ids: Vec<BlobId> = unpack_ids(&ids).map_err(status)?.collect();
        if ids.len() > limits::QUESTION_REFS_MAX {
            let message = format!("more than {} ids in one question", limits::QUESTION_REFS_MAX);
            return Err(Fault::new(Kind::Invalid, message).into());
        }
        let presence = |presence| match presence {
            Presence::Have(found) => api::StorePresence {
                state: State::Have.into(),
                digest: Bytes::copy_from_slice(found.digest.as_bytes()),
                len: found.len,
                place: found.place,
            },
            Presence::Missing => api::StorePresence { state: State::Missing.into(), ..Default::default() },
            Presence::Unknown => api::StorePresence { state: State::Unknown.into(), ..Default::default() },
        };
        let found = self.engine.store().find(&ids).await.map_err(status)?;
        Ok(Response::new(api::StoreFindReply { blobs: found.into_iter().map(presence).collect() }))
    }

    async fn get(&self, request: Request<api::StoreGetRequest>) -> Result<Response<api::StoreGetReply>, Status> {
        let id = BlobId::try_from(&request.into_inner().id[..]).map_err(status)?;
        let stored = self.engine.read_stored(&id).await?;
        Ok(Response::new(match stored {
            Some(stored) => api::StoreGetReply { bundle: Some((&stored.bundle).into()), label: stored.label },
            None => api::StoreGetReply::default(),
        }))
    }

    async fn flush(&self, _: Request<api::StoreFlushRequest>) -> Result<Response<api::StoreFlushReply>, Status> {
        self.engine.check_writable()?;
        let epoch = self.unflushed().take().unwrap_or_else(|| self.engine.epoch());
        let durable = self.engine.flush_store(epoch).await?;
        let leaves = durable.into_iter().map(|leaf| api::StoreDurable { leaf: leaf.leaf, end: Some(leaf.end.into()) });
        Ok(Response::new(api::StoreFlushReply { leaves: leaves.collect() }))
    }

    async fn enumerate(
        &self,
        request: Request<api::StoreEnumerateRequest>,
    ) -> Result<Response<api::StoreEnumerateReply>, Status> {
        let api::StoreEnumerateRequest { after, max } = request.into_inner();
        let after = after.map(|api::StoreCursor { pack, offset }| Cursor { pack, offset });
        let max = (max as usize).min(limits::PAGE_ENTRIES_MAX);
        let found = self.engine.store().enumerate(after, max).await.map_err(EngineError::from)?;
        let mut bytes = 0;
        let mut items = Vec::with_capacity(found.len());
        for item in found.into_iter().map(item) {
            bytes += item.table.len() + item.label.len();
            if bytes > PAGE_BYTES && !items.is_empty() {
                break;
            }
            items.push(item);
        }
        Ok(Response::new(api::StoreEnumerateReply { items }))
    }

    async fn totals(&self, _: Request<api::StoreTotalsRequest>) -> Result<Response<api::StoreTotalsReply>, Status> {
        let stats = self.engine.store().stats().await.map_err(status)?;
        Ok(Response::new(api::StoreTotalsReply {
            blobs: stats.blobs,
            blob_bytes: stats.blob_bytes,
            dead_bytes: stats.dead_bytes,
            records: stats.records,
            stored_bytes: stats.stored_bytes,
            bad_blobs: stats.bad_blobs,
        }))
    }
}
