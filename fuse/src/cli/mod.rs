//! The command line.

mod mount;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use datadb::{Fault, Kind};
use datadb_client::exit::{FAILED, USAGE};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

/// Shows every backup of a DataDB server as a read-only file system.
#[derive(Debug, Parser)]
#[command(name = "datadb-fuse", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mount all history
    Mount(mount::Args),
}

/// Threads that wait for the server and decode what comes.
const WORKERS: usize = 2;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_trouble = error.use_stderr();
            let printed = error.print();
            return if is_trouble || printed.is_err() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let Command::Mount(args) = cli.command;
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("datadb-fuse: {fault}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(args: mount::Args) -> Result<(), Fault> {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.map_err(|error| Fault::new(Kind::Internal, format!("can't start: {error}")))?;
    let done = runtime.block_on(mount::run(args));
    runtime.shutdown_background();
    done
}
