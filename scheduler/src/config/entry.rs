//! One `[[snapshot]]`: what to back up, when, and how.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::value::{self, CommandLine, IoNice, Name, ScheduleText, Seconds, Url};

/// Pause before the first retry.
const RETRY_DELAY: Seconds = Seconds(60);

/// How long a hook may take.
const HOOK_TIMEOUT: Seconds = Seconds(600);

/// What to back up, when, and how. The options of `datadb-client snapshot` have their names, with underscores.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How it is called.
    pub name: toml::Spanned<Name>,
    /// What to back up; each path becomes a backup of its own.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
    /// When.
    pub schedule: ScheduleText,
    /// Each run waits for up to so long.
    #[serde(default)]
    pub jitter: Seconds,
    /// From start to start at least so long.
    #[serde(default)]
    pub min_interval: Seconds,
    /// A run that takes longer is ended, and has failed.
    pub timeout: Option<Seconds>,
    /// How often a run that failed is tried again.
    #[serde(default, deserialize_with = "value::retries")]
    pub retries: u32,
    /// Before the first retry; doubles from one to the next, up to an hour.
    #[serde(default = "retry_delay")]
    pub retry_delay: Seconds,
    /// How late a success may be before the entry is overdue.
    pub grace: Option<Seconds>,
    /// Wait while the machine runs on its battery.
    #[serde(default)]
    pub only_on_ac: bool,
    /// How the processor is shared with others.
    #[serde(default, deserialize_with = "value::nice")]
    pub nice: Option<i8>,
    /// How the disk is shared with others.
    pub ionice: Option<IoNice>,
    /// Commands around a run.
    #[serde(default)]
    pub hooks: Hooks,
    /// Whom to tell; instead of what stands at the top.
    pub notify: Option<Notify>,

    /// As `-P`.
    pub profile: Option<String>,
    /// As `--limit-upload`.
    pub limit_upload: Option<String>,
    /// As `--limit-download`.
    pub limit_download: Option<String>,
    /// As `--host`.
    pub host: Option<String>,
    /// As `--tag`.
    #[serde(default, deserialize_with = "value::tags")]
    pub tags: BTreeMap<String, String>,
    /// As `--stdin-from-command`, instead of `paths`.
    pub stdin_from_command: Option<String>,
    /// Its command.
    pub command: Option<CommandLine>,
    /// As `--force`.
    #[serde(default)]
    pub force: bool,
    /// As `--skip-if-unchanged`.
    #[serde(default)]
    pub skip_if_unchanged: bool,
    /// As `--exclude-file`; comes before `exclude`.
    #[serde(default)]
    pub exclude_file: Vec<PathBuf>,
    /// As `--exclude`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// As `--iexclude`; comes behind `exclude`.
    #[serde(default)]
    pub iexclude: Vec<String>,
    /// As `--exclude-if-present`.
    #[serde(default)]
    pub exclude_if_present: Vec<String>,
    /// As `--exclude-caches`.
    #[serde(default)]
    pub exclude_caches: bool,
    /// As `--exclude-larger-than`.
    pub exclude_larger_than: Option<String>,
    /// As `--gitignore`.
    #[serde(default)]
    pub gitignore: bool,
    /// As `--one-file-system`.
    #[serde(default)]
    pub one_file_system: bool,
    /// As `--files-from`.
    pub files_from: Option<PathBuf>,
    /// As `--null`.
    #[serde(default)]
    pub null: bool,
    /// More options of `datadb-client snapshot`, word by word; they come behind all others.
    #[serde(default)]
    pub options: Vec<String>,
}

const fn retry_delay() -> Seconds {
    RETRY_DELAY
}

const fn hook_timeout() -> Seconds {
    HOOK_TIMEOUT
}

/// Commands around a run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Before it; where it fails there is no run, and that counts as a failure.
    pub before: Option<CommandLine>,
    /// After it, whatever came of it.
    pub after: Option<CommandLine>,
    /// After a run that failed.
    pub on_failure: Option<CommandLine>,
    /// After a run that succeeded, even if something could not be read.
    pub on_success: Option<CommandLine>,
    /// One that takes longer is ended, and has failed.
    #[serde(default = "hook_timeout")]
    pub timeout: Seconds,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { before: None, after: None, on_failure: None, on_success: None, timeout: HOOK_TIMEOUT }
    }
}

