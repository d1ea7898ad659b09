//! The loop: looks every second, or sooner if something is due sooner, what is to be done.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use datadb::{Fault, Kind, clock::format_time};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    SharedHistory, client,
    notify::{Notifier, Told},
    one::{self, Context, Finished, Turn},
    power,
    promise::{self, Promises},
    watch::Stamp,
};
use crate::{
    clock,
    config::{Config, Entry, entry::Event},
    history::HistoryError,
    plan::{
        Policy, Progress, Schedule,
        step::{self, Step},
    },
};

/// How often a file or a clock that changed is noticed.
const LOOK: Duration = Duration::from_secs(1);

/// No shorter pause, so that a clock that stands still costs nothing.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// How long runs may take to end when the scheduler stops; their children get ten seconds, and the hooks behind
/// them as long.
const STOPPING: Duration = Duration::from_secs(30);

/// How long letters may take then.
const LETTERS: Duration = Duration::from_secs(5);

/// Missed times that are counted.
const MISSED_MAX: usize = 1000;

/// An entry and how far it is.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) entry: Arc<Entry>,
    pub(super) policy: Policy,
    pub(super) progress: Progress,
    pub(super) is_running: bool,
    /// What was said about the next run, so that it is said once.
    pub(super) said: Option<Said>,
    pub(super) is_overdue: bool,
}

/// Why a run that is due does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    StillRunning,
    OnBattery,
    NoPlace,
}

/// The scheduler.
#[derive(Debug)]
pub struct Daemon {
    pub(super) file: PathBuf,
    state: PathBuf,
    pub(super) config: Arc<Config>,
    pub(super) configs: watch::Sender<Arc<Config>>,
    pub(super) stamp: Stamp,
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) history: SharedHistory,
    version: i64,
    notifier: Notifier,
    promises: watch::Sender<Promises>,
    runs: JoinSet<(String, Finished)>,
    stop: watch::Sender<bool>,
    since: Instant,
    before: step::Moment,
    is_json: bool,
}

pub(super) fn internal(error: HistoryError) -> Fault {
    Fault::new(Kind::Internal, error.to_string())
}

impl Daemon {
    /// Takes up where the last one ended.
    pub fn new(file: PathBuf, state: PathBuf, history: SharedHistory, is_json: bool) -> Result<Self, Fault> {
        let stamp = Stamp::of(&file);
        let config = Arc::new(Config::read(&file)?);
        let since = Instant::now();
        let version = history.lock().version().map_err(internal)?;
        let mut daemon = Self {
            file,
            state,
            configs: watch::Sender::new(config.clone()),
            config,
            stamp,
            slots: BTreeMap::new(),
            history,
            version,
            notifier: Notifier::default(),
            promises: watch::Sender::new(Promises::new()),
            runs: JoinSet::new(),
            stop: watch::Sender::new(false),
            since,
            before: clock::moment(since),
            is_json,
        };
        for entry in daemon.config.entries.clone() {
            let mut slot = daemon.slot(Arc::new(entry))?;
            // `@every` begins at the start, whatever was missed.
            if matches!(slot.policy.schedule, Schedule::Clock(_)) {
                daemon.drop_missed(&mut slot)?;
            }
            daemon.slots.insert(slot.entry.name().to_owned(), slot);
        }
        Ok(daemon)
    }

    /// The configuration that counts, as it changes.
    pub fn configs(&self) -> watch::Receiver<Arc<Config>> {
        self.configs.subscribe()
    }

