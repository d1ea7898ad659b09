//! `completions SHELL`

use clap::CommandFactory as _;
use clap_complete::Shell;
use datadb::Fault;

use super::{Cli, output};
use crate::exit::Outcome;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> Result<Outcome, Fault> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "datadb-client", &mut script);
    output::raw(&script)?;
    output::flush()?;
    Ok(Outcome::Done)
}
