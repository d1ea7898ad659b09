//! The command line: one file per subcommand.

mod check_config;
mod next;
mod now;
mod output;
mod run;
mod status;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use datadb::{Fault, Kind, terminal::escape};
use datadb_client::{
    exit::{FAILED, USAGE},
    process::keep_files_private,
};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
The configuration is $XDG_CONFIG_HOME/datadb/scheduler.toml, else /etc/datadb/scheduler.toml:

  server = \"http://backup-host:9735\"

  [[snapshot]]
  name = \"home\"
  paths = [\"/home\"]
  schedule = \"@daily\"

Exit codes: 0 done, 1 failed (status: something failed or is overdue), 2 bad usage.";

/// Takes snapshots every so often, and says so when it could not.
#[derive(Debug, Parser)]
#[command(name = "datadb-scheduler", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take snapshots when they are due, until it is stopped
    Run,
    /// Show what runs when
    Next(next::Args),
    /// Show how the last runs went; fails if something failed or is overdue
    Status,
    /// Take a snapshot at once
    Now(now::Args),
    /// Say what is wrong with the configuration, if something is
    CheckConfig,
}

/// What every subcommand gets.
#[derive(Debug)]
struct Context {
    config: Option<PathBuf>,
    json: bool,
}

/// Runs the program.
pub fn main() -> ExitCode {
    // The history tells what is on this machine. The client and the hooks inherit it.
    keep_files_private();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_trouble = error.use_stderr();
            let printed = error.print();
            return if is_trouble || printed.is_err() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let context = Context { config: cli.config, json: cli.json };
    let done = match cli.command {
        Command::Run => run::run(&context),
        Command::Next(args) => next::run(&context, &args),
        Command::Status => status::run(&context),
        Command::Now(args) => now::run(&context, &args),
        Command::CheckConfig => check_config::run(&context),
    };
    done.unwrap_or_else(|fault| {
        eprintln!("datadb-scheduler: {}", escape(fault.message.as_bytes()));
        ExitCode::from(FAILED)
    })
}

impl Context {
    /// Lines for people, or for programs, on stderr from now on.
    fn start_log(&self) {
        let filter = EnvFilter::try_from_env("DATADB_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
        match self.json {
            false => lines.init(),
            true => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        }
    }
}

/// Threads that wait for children, servers and letters.
const WORKERS: usize = 2;

fn runtime() -> Result<Runtime, Fault> {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    runtime.map_err(|error| Fault::new(Kind::Internal, format!("can't start: {error}")))
}

/// Any other error as one that ends the program.
fn internal(error: impl ToString) -> Fault {
    Fault::new(Kind::Internal, error.to_string())
}