/// What is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A run starts.
    Start,
    /// It succeeded.
    Success,
    /// It succeeded, but something could not be read.
    Incomplete,
    /// It failed, and is not tried again before its turn.
    Failure,
    /// A success should have come by now, and did not.
    Overdue,
}

impl Event {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Incomplete => "incomplete",
            Self::Failure => "failure",
            Self::Overdue => "overdue",
        }
    }
}

/// Whom to tell of runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Gets a JSON object by HTTP POST for each event.
    pub webhook: Option<Url>,
    /// Of which events the webhook is told.
    #[serde(default = "events")]
    pub on: Vec<Event>,
    /// The address of a check, as healthchecks takes it: `/start` and `/fail` are put behind it.
    pub ping: Option<Url>,
}

fn events() -> Vec<Event> {
    vec![Event::Success, Event::Incomplete, Event::Failure, Event::Overdue]
}

/// What a child of the client backs up.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A path.
    Path(&'a PathBuf),
    /// What a command writes, under this name.
    Stream(&'a str, &'a CommandLine),
}

impl Entry {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name.get_ref().0
    }

    /// What it backs up, one after the other.
    pub fn sources(&self) -> Vec<Source<'_>> {
        let paths = self.paths.iter().map(Source::Path);
        let stream =
            self.stdin_from_command.iter().zip(&self.command).map(|(name, command)| Source::Stream(name, command));
        paths.chain(stream).collect()
    }

    /// What the single keys can't say; the key and what is wrong.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, line: &str| Err((key, line.to_owned()));
        if self.stdin_from_command.is_some() != self.command.is_some() {
            return wrong("command", "stdin_from_command and command go together");
        }
        if self.sources().is_empty() {
            return wrong("paths", "the snapshot has nothing to back up: write paths = [\"/home\"]");
        }
        if let Some(path) = self.paths.iter().find(|path| !path.is_absolute() && !path.starts_with("~")) {
            return Err(("paths", format!("{} is not absolute", path.display())));
        }
        if !self.paths.is_empty() && self.command.is_some() {
            return wrong("paths", "write either paths or stdin_from_command: they are two snapshots");
        }
        if self.files_from.is_some() && self.paths.len() != 1 {
            return wrong("files_from", "takes exactly one path in paths");
        }
        if self.files_from.as_deref() == Some(std::path::Path::new("-")) {
            return wrong("files_from", "a run has no standard input: name a file");
        }
        if self.timeout.is_some_and(|timeout| timeout.0 == 0) || self.hooks.timeout.0 == 0 {
            return wrong("timeout", "a timeout of nothing leaves no time for anything");
        }
        Ok(())
    }

    /// The options of `datadb-client snapshot`.
    pub fn arguments(&self) -> Vec<String> {
        let shown = |path: &PathBuf| path.to_string_lossy().into_owned();
        let mut words = Vec::new();
        let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        self.host.iter().for_each(|host| option("host", host.clone()));
        self.tags.iter().for_each(|(key, value)| option("tag", format!("{key}={value}")));
        self.exclude_file.iter().for_each(|file| option("exclude-file", shown(file)));
        self.exclude.iter().for_each(|pattern| option("exclude", pattern.clone()));
        self.iexclude.iter().for_each(|pattern| option("iexclude", pattern.clone()));
        self.exclude_if_present.iter().for_each(|name| option("exclude-if-present", name.clone()));
        self.exclude_larger_than.iter().for_each(|size| option("exclude-larger-than", size.clone()));
        self.files_from.iter().for_each(|file| option("files-from", shown(file)));
        let flags = [
            ("force", self.force),
            ("skip-if-unchanged", self.skip_if_unchanged),
            ("exclude-caches", self.exclude_caches),
            ("gitignore", self.gitignore),
            ("one-file-system", self.one_file_system),
            ("null", self.null),
        ];
        words.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| format!("--{name}")));
        words.extend(self.options.iter().cloned());
        words
    }
}
