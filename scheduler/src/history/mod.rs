//! What has been: progress of each entry, its last runs, and what the server was told, in a small SQLite database.
//!
//! Every change is one transaction that is on the disk when it returns, so a kill -9 at any moment loses nothing but the
//! run that was under way, which is then found without an end. Several programs may have it open: `run`, `status`, `now`.
//!
//! # Format (version 1, in `user_version`; a newer one is refused)
//! `entries`: name, schedule as it was last seen, progress (JSON, see `plan::progress`). `runs`: a row for each, without an
//! end while it is under way; of each entry the newest [`RUNS_MAX`] are kept. `told`: what the server was promised.

mod record;
#[cfg(test)]
mod tests;
mod told;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use thiserror::Error;

pub use self::{
    record::{Outcome, Run, RunEnd},
    told::Told,
};
use crate::plan::{Progress, Schedule};

/// Runs of an entry that are kept: three years of a daily one, ten days of one every quarter of an hour.
pub const RUNS_MAX: i64 = 1000;

/// How long to wait while another program writes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Version of the format.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE entries (name TEXT PRIMARY KEY, schedule TEXT NOT NULL, progress TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL, time INTEGER NOT NULL, attempt INTEGER NOT NULL,
    start INTEGER NOT NULL, end INTEGER, outcome TEXT, files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
    uploaded INTEGER NOT NULL DEFAULT 0, errors INTEGER NOT NULL DEFAULT 0, backups TEXT NOT NULL DEFAULT '', error TEXT);
CREATE INDEX runs_of_entry ON runs (entry, id);
CREATE TABLE told (
    server TEXT NOT NULL, host TEXT NOT NULL, path BLOB NOT NULL, due INTEGER NOT NULL, age INTEGER NOT NULL,
    entry TEXT NOT NULL, schedule TEXT NOT NULL, PRIMARY KEY (server, host, path)) WITHOUT ROWID;
PRAGMA user_version = 1;
";

/// What can go wrong with the history.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The database failed.
    #[error("the history {file}: {source}")]
    Database {
        /// Where it is.
        file: String,
        /// What it said.
        #[source]
        source: rusqlite::Error,
    },
    /// Its directory can't be made.
    #[error("the history's directory {dir}: {source}")]
    Directory {
        /// Which.
        dir: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A newer program wrote it.
    #[error("the history {file} has format {version}, and this program knows {VERSION}: use a newer one")]
    Newer {
        /// Where it is.
        file: String,
        /// Its version.
        version: i64,
    },
}

/// The database.
#[derive(Debug)]
pub struct History {
    database: Connection,
    file: PathBuf,
}

