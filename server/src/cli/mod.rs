//! The command line of `datadb-server`: serves by default; every other job is a subcommand.

mod check_config;
mod heal;
mod keygen;
mod rebuild;
mod serve;
mod supervisor;

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::{fs::Mode, process::umask};

use crate::{descriptors, store::blobsfile::PACK_BYTES};

/// Failed.
const FAILED: u8 = 1;

/// Threads for what computes for long or asks the index; leaves have their own, so that none of these waits for a disk. Each
/// keeps contexts of the compressor, a megabyte and more, and holds a decoded bundle; with a thread for every request under
/// way a restore took 80 MiB more and was no faster.
const BLOCKING_THREADS_MAX: usize = 16;

/// Keeps backups: a content-addressed blob store, a log that is the truth, and an index over both.
#[derive(Debug, Parser)]
#[command(name = "datadb-server", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// How lines on stderr are written; what is written is told by DATADB_LOG (info, debug, …)
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Directory of everything the server keeps; made if it is missing
    #[arg(long, value_name = "DIR", required = true)]
    data_dir: Option<PathBuf>,
    /// TOML file that says where blobs and log are kept; without it they are in the data directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect: HOST:PORT (port 0 for any free one) or unix:PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9735")]
    listen: Listen,
    /// Where to look at the server over HTTP (monitor, variables, metrics): HOST:PORT (port 0 for any free one) or off
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9737")]
    http: Http,
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
    /// Print the stack of stores that a config names, and try each of them
    CheckConfig(CheckConfigArgs),
    /// Bring all sides of all mirrors level, to the end
    Heal(HealArgs),
    /// Make a key file for encrypted stores, and print the phrase by which it can be made again
    Keygen(KeygenArgs),
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// The key file to make; an existing one is never overwritten
    path: PathBuf,
    /// Make the file again from its recovery phrase, which is read from stdin
    #[arg(long)]
    recover: bool,
    /// Read the recovery phrase from this file
    #[arg(long, value_name = "FILE", requires = "recover")]
    phrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RebuildArgs {
    /// Directory of everything the server keeps
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// TOML file that says where blobs and log are kept; without it they are in the data directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckConfigArgs {
    /// Directory of everything the server keeps
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// TOML file that says where blobs and log are kept
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct HealArgs {
    /// Directory of everything the server keeps
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// TOML file that says where blobs and log are kept; without it they are in the data directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take this directory, empty and made if it is missing, for the one of blobs or log that is lost
    #[arg(long, value_name = "PATH")]
    accept_empty: Vec<PathBuf>,
    /// Read every record of every side first, so that damage is found that nobody met
    #[arg(long)]
    verify: bool,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For programs: one object a line
    Json,
}

impl LogFormat {
    /// Writes to stderr from now on.
    fn start(self) {
        let filter = tracing_subscriber::EnvFilter::try_from_env("DATADB_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
        match self {
            Self::Text => lines.init(),
            Self::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).init(),
        }
    }
}

/// Where to be looked at over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Http {
    Off,
    At(SocketAddr),
}

impl FromStr for Http {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(Self::Off) } else { address(text, "off").map(Self::At) }
    }
}

/// The first address of a host and a port; `or` is what else may be written.
fn address(text: &str, or: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{error}; write HOST:PORT or {or}"))?;
    found.next().ok_or_else(|| "names no address".to_owned())
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
        address(text, "unix:PATH").map(Self::Tcp)
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    // First of all, before there are threads: whatever this process makes is its owner's alone.
    umask(Mode::RWXG | Mode::RWXO);
    let cli = Cli::parse();
    cli.log_format.start();
    if let Err(line) = descriptors::raise() {
        tracing::error!("{line}");
        return ExitCode::from(FAILED);
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.max_blocking_threads(BLOCKING_THREADS_MAX).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = match cli.command {
        Some(Command::Rebuild(args)) => runtime.block_on(rebuild::run(&args)),
        Some(Command::CheckConfig(args)) => runtime.block_on(check_config::run(&args)),
        Some(Command::Heal(args)) => runtime.block_on(heal::run(&args)),
        Some(Command::Keygen(args)) => keygen::run(&args),
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
