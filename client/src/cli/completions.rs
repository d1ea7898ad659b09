//! `completions SHELL`

use clap::CommandFactory as _;
use clap_complete::Shell;
use datadb::Fault;

use super::{Cli, output};
use crate::exit::Outcome;

const EXAMPLES: &str = "\
`make install` puts them where the shells look.

Examples:
  datadb-client completions bash >/etc/bash_completion.d/datadb-client
  datadb-client completions fish >~/.config/fish/completions/datadb-client.fish";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
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
