//! `now NAME`: takes a snapshot at once, in the foreground, beside a scheduler or without one.

use std::{process::ExitCode, sync::Arc, time::Duration};

use datadb::{Fault, Kind};
use datadb_client::exit::{FAILED, INTERRUPTED, PARTIAL};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Context, internal, output, runtime};
use crate::{
    clock,
    config::{Config, place},
    history::{History, Outcome, Run},
    plan::Progress,
    run::{
        SharedHistory,
        notify::Notifier,
        one::{self, Turn},
    },
};

/// How long letters may take when the run has ended.
const LETTERS: Duration = Duration::from_secs(40);

/// Arguments of `now`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The entry
    name: String,
}

/// Runs one entry.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode, Fault> {
    context.start_log();
    let config = Arc::new(Config::read(&place::find(context.config.as_deref())?)?);
    let names = || config.entries.iter().map(|entry| entry.name()).collect::<Vec<_>>().join(", ");
    let unknown = || Fault::new(Kind::NotFound, format!("there is no snapshot {}: there is {}", args.name, names()));
    let entry = config.entry(&args.name).ok_or_else(unknown)?;
    let policy = config.policy(entry)?;
    let state = place::state()?;
    let history = History::open(&state).map_err(internal)?;
    let now = clock::now();
    let known = history.progress(entry.name()).map_err(internal)?;
    let progress = known.map_or_else(|| Progress::new(&policy.schedule, now), |(_, progress)| progress);
    let (stop, stopped) = watch::channel(false);
    let whole = one::Context {
        config: config.clone(),
        entry: Arc::new(entry.clone()),
        policy,
        state,
        history: SharedHistory::new(history),
        notifier: Notifier::default(),
        stop: stopped,
    };
    let done = runtime()?.block_on(async {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(async move {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            stop.send_replace(true);
        });
        let (_, done) = one::run(&whole, progress, Turn { time: now, is_retry: false, is_forced: true }).await;
        whole.notifier.finish(LETTERS).await;
        Ok::<_, std::io::Error>(done)
    });
    tell(context, done.map_err(internal)?)
}

fn tell(context: &Context, done: Option<Run>) -> Result<ExitCode, Fault> {
    let Some((run, end)) = done.as_ref().and_then(|run| Some((run, run.end.as_ref()?))) else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    if context.json {
        let mut summary = run.json();
        summary["type"] = json!("summary");
        summary["entry"] = json!(run.entry);
        output::json(&summary)?;
    } else {
        end.backups.iter().try_for_each(|id| output::line(&format!("{}: backup {id}", run.entry)))?;
    }
    Ok(match end.outcome {
        Outcome::Success => ExitCode::SUCCESS,
        Outcome::Incomplete => ExitCode::from(PARTIAL),
        Outcome::Interrupted => ExitCode::from(INTERRUPTED),
        Outcome::Failure | Outcome::Timeout | Outcome::Refused => ExitCode::from(FAILED),
    })
}
