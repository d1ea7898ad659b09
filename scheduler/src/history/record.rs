//! One run.

use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was backed up.
    Success,
    /// Backed up, but something could not be read.
    Incomplete,
    /// It failed.
    Failure,
    /// It took longer than it may.
    Timeout,
    /// The hook before it failed, so there was none.
    Refused,
    /// It was cut off from outside.
    Interrupted,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Success, Self::Incomplete, Self::Failure, Self::Timeout, Self::Refused, Self::Interrupted];

    /// The word that users and the database see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Incomplete => "incomplete",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether there is a backup.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Success | Self::Incomplete)
    }

    /// The worse of two.
    pub fn and(self, other: Self) -> Self {
        let rank = |outcome| Self::ALL.iter().position(|one| *one == outcome);
        if rank(other) > rank(self) { other } else { self }
    }
}

/// A run; without an end it is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose.
    pub entry: String,
    /// The time of the schedule that it is for.
    pub time: i64,
    /// 1, or more for a retry.
    pub attempt: u32,
    /// When it began.
    pub start: i64,
    /// How it ended.
    pub end: Option<RunEnd>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// When.
    pub end: i64,
    /// How.
    pub outcome: Outcome,
    /// Files in its backups.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that went up.
    pub uploaded: u64,
    /// What could not be read.
    pub errors: u64,
    /// Ids of its backups.
    pub backups: Vec<String>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Run {
    /// The same run as one that nobody ended.
    pub fn cut_off(self) -> Self {
        let error = Some("the scheduler ended in the middle of it".to_owned());
        let (files, bytes, uploaded, errors, backups) = (0, 0, 0, 0, Vec::new());
        let outcome = Outcome::Interrupted;
        Self { end: Some(RunEnd { end: self.start, outcome, files, bytes, uploaded, errors, backups, error }), ..self }
    }

    /// As an object, as `status --json` and the webhook show it.
    pub fn json(&self) -> Value {
        let mut value = json!({
            "time": self.time,
            "attempt": self.attempt,
            "start": self.start,
            "end": null,
            "outcome": "running",
        });
        if let Some(end) = &self.end {
            value["end"] = json!(end.end);
            value["seconds"] = json!(end.end.saturating_sub(self.start).max(0));
            value["outcome"] = json!(end.outcome.word());
            value["files"] = json!(end.files);
            value["bytes"] = json!(end.bytes);
            value["bytes_uploaded"] = json!(end.uploaded);
            value["errors"] = json!(end.errors);
            value["backups"] = json!(end.backups);
            value["error"] = json!(end.error);
        }
        value
    }
}

/// The newest runs of an entry, the newest first.
pub fn runs(database: &Connection, name: &str, max: usize) -> rusqlite::Result<Vec<Run>> {
    let mut query = database.prepare(
        "SELECT entry, time, attempt, start, end, outcome, files, bytes, uploaded, errors, backups, error \
         FROM runs WHERE entry = ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    query.query_map(params![name, max], run)?.collect()
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let end: Option<i64> = row.get(4)?;
    let word: Option<String> = row.get(5)?;
    // A word that a newer program of the same format might write means no success to this one.
    let outcome = Outcome::ALL.into_iter().find(|outcome| Some(outcome.word()) == word.as_deref());
    let count = |column| row.get::<_, i64>(column).map(|count| count.max(0) as u64);
    let backups: String = row.get(10)?;
    let end = match end {
        None => None,
        Some(end) => Some(RunEnd {
            end,
            outcome: outcome.unwrap_or(Outcome::Failure),
            files: count(6)?,
            bytes: count(7)?,
            uploaded: count(8)?,
            errors: count(9)?,
            backups: backups.split_whitespace().map(ToOwned::to_owned).collect(),
            error: row.get(11)?,
        }),
    };
    Ok(Run { entry: row.get(0)?, time: row.get(1)?, attempt: row.get(2)?, start: row.get(3)?, end })
}
