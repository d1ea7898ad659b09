//! `/metrics`: for Prometheus, what an alert or a search for a fault would use.

use std::collections::HashSet;

use axum::{extract::State, response::Response};
use datadb::expected::Expected;

use super::{
    Failed,
    exposition::{CONTENT_TYPE, Exposition},
    page as answer,
    vars::field_bytes,
};
use crate::{
    engine::{Engine, EngineError, newest::NewestBackups},
    observe::{Counter, Observed},
    store::{
        counted::{Backend, Traffic},
        mirror::{MirrorStatus, SideStatus, Standing},
        s3::Requests,
    },
};

/// Snapshots whose last backup is told: each is a series of its own. How many there are beyond is told.
const SNAPSHOTS_MAX: usize = 1000;

/// The page.
pub async fn page(State(engine): State<Engine>) -> Result<Response, Failed> {
    let mut out = Exposition::default();
    let observed = engine.observed();
    process(&mut out, &engine);
    latencies(&mut out, observed);
    errors(&mut out, observed);
    traffic(&mut out, &engine.backends());
    mirrors(&mut out, &engine).await;
    out.counter(
        "datadb_dedup_hits_total",
        "Blobs that were there already when a client asked or sent.",
        observed.dedup_blobs.get(),
    );
    out.counter("datadb_dedup_bytes_total", "Plain bytes of these blobs.", observed.dedup_bytes.get());
    sizes(&mut out, &engine).await?;
    backups(&mut out, &engine.newest_backups(SNAPSHOTS_MAX).await?);
    expected(&mut out, &engine.expected().await?);
    Ok(answer(CONTENT_TYPE, out.finish()))
}

