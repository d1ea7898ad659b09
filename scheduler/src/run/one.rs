//! One run of an entry: its locks, its hooks, a child for each source, and what is kept and told of it.

use std::{path::PathBuf, sync::Arc};

use serde_json::json;
use tokio::{sync::watch, time::Instant};

use super::{
    SharedHistory,
    child::{self, Stop},
    client, hooks, lock,
    notify::{Notifier, Told},
};
use crate::{
    clock,
    config::{Config, Entry, entry::Event},
    history::{Outcome, Run, RunEnd},
    plan::{Policy, Progress},
};

/// What hooks behind a run may take together when the scheduler stops.
const PARTING_SECONDS: i64 = 10;

/// What a run needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// As it was when the run was due.
    pub config: Arc<Config>,
    /// Which.
    pub entry: Arc<Entry>,
    /// How it wants to be run.
    pub policy: Policy,
    /// Where locks lie.
    pub state: PathBuf,
    /// What has been.
    pub history: SharedHistory,
    /// Who is told.
    pub notifier: Notifier,
    /// Whether the scheduler stops.
    pub stop: Stop,
}

/// Why a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The time of the schedule that it is for.
    pub time: i64,
    /// Whether it repeats one that failed.
    pub is_retry: bool,
    /// Whether it is made even if another program has made it meanwhile.
    pub is_forced: bool,
}

/// A run that has ended, or that never began because the scheduler stops.
pub type Finished = (Progress, Option<Run>);

/// Makes a run; gives what has been then.
pub async fn run(context: &Context, mut progress: Progress, turn: Turn) -> Finished {
    let (entry, name) = (&context.entry, context.entry.name());
    let busy =
        || tracing::warn!(entry = name, "its path is being backed up already; the run waits until that has ended");
    let locks = match lock::acquire(&context.state, entry, &context.stop, busy).await {
        Ok(Some(locks)) => locks,
        Ok(None) => return (progress, None),
        Err(error) => {
            let begun = begin(context, &mut progress, turn);
            let reason = format!("the lock of its path can't be had: {error}");
            return finish(context, progress, begun, Parts::failed(Outcome::Failure, reason)).await;
        }
    };
    if let Some(newer) = newer(context, &progress) {
        progress = newer;
        let is_due = context.policy.next(&progress).is_some_and(|next| next.at <= clock::now());
        if !is_due && !turn.is_forced {
            tracing::info!(entry = name, "another program has backed it up meanwhile");
            return (progress, None);
        }
    }
    let begun = begin(context, &mut progress, turn);
    tell(context, Event::Start, &begun.1);
    let until = child::deadline(entry.timeout.map(|timeout| timeout.0));
    let parts = match before(context, &begun.1, until).await {
        Ok(()) => sources(context, &locks, until).await,
        Err(parts) => parts,
    };
    let finished = finish(context, progress, begun, parts).await;
    drop(locks);
    finished
}

/// What has been, where another program has changed it while this one waited for the locks.
fn newer(context: &Context, progress: &Progress) -> Option<Progress> {
    match context.history.lock().progress(context.entry.name()) {
        Ok(found) => found.map(|(_, found)| found).filter(|found| found != progress && found.under_way.is_none()),
        Err(error) => {
            tracing::error!(entry = context.entry.name(), "{error}");
            None
        }
    }
}

/// A number in the history, if it could be written there, and the run.
type Begun = (Option<i64>, Run);

fn begin(context: &Context, progress: &mut Progress, turn: Turn) -> Begun {
    let entry = context.entry.name();
    let now = clock::now();
    progress.begin(now, turn.is_retry);
    let attempt = progress.failed + 1;
    let run = Run { entry: entry.to_owned(), time: turn.time, attempt, start: now, end: None };
    tracing::info!(entry, attempt, "begins");
    let id = context.history.lock().begin(&context.entry.schedule.0, progress, &run);
    // A full disk must not keep anybody from backing up.
    let id = id.map_err(|error| tracing::error!(entry, "its run is not in the history: {error}")).ok();
    (id, run)
}

async fn before(context: &Context, run: &Run, until: Instant) -> Result<(), Parts> {
    let Some(hook) = &context.entry.hooks.before else { return Ok(()) };
    let environment = hooks::environment(&context.entry, run, None);
    let done = hooks::run(&context.entry, "before", hook, &environment, until, &context.stop).await;
    done.map_err(|reason| {
        let is_stopped = *context.stop.borrow();
        Parts::failed(if is_stopped { Outcome::Interrupted } else { Outcome::Refused }, reason)
    })
}

/// What came of all sources together.
#[derive(Debug)]
struct Parts {
    outcome: Outcome,
    reasons: Vec<String>,
    files: u64,
    bytes: u64,
    uploaded: u64,
    errors: u64,
    backups: Vec<String>,
}

impl Parts {
    const fn new(outcome: Outcome, reasons: Vec<String>) -> Self {
        Self { outcome, reasons, files: 0, bytes: 0, uploaded: 0, errors: 0, backups: Vec::new() }
    }

    fn failed(outcome: Outcome, reason: String) -> Self {
        Self::new(outcome, vec![reason])
    }

