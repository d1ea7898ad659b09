//! The command line of `datadb-resp`.

use std::{error::Error, io::Write as _, net::SocketAddr, process::ExitCode, sync::Arc};

use clap::{Parser, ValueEnum};
use datadb::terminal::escape;
use datadb_client::{
    connection::{Access, Streams, Token},
    process::{keep_files_private, raise_file_limit},
};
use tokio::{
    net::{TcpListener, lookup_host},
    signal::unix::{SignalKind, signal},
};

use crate::{lanes::Lanes, sidecar::Sidecar};

/// Failed.
const FAILED: u8 = 1;

/// Lets redis-cli and any Redis client look into a DataDB server.
#[derive(Debug, Parser)]
#[command(name = "datadb-resp", version)]
struct Cli {
    /// Where Redis clients connect: HOST:PORT (port 0 for any free one)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9736")]
    listen: String,
    /// The server: http://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", env = "DATADB_SERVER", default_value = "http://127.0.0.1:9735")]
    server: String,
    /// Clients at the same time
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    clients_max: usize,
    /// Let SHUTDOWN stop this program
    #[arg(long)]
    allow_shutdown: bool,
    /// How lines on stderr are written; what is written is told by DATADB_LOG (info, debug, …)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Listen beyond loopback although nobody is asked who they are yet
    #[arg(long)]
    insecure_listen: bool,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For programs: one object a line
    Json,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    keep_files_private();
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("DATADB_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match cli.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(serve(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("datadb-resp: {}", escape(error.to_string().as_bytes()));
    ExitCode::from(FAILED)
}

async fn serve(cli: Cli) -> Result<(), Box<dyn Error>> {
    let listen = &cli.listen;
    let mut found =
        lookup_host(listen).await.map_err(|error| format!("--listen {listen}: {error}; write HOST:PORT"))?;
    let address: SocketAddr = found.next().ok_or_else(|| format!("--listen {listen}: names no address"))?;
    if !address.ip().is_loopback() && !cli.insecure_listen {
        let line = format!(
            "refusing to listen on {address}: nobody is asked who they are yet. Listen on 127.0.0.1, or add --insecure-listen"
        );
        return Err(line.into());
    }
    // Every connection is a file.
    if let Err(error) = raise_file_limit() {
        tracing::warn!("can't raise the limit of open files: {error}");
    }
    let access =
        Access { url: cli.server, token: Token::of_environment()?, streams: Streams::Many, ..Access::default() };
    let sidecar = Arc::new(Sidecar::new(Lanes::new(access), cli.clients_max, cli.allow_shutdown));
    // A server that is not there yet is no reason not to start; what is asked meanwhile is answered with the reason.
    if let Err(fault) = sidecar.lanes.connect().await {
        tracing::warn!("{fault}");
    }
    let listener = TcpListener::bind(address).await.map_err(|error| format!("can't listen on {address}: {error}"))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "datadb-resp ready: redis://{}, server {}", listener.local_addr()?, sidecar.lanes.url())?;
    stdout.flush()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let serving = tokio::spawn(sidecar.clone().serve(listener));
    let mut stopping = sidecar.stopping();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stopping.wait() => {}
    }
    tracing::info!("stopping");
    sidecar.stop();
    Ok(serving.await?)
}
