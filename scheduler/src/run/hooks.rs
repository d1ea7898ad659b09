//! Commands around a run. What they should know stands in their environment, in variables that begin with `DATADB_`.

use std::process::Stdio;

use datadb::terminal::escape;
use tokio::{process::Command, time::Instant};

use super::child::{self, Ended, Stop};
use crate::{
    config::{Entry, value::CommandLine},
    history::{Run, RunEnd},
};

/// What a hook is told.
pub fn environment(entry: &Entry, run: &Run, end: Option<&RunEnd>) -> Vec<(&'static str, String)> {
    let paths: Vec<String> = entry.paths.iter().map(|path| path.display().to_string()).collect();
    let mut all = vec![
        ("DATADB_ENTRY", entry.name().to_owned()),
        ("DATADB_PATHS", paths.join(":")),
        ("DATADB_TIME", run.time.to_string()),
        ("DATADB_ATTEMPT", run.attempt.to_string()),
    ];
    if let Some(end) = end {
        all.extend([
            ("DATADB_OUTCOME", end.outcome.word().to_owned()),
            ("DATADB_SECONDS", end.end.saturating_sub(run.start).max(0).to_string()),
            ("DATADB_FILES", end.files.to_string()),
            ("DATADB_BYTES", end.bytes.to_string()),
            ("DATADB_BYTES_UPLOADED", end.uploaded.to_string()),
            ("DATADB_ERRORS", end.errors.to_string()),
            ("DATADB_BACKUPS", end.backups.join(" ")),
            ("DATADB_ERROR", end.error.clone().unwrap_or_default()),
        ]);
    }
    all
}

/// Runs a hook; why it failed, if it did.
pub async fn run(
    entry: &Entry,
    which: &str,
    words: &CommandLine,
    environment: &[(&'static str, String)],
    until: Instant,
    stop: &Stop,
) -> Result<(), String> {
    let until = until.min(child::deadline(Some(entry.hooks.timeout.0)));
    let mut command = Command::new(&words.0[0]);
    command.args(&words.0[1..]).envs(environment.iter().map(|(name, value)| (name, value)));
    command.env("DATADB_HOOK", which).env_remove("NOTIFY_SOCKET");
    let name = entry.name();
    let mut last = String::new();
    let ended = child::run(command, Stdio::null(), until, stop, |_, line| {
        let line = escape(line.as_bytes());
        tracing::info!(entry = name, hook = which, "{line}");
        last = line;
    })
    .await;
    let said = if last.is_empty() { String::new() } else { format!(": {last}") };
    match ended {
        Ok(Ended::Exit(status)) if status.success() => Ok(()),
        Ok(Ended::Exit(status)) => Err(format!("the hook {which} ended with {status}{said}")),
        Ok(Ended::Timeout) => Err(format!("the hook {which} took too long, and was ended")),
        Ok(Ended::Stopped) => Err(format!("the hook {which} was ended with the scheduler")),
        Err(error) => Err(format!("the hook {which} ({}) can't be run: {error}", words.0[0])),
    }
}
