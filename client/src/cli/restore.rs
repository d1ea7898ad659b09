//! `restore BACKUP[:PATH] --target DIR`

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Instant};

use datadb::Fault;
use serde_json::json;

use super::{
    Context,
    choose::{Among, choose},
    output,
};
use crate::{
    exit::Outcome,
    report::{Report, bytes, get},
    restore::{self, Overwrite, Request},
};

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which backup, and which path in it: BACKUP[:PATH]
    #[arg(value_name = "BACKUP[:PATH]")]
    what: OsString,
    /// The directory to restore into; made if it is not there
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
    /// What happens to files that are there already
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    overwrite: Overwrite,
    #[command(flatten)]
    among: Among,
}

/// Restores.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let started = Instant::now();
    let connection = context.connect()?;
    let chosen = choose(context, &connection, &args.what, &args.among)?;
    let name = chosen.path.components().last().unwrap_or(chosen.backup.path.shown_name()).to_vec();
    let request = Request { meta: chosen.meta, name, target: args.target.clone(), overwrite: args.overwrite };
    let report = Arc::new(Report::new("restored", context.quiet || context.json));
    let summary = restore::restore(context.handle(), &connection, &request, &report)?;
    report.finish();
    let (errors, seconds) = (get(&report.counters.errors), started.elapsed().as_secs_f64());
    if context.json {
        output::json(&json!({
            "type": "summary",
            "id": chosen.backup.key().to_string(),
            "files": summary.files,
            "bytes": summary.bytes,
            "errors": errors,
            "owners_lost": summary.owners_lost,
            "xattrs_lost": summary.xattrs_lost,
            "seconds": seconds,
        }))?;
    } else if !context.quiet {
        let rate = bytes((summary.bytes as f64 / seconds.max(0.001)) as u64);
        let (files, all) = (summary.files, bytes(summary.bytes));
        output::line(&format!("{files} files, {all} restored, {errors} errors; {seconds:.2} s, {rate}/s"))?;
        if summary.owners_lost + summary.xattrs_lost > 0 {
            let (owners, xattrs) = (summary.owners_lost, summary.xattrs_lost);
            output::line(&format!(
                "{owners} owners and {xattrs} attributes could not be set: only root may, run it as root to have them"
            ))?;
        }
    }
    Ok(Outcome::of(errors))
}
