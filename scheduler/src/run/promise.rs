//! The server is told by when each path's next backup must have come, so that it notices when this machine falls silent.
//!
//! What is promised follows from the configuration and from what has been; what was told is in the history. A task makes
//! the server know the difference, and tries again until it does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use datadb::{Fault, HostName, TreePath, backup::BackupTime, expected::Expectation, limits};
use datadb_client::{
    cli::profile::{self, Settings},
    connection::{Access, Connection, Streams, Token},
};
use tokio::{sync::watch, time::sleep};

use super::{SharedHistory, child::Stop, child::stopped};
use crate::{
    config::{Config, Entry, entry::Source},
    history::Told,
    plan::{Policy, Progress},
};

/// Pauses before the next try, from the first to the longest.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A path of a host.
type Place = (HostName, TreePath);

/// What is promised to one server.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    token_file: Option<std::path::PathBuf>,
    paths: BTreeMap<Place, Expectation>,
}

/// What is promised, by the server's address.
pub type Promises = BTreeMap<String, Promised>;

/// What follows from what has been of each entry.
pub fn promises<'a>(
    config: &Config,
    entries: impl Iterator<Item = (&'a Entry, &'a Policy, &'a Progress)>,
    now: i64,
) -> Promises {
    let mut all = Promises::new();
    for (entry, policy, progress) in entries {
        if let Err(fault) = promise(config, entry, policy, progress, now, &mut all) {
            tracing::warn!(entry = entry.name(), "the server can't be told of its schedule: {fault}");
        }
    }
    all
}

fn promise(
    config: &Config,
    entry: &Entry,
    policy: &Policy,
    progress: &Progress,
    now: i64,
    all: &mut Promises,
) -> Result<(), Fault> {
    let settings = Settings::read(entry.profile.as_deref())?;
    let host = profile::host(entry.host.clone(), &settings)?;
    let Some(due) = policy.due(progress) else { return Ok(()) };
    let due = BackupTime::new(due.clamp(0, limits::TIME_SECONDS_MAX))?;
    let server = profile::server(config.server.clone(), &settings);
    let promised = all.entry(server).or_default();
    promised.token_file = config.token_file.clone().or(settings.token_file);
    for source in entry.sources() {
        let expectation = Expectation {
            host: host.clone(),
            path: path(source)?,
            due,
            age_seconds_max: u64::try_from(policy.age_max(now)).unwrap_or(0),
            entry: entry.name().to_owned(),
            schedule: entry.schedule.0.clone(),
        };
        let place = (expectation.host.clone(), expectation.path.clone());
        // Of several entries with one path, the first to be missed counts.
        let is_sooner = promised.paths.get(&place).is_none_or(|other| expectation.due < other.due);
        if is_sooner {
            promised.paths.insert(place, expectation);
        }
    }
    Ok(())
}

/// The path as the client gives it to the server.
fn path(source: Source<'_>) -> Result<TreePath, Fault> {
    Ok(match source {
        Source::Path(path) => {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            TreePath::lenient(path.as_os_str().as_encoded_bytes())?
        }
        Source::Stream(name, _) => TreePath::lenient(format!("/{name}").as_bytes())?,
    })
}

/// Makes the servers know what is promised, until the scheduler stops.
pub async fn keep(mut promises: watch::Receiver<Promises>, history: SharedHistory, stop: Stop) {
    let mut connections = HashMap::new();
    let mut pause = PAUSE_MIN;
    let mut said = String::new();
    loop {
        let now = promises.borrow_and_update().clone();
        let done = tokio::select! {
            done = all(&now, &history, &mut connections) => done,
            () = stopped(&stop) => return,
        };
        match &done {
            Ok(()) => (pause, said) = (PAUSE_MIN, String::new()),
            Err(fault) => {
                let line = fault.to_string();
                if line != said {
                    tracing::warn!("the server can't be told of the schedules yet: {line}");
                    said = line;
                }
                connections.clear();
            }
        }
        tokio::select! {
            () = sleep(pause), if done.is_err() => pause = (pause * 2).min(PAUSE_MAX),
            changed = promises.changed() => if changed.is_err() { return },
            () = stopped(&stop) => return,
        }
    }
}

async fn all(
    promises: &Promises,
    history: &SharedHistory,
    connections: &mut HashMap<String, Connection>,
) -> Result<(), Fault> {
    let internal = |error: crate::history::HistoryError| Fault::new(datadb::Kind::Internal, error.to_string());
    let before = history.lock().servers().map_err(internal)?;
    let servers: BTreeSet<&String> = promises.keys().chain(&before).collect();
    let nothing =
        Promised { token_file: promises.values().find_map(|one| one.token_file.clone()), ..Promised::default() };
    let mut failed = None;
    for server in servers {
        let promised = promises.get(server).unwrap_or(&nothing);
        let told = history.lock().told(server).map_err(internal)?;
        if let Err(fault) = one(server, promised, &told, history, connections).await {
            failed.get_or_insert(fault);
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn one(
    server: &str,
    promised: &Promised,
    told: &BTreeMap<Place, Told>,
    history: &SharedHistory,
    connections: &mut HashMap<String, Connection>,
) -> Result<(), Fault> {
    let internal = |error: crate::history::HistoryError| Fault::new(datadb::Kind::Internal, error.to_string());
    let new: Vec<&Expectation> =
        promised.paths.iter().filter(|(place, said)| told.get(place) != Some(said)).map(|(_, said)| said).collect();
    let gone: Vec<&Place> = told.keys().filter(|place| !promised.paths.contains_key(place)).collect();
    if new.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let connection = match connections.get(server) {
        Some(connection) => connection.clone(),
        None => {
            let token = match Token::of_environment()? {
                None => promised.token_file.as_deref().map(Token::of_file).transpose()?,
                token => token,
            };
            let access = Access { url: server.to_owned(), token, streams: Streams::Many, ..Access::default() };
            let connection = Connection::open(&access).await?;
            connections.insert(server.to_owned(), connection.clone());
            connection
        }
    };
    for expectation in new {
        connection.expect(expectation).await?;
        history.lock().tell(server, expectation).map_err(internal)?;
    }
    for place in gone {
        connection.forget(&place.0, &place.1).await?;
        history.lock().untell(server, place).map_err(internal)?;
    }
    Ok(())
}
