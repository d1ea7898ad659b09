//! Remote: another DataDB server as a blob store, over its gRPC API.
//!
//! Nobody above knows that it is remote. A peer that can't be reached makes presence `Unknown`, never `Missing`.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use datadb::{
    BlobId, BlobRef, Bundle, Digest, Fault, Kind,
    api::{self, store_client::StoreClient},
    limits,
    wire::pack_ids,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::{
    BlobStore, Cursor, Damage, Durable, Found, Item, Outcome, Presence, Put, StoreError, StoreStats, Stored, check_put,
};

/// A DataDB server that keeps our bundles.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    client: StoreClient<Channel>,
}

impl Remote {
    /// A peer at `http://HOST:PORT`; the connection is made when it is first needed, and made again when it broke.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let bad_url = |error: tonic::transport::Error| StoreError::Peer {
            place: url.to_owned(),
            fault: Fault::new(Kind::Invalid, format!("is no URL of a server: {error}")),
        };
        let channel = Endpoint::from_shared(url.to_owned()).map_err(bad_url)?.tcp_nodelay(true).connect_lazy();
        let client = StoreClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        Ok(Self { url: url.to_owned(), client })
    }

    fn failed(&self, status: Status) -> StoreError {
        StoreError::Peer { place: self.url.clone(), fault: status.into() }
    }

    /// A reply that breaks the contract.
    fn broken(&self, what: impl fmt::Display) -> StoreError {
        let fault = Fault::new(Kind::Internal, format!("the answer makes no sense: {what}"));
        StoreError::Peer { place: self.url.clone(), fault }
    }

    fn cursor(&self, cursor: Option<api::StoreCursor>) -> Result<Cursor, StoreError> {
        let api::StoreCursor { pack, offset } = cursor.ok_or_else(|| self.broken("a cursor is missing"))?;
        Ok(Cursor { pack, offset })
    }

    fn presence(&self, presence: &api::StorePresence) -> Result<Presence, StoreError> {
        use api::store_presence::State;
        Ok(match presence.state() {
            State::Missing => Presence::Missing,
            State::Unknown => Presence::Unknown,
            State::Have => Presence::Have(Found {
                digest: Digest::try_from(&presence.digest[..]).map_err(|error| self.broken(error))?,
                len: presence.len,
                place: presence.place,
            }),
        })
    }

    fn item(&self, item: api::StoreItem) -> Result<Item, StoreError> {
        let cursor = self.cursor(item.cursor)?;
        if item.damaged_bytes > 0 {
            return Ok(Item::Damage(Damage { cursor, bytes: item.damaged_bytes }));
        }
        match item.table.as_chunks::<{ BlobRef::LEN }>() {
            (refs, []) => {
                Ok(Item::Record { cursor, refs: refs.iter().map(BlobRef::unpack).collect(), label: item.label })
            }
            _ => Err(self.broken("a table is not a whole number of refs")),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "remote:{}", self.url)
    }
}

#[async_trait]
impl BlobStore for Remote {
    async fn put(&self, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        check_put(&bundle, &label)?;
        let request = api::StorePutRequest { bundle: Some((&bundle).into()), label };
        let reply = self.client.clone().put(request).await.map_err(|status| self.failed(status))?.into_inner();
        let outcome = |byte: &u8| match byte {
            1 => Ok(Outcome::New),
            2 => Ok(Outcome::Known),
            3 => Ok(Outcome::Conflict),
            other => Err(self.broken(format!("outcome {other}"))),
        };
        let outcomes: Vec<Outcome> = reply.outcomes.iter().map(outcome).collect::<Result<_, _>>()?;
        if outcomes.len() != bundle.refs().len() {
            return Err(self.broken("not one outcome a blob"));
        }
        Ok(Put {
            outcomes,
            cursor: reply.cursor.map(|cursor| self.cursor(Some(cursor))).transpose()?,
            unflushed_bytes: reply.unflushed_bytes,
            unflushed_blobs: usize::try_from(reply.unflushed_blobs).unwrap_or(usize::MAX),
        })
    }

    async fn find(&self, ids: &[BlobId]) -> Result<Vec<Presence>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(limits::QUESTION_REFS_MAX) {
            let request = api::StoreFindRequest { ids: pack_ids(some) };
            let reply = match self.client.clone().find(request).await {
                Ok(reply) => reply.into_inner(),
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    found.resize(ids.len(), Presence::Unknown);
                    return Ok(found);
                }
                Err(status) => return Err(self.failed(status)),
            };
            if reply.blobs.len() != some.len() {
                return Err(self.broken("not one answer a blob"));
            }
            for presence in &reply.blobs {
                found.push(self.presence(presence)?);
            }
        }
        Ok(found)
    }

    async fn get(&self, id: &BlobId) -> Result<Option<Stored>, StoreError> {
        let request = api::StoreGetRequest { id: Bytes::copy_from_slice(id.as_bytes()) };
        let reply = match self.client.clone().get(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) if status.code() == tonic::Code::DataLoss => {
                let (leaf, cursor) = (self.to_string(), Cursor { pack: 0, offset: 0 });
                return Err(StoreError::Damaged { id: *id, leaf, cursor, what: status.message().to_owned() });
            }
            Err(status) => return Err(self.failed(status)),
        };
        let Some(bundle) = reply.bundle else { return Ok(None) };
        let bundle = Bundle::try_from(bundle).map_err(|error| self.broken(error))?;
        // The peer verified what it read; what came over the wire is verified here.
        let bundle = super::blocking(move || bundle.verify().map(|_| bundle)).await;
        let bundle = bundle.map_err(|error| self.broken(error))?;
        if !bundle.refs().any(|blob| blob.id == *id) {
            return Err(self.broken("another bundle was sent"));
        }
        Ok(Some(Stored { bundle, label: reply.label }))
    }

    async fn flush(&self) -> Result<Vec<Durable>, StoreError> {
        let reply = self.client.clone().flush(api::StoreFlushRequest {}).await;
        let leaves = reply.map_err(|status| self.failed(status))?.into_inner().leaves;
        let durable = |leaf: api::StoreDurable| {
            Ok(Durable { leaf: format!("{self}/{}", leaf.leaf), end: self.cursor(leaf.end)? })
        };
        leaves.into_iter().map(durable).collect()
    }

    async fn enumerate(&self, after: Option<Cursor>, max: usize) -> Result<Vec<Item>, StoreError> {
        let mut items: Vec<Item> = Vec::new();
        let mut after = after;
        while items.len() < max {
            let left = u32::try_from(max - items.len()).unwrap_or(u32::MAX);
            let after_cursor = after.map(|Cursor { pack, offset }| api::StoreCursor { pack, offset });
            let request = api::StoreEnumerateRequest { after: after_cursor, max: left };
            let reply = self.client.clone().enumerate(request).await.map_err(|status| self.failed(status))?;
            let page = reply.into_inner().items;
            let Some(last) = page.last() else { break };
            after = Some(self.cursor(last.cursor)?);
            for item in page {
                items.push(self.item(item)?);
            }
        }
        Ok(items)
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let reply = self.client.clone().totals(api::StoreTotalsRequest {}).await;
        let totals = reply.map_err(|status| self.failed(status))?.into_inner();
        Ok(StoreStats {
            blobs: totals.blobs,
            blob_bytes: totals.blob_bytes,
            dead_bytes: totals.dead_bytes,
            records: totals.records,
            stored_bytes: totals.stored_bytes,
            bad_blobs: totals.bad_blobs,
            // Its connection is no file, and the peer's files are the peer's.
            open_files: 0,
        })
    }
}
