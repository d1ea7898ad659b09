//! `run`: the daemon, in the foreground.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use datadb::{Fault, Kind};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, internal, output, runtime};
use crate::{
    config::place,
    history::History,
    metrics,
    run::{SharedHistory, daemon::Daemon, lock, service::Service},
};

/// A `status` holds the lock for a moment to see whether it is free.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT.
pub fn run(context: &Context) -> Result<ExitCode, Fault> {
    context.start_log();
    let file = place::find(context.config.as_deref())?;
    let state = place::state()?;
    let _sole = sole(&state)?;
    let history = SharedHistory::new(History::open(&state).map_err(internal)?);
    let daemon = Daemon::new(file.clone(), state.clone(), history, context.json)?;
    let runtime = runtime()?;
    let done = runtime.block_on(serve(context, daemon, &file, state));
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

fn sole(state: &Path) -> Result<lock::Sole, Fault> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let shown = state.display();
        let sole = lock::sole(state).map_err(|error| internal(format!("the lock in {shown}: {error}")))?;
        match sole {
            Some(sole) => return Ok(sole),
            None if Instant::now() > deadline => {
                let line = format!("another scheduler keeps its history in {shown}: end that one first");
                return Err(Fault::new(Kind::Conflict, line));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

async fn serve(context: &Context, daemon: Daemon, file: &Path, state: PathBuf) -> Result<(), Fault> {
    let listen = |kind| signal(kind).map_err(internal);
    let (mut int, mut term, mut hup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let configs = daemon.configs();
    let address = configs.borrow().metrics;
    let listener = match address {
        Some(address) => Some(metrics::bind(address).await.map_err(internal)?),
        None => None,
    };
    let metrics_at = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let source = metrics::Source { configs, state, notifier: daemon.notifier() };
    let pages = tokio::spawn(metrics::serve(listener, source));
    ready(context, daemon.count(), file, metrics_at)?;
    let mut service = Service::ready();
    service.status(&format!("{} snapshots", daemon.count()));
    let stop = async {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        Service::stopping();
    };
    let hangup = async || {
        hup.recv().await;
    };
    let done = daemon.run(stop, hangup, || service.is_alive()).await;
    pages.abort();
    done
}

fn ready(context: &Context, count: usize, file: &Path, metrics: Option<std::net::SocketAddr>) -> Result<(), Fault> {
    let metrics = metrics.map(|address| format!("http://{address}/metrics"));
    if context.json {
        let shown = file.to_string_lossy();
        return output::json(&json!({"type": "ready", "snapshots": count, "config": shown, "metrics": metrics}));
    }
    let metrics = metrics.map(|url| format!(", metrics {url}")).unwrap_or_default();
    let plural = if count == 1 { "" } else { "s" };
    output::line(&format!("datadb-scheduler ready: {count} snapshot{plural} of {}{metrics}", file.display()))
}