impl History {
    /// Opens the database in the state directory; both are made if they are missing.
    pub fn open(dir: &Path) -> Result<Self, HistoryError> {
        let directory = |source| HistoryError::Directory { dir: dir.display().to_string(), source };
        fs::create_dir_all(dir).map_err(directory)?;
        let file = dir.join("history.sqlite");
        let fault = |source| HistoryError::Database { file: file.display().to_string(), source };
        let mut database = Connection::open(&file).map_err(fault)?;
        database.busy_timeout(PATIENCE).map_err(fault)?;
        database.pragma_update(None, "synchronous", "FULL").map_err(fault)?;
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fault)?;
        match version {
            0 => transaction.execute_batch(TABLES).map_err(fault)?,
            VERSION => {}
            version => return Err(HistoryError::Newer { file: file.display().to_string(), version }),
        }
        transaction.commit().map_err(fault)?;
        Ok(Self { database, file })
    }

    fn fault(&self) -> impl Fn(rusqlite::Error) -> HistoryError + use<> {
        let file = self.file.display().to_string();
        move |source| HistoryError::Database { file: file.clone(), source }
    }

    /// A number that changes when another program has changed something.
    pub fn version(&self) -> Result<i64, HistoryError> {
        self.database.pragma_query_value(None, "data_version", |row| row.get(0)).map_err(self.fault())
    }

    /// What has been of an entry and the schedule that it had; `None`: it was never met.
    pub fn progress(&self, name: &str) -> Result<Option<(String, Progress)>, HistoryError> {
        let mut query =
            self.database.prepare("SELECT schedule, progress FROM entries WHERE name = ?1").map_err(self.fault())?;
        let found: Option<(String, String)> =
            query.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(self.fault())?;
        found.map(|(schedule, progress)| Ok((schedule, self.parse(&progress)?))).transpose()
    }

    fn parse(&self, progress: &str) -> Result<Progress, HistoryError> {
        let broken = |error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error));
        serde_json::from_str(progress).map_err(broken).map_err(self.fault())
    }

    /// Keeps what has been of an entry.
    pub fn keep(&self, name: &str, schedule: &str, progress: &Progress) -> Result<(), HistoryError> {
        keep(&self.database, name, schedule, progress).map_err(self.fault())
    }

    /// A run begins; gives its number.
    pub fn begin(&mut self, schedule: &str, progress: &Progress, run: &Run) -> Result<i64, HistoryError> {
        let fault = self.fault();
        let begin = |database: &mut Connection| {
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            keep(&transaction, &run.entry, schedule, progress)?;
            transaction.execute(
                "INSERT INTO runs (entry, time, attempt, start) VALUES (?1, ?2, ?3, ?4)",
                params![run.entry, run.time, run.attempt, run.start],
            )?;
            let id = transaction.last_insert_rowid();
            transaction.execute(
                "DELETE FROM runs WHERE entry = ?1 AND id <= \
                 (SELECT id FROM runs WHERE entry = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                params![run.entry, RUNS_MAX],
            )?;
            transaction.commit()?;
            Ok(id)
        };
        begin(&mut self.database).map_err(fault)
    }

    /// A run has ended.
    pub fn end(&mut self, schedule: &str, progress: &Progress, id: i64, end: &RunEnd) -> Result<(), HistoryError> {
        let fault = self.fault();
        let finish = |database: &mut Connection| {
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let entry: String =
                transaction.query_row("SELECT entry FROM runs WHERE id = ?1", [id], |row| row.get(0))?;
            keep(&transaction, &entry, schedule, progress)?;
            transaction.execute(
                "UPDATE runs SET end = ?2, outcome = ?3, files = ?4, bytes = ?5, uploaded = ?6, errors = ?7, \
                 backups = ?8, error = ?9 WHERE id = ?1",
                params![
                    id,
                    end.end,
                    end.outcome.word(),
                    end.files as i64,
                    end.bytes as i64,
                    end.uploaded as i64,
                    end.errors as i64,
                    end.backups.join(" "),
                    end.error
                ],
            )?;
            transaction.commit()
        };
        finish(&mut self.database).map_err(fault)
    }

    /// Ends runs of an entry that a program which is not there any more has left open.
    pub fn close_open(&self, name: &str, now: i64) -> Result<usize, HistoryError> {
        self.database
            .execute(
                "UPDATE runs SET end = ?2, outcome = ?3, error = 'the scheduler ended in the middle of it' \
                 WHERE entry = ?1 AND end IS NULL",
                params![name, now, Outcome::Interrupted.word()],
            )
            .map_err(self.fault())
    }

    /// The newest runs of an entry, the newest first.
    pub fn runs(&self, name: &str, max: usize) -> Result<Vec<Run>, HistoryError> {
        record::runs(&self.database, name, max).map_err(self.fault())
    }

    /// How many runs of an entry failed, as far as they are kept.
    pub fn failures(&self, name: &str) -> Result<i64, HistoryError> {
        let words: Vec<String> = Outcome::ALL
            .into_iter()
            .filter(|outcome| !outcome.is_success())
            .map(|outcome| format!("'{}'", outcome.word()))
            .collect();
        let query = format!("SELECT count(*) FROM runs WHERE entry = ?1 AND outcome IN ({})", words.join(","));
        self.database.query_row(&query, [name], |row| row.get(0)).map_err(self.fault())
    }

    /// The servers that were promised something.
    pub fn servers(&self) -> Result<Vec<String>, HistoryError> {
        told::servers(&self.database).map_err(self.fault())
    }

    /// What the server was promised.
    pub fn told(&self, server: &str) -> Result<BTreeMap<told::Place, Told>, HistoryError> {
        told::all(&self.database, server).map_err(self.fault())
    }

    /// The server was promised this.
    pub fn tell(&self, server: &str, told: &Told) -> Result<(), HistoryError> {
        told::put(&self.database, server, told).map_err(self.fault())
    }

    /// The server was told that no backup of this path will come.
    pub fn untell(&self, server: &str, place: &told::Place) -> Result<(), HistoryError> {
        told::remove(&self.database, server, place).map_err(self.fault())
    }

    /// What has been of an entry, after what a program left open that ended in the middle of it; of a new one the
    /// beginning. Must not be called while a run of it is under way.
    pub fn resume(
        &self,
        name: &str,
        text: &str,
        schedule: &Schedule,
        now: i64,
        anacron: bool,
    ) -> Result<Progress, HistoryError> {
        let mut progress = match self.progress(name)? {
            // What was missed counts by the schedule that is there now, but nobody was late by it.
            Some((before, progress)) if before != text => Progress { rescheduled: Some(now), ..progress },
            Some((_, progress)) => progress,
            None => Progress::new(schedule, now),
        };
        if self.close_open(name, now)? > 0 || progress.under_way.is_some() {
            progress.cut_off(now, anacron);
        }
        progress.set_back(now);
        self.keep(name, text, &progress)?;
        Ok(progress)
    }
}

fn keep(database: &Connection, name: &str, schedule: &str, progress: &Progress) -> rusqlite::Result<()> {
    let progress = serde_json::to_string(progress).expect("a struct of numbers is JSON");
    let mut put = database.prepare(
        "INSERT INTO entries (name, schedule, progress) VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET schedule = ?2, progress = ?3",
    )?;
    put.execute(params![name, schedule, progress]).map(drop)
}
