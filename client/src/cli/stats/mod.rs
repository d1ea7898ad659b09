//! `stats [BACKUP]`

mod one;
mod snapshots;
mod whole;

use std::ffi::OsString;

use clap::ValueEnum;
use datadb::Fault;

use super::{Context, choose::Among};
use crate::exit::Outcome;

const EXAMPLES: &str = "\
Without BACKUP and options: the whole repository. With --host, --path or --by: a row for each snapshot or host.
Deduplicated sizes are plain bytes of distinct blobs; stored ones are their shares of the compressed bundles.
\"about\" stands before figures that are taken from a sample, because there are too many blobs to count one by one.

Examples:
  datadb-client stats
  datadb-client stats --by host
  datadb-client stats --path /home/me
  datadb-client stats latest --unique            and what only this backup holds";

/// Arguments of `stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What this one takes
    #[arg(value_name = "BACKUP")]
    what: Option<OsString>,
    /// Also how much no other backup holds, for which the server looks through all of them
    #[arg(long, requires = "what")]
    unique: bool,
    /// A row for each of these
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "what")]
    by: Option<By>,
    #[command(flatten)]
    among: Among,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// A path of a host
    Snapshot,
    /// A host
    Host,
}

/// Prints counts and sizes.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let is_narrowed = args.among.host.is_some() || args.among.path.is_some();
    match (&args.what, args.by) {
        (Some(what), _) => one::run(context, what, &args.among, args.unique),
        (None, None) if !is_narrowed => whole::run(context),
        (None, by) => snapshots::run(context, &args.among, by.unwrap_or(By::Snapshot)),
    }
}
