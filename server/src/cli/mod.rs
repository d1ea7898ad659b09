//! The command line of `datadb-server`: serves by default; every other job is a subcommand.

mod rebuild;
mod serve;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, str::FromStr};

use clap::{Args, Parser, Subcommand};

use crate::store::blobsfile::PACK_BYTES;

/// Failed.
const FAILED: u8 = 1;

/// Keeps backups: a content-addressed blob store, a log that is the truth, and an index over both.
#[derive(Debug, Parser)]
#[command(name = "datadb-server", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Directory of everything the server keeps; made if it is missing
    #[arg(long, value_name = "DIR", required = true)]
    data_dir: Option<PathBuf>,
    /// Where clients connect: HOST:PORT (port 0 for any free one) or unix:PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9735")]
    listen: Listen,
    /// The monitor over HTTP; this version has none, so only `off` is taken
    #[arg(long, value_name = "ADDR", default_value = "off", value_parser = ["off"])]
    http: String,
    /// Listen beyond loopback although nobody is asked who they are yet
    #[arg(long)]
    insecure_listen: bool,
    /// For tests, which want to meet many packs: seal each at this length
    #[arg(long, value_name = "BYTES", hide = true, default_value_t = PACK_BYTES)]
    pack_bytes: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the index anew from packs and log alone
    Rebuild(RebuildArgs),
}

#[derive(Debug, Args)]
struct RebuildArgs {
    /// Directory of everything the server keeps
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err("unix: needs a PATH".into()) } else { Ok(Self::Unix(path.into())) };
        }
        use std::net::ToSocketAddrs;
        let mut found = text.to_socket_addrs().map_err(|error| format!("{error}; write HOST:PORT or unix:PATH"))?;
        found.next().map(Self::Tcp).ok_or_else(|| "names no address".to_owned())
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("DATADB_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = match cli.command {
        Some(Command::Rebuild(args)) => runtime.block_on(rebuild::run(&args)),
        None => runtime.block_on(serve::run(cli.serve)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("datadb-server: {error}");
    ExitCode::from(FAILED)
}
