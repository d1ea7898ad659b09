//! `/debug/vars`: what was counted since the start, as one JSON object.

use std::fs;

use axum::{extract::State, response::Response};
use serde_json::{Map, Value, json};

use super::{Failed, page as answer};
use crate::engine::{Engine, EngineError};

/// The page.
pub async fn page(State(engine): State<Engine>) -> Result<Response, Failed> {
    let observed = engine.observed();
    let calls: Map<String, Value> =
        observed.commands.calls().map(|(name, calls)| (name.to_owned(), calls.into())).collect();
    let mut vars = Map::new();
    vars.insert("cmdline".into(), std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect());
    vars.insert("memstats".into(), memory(&engine).await?);
    vars.insert("server-started-at".into(), observed.started_at.into());
    vars.insert("server-total-connections-received".into(), observed.connections.get().into());
    vars.insert("server-active-monitor-client".into(), observed.monitor.readers().into());
    vars.insert("server-command-stats".into(), calls.into());
    backends(&engine, &mut vars).await;
    mirrors(&engine, &mut vars).await;
    let text = serde_json::to_string_pretty(&vars).expect("maps with texts as keys are JSON");
    Ok(answer("application/json; charset=utf-8", text + "\n"))
}

/// For each type of backend and each count an object with the backends' own names.
async fn backends(engine: &Engine, vars: &mut Map<String, Value>) {
    for backend in engine.backends() {
        let traffic = &backend.traffic;
        // A backend that can't be asked now hides nothing else.
        let open_files = backend.stats().await.ok().map(|stats| stats.open_files);
        let counts = [
            ("blobs-uploaded", Some(traffic.blobs_uploaded.get())),
            ("blobs-downloaded", Some(traffic.blobs_downloaded.get())),
            ("bytes-uploaded", Some(traffic.bytes_uploaded.get())),
            ("bytes-downloaded", Some(traffic.bytes_downloaded.get())),
            ("open-fds", open_files),
        ];
        for (what, count) in counts {
            let by_name = vars.entry(format!("{}-{what}", backend.kind)).or_insert_with(|| json!({}));
            by_name[&backend.name] = count.into();
        }
        let Some(requests) = &backend.requests else { continue };
        let others = [("retries", requests.retries.get()), ("throttled", requests.throttled.get())];
        for (request, count) in requests.by_kind().into_iter().chain(others) {
            let by_name = vars.entry(format!("{}-requests-{request}", backend.kind)).or_insert_with(|| json!({}));
            by_name[&backend.name] = count.into();
        }
    }
}

/// For each mirror, how its sides are; nothing where there is none.
async fn mirrors(engine: &Engine, vars: &mut Map<String, Value>) {
    for mirror in engine.mirrors() {
        let status = mirror.status().await;
        let sides = status.sides.into_iter().map(|side| {
            json!({
                "side": side.name,
                "state": side.standing.name(),
                "trouble": side.trouble,
                "behind-blobs": side.behind_blobs,
                "behind-bytes": side.behind_bytes,
                "healed-blobs": side.healed_blobs,
                "copied-blobs": side.copied_blobs,
                "copied-bytes": side.copied_bytes,
            })
        });
        let by_name = vars.entry("mirror").or_insert_with(|| json!({}));
        by_name[&status.name] = sides.collect();
    }
}

/// What Linux and the index know of this process's memory, in bytes.
async fn memory(engine: &Engine) -> Result<Value, EngineError> {
    let index = engine.index_memory().await?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |field: &str| field_bytes(&status, field);
    Ok(json!({
        "resident-bytes": of("VmRSS"),
        "resident-bytes-peak": of("VmHWM"),
        "anonymous-bytes": of("RssAnon"),
        "virtual-bytes": of("VmSize"),
        "data-bytes": of("VmData"),
        "swap-bytes": of("VmSwap"),
        "index-block-cache-bytes": index.block_cache_bytes,
        "index-memtable-bytes": index.memtable_bytes,
    }))
}

/// A field of `/proc/self/status` that is in kB; `None` if it is not there.
pub(super) fn field_bytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_memory_in_kilobytes() {
        let status = "Name:\tVmRSS: 3 kB\nVmPeak:\t  900 kB\nVmRSS:\t    12 kB\nThreads:\t4\n";
        assert_eq!(field_bytes(status, "VmRSS"), Some(12 << 10));
        assert_eq!(field_bytes(status, "VmSwap"), None);
        assert_eq!(field_bytes(status, "Threads"), None);
    }
}
