//! A schedule as users write it: five or six fields of cron, `@daily` and the like, or `@every 15m`.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp, Zoned,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use thiserror::Error;

use super::duration::parse_seconds;

/// The shortest `@every`: a run of an unchanged tree takes about as long.
const EVERY_SECONDS_MIN: i64 = 1;

/// Runs that are looked at to know how far apart they are.
const GAPS: usize = 10;

/// Words for common schedules.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The text is not a schedule.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// Neither of the forms.
    #[error(
        "{text:?} is not a schedule: write five or six fields of cron, @hourly, @daily, @weekly, @monthly, @yearly or @every 15m{why}"
    )]
    Form {
        /// What was written.
        text: String,
        /// What is wrong with a field of it, behind a colon; or nothing.
        why: String,
    },
    /// No such time ever comes.
    #[error("{text:?} names no time that ever comes")]
    Never {
        /// What was written.
        text: String,
    },
}

/// A schedule.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// So many seconds after the start of the run before.
    Every(i64),
    /// At certain times of the clock on the wall.
    Clock(Box<Clock>),
}

/// Times of the clock on the wall of a zone.
#[derive(Clone, Debug)]
pub struct Clock {
    cron: Cron,
    zone: TimeZone,
    /// The hours are named, so that each time of a day counts once, whatever the zone does to its clocks; otherwise the
    /// schedule goes on through the hours as they come.
    is_fixed: bool,
}

impl Schedule {
    /// Reads a schedule whose times are those of a zone.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, ScheduleError> {
        let form = |why: String| ScheduleError::Form { text: text.to_owned(), why };
        let trimmed = text.trim();
        if let Some(every) = trimmed.strip_prefix("@every ") {
            let seconds = parse_seconds(every.trim()).map_err(|why| form(format!(": {why}")))?;
            return match seconds {
                EVERY_SECONDS_MIN.. => Ok(Self::Every(seconds)),
                _ => Err(form(String::new())),
            };
        }
        let word = WORDS.iter().find(|(word, _)| trimmed.eq_ignore_ascii_case(word));
        let fields = word.map_or(trimmed, |(_, fields)| fields);
        if fields.starts_with('@') {
            return Err(form(String::new()));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(fields).map_err(|error| form(format!(": {error}")))?;
        let words: Vec<&str> = fields.split_whitespace().collect();
        let hours = words.len().checked_sub(4).and_then(|at| words.get(at)).copied().unwrap_or("*");
        let is_fixed = !hours.contains('*') && hours != "0-23";
        let schedule = Self::Clock(Box::new(Clock { cron, zone: zone.clone(), is_fixed }));
        match schedule.after(0) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { text: text.to_owned() }),
        }
    }

    /// The first time behind a unix second; `None` where none ever comes.
    pub fn after(&self, second: i64) -> Option<i64> {
        match self {
            Self::Every(every) => second.checked_add(*every),
            Self::Clock(clock) if clock.is_fixed => clock.named_after(second),
            Self::Clock(clock) => clock.elapsed_after(second),
        }
    }

    /// The longest time between two runs among the next ones, in seconds.
    pub fn gap_after(&self, second: i64) -> i64 {
        let mut times = std::iter::successors(Some(second), |time| self.after(*time)).take(GAPS + 1).peekable();
        let mut longest = 0;
        // Up to the first time is a part of a gap only.
        times.next();
        while let Some(time) = times.next() {
            longest = times.peek().map_or(longest, |next| longest.max(next - time));
        }
        longest
    }
}

impl Clock {
    fn zoned(&self, second: i64) -> Option<Zoned> {
        Some(Timestamp::from_second(second).ok()?.to_zoned(self.zone.clone()))
    }

    /// Through the hours as they come: an hour that comes twice counts twice, one that is skipped does not count.
    fn elapsed_after(&self, second: i64) -> Option<i64> {
        let found = self.cron.find_next_occurrence(&self.zoned(second)?, false).ok()?;
        Some(found.timestamp().as_second())
    }

    /// Along the clock of a place that never changes it, and from there into the zone.
    fn named_after(&self, second: i64) -> Option<i64> {
        let mut floating = self.zoned(second)?.datetime().to_zoned(TimeZone::UTC).ok()?;
        loop {
            floating = self.cron.find_next_occurrence(&floating, false).ok()?;
            // Within an hour that comes a second time, what it named has been.
            if let Some(found) = self.instant(floating.datetime()).filter(|found| *found > second) {
                return Some(found);
            }
        }
    }

    /// When the clock shows a time first; what it skips is the end of the gap.
    fn instant(&self, shown: DateTime) -> Option<i64> {
        let ambiguous = self.zone.to_ambiguous_zoned(shown);
        let AmbiguousOffset::Gap { before, .. } = ambiguous.offset() else {
            return Some(ambiguous.earlier().ok()?.timestamp().as_second());
        };
        let behind = before.to_timestamp(shown).ok()?.checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
        Some(self.zone.preceding(behind).next()?.timestamp().as_second())
    }
}