fn process(out: &mut Exposition, engine: &Engine) {
    let observed = engine.observed();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    out.gauges("datadb_build_info", "The server's version, as a label.", [(&version[..], 1)]);
    out.gauge("datadb_start_time_seconds", "When the server started, in unix time.", observed.started_at);
    out.gauge(
        "datadb_writable",
        "1, or 0 where the repository may only be read.",
        u8::from(engine.check_writable().is_ok()),
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = field_bytes(&status, "VmRSS") {
        out.gauge("datadb_resident_memory_bytes", "Memory that the server takes.", bytes);
    }
    out.counter("datadb_connections_total", "Connections accepted on the gRPC port.", observed.connections.get());
    out.gauge("datadb_monitor_readers", "Who watches commands now.", observed.monitor.readers());
}

fn latencies(out: &mut Exposition, observed: &Observed) {
    out.histograms(
        "datadb_rpc_duration_seconds",
        "Calls over gRPC until their last reply, by method; a stream is one call.",
        "rpc",
        observed.calls.durations(),
    );
    out.histograms(
        "datadb_command_duration_seconds",
        "Commands of the database until their replies, by name; those of a pipeline that came together took the same time.",
        "command",
        observed.commands.durations(),
    );
}

fn errors(out: &mut Exposition, observed: &Observed) {
    let kinds: Vec<_> = observed.errors.counts().map(|(kind, count)| ([("kind", kind)], count)).collect();
    let samples = kinds.iter().map(|(labels, count)| (&labels[..], *count));
    out.counters("datadb_errors_total", "Calls and commands that failed, by kind.", samples);
    let codes: Vec<_> = observed.commands.refused().map(|(code, count)| ([("code", code)], count)).collect();
    let samples = codes.iter().map(|(labels, count)| (&labels[..], *count));
    out.counters("datadb_command_errors_total", "Commands answered with an error, by its code.", samples);
}

/// The leaves, by type and own name.
fn traffic(out: &mut Exposition, backends: &[Backend]) {
    type Count = fn(&Traffic) -> &Counter;
    let counts: [(&str, &str, Count); 4] = [
        ("datadb_backend_blobs_uploaded_total", "New blobs stored.", |traffic| &traffic.blobs_uploaded),
        ("datadb_backend_bytes_uploaded_total", "Bytes stored.", |traffic| &traffic.bytes_uploaded),
        ("datadb_backend_blobs_downloaded_total", "Blobs of the bundles that were read.", |traffic| {
            &traffic.blobs_downloaded
        }),
        ("datadb_backend_bytes_downloaded_total", "Bytes read.", |traffic| &traffic.bytes_downloaded),
    ];
    let labels: Vec<[(&str, &str); 2]> =
        backends.iter().map(|backend| [("type", backend.kind), ("backend", &*backend.name)]).collect();
    for (name, help, count) in counts {
        let values = backends.iter().map(|backend| count(&backend.traffic).get());
        out.counters(name, help, labels.iter().map(|labels| &labels[..]).zip(values));
    }
    requests(out, backends);
}

/// What backends ask of the stores behind them.
fn requests(out: &mut Exposition, backends: &[Backend]) {
    let asking = || backends.iter().filter_map(|backend| Some((backend, backend.requests.as_deref()?)));
    if asking().next().is_none() {
        return;
    }
    let by_kind: Vec<([(&str, &str); 3], u64)> = asking()
        .flat_map(|(backend, requests)| {
            let labels = |kind| [("type", backend.kind), ("backend", &*backend.name), ("request", kind)];
            requests.by_kind().map(|(kind, count)| (labels(kind), count))
        })
        .collect();
    let samples = by_kind.iter().map(|(labels, count)| (&labels[..], *count));
    out.counters("datadb_backend_requests_total", "Requests made, by kind; retries count, too.", samples);
    type Count = fn(&Requests) -> &Counter;
    let counts: [(&str, &str, Count); 2] = [
        ("datadb_backend_retries_total", "Requests made again.", |requests| &requests.retries),
        ("datadb_backend_throttled_total", "Answers that asked for fewer requests.", |requests| &requests.throttled),
    ];
    for (name, help, count) in counts {
        let samples: Vec<([(&str, &str); 2], u64)> = asking()
            .map(|(backend, requests)| ([("type", backend.kind), ("backend", &*backend.name)], count(requests).get()))
            .collect();
        out.counters(name, help, samples.iter().map(|(labels, count)| (&labels[..], *count)));
    }
}

/// The sides of mirrors, by what each prints itself as.
async fn mirrors(out: &mut Exposition, engine: &Engine) {
    let mut sides = Vec::new();
    for mirror in engine.mirrors() {
        let MirrorStatus { name, sides: found } = mirror.status().await;
        sides.extend(found.into_iter().map(|side| (name.clone(), side)));
    }
    if sides.is_empty() {
        return;
    }
    let labels: Vec<[(&str, &str); 2]> =
        sides.iter().map(|(mirror, side)| [("mirror", &**mirror), ("side", &*side.name)]).collect();
    let labels = || labels.iter().map(|labels| &labels[..]);
    let levels = sides.iter().map(|(_, side)| i64::from(side.standing == Standing::Level));
    out.gauges("datadb_mirror_side_level", "1 where a side has all that counts, else 0.", labels().zip(levels));
    type Count = fn(&SideStatus) -> u64;
    let counts: [(&str, &str, Count); 2] = [
        ("datadb_mirror_healed_blobs_total", "Lost or damaged copies put there again.", |side| side.healed_blobs),
        ("datadb_mirror_copied_blobs_total", "Blobs copied to a side that was behind.", |side| side.copied_blobs),
    ];
    for (name, help, count) in counts {
        out.counters(name, help, labels().zip(sides.iter().map(|(_, side)| count(side))));
    }
}

async fn sizes(out: &mut Exposition, engine: &Engine) -> Result<(), EngineError> {
    let stats = engine.stats().await?;
    out.gauge("datadb_snapshots", "Paths of hosts that have backups.", stats.totals.snapshots);
    out.gauge("datadb_backups", "Backups.", stats.totals.backups);
    out.gauge("datadb_backups_bytes", "Sizes of all backups added up.", stats.totals.bytes);
    out.gauge("datadb_store_blobs", "Distinct blobs.", stats.blobs.blobs);
    out.gauge("datadb_store_plain_bytes", "Their plain lengths added up.", stats.blobs.blob_bytes);
    out.gauge("datadb_store_bytes", "What they take as they are stored.", stats.blobs.stored_bytes);
    out.gauge("datadb_store_dead_bytes", "Plain bytes stored more than once.", stats.blobs.dead_bytes);
    out.gauge("datadb_store_bad_blobs", "Blobs whose only copy failed verification.", stats.blobs.bad_blobs);
    out.gauge("datadb_log_records", "Records of the log.", stats.log.records);
    out.gauge("datadb_log_bytes", "What the log takes.", stats.log.stored_bytes);
    let memory = engine.index_memory().await?;
    out.gauge("datadb_index_block_cache_bytes", "Memory of the index for reading.", memory.block_cache_bytes);
    out.gauge("datadb_index_memtable_bytes", "Memory of the index for writing.", memory.memtable_bytes);
    Ok(())
}

fn backups(out: &mut Exposition, newest: &NewestBackups) {
    let mut told = HashSet::new();
    let texts: Vec<_> =
        newest.snapshots.iter().map(|one| (one.host.as_str(), one.path.to_string(), one.time)).collect();
    // Two paths that are no text may look the same, and no series may stand twice.
    let texts: Vec<_> = texts.iter().filter(|(host, path, _)| told.insert((*host, path))).collect();
    let labels: Vec<_> = texts.iter().map(|(host, path, _)| [("host", *host), ("path", path)]).collect();
    let samples = labels.iter().map(|labels| &labels[..]).zip(texts.iter().map(|(.., time)| *time));
    let help = "When each path of each host was backed up last, in unix time.";
    out.gauges("datadb_last_backup_timestamp_seconds", help, samples);
    let left_out = newest.left_out + (newest.snapshots.len() - texts.len()) as u64;
    out.gauge("datadb_last_backup_left_out", "Snapshots whose last backup is not told here.", left_out);
}

/// Every promise counts; a series of their own have the first ones, and before them those that were not kept.
fn expected(out: &mut Exposition, all: &[Expected]) {
    out.gauge("datadb_expected", "Paths of hosts whose next backups are expected.", all.len());
    let overdue = all.iter().filter(|one| one.is_overdue);
    out.gauge("datadb_overdue", "Those that should have come by now and did not.", overdue.clone().count());
    let mut told = HashSet::new();
    let on_time = all.iter().filter(|one| !one.is_overdue);
    let texts: Vec<_> = overdue
        .chain(on_time)
        .map(|one| (one.expectation.host.as_str(), one.expectation.path.to_string(), one))
        .filter(|(host, path, _)| told.insert((*host, path.clone())))
        .take(SNAPSHOTS_MAX)
        .collect();
    let labels: Vec<_> = texts.iter().map(|(host, path, _)| [("host", *host), ("path", path)]).collect();
    let samples = |value: fn(&Expected) -> i64| {
        labels.iter().map(|labels| &labels[..]).zip(texts.iter().map(move |(.., one)| value(one)))
    };
    let help = "By when the next backup of each path must have come, in unix time.";
    out.gauges("datadb_backup_due_timestamp_seconds", help, samples(|one| one.expectation.due.seconds()));
    let help = "1 where a backup should have come by now and did not.";
    out.gauges("datadb_backup_overdue", help, samples(|one| i64::from(one.is_overdue)));
}
