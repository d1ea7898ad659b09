//! Serving: open the data directory, listen, and stop cleanly.

use std::{
    error::Error,
    io::Write as _,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::TcpIncoming;

use super::{Listen, ServeArgs};
use crate::{
    engine::{
        Engine,
        clock::SystemClock,
        open::{DataDir, Found},
    },
    rpc,
    store::{blobsfile::OpenReport, disk::RealDisk},
};

/// How long calls under way may take to end after a signal to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    if let Listen::Tcp(address) = &args.listen
        && !address.ip().is_loopback()
        && !args.insecure_listen
    {
        return Err(format!(
            "refusing to listen on {address}: nobody is asked who they are yet. Listen on 127.0.0.1 or unix:PATH, or add --insecure-listen"
        )
        .into());
    }
    let dir = args.data_dir.ok_or("--data-dir is missing")?;
    let held = DataDir::hold(&dir, Arc::new(RealDisk))?.with_pack_bytes(args.pack_bytes);
    let (engine, found) = Engine::open(held, Arc::new(SystemClock)).await?;
    tell(&found);
    if let Err(error) = engine.check_writable() {
        tracing::error!("{error}");
    }
    let router = rpc::router(engine.clone()).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let served = match &args.listen {
        Listen::Tcp(address) => {
            let listener =
                TcpListener::bind(address).await.map_err(|error| format!("can't listen on {address}: {error}"))?;
            let url = format!("http://{}", listener.local_addr()?);
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            announce(&url, &dir)?;
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, async { drop(stopped.await) }))
        }
        Listen::Unix(path) => {
            let listener = bind_unix(path).await?;
            announce(&format!("unix:{}", path.display()), &dir)?;
            let incoming = UnixListenerStream::new(listener);
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, async { drop(stopped.await) }))
        }
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    if stop.send(()).is_err() {
        tracing::error!("the service had ended by itself");
    }
    let abort = served.abort_handle();
    match tokio::time::timeout(GRACE, served).await {
        Ok(ended) => ended??,
        // Clients that don't go are told to by the end of their connections.
        Err(_) => abort.abort(),
    }
    engine.close().await?;
    if let Listen::Unix(path) = &args.listen {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// The one line on stdout that says the server is ready.
fn announce(url: &str, dir: &Path) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "datadb-server ready: grpc {url}, data {}", dir.display())?;
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

/// Says what opening found.
fn tell(found: &Found) {
    if found.replayed > 0 {
        tracing::info!(records = found.replayed, "replayed the log behind the index");
    }
    for (leaf, report) in [("log", &found.log), ("blobs", &found.blobs)] {
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
    if report.lost_blobs > 0 {
        tracing::error!(
            leaf,
            blobs = report.lost_blobs,
            "blobs are lost with their packs; the next backups send them again"
        );
    }
}
