//! Serving: open the data directory, listen, and stop cleanly.

use std::{
    error::Error,
    io::Write as _,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::TcpIncoming;

use super::{Http, Listen, ServeArgs, supervisor};
use crate::{
    config::Config,
    descriptors::Places,
    engine::{
        Engine,
        clock::SystemClock,
        open::{DataDir, Found},
    },
    http, rpc,
    store::{blobsfile::OpenReport, disk::RealDisk},
};

/// How long calls under way may take to end after a signal to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    check_loopback(&args)?;
    let dir = args.data_dir.ok_or("--data-dir is missing")?;
    let http = bind_http(args.http).await?;
    let held = hold(&dir, args.config.as_deref())?.with_pack_bytes(args.pack_bytes);
    let (engine, found) = Engine::open(held, Arc::new(SystemClock)).await?;
    tell(&found);
    if let Err(error) = engine.check_writable() {
        tracing::error!("{error}");
    }
    let router = rpc::router(engine.clone()).await?;
    let places = Places::of_process();
    let (http_url, http) = match http {
        Some(listener) => {
            let url = format!("http://{}", listener.local_addr()?);
            (Some(url), Some(tokio::spawn(http::serve(listener, engine.clone(), places.clone()))))
        }
        None => (None, None),
    };
    let observed = engine.observed().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    // Before anybody is told that the server is ready: a signal that comes right after that must find it so.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let served = match &args.listen {
        Listen::Tcp(address) => {
            let listener =
                TcpListener::bind(address).await.map_err(|error| format!("can't listen on {address}: {error}"))?;
            let url = format!("http://{}", listener.local_addr()?);
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            announce(&url, http_url.as_deref(), &dir)?;
            let incoming = rpc::incoming(incoming, observed, places);
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, async { drop(stopped.await) }))
        }
        Listen::Unix(path) => {
            let listener = bind_unix(path).await?;
            announce(&format!("unix:{}", path.display()), http_url.as_deref(), &dir)?;
            let incoming = rpc::incoming(UnixListenerStream::new(listener), observed, places);
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, async { drop(stopped.await) }))
        }
    };
    supervisor::tell(&[NotifyState::Ready]);
    let watchdog = supervisor::keep_watchdog(engine.clone());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    supervisor::tell(&[NotifyState::Stopping]);
    engine.observed().monitor.close();
    if stop.send(()).is_err() {
        tracing::error!("the service had ended by itself");
    }
    if let Some(http) = http {
        http.abort();
    }
    let abort = served.abort_handle();
    match tokio::time::timeout(GRACE, served).await {
        Ok(ended) => ended??,
        // Clients that don't go are told to by the end of their connections.
        Err(_) => abort.abort(),
    }
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    engine.close().await?;
    if let Listen::Unix(path) = &args.listen {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Refuses addresses that strangers reach, unless that is wanted.
fn check_loopback(args: &ServeArgs) -> Result<(), String> {
    let grpc = match &args.listen {
        Listen::Tcp(address) => Some((*address, "127.0.0.1 or unix:PATH")),
        Listen::Unix(_) => None,
    };
    let http = match args.http {
        Http::At(address) => Some((address, "127.0.0.1 (--http)")),
        Http::Off => None,
    };
    let reached = grpc.into_iter().chain(http).find(|(address, _)| !address.ip().is_loopback());
    match reached {
        Some((address, instead)) if !args.insecure_listen => Err(format!(
            "refusing to listen on {address}: nobody is asked who they are yet. Listen on {instead}, or add --insecure-listen"
        )),
        _ => Ok(()),
    }
}

/// Takes the port for HTTP before anything is opened or made. Who did not ask for it is told how to go without.
async fn bind_http(http: Http) -> Result<Option<TcpListener>, String> {
    let Http::At(address) = http else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|error| {
        format!("can't listen on {address} for HTTP: {error}. Name another place with --http HOST:PORT, or go without: --http off")
    })
}

/// The one line on stdout that says the server is ready.
fn announce(grpc: &str, http: Option<&str>, dir: &Path) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let http = http.map(|url| format!(", http {url}")).unwrap_or_default();
    writeln!(stdout, "datadb-server ready: grpc {grpc}{http}, data {}", dir.display())?;
    stdout.flush()
}

/// A socket that a killed server left behind is removed; one that answers is not.
async fn bind_unix(path: &Path) -> Result<UnixListener, Box<dyn Error>> {
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(format!("can't listen on {}: it is there and not a socket", path.display()).into());
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(format!("can't listen on {}: another server does", path.display()).into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path).map_err(|error| format!("can't listen on {}: {error}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes hold of a data directory, with the stores that a config names. The config is read first: who mistyped it finds
/// nothing changed.
pub(super) fn hold(dir: &Path, config: Option<&Path>) -> Result<DataDir, Box<dyn Error>> {
    let config = config.map(Config::read).transpose()?;
    let held = DataDir::hold(dir, Arc::new(RealDisk))?;
    Ok(match config {
        Some(config) => held.with_config(config),
        None => held,
    })
}

/// Says what opening found.
fn tell(found: &Found) {
    if found.replayed > 0 {
        tracing::info!(records = found.replayed, "replayed the log behind the index");
    }
    for (leaf, report) in &found.leaves {
        tell_leaf(leaf, report);
    }
}

/// Says what opening a leaf found.
pub(super) fn tell_leaf(leaf: &str, report: &OpenReport) {
    if report.torn_bytes > 0 {
        tracing::info!(leaf, bytes = report.torn_bytes, "cut an interrupted write");
    }
    for damage in &report.damage {
        let (pack, offset, bytes) = (damage.cursor.pack, damage.cursor.offset, damage.bytes);
        tracing::error!(leaf, bytes, "damage in pack {pack:016x} at {offset}: no readable record there");
    }
    if report.lifted_blobs > 0 {
        tracing::info!(leaf, blobs = report.lifted_blobs, "blobs that were marked bad verify again, and count");
    }
    if report.lost_blobs > 0 {
        tracing::error!(
            leaf,
            blobs = report.lost_blobs,
            "blobs are lost with their packs; the next backups send them again"
        );
    }
}
