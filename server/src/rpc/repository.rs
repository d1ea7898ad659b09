//! `datadb.v1.Repository`: what the server is, and how full it is.

use bytes::Bytes;
use datadb::{BackupKey, FORMAT_VERSION, Fault, Kind, PROTOCOL_VERSION, api, limits};
use tonic::{Request, Response, Status};

use super::status;
use crate::engine::{Engine, usage::BlobSums};

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

#[tonic::async_trait]
impl api::repository_server::Repository for Service {
    async fn capabilities(
        &self,
        request: Request<api::CapabilitiesRequest>,
    ) -> Result<Response<api::CapabilitiesReply>, Status> {
        let theirs = request.into_inner().protocol;
        if theirs != PROTOCOL_VERSION {
            let version = env!("CARGO_PKG_VERSION");
            let message = format!(
                "the client speaks protocol {theirs}, this server ({version}) speaks {PROTOCOL_VERSION}: use versions that match"
            );
            return Err(Fault::new(Kind::Unsupported, message).into());
        }
        let genesis = self.0.genesis();
        Ok(Response::new(api::CapabilitiesReply {
            protocol: PROTOCOL_VERSION,
            format: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            repository: Bytes::copy_from_slice(&genesis.repository),
            chunker: Some(genesis.chunker.into()),
            limits: Some(api::Limits {
                message_bytes_max: limits::MESSAGE_BYTES_MAX as u32,
                bundle_bytes_max: limits::BUNDLE_BYTES_MAX as u32,
                blob_bytes_max: limits::BLOB_BYTES_MAX as u32,
                question_refs_max: limits::QUESTION_REFS_MAX as u32,
                object_bytes_max: limits::OBJECT_BYTES_MAX as u32,
                lease_seconds: limits::LEASE_SECONDS,
            }),
            link_secret: Bytes::copy_from_slice(&genesis.link_secret),
        }))
    }

    async fn stats(&self, _: Request<api::StatsRequest>) -> Result<Response<api::StatsReply>, Status> {
        let stats = self.0.stats().await?;
        Ok(Response::new(api::StatsReply {
            snapshots: stats.totals.snapshots,
            backups: stats.totals.backups,
            logical_bytes: stats.totals.bytes,
            blobs: stats.blobs.blobs,
            blob_bytes: stats.blobs.blob_bytes,
            stored_bytes: stats.blobs.stored_bytes,
            log_bytes: stats.log.stored_bytes,
            log_records: stats.log.records,
            dead_bytes: stats.blobs.dead_bytes,
            objects: stats.totals.objects,
            bad_blobs: stats.blobs.bad_blobs,
            store: stats.stack,
        }))
    }
    async fn backup_stats(
        &self,
        request: Request<api::BackupStatsRequest>,
    ) -> Result<Response<api::BackupStatsReply>, Status> {
        let api::BackupStatsRequest { backup, unique } = request.into_inner();
        let usage = self.0.usage(BackupKey::try_from(&backup[..]).map_err(status)?, unique).await?;
        Ok(Response::new(api::BackupStatsReply {
            backup: Some((&usage.backup).into()),
            all: Some(blob_stats(usage.all)),
            unique: usage.unique.map(blob_stats),
            keys_read: usage.keys_read,
        }))
    }
}

const fn blob_stats(sums: BlobSums) -> api::BlobStats {
    api::BlobStats {
        blobs: sums.blobs,
        bytes: sums.bytes,
        stored_bytes: sums.stored_bytes,
        missing: sums.missing,
        estimated: sums.is_estimated,
        stored_estimated: sums.is_stored_estimated,
    }
}
