//! How it goes, as the history says it: the same for `status`, `/metrics` and whoever asks next.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    config::{Config, Entry},
    history::{History, HistoryError, Run},
    plan::{Next, Progress},
    run::lock,
};

/// Runs that are looked at to find the last that has ended.
const RUNS: usize = 2;

/// How it goes with an entry.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Its schedule as it was written.
    pub schedule: String,
    /// What comes next; `None`: nothing ever does.
    pub next: Option<Next>,
    /// The last run that has ended.
    pub last: Option<Run>,
    /// The run that is under way.
    pub running: Option<Run>,
    /// Start of the last run that succeeded, in unix seconds.
    pub succeeded: Option<i64>,
    /// By when the next success must have come.
    pub due: Option<i64>,
    /// Whether it should have come by now and did not.
    pub is_overdue: bool,
    /// Runs that failed, as far as the history goes back.
    pub failures: i64,
}

impl State {
    /// Whether somebody should look at it.
    pub fn is_bad(&self) -> bool {
        self.is_overdue || self.outcome().is_some_and(|end| !end.outcome.is_success())
    }

    fn outcome(&self) -> Option<&crate::history::RunEnd> {
        self.last.as_ref()?.end.as_ref()
    }

    /// As an object.
    pub fn json(&self) -> Value {
        json!({
            "type": "entry",
            "entry": self.name,
            "schedule": self.schedule,
            "next": self.next.map(|next| next.at),
            "retry": self.next.is_some_and(|next| next.is_retry),
            "last": self.last.as_ref().map(Run::json),
            "running": self.running.as_ref().map(Run::json),
            "succeeded": self.succeeded,
            "due": self.due,
            "overdue": self.is_overdue,
            "failures": self.failures,
        })
    }
}

/// Looks at an entry.
pub fn of(config: &Config, entry: &Entry, history: &History, state: &Path, now: i64) -> Result<State, HistoryError> {
    let name = entry.name();
    // A file that was read is one whose schedules were understood.
    let policy = config.policy(entry).ok();
    let progress = history.progress(name)?.map(|(_, progress)| progress);
    let progress = progress.or_else(|| Some(Progress::new(&policy.as_ref()?.schedule, now)));
    let both = policy.as_ref().zip(progress.as_ref());
    let mut runs = history.runs(name, RUNS)?.into_iter();
    let (mut last, mut running) = (runs.next(), None);
    // Without an end and without somebody who holds its lock it was cut off.
    if last.as_ref().is_some_and(|run| run.end.is_none()) && lock::is_held(state, entry) {
        running = last.take();
        last = runs.next();
    }
    let last = last.map(|run| if run.end.is_none() { run.cut_off() } else { run });
    let due = both.and_then(|(policy, progress)| policy.due(progress));
    Ok(State {
        name: name.to_owned(),
        schedule: entry.schedule.0.clone(),
        next: both.and_then(|(policy, progress)| policy.next(progress)),
        last,
        running,
        succeeded: progress.as_ref().and_then(|progress| progress.succeeded),
        due,
        is_overdue: due.is_some_and(|due| due < now),
        failures: history.failures(name)?,
    })
}

/// Looks at all entries.
pub fn all(config: &Config, history: &History, state: &Path, now: i64) -> Result<Vec<State>, HistoryError> {
    config.entries.iter().map(|entry| of(config, entry, history, state, now)).collect()
}
