//! `next`: a table of what runs when.

use std::process::ExitCode;

use datadb::{Fault, clock::format_time};
use serde_json::json;

use super::{Context, internal, output};
use crate::{
    clock,
    config::{Config, place},
    history::History,
    plan::Progress,
};

/// Arguments of `next`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// So many runs of each entry
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

/// A run to come.
struct Coming {
    at: i64,
    entry: String,
    schedule: String,
    paths: String,
    is_retry: bool,
}

/// Lists the next runs, the first one first. Of `@every` those behind the next are as if each took no time.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode, Fault> {
    let config = Config::read(&place::find(context.config.as_deref())?)?;
    let history = History::open(&place::state()?).map_err(internal)?;
    let now = clock::now();
    let mut all = Vec::new();
    for entry in &config.entries {
        let policy = config.policy(entry)?;
        let known = history.progress(entry.name()).map_err(internal)?;
        let mut progress = known.map_or_else(|| Progress::new(&policy.schedule, now), |(_, progress)| progress);
        let mut paths: Vec<String> = entry.paths.iter().map(|path| path.display().to_string()).collect();
        paths.extend(entry.stdin_from_command.clone());
        for _ in 0..args.count {
            let Some(next) = policy.next(&progress) else { break };
            let at = next.at.max(now);
            let (name, schedule) = (entry.name().to_owned(), entry.schedule.0.clone());
            all.push(Coming { at, entry: name, schedule, paths: paths.join(" "), is_retry: next.is_retry });
            progress.begin(at, next.is_retry);
            progress.end(at, true);
        }
    }
    all.sort_by(|a, b| (a.at, &a.entry).cmp(&(b.at, &b.entry)));
    if context.json {
        for Coming { at, entry, schedule, paths, is_retry } in &all {
            output::json(&json!({
                "type": "next", "entry": entry, "at": at, "schedule": schedule, "paths": paths, "retry": is_retry,
            }))?;
        }
        output::json(&json!({"type": "summary", "runs": all.len()}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let zone = config.zone();
    let mut rows = vec![["WHEN", "ENTRY", "SCHEDULE", "PATHS"].map(str::to_owned).to_vec()];
    for coming in all {
        let when = if coming.at <= now { "now".to_owned() } else { format_time(coming.at, &zone) };
        let when = if coming.is_retry { format!("{when} (retry)") } else { when };
        rows.push(vec![when, coming.entry, coming.schedule, coming.paths]);
    }
    output::table(&rows)?;
    Ok(ExitCode::SUCCESS)
}
