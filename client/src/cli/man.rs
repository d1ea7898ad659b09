//! `man DIR`: writes the manual pages, for `make install`.

use std::path::PathBuf;

use clap::CommandFactory as _;
use datadb::{Fault, Kind};

use super::Cli;
use crate::{exit::Outcome, fs::io_words};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to put the pages; the directory must be there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Writes a page for the program and one for each subcommand.
pub fn run(args: &Args) -> Result<Outcome, Fault> {
    let written = clap_mangen::generate_to(Cli::command(), &args.dir);
    written.map_err(|error| Fault::new(Kind::Internal, format!("{}: {}", args.dir.display(), io_words(&error))))?;
    Ok(Outcome::Done)
}