    fn add(&mut self, done: client::Done, shown: Option<String>) {
        self.outcome = self.outcome.and(done.outcome);
        self.files += done.count("files");
        self.bytes += done.count("bytes");
        self.uploaded += done.count("bytes_uploaded");
        self.errors += done.count("errors");
        let id = done.summary.as_ref().and_then(|summary| summary["id"].as_str());
        self.backups.extend(id.map(ToOwned::to_owned));
        let named = |reason: String| match shown {
            Some(shown) if !reason.contains(&shown) => format!("{shown}: {reason}"),
            _ => reason,
        };
        self.reasons.extend(done.reason.map(named));
    }
}

/// One child after the other; one that fails does not keep the others from their turn.
async fn sources(context: &Context, locks: &lock::Locks, until: Instant) -> Parts {
    let sources = context.entry.sources();
    let is_one = sources.len() == 1;
    let mut parts = Parts::new(Outcome::Success, Vec::new());
    for (at, source) in sources.into_iter().enumerate() {
        let shown = match source {
            crate::config::entry::Source::Path(path) => path.display().to_string(),
            crate::config::entry::Source::Stream(name, _) => name.to_owned(),
        };
        let stdin = match locks.stdin(at) {
            Ok(stdin) => stdin,
            Err(error) => {
                let reason = format!("the lock of its path can't be passed on: {error}");
                parts.add(client::Done { outcome: Outcome::Failure, reason: Some(reason), summary: None }, Some(shown));
                continue;
            }
        };
        let done = client::run(&context.config, &context.entry, source, stdin, until, &context.stop).await;
        let is_over = matches!(done.outcome, Outcome::Timeout | Outcome::Interrupted);
        parts.add(done, (!is_one).then_some(shown));
        if is_over {
            break;
        }
    }
    parts
}

async fn finish(context: &Context, mut progress: Progress, begun: Begun, parts: Parts) -> Finished {
    let (entry, (id, mut run)) = (&context.entry, begun);
    let Parts { outcome, reasons, files, bytes, uploaded, errors, backups } = parts;
    let error = (!reasons.is_empty()).then(|| reasons.join("; "));
    let end = RunEnd { end: clock::now(), outcome, files, bytes, uploaded, errors, backups, error };
    match outcome {
        // Not the entry's fault: its turn is not over.
        Outcome::Interrupted if *context.stop.borrow() => progress.cut_off(end.end, context.policy.anacron),
        _ => progress.end(end.end, outcome.is_success()),
    }
    let will_retry = context.policy.will_retry(&progress);
    say(entry.name(), &run, &end, will_retry);
    if let Some(id) = id
        && let Err(error) = context.history.lock().end(&entry.schedule.0, &progress, id, &end)
    {
        tracing::error!(entry = entry.name(), "the end of its run is not in the history: {error}");
    }
    run.end = Some(end);
    after(context, &run).await;
    let event = match outcome {
        Outcome::Success => Some(Event::Success),
        Outcome::Incomplete => Some(Event::Incomplete),
        _ if will_retry => None,
        Outcome::Interrupted if *context.stop.borrow() => None,
        _ => Some(Event::Failure),
    };
    if let Some(event) = event {
        tell(context, event, &run);
    }
    (progress, Some(run))
}

fn say(entry: &str, run: &Run, end: &RunEnd, will_retry: bool) {
    let (seconds, files, bytes, uploaded) = (end.end - run.start, end.files, end.bytes, end.uploaded);
    let outcome = end.outcome.word();
    let error = end.error.as_deref().unwrap_or_default();
    match (end.outcome, will_retry) {
        (Outcome::Success, _) => tracing::info!(entry, outcome, seconds, files, bytes, uploaded, "has ended"),
        (Outcome::Incomplete, _) => {
            tracing::warn!(
                entry,
                outcome,
                seconds,
                files,
                bytes,
                uploaded,
                "has ended, but not all could be read: {error}"
            );
        }
        (_, true) => tracing::warn!(entry, outcome, seconds, "has failed, and will be tried again: {error}"),
        (_, false) => tracing::error!(entry, outcome, seconds, "has failed: {error}"),
    }
}

/// Hooks behind a run have their own time. Where the scheduler stops they still come to their turn, but have to be quick.
async fn after(context: &Context, run: &Run) {
    let entry = &context.entry;
    let Some(end) = &run.end else { return };
    let never = watch::Sender::new(false);
    let (until, stop) = match *context.stop.borrow() {
        true => (child::deadline(Some(PARTING_SECONDS)), never.subscribe()),
        false => (child::deadline(None), context.stop.clone()),
    };
    let environment = hooks::environment(entry, run, Some(end));
    let which = match end.outcome.is_success() {
        true => ("on_success", &entry.hooks.on_success),
        false => ("on_failure", &entry.hooks.on_failure),
    };
    for (which, hook) in [("after", &entry.hooks.after), which] {
        let Some(hook) = hook else { continue };
        let done = hooks::run(entry, which, hook, &environment, until, &stop).await;
        if let Err(reason) = done {
            tracing::error!(entry = entry.name(), "{reason}");
        }
    }
}

fn tell(context: &Context, event: Event, run: &Run) {
    let mut about = run.json();
    about["schedule"] = json!(context.entry.schedule.0);
    about["paths"] = json!(context.entry.paths.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>());
    let notify = context.config.notify(&context.entry);
    context.notifier.tell(notify, context.entry.name(), &host(&context.entry), &Told { event, about });
}

/// The host as people know it.
pub fn host(entry: &Entry) -> String {
    let own = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    entry.host.clone().unwrap_or_else(own)
}
