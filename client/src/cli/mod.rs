//! The command line: global options, and one file per subcommand.

mod cat;
mod choose;
mod completions;
mod did_you_mean;
mod diff;
mod dump;
mod entry;
mod find;
mod history;
mod list;
mod man;
mod output;
pub mod profile;
mod restore;
mod select;
pub mod size;
mod snapshot;
mod snapshots;
mod stats;
mod versions;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use datadb::{Fault, Kind};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    color::{self, When},
    connection::{Access, Connection, Rate, Streams},
    exit::{self, Outcome},
    process::raise_file_limit,
    report::Show,
};
use profile::Settings;

const GLOBAL: &str = "Global options";

const EXAMPLES: &str = "\
A BACKUP is the beginning of its id, latest, latest~N (the N-th before it), or NAME@TIME (the last one of that path at
or before a time: 2014, 2014-05-12, 2014-05-12T18:36, yesterday, 3d, 1w). `BACKUP:/PATH` is a path in it.

Settings that count always, and profiles, lie in $XDG_CONFIG_HOME/datadb/client.toml.

Examples:
  datadb-client snapshot ~/Documents
  datadb-client ls latest:/letters
  datadb-client restore Documents@yesterday:/letters --target /tmp/letters

Exit codes: 0 done, 1 failed, 2 bad usage, 3 done but something could not be read or restored, 130 interrupted.";

/// Backs up directories to a DataDB server, and brings them back.
#[derive(Debug, Parser)]
#[command(name = "datadb-client", version = version(), max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// The server: http://HOST:PORT or unix:PATH [default: http://127.0.0.1:9735] [env: DATADB_SERVER]
    #[arg(long, global = true, value_name = "URL", help_heading = GLOBAL)]
    server: Option<String>,
    /// Use a profile of client.toml
    #[arg(short = 'P', long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    profile: Option<String>,
    /// Print one JSON object a line
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// No progress and no closing words
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    quiet: bool,
    /// Send no faster than this many bytes a second (500k, 2M)
    #[arg(long, global = true, value_name = "RATE", value_parser = size::parse_rate, help_heading = GLOBAL)]
    limit_upload: Option<Rate>,
    /// Fetch no faster than this many bytes a second
    #[arg(long, global = true, value_name = "RATE", value_parser = size::parse_rate, help_heading = GLOBAL)]
    limit_download: Option<Rate>,
    /// Colours: auto (on a terminal, unless NO_COLOR is set or TERM is dumb), always or never
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = GLOBAL)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    color: When,
    #[command(subcommand)]
    command: Command,
}

/// Of the program, the protocol that it speaks and the format that it knows.
fn version() -> String {
    let (protocol, format) = (datadb::PROTOCOL_VERSION, datadb::FORMAT_VERSION);
    format!("{} (protocol {protocol}, format {format})", env!("CARGO_PKG_VERSION"))
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
    /// Show how two backups differ, or a backup and a directory
    Diff(diff::Args),
    /// Show every version of a file over all backups
    History(history::Args),
    /// Find files in one backup or in all
    Find(find::Args),
    /// Bring back a backup, or a path in it
    Restore(restore::Args),
    /// Write a backup, or a path in it, as a tar or zip archive
    Dump(dump::Args),
    /// Show how full the repository is, and what backups take
    Stats(stats::Args),
    /// Print a shell's completions
    Completions(completions::Args),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man(man::Args),
}

/// What every subcommand gets.
pub struct Context {
    runtime: Runtime,
    access: Access,
    /// What the configuration says.
    pub settings: Settings,
    /// Print JSON.
    pub json: bool,
    /// Print as little as possible.
    pub quiet: bool,
}

impl Context {
    /// Opens the connection.
    pub fn connect(&self) -> Result<Connection, Fault> {
        self.runtime.block_on(Connection::open(&self.access))
    }

    /// Waits for something of the connection's.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Whom to show how far a long run is.
    pub fn show(&self) -> Show {
        match (self.quiet, self.json) {
            (true, _) => Show::Nothing,
            (false, false) => Show::Person,
            (false, true) => Show::Program(Box::new(output::status)),
        }
    }

    /// The runtime.
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse().and_then(checked) {
        Ok(cli) => cli,
        Err(error) => {
            let is_trouble = error.use_stderr();
            let printed = error.print();
            return if is_trouble || printed.is_err() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    exit::code(run(cli))
}

/// What the rules for single arguments can't say.
fn checked(cli: Cli) -> Result<Cli, clap::Error> {
    let Command::Diff(args) = &cli.command else { return Ok(cli) };
    match args.check() {
        Ok(()) => Ok(cli),
        Err(line) => {
            let mut program = Cli::command();
            program.build();
            let diff = program.find_subcommand_mut("diff");
            Err(diff.map_or_else(Cli::command, |diff| diff.clone()).error(ErrorKind::ArgumentConflict, line))
        }
    }
}

fn run(cli: Cli) -> Result<Outcome, Fault> {
    color::decide(cli.color);
    match cli.command {
        Command::Completions(args) => return completions::run(&args),
        Command::Man(args) => return man::run(&args),
        _ => {}
    }
    // Deep trees keep one directory open per level. Where the old limit stays, a tree that is too deep is an error of its own.
    raise_file_limit().ok();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Fault::new(Kind::Internal, format!("can't start: {error}")))?;
    runtime.spawn(exit::on_interrupt());
    let settings = Settings::read(cli.profile.as_deref())?;
    let access = Access {
        url: profile::server(cli.server, &settings),
        token: profile::token(&settings)?,
        limit_upload: cli.limit_upload.or(settings.limit_upload),
        limit_download: cli.limit_download.or(settings.limit_download),
        streams: Streams::Large,
    };
    let context = Context { runtime, access, settings, json: cli.json, quiet: cli.quiet };
    let result = match cli.command {
        Command::Snapshot(args) => snapshot::run(&context, args),
        Command::Snapshots(args) => snapshots::run(&context, &args),
        Command::Ls(args) => list::run(&context, &args),
        Command::Cat(args) => cat::run(&context, &args),
        Command::Diff(args) => diff::run(&context, &args),
        Command::History(args) => history::run(&context, &args),
        Command::Find(args) => find::run(&context, &args),
        Command::Restore(args) => restore::run(&context, &args),
        Command::Dump(args) => dump::run(&context, &args),
        Command::Stats(args) => stats::run(&context, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    context.runtime.shutdown_background();
    result
}
