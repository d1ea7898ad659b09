//! The command line: global options, and one file per subcommand.

mod cat;
mod choose;
mod completions;
mod diff;
mod list;
mod output;
mod restore;
mod snapshot;
mod snapshots;
mod stats;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use datadb::{Fault, Kind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    connection::Connection,
    exit::{self, Outcome},
};

/// Backs up directories to a DataDB server, and brings them back.
#[derive(Debug, Parser)]
#[command(name = "datadb-client", version, max_term_width = 100)]
pub struct Cli {
    /// The server: http://HOST:PORT or unix:PATH
    #[arg(long, global = true, env = "DATADB_SERVER", default_value = "http://127.0.0.1:9735", value_name = "URL")]
    server: String,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    json: bool,
    /// No progress and no closing words
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Back up one or more paths
    Snapshot(snapshot::Args),
    /// List snapshots and their backups
    Snapshots(snapshots::Args),
    /// List what is in a backup
    Ls(list::Args),
    /// Write a file of a backup to stdout
    Cat(cat::Args),
    /// Show how two backups differ
    Diff(diff::Args),
    /// Bring back a backup, or a path in it
    Restore(restore::Args),
    /// Show how full the repository is
    Stats,
    /// Print a shell's completions
    Completions(completions::Args),
}

/// What every subcommand gets.
pub struct Context {
    runtime: Runtime,
    server: String,
    /// Print JSON.
    pub json: bool,
    /// Print as little as possible.
    pub quiet: bool,
}

impl Context {
    /// Opens the connection.
    pub fn connect(&self) -> Result<Connection, Fault> {
        self.runtime.block_on(Connection::open(&self.server))
    }

    /// Waits for something of the connection's.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The runtime.
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_trouble = error.use_stderr();
            let printed = error.print();
            return if is_trouble || printed.is_err() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    exit::code(run(cli))
}

fn run(cli: Cli) -> Result<Outcome, Fault> {
    raise_file_limit();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Fault::new(Kind::Internal, format!("can't start: {error}")))?;
    runtime.spawn(exit::on_interrupt());
    let context = Context { runtime, server: cli.server, json: cli.json, quiet: cli.quiet };
    let result = match cli.command {
        Command::Snapshot(args) => snapshot::run(&context, args),
        Command::Snapshots(args) => snapshots::run(&context, &args),
        Command::Ls(args) => list::run(&context, &args),
        Command::Cat(args) => cat::run(&context, &args),
        Command::Diff(args) => diff::run(&context, &args),
        Command::Restore(args) => restore::run(&context, &args),
        Command::Stats => stats::run(&context),
        Command::Completions(args) => completions::run(&args),
    };
    context.runtime.shutdown_background();
    result
}

/// Deep trees keep one directory open per level.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without permission the old limit stays, and a tree that is too deep is an error of its own.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).ok();
}
