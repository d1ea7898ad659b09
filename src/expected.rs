//! What a host promises: by when the next backup of a path must have come.
//!
//! # Format (version 1)
//! `host · path · due (zigzag, unix seconds) · greatest age in seconds · entry · schedule`; texts and bytes stand behind
//! their lengths.

use crate::{
    backup::{BackupTime, HostName, TreePath},
    codec::{DecodeError, Reader, Writer},
    limits,
};

/// By when the next backup of a path must have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Whose path.
    pub host: HostName,
    /// Which.
    pub path: TreePath,
    /// By when, grace included.
    pub due: BackupTime,
    /// A backup that is no older than so many seconds will do, however it came; 0: only a later word will do.
    pub age_seconds_max: u64,
    /// What the host calls it.
    pub entry: String,
    /// The schedule as the host wrote it.
    pub schedule: String,
}

fn text(field: &'static str, text: &str) -> Result<(), DecodeError> {
    if text.len() > limits::SCHEDULE_BYTES_MAX {
        return Err(DecodeError::rule(field, "is longer than 255 bytes"));
    }
    if text.contains(char::is_control) {
        return Err(DecodeError::rule(field, "holds a control character"));
    }
    Ok(())
}

impl Expectation {
    /// Checks what the types don't.
    pub fn checked(self) -> Result<Self, DecodeError> {
        text("entry", &self.entry)?;
        text("schedule", &self.schedule)?;
        Ok(self)
    }

    /// Whether the path should have been backed up by now and was not. `newest` is the time of its newest backup.
    pub fn is_overdue(&self, now: i64, newest: Option<i64>) -> bool {
        let is_young =
            |newest: i64| i64::try_from(self.age_seconds_max).is_ok_and(|max| now.saturating_sub(newest) <= max);
        self.due.seconds() < now && !newest.is_some_and(|newest| self.age_seconds_max > 0 && is_young(newest))
    }

    /// The encoding above.
    pub fn encode(&self, w: &mut Writer) {
        w.bytes(self.host.as_str().as_bytes()).bytes(self.path.as_bytes());
        w.signed(self.due.seconds()).varint(self.age_seconds_max);
        w.bytes(self.entry.as_bytes()).bytes(self.schedule.as_bytes());
    }

    /// Reads what `encode` wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (host, path) = decode_place(r)?;
        let due = BackupTime::new(r.signed("due")?)?;
        let age_seconds_max = r.varint("greatest age")?;
        let entry = r.text("entry", limits::SCHEDULE_BYTES_MAX)?.to_owned();
        let schedule = r.text("schedule", limits::SCHEDULE_BYTES_MAX)?.to_owned();
        Self { host, path, due, age_seconds_max, entry, schedule }.checked()
    }
}

/// Host and path as they stand at the front of an encoding.
pub fn decode_place(r: &mut Reader<'_>) -> Result<(HostName, TreePath), DecodeError> {
    let host = HostName::new(r.text("host", limits::OWNER_BYTES_MAX)?)?;
    Ok((host, TreePath::new(r.bytes("path", limits::PATH_BYTES_MAX)?)?))
}

/// What is expected, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What the host promised.
    pub expectation: Expectation,
    /// When it said so last, in unix seconds.
    pub said: i64,
    /// Time of the newest backup of the path.
    pub newest: Option<BackupTime>,
    /// Whether it should have come by now and did not.
    pub is_overdue: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expectation(due: i64, age_seconds_max: u64, schedule: &str) -> Expectation {
        Expectation {
            host: HostName::new("box").unwrap(),
            path: TreePath::new(b"/home").unwrap(),
            due: BackupTime::new(due).unwrap(),
            age_seconds_max,
            entry: "home".to_owned(),
            schedule: schedule.to_owned(),
        }
    }

    #[test]
    fn a_path_is_overdue_when_its_time_has_passed_and_no_young_backup_excuses_it() {
        let promised = expectation(1000, 100, "@daily");
        for (now, newest, is_overdue) in [
            (1000, None, false),
            (1001, None, true),
            (1001, Some(901), false),
            (1001, Some(900), true),
            (1101, Some(1001), false),
            (1102, Some(1001), true),
            (1001, Some(5000), false),
        ] {
            assert_eq!(promised.is_overdue(now, newest), is_overdue, "{now} {newest:?}");
        }
        assert!(expectation(1000, 0, "@daily").is_overdue(1001, Some(1001)), "only a later word will do");
    }

    #[test]
    fn long_and_steering_texts_are_refused() {
        assert!(expectation(1, 1, &"x".repeat(256)).checked().is_err());
        assert!(expectation(1, 1, "@daily\x1b[2J").checked().is_err());
        assert!(expectation(1, 1, &"x".repeat(255)).checked().is_ok());
    }

    proptest! {
        #[test]
        fn it_comes_back_as_it_was_written(due in 0..=limits::TIME_SECONDS_MAX, age: u64, schedule in "[ -~]{0,255}") {
            let written = expectation(due, age, &schedule);
            let mut w = Writer::default();
            written.encode(&mut w);
            let bytes = w.finish();
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(Expectation::decode(&mut r).unwrap(), written);
            prop_assert!(r.end().is_ok());
        }
    }
}
