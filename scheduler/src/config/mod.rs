//! What the user wrote: `scheduler.toml`. Whatever is wrong with it is one line: `FILE:LINE: KEY: what`.

pub mod entry;
pub mod place;
pub mod value;

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
};

use datadb::{Fault, Kind};
use jiff::tz::TimeZone;
use serde::Deserialize;

pub use self::entry::Entry;
use self::{entry::Notify, value::Zone};
use crate::plan::{Policy, Schedule};

/// The file: a schedule of hundreds of entries is some tens of KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Entries: more than a machine has to back up.
const ENTRIES_MAX: usize = 1000;

/// What the user wrote.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// As `--server`.
    pub server: Option<String>,
    /// A file whose first line is the token.
    pub token_file: Option<PathBuf>,
    /// Whether what was missed is made up.
    #[serde(default = "yes")]
    pub anacron: bool,
    /// Whose clock counts, instead of this machine's.
    pub timezone: Option<Zone>,
    /// Where `/metrics` is.
    pub metrics: Option<SocketAddr>,
    /// Runs at the same time.
    #[serde(default = "two", deserialize_with = "value::parallel")]
    pub parallel: usize,
    /// Whom to tell of the runs of entries that don't say it themselves.
    #[serde(default)]
    pub notify: Notify,
    /// What to back up.
    #[serde(default, rename = "snapshot")]
    pub entries: Vec<Entry>,
}

const fn yes() -> bool {
    true
}

const fn two() -> usize {
    2
}

impl Config {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, Fault> {
        let fault = |why: String| Fault::new(Kind::Invalid, format!("{}: {why}", file.display()));
        let meta = std::fs::metadata(file).map_err(|error| fault(error.to_string()))?;
        if meta.len() > FILE_BYTES_MAX {
            return Err(fault(format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| fault(error.to_string()))?;
        Self::parse(&text, file)
    }

    /// Understands the text of a file.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Fault> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            place::fault(file, text, &span, None, error.message())
        })?;
        let wrong = |span: Range<usize>, key: &str, line: &str| place::fault(file, text, &span, Some(key), line);
        if config.entries.is_empty() {
            return Err(wrong(0..0, "snapshot", "there is none: write a [[snapshot]] with name, paths and schedule"));
        }
        if config.entries.len() > ENTRIES_MAX {
            return Err(wrong(0..0, "snapshot", &format!("there are more than {ENTRIES_MAX}")));
        }
        let mut names = BTreeSet::new();
        for entry in &config.entries {
            let span = entry.name.span();
            if !names.insert(entry.name().to_owned()) {
                return Err(wrong(span, "name", &format!("{} stands twice", entry.name())));
            }
            entry.check().map_err(|(key, line)| wrong(span, key, &format!("of {}: {line}", entry.name())))?;
        }
        config.anchor(file.parent().unwrap_or(Path::new("/")));
        config.token_file = config.token_file.or_else(place::credential);
        Ok(config)
    }

    /// Relative paths count from the file's directory, `~/` from home.
    fn anchor(&mut self, base: &Path) {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let anchor = |path: &mut PathBuf| {
            *path = match (path.strip_prefix("~"), &home) {
                (Ok(below), Some(home)) => home.join(below),
                _ => base.join(&*path),
            };
        };
        self.token_file.iter_mut().for_each(anchor);
        for entry in &mut self.entries {
            entry.paths.iter_mut().chain(&mut entry.exclude_file).for_each(anchor);
            entry.files_from.iter_mut().for_each(anchor);
        }
    }

    /// Whose clock counts.
    pub fn zone(&self) -> TimeZone {
        self.timezone.as_ref().map_or_else(datadb_client::clock::zone, |zone| zone.0.clone())
    }

    /// Whom to tell of an entry's runs.
    pub fn notify<'a>(&'a self, entry: &'a Entry) -> &'a Notify {
        entry.notify.as_ref().unwrap_or(&self.notify)
    }

    /// An entry by its name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name() == name)
    }

    /// How an entry wants to be run.
    pub fn policy(&self, entry: &Entry) -> Result<Policy, Fault> {
        let schedule = Schedule::parse(&entry.schedule.0, &self.zone());
        let schedule = schedule.map_err(|error| Fault::new(Kind::Invalid, format!("{}: {error}", entry.name())))?;
        let mut seed = DefaultHasher::new();
        (entry.name(), rustix::system::uname().nodename()).hash(&mut seed);
        Ok(Policy {
            schedule,
            anacron: self.anacron,
            jitter: entry.jitter.0,
            interval_min: entry.min_interval.0,
            retries: entry.retries,
            retry_delay: entry.retry_delay.0,
            grace: entry.grace.map(|grace| grace.0),
            seed: seed.finish(),
        })
    }
}