    /// Who is told of runs.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    pub(super) fn slot(&self, entry: Arc<Entry>) -> Result<Slot, Fault> {
        let policy = self.config.policy(&entry)?;
        let (text, now) = (&entry.schedule.0, clock::now());
        let history = self.history.lock();
        let progress =
            history.resume(entry.name(), text, &policy.schedule, now, self.config.anacron).map_err(internal)?;
        drop(history);
        for program in client::missing(&entry) {
            tracing::error!(entry = entry.name(), "{program} is needed and can't be found");
        }
        Ok(Slot { entry, policy, progress, is_running: false, said: None, is_overdue: false })
    }

    fn drop_missed(&self, slot: &mut Slot) -> Result<(), Fault> {
        let Some(missed) = slot.policy.drop_missed(&mut slot.progress, clock::now()) else { return Ok(()) };
        let (name, missed) = (slot.entry.name(), format_time(missed, &self.config.zone()));
        tracing::warn!(entry = name, "its run of {missed} was missed, and without anacron it is not made up");
        self.history.lock().keep(name, &slot.entry.schedule.0, &slot.progress).map_err(internal)
    }

    /// Runs what is due until it is told to stop. `hangup` tells of SIGHUP.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut hangup: impl AsyncFnMut(),
        mut alive: impl FnMut(),
    ) -> Result<(), Fault> {
        let promises = promise::keep(self.promises.subscribe(), self.history.clone(), self.stop.subscribe());
        let promises = tokio::spawn(promises);
        self.promise();
        tokio::pin!(stop);
        loop {
            alive();
            let pause = self.look();
            tokio::select! {
                () = sleep(pause) => {}
                Some(done) = self.runs.join_next() => match done {
                    Ok((name, finished)) => self.ended(&name, finished),
                    Err(error) => tracing::error!(%error, "a run broke off"),
                },
                () = hangup() => self.reload(),
                () = &mut stop => break,
            }
        }
        self.stop.send_replace(true);
        if !self.runs.is_empty() {
            tracing::info!(runs = self.runs.len(), "stopping: runs under way are ended, and made up later");
        }
        let ended = async {
            while let Some(done) = self.runs.join_next().await {
                if let Ok((_, (_, Some(run)))) = done {
                    print(self.is_json, &run.entry, &run.json());
                }
            }
        };
        if timeout(STOPPING, ended).await.is_err() {
            tracing::error!("some runs did not end in time; the next start finds them cut off");
        }
        self.notifier.finish(LETTERS).await;
        promises.await.map_err(|error| Fault::new(Kind::Internal, error.to_string()))
    }

    /// Everything that is looked at again and again; gives how long there is nothing to do.
    fn look(&mut self) -> Duration {
        self.look_at_clock();
        if Stamp::of(&self.file) != self.stamp {
            self.reload();
        }
        self.look_at_history();
        self.start_due();
        self.look_for_overdue();
        let now = clock::now_millis();
        let waiting = self.slots.values().filter(|slot| !slot.is_running && slot.said.is_none());
        let next = waiting.filter_map(|slot| Some(slot.policy.next(&slot.progress)?.at.saturating_mul(1000))).min();
        let pause = next.map_or(LOOK, |at| Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0)));
        pause.clamp(PAUSE_MIN, LOOK)
    }

    fn look_at_clock(&mut self) {
        let now = clock::moment(self.since);
        let step = step::between(self.before, now);
        self.before = now;
        match step {
            Step::None => return,
            Step::Forward(seconds) => tracing::info!(seconds, "the machine slept, or its clock was set forward"),
            Step::Back(seconds) => tracing::warn!(seconds, "the clock was set back"),
        }
        let mut slots = std::mem::take(&mut self.slots);
        for slot in slots.values_mut().filter(|slot| !slot.is_running) {
            let done = match step {
                Step::Back(_) => {
                    slot.progress.set_back(clock::now());
                    let history = self.history.lock();
                    history.keep(slot.entry.name(), &slot.entry.schedule.0, &slot.progress).map_err(internal)
                }
                _ => self.drop_missed(slot),
            };
            if let Err(error) = done {
                tracing::error!(entry = slot.entry.name(), "{error}");
            }
        }
        self.slots = slots;
    }

    /// A `now` beside this scheduler has changed what has been.
    fn look_at_history(&mut self) {
        let history = self.history.lock();
        let version = match history.version() {
            Ok(version) if version != self.version => version,
            Ok(_) => return,
            Err(error) => return tracing::error!("{error}"),
        };
        self.version = version;
        for slot in self.slots.values_mut().filter(|slot| !slot.is_running) {
            match history.progress(slot.entry.name()) {
                Ok(Some((_, progress))) if progress.under_way.is_none() => slot.progress = progress,
                // It is under way there, and holds the locks.
                Ok(_) => {}
                Err(error) => tracing::error!(entry = slot.entry.name(), "{error}"),
            }
        }
        drop(history);
        self.promise();
    }

    fn start_due(&mut self) {
        let now = clock::now();
        let mut due: Vec<(i64, String)> = Vec::new();
        for (name, slot) in &mut self.slots {
            let Some(next) = slot.policy.next(&slot.progress).filter(|next| next.at <= now) else { continue };
            match slot.is_running {
                true if slot.said.is_none() => {
                    slot.said = Some(Said::StillRunning);
                    let at = format_time(next.at, &self.config.zone());
                    tracing::warn!(
                        entry = name,
                        "still running when the next run is due ({at}): that one waits until this has ended"
                    );
                }
                true => {}
                false => due.push((next.at, name.clone())),
            }
        }
        due.sort();
        for (_, name) in due {
            self.start(&name, now);
        }
    }

    fn start(&mut self, name: &str, now: i64) {
        let is_full = self.runs.len() >= self.config.parallel;
        let Some(slot) = self.slots.get_mut(name) else { return };
        let Some(next) = slot.policy.next(&slot.progress) else { return };
        let hindrance = match () {
            () if slot.entry.only_on_ac && !power::is_on_mains() => Some(Said::OnBattery),
            () if is_full => Some(Said::NoPlace),
            () => None,
        };
        if let Some(said) = hindrance {
            if slot.said != Some(said) {
                slot.said = Some(said);
                let what = match said {
                    Said::OnBattery => "is due, and waits until the machine has mains power",
                    _ => "is due, and waits until another run has ended",
                };
                tracing::info!(entry = name, "{what}");
            }
            return;
        }
        slot.said = None;
        let missed = slot.policy.times_due(&slot.progress, now, MISSED_MAX);
        if missed > 1 && !next.is_retry {
            tracing::info!(entry = name, missed, "one run makes up for all that were missed");
        }
        slot.is_running = true;
        let context = Context {
            config: self.config.clone(),
            entry: slot.entry.clone(),
            policy: slot.policy.clone(),
            state: self.state.clone(),
            history: self.history.clone(),
            notifier: self.notifier.clone(),
            stop: self.stop.subscribe(),
        };
        let (name, progress) = (name.to_owned(), slot.progress.clone());
        // While it runs, what it covers is known.
        slot.progress.begin(now, next.is_retry);
        let turn = Turn { time: next.time, is_retry: next.is_retry, is_forced: false };
        self.runs.spawn(async move { (name, one::run(&context, progress, turn).await) });
    }

    fn ended(&mut self, name: &str, finished: Finished) {
        let (progress, run) = finished;
        if let Some(slot) = self.slots.get_mut(name) {
            (slot.is_running, slot.said, slot.progress) = (false, None, progress);
            // A schedule that was changed meanwhile counts from now on.
            if slot.progress.under_way.is_some() {
                slot.progress.cut_off(clock::now(), slot.policy.anacron);
            }
        }
        if let Some(run) = run {
            print(self.is_json, name, &run.json());
        }
        self.promise();
    }

    /// Makes the servers know by when each path must have come.
    pub(super) fn promise(&self) {
        let entries = self.slots.values().map(|slot| (&*slot.entry, &slot.policy, &slot.progress));
        let promises = promise::promises(&self.config, entries, clock::now());
        self.promises.send_replace(promises);
    }

    fn look_for_overdue(&mut self) {
        let now = clock::now();
        for (name, slot) in &mut self.slots {
            let due = slot.policy.due(&slot.progress);
            let is_overdue = due.is_some_and(|due| due < now);
            if is_overdue && !slot.is_overdue {
                let due = due.unwrap_or(now);
                let since = format_time(due, &self.config.zone());
                tracing::error!(entry = name, "overdue: a backup should have been there by {since}");
                let error = format!("a backup should have been there by {since}");
                let about = json!({"due": due, "succeeded": slot.progress.succeeded, "error": error});
                let notify = self.config.notify(&slot.entry);
                let told = Told { event: Event::Overdue, about };
                self.notifier.tell(notify, name, &one::host(&slot.entry), &told);
            }
            slot.is_overdue = is_overdue;
        }
    }

    /// What to say when it is ready.
    pub fn count(&self) -> usize {
        self.slots.len()
    }
}

/// For programs: every run that has ended, as a line.
fn print(is_json: bool, entry: &str, run: &Value) {
    if !is_json {
        return;
    }
    let mut run = run.clone();
    run["type"] = json!("run");
    run["entry"] = json!(entry);
    // A reader that went away does not end the scheduler.
    drop(std::io::Write::write_all(&mut std::io::stdout(), format!("{run}\n").as_bytes()));
}
