//! The tasks that ask the server for blobs, and look into the cache on disk before.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use datadb::{BlobId, BlobRef, Bundle, Fault, Kind, bundle::check};
use datadb_client::connection::{Delivery, Download, Downloads};
use tokio::task::{JoinSet, spawn_blocking};

use super::blobs::{Batch, Inner, Loss};

/// Bundles of one request that are decoded at the same time as the next ones come.
const DECODING_MAX: usize = 3;

/// Takes batches for ever.
pub(super) async fn run(inner: Arc<Inner>, only_urgent: bool) {
    let mut downloads = None;
    loop {
        let batch = inner.next(only_urgent).await;
        let missing = from_disk(&inner, &batch).await;
        if !missing.is_empty() {
            patiently(&inner, missing, &mut downloads).await;
        }
        inner.done(&batch);
    }
}

/// What of a batch is not on disk.
async fn from_disk(inner: &Arc<Inner>, batch: &Batch) -> HashSet<BlobId> {
    let mut missing: HashSet<BlobId> = batch.ids.iter().copied().collect();
    let Some(disk) = inner.disk.clone() else { return missing };
    let ids = batch.ids.clone();
    let found = spawn_blocking(move || {
        ids.into_iter().filter_map(|id| Some((id, disk.get(&id)?))).collect::<Vec<(BlobId, Bytes)>>()
    });
    for (id, bytes) in found.await.unwrap_or_default() {
        inner.came(id, &bytes);
        missing.remove(&id);
    }
    missing
}

/// Asks until everything came, or was named as lost, or patience ended.
async fn patiently(inner: &Arc<Inner>, mut missing: HashSet<BlobId>, downloads: &mut Option<Downloads>) {
    let mut tries = inner.server.tries();
    loop {
        let stream = downloads.get_or_insert_with(|| inner.server.connection().downloads());
        let Err(fault) = ask(inner, &mut missing, stream).await else {
            missing.drain().for_each(|id| inner.lost(id, Loss::Gone("it was not delivered".to_owned())));
            return;
        };
        *downloads = None;
        if fault.kind != Kind::Unavailable || !tries.pause().await {
            missing.drain().for_each(|id| inner.lost(id, Loss::Server(fault.clone())));
            return;
        }
    }
}

/// One request. What came is taken out of `missing`.
async fn ask(inner: &Arc<Inner>, missing: &mut HashSet<BlobId>, stream: &Downloads) -> Result<(), Fault> {
    let ids: Vec<BlobId> = missing.iter().copied().collect();
    let mut download = stream.request(&ids);
    let mut decoding = JoinSet::new();
    let next = async |download: &mut Download| download.next().await.transpose();
    while let Some(part) = inner.server.within(next(&mut download)).await? {
        inner.heard();
        match part {
            Delivery::Bundle(bundle) => {
                let inner = inner.clone();
                decoding.spawn_blocking(move || decode(&inner, &bundle));
                if decoding.len() >= DECODING_MAX {
                    take(&mut decoding, missing).await;
                }
            }
            Delivery::Missing(ids) => lose(inner, missing, &ids, "it is not on the server"),
            Delivery::Unreadable(ids, trouble) => {
                let fault = Fault::new(Kind::Unavailable, trouble);
                for id in ids {
                    missing.remove(&id);
                    inner.lost(id, Loss::Server(fault.clone()));
                }
            }
            Delivery::Damaged(ids) => lose(inner, missing, &ids, "it is damaged on the server"),
        }
    }
    while !decoding.is_empty() {
        take(&mut decoding, missing).await;
    }
    Ok(())
}

async fn take(decoding: &mut JoinSet<Vec<BlobId>>, missing: &mut HashSet<BlobId>) {
    if let Some(Ok(done)) = decoding.join_next().await {
        missing.retain(|id| !done.contains(id));
    }
}

fn lose(inner: &Inner, missing: &mut HashSet<BlobId>, ids: &[BlobId], what: &str) {
    for id in ids {
        missing.remove(id);
        inner.lost(*id, Loss::Gone(what.to_owned()));
    }
}

/// Decodes and verifies a bundle, and keeps all that is in it; gives what it held.
fn decode(inner: &Inner, bundle: &Bundle) -> Vec<BlobId> {
    let plain = match bundle.decode() {
        Ok(plain) => plain,
        Err(error) => {
            let what = error.to_string();
            bundle.refs().for_each(|blob| inner.lost(blob.id, Loss::Gone(what.clone())));
            return bundle.refs().map(|blob| blob.id).collect();
        }
    };
    let mut held = Vec::new();
    for (blob, bytes) in plain.iter() {
        held.push(blob.id);
        if let Err(error) = check(&blob, &bytes) {
            inner.lost(blob.id, Loss::Gone(error.to_string()));
            continue;
        }
        keep(inner, &blob, bytes, plain.len());
    }
    held
}

/// A small part of a bundle is copied, so that it does not hold the whole in memory.
fn keep(inner: &Inner, blob: &BlobRef, bytes: Bytes, bundle_bytes: usize) {
    let own = if bytes.len() * 2 < bundle_bytes { Bytes::copy_from_slice(&bytes) } else { bytes };
    inner.came(blob.id, &own);
    if let Some(disk) = &inner.disk {
        disk.put(blob, &own);
    }
}
