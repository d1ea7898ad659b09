//! Bundling and uploading: full bundles are compressed by several threads and sent in their order.

use crossbeam_channel::{Receiver, Sender, bounded};
use datadb::{Bundle, bundle::BundleBuilder, failpoint};
use std::{sync::atomic::Ordering, thread::Scope};
use tokio::sync::mpsc;

use super::run::{Run, Trouble};
use crate::{
    connection::{BundleAck, Bundles, wire_bytes},
    report::{Report, count},
};

/// On a source tree a tenth smaller than level 1, and a second more of CPU for each gigabyte.
const ZSTD_LEVEL: i32 = 3;

/// Bundles under way that the server did not accept yet, at most: bounds the ids that are remembered.
pub const BUNDLES_IN_FLIGHT_MAX: u64 = 24;

/// Where full bundles go.
#[derive(Debug)]
pub struct Packer {
    jobs: Sender<(BundleBuilder, Sender<Bundle>)>,
    order: Sender<Receiver<Bundle>>,
}

impl Packer {
    /// Starts `threads` compressors and one sender. Without a way to the server bundles are only counted, as if accepted.
    pub fn start<'s, 'e: 's>(
        scope: &'s Scope<'s, 'e>,
        threads: usize,
        bundles: Option<Bundles>,
        run: &'e Run,
        report: &'e Report,
    ) -> Self {
        let (jobs, todo) = bounded::<(BundleBuilder, Sender<Bundle>)>(threads);
        let (order, sealed) = bounded::<Receiver<Bundle>>(2 * threads);
        for _ in 0..threads {
            let todo = todo.clone();
            scope.spawn(move || {
                for (builder, out) in todo {
                    // If nobody listens, the run has failed elsewhere.
                    drop(out.send(builder.seal(ZSTD_LEVEL)));
                }
            });
        }
        scope.spawn(move || {
            for bundle in sealed.iter().filter_map(|next| next.recv().ok()) {
                let sent = match &bundles {
                    Some(bundles) => bundles.send(&bundle),
                    None => {
                        run.ack(bundle.refs().len() as u32);
                        Some(wire_bytes(&bundle))
                    }
                };
                let Some(bytes) = sent else { return };
                run.bytes_uploaded.fetch_add(bytes, Ordering::Relaxed);
                count(&report.counters.wire_bytes, bytes);
                failpoint::hit("client.sent");
            }
        });
        Self { jobs, order }
    }

    /// Hands over a full bundle; false if the stream broke.
    pub fn pack(&self, builder: BundleBuilder) -> bool {
        let (out, sealed) = bounded(1);
        self.order.send(sealed).is_ok() && self.jobs.send((builder, out)).is_ok()
    }
}

/// Counts what the server accepts, until the stream ends.
pub fn acknowledge(mut acks: mpsc::Receiver<Result<BundleAck, datadb::Fault>>, run: &Run) {
    while let Some(ack) = acks.blocking_recv() {
        match ack {
            Ok(ack) if ack.conflicts.is_empty() => run.ack(ack.blobs_new),
            Ok(ack) => {
                let reason = format!("blob {} meanwhile belongs to other bytes", ack.conflicts[0]);
                return run.fail(Trouble::Again { reason, taken: Vec::new() });
            }
            Err(fault) => return run.fail(fault),
        }
    }
}
