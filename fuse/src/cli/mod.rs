//! The command line.

mod daemon;
mod fstab;
mod mount;
mod signals;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use datadb::{Fault, Kind, terminal::escape};
use datadb_client::{
    exit::{FAILED, USAGE},
    process::keep_files_private,
};
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
    // The cache and the log are copies of what may be for few eyes.
    keep_files_private();
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.first().is_some_and(|program| fstab::is_called(program)) {
        words = match fstab::command_line(words.drain(1..)) {
            Ok(words) => words,
            Err(line) => {
                eprintln!("datadb-fuse: {line}");
                return ExitCode::from(USAGE);
            }
        };
    }
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            let is_trouble = error.use_stderr();
            let printed = error.print();
            return if is_trouble || printed.is_err() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let Command::Mount(args) = cli.command;
    let done = if args.is_daemon() && !daemon::is_background() {
        daemon::start()
    } else {
        run(args).map(|()| ExitCode::SUCCESS)
    };
    done.unwrap_or_else(|fault| {
        eprintln!("datadb-fuse: {}", escape(fault.message.as_bytes()));
        ExitCode::from(FAILED)
    })
}

fn run(args: mount::Args) -> Result<(), Fault> {
    if daemon::is_background() {
        daemon::leave_terminal()?;
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.map_err(|error| Fault::new(Kind::Internal, format!("can't start: {error}")))?;
    let done = runtime.block_on(mount::run(args));
    runtime.shutdown_background();
    done
}
