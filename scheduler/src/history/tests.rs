//! The history on a disk: what is kept, what is cut off, and what is refused.

use std::collections::BTreeMap;

use datadb::{HostName, TreePath, backup::BackupTime};
use jiff::tz::TimeZone;
use rusqlite::Connection;

use super::{History, HistoryError, Outcome, RUNS_MAX, Run, RunEnd, Told};
use crate::plan::{Progress, Schedule};

const DAILY: &str = "@daily";

fn schedule() -> Schedule {
    Schedule::parse(DAILY, &TimeZone::UTC).unwrap()
}

fn run(start: i64) -> Run {
    Run { entry: "home".to_owned(), time: start - 1, attempt: 1, start, end: None }
}

fn end(at: i64, outcome: Outcome) -> RunEnd {
    let (backups, error) = (vec!["aa".to_owned(), "bb".to_owned()], Some("why".to_owned()));
    RunEnd { end: at, outcome, files: 1, bytes: 2, uploaded: 3, errors: 4, backups, error }
}

#[test]
fn a_run_and_what_has_been_come_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::open(dir.path()).unwrap();
    let mut progress = history.resume("home", DAILY, &schedule(), 1000, true).unwrap();
    for (number, outcome) in (1..).zip(Outcome::ALL) {
        progress.begin(1000 * number, false);
        let id = history.begin(DAILY, &progress, &run(1000 * number)).unwrap();
        progress.end(1000 * number + 5, outcome.is_success());
        history.end(DAILY, &progress, id, &end(1000 * number + 5, outcome)).unwrap();
    }
    drop(history);
    let history = History::open(dir.path()).unwrap();
    assert_eq!(history.progress("home").unwrap(), Some((DAILY.to_owned(), progress)));
    assert_eq!(history.progress("other").unwrap(), None);
    let runs = history.runs("home", 2).unwrap();
    let wanted = |number: i64, outcome| Run { end: Some(end(1000 * number + 5, outcome)), ..run(1000 * number) };
    assert_eq!(runs, [wanted(6, Outcome::Interrupted), wanted(5, Outcome::Refused)]);
    assert_eq!(history.failures("home").unwrap(), 4);
}

#[test]
fn a_run_that_nobody_ended_was_cut_off_and_is_due_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::open(dir.path()).unwrap();
    let mut progress = history.resume("home", DAILY, &schedule(), 1000, true).unwrap();
    let before = progress.clone();
    progress.begin(90_000, false);
    history.begin(DAILY, &progress, &run(90_000)).unwrap();
    drop(history);
    let history = History::open(dir.path()).unwrap();
    let resumed = history.resume("home", DAILY, &schedule(), 100_000, true).unwrap();
    assert_eq!(resumed, Progress { ended: Some(100_000), ..before });
    let runs = history.runs("home", 9).unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].end.as_ref().map(|end| (end.end, end.outcome)), Some((100_000, Outcome::Interrupted)));
}

#[test]
fn old_runs_make_room_and_those_of_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::open(dir.path()).unwrap();
    let progress = Progress::new(&schedule(), 0);
    history.begin(DAILY, &progress, &Run { entry: "other".to_owned(), ..run(1) }).unwrap();
    // One by one they would be synced a thousand times.
    let fill = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) \
         INSERT INTO runs (entry, time, attempt, start, end, outcome) SELECT 'home', i, 1, i, i, 'success' FROM n",
        RUNS_MAX + 50
    );
    history.database.execute_batch(&fill).unwrap();
    history.begin(DAILY, &progress, &run(5000)).unwrap();
    let runs = history.runs("home", usize::MAX).unwrap();
    assert_eq!(runs.len() as i64, RUNS_MAX);
    assert_eq!((runs[0].start, runs[runs.len() - 1].start), (5000, 52));
    assert_eq!(history.runs("other", 9).unwrap().len(), 1);
}

#[test]
fn others_are_seen_to_change_it_and_looking_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (history, other) = (History::open(dir.path()).unwrap(), History::open(dir.path()).unwrap());
    let before = history.version().unwrap();
    history.keep("home", DAILY, &Progress::new(&schedule(), 1)).unwrap();
    drop(History::open(dir.path()).unwrap().runs("home", 1).unwrap());
    assert_eq!(history.version().unwrap(), before, "neither one's own changes nor a look count");
    other.keep("home", DAILY, &Progress::new(&schedule(), 2)).unwrap();
    assert_ne!(history.version().unwrap(), before);
}

#[test]
fn promises_are_kept_by_server() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path()).unwrap();
    let told = Told {
        host: HostName::new("box").unwrap(),
        path: TreePath::new(b"/\xff").unwrap(),
        due: BackupTime::new(17).unwrap(),
        age_seconds_max: 99,
        entry: "home".to_owned(),
        schedule: DAILY.to_owned(),
    };
    let place = (told.host.clone(), told.path.clone());
    history.tell("a", &told).unwrap();
    history.tell("a", &Told { due: BackupTime::new(18).unwrap(), ..told.clone() }).unwrap();
    history.tell("b", &told).unwrap();
    assert_eq!(history.servers().unwrap(), ["a", "b"]);
    assert_eq!(history.told("b").unwrap(), BTreeMap::from([(place.clone(), told)]));
    assert_eq!(history.told("a").unwrap()[&place].due.seconds(), 18);
    history.untell("a", &place).unwrap();
    assert_eq!(history.servers().unwrap(), ["b"]);
}

#[test]
fn a_newer_format_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    drop(History::open(dir.path()).unwrap());
    let database = Connection::open(dir.path().join("history.sqlite")).unwrap();
    database.pragma_update(None, "user_version", 2).unwrap();
    drop(database);
    let error = History::open(dir.path()).unwrap_err();
    assert!(matches!(error, HistoryError::Newer { version: 2, .. }), "{error}");
}
