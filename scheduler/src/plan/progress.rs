//! What has been, and what therefore comes next.

use serde::{Deserialize, Serialize};

use super::Schedule;

/// Later than this a run was missed, and is not merely late.
pub const LATE_SECONDS: i64 = 60;

/// A clock that is set back by more was wrong before: what was covered in its future counts no more.
pub const SET_BACK_SECONDS_MAX: i64 = 3 * 3600;

/// The longest pause before a retry.
const RETRY_SECONDS_MAX: i64 = 3600;

/// How an entry wants to be run. Everything is in seconds.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its times.
    pub schedule: Schedule,
    /// Whether what was missed is made up.
    pub anacron: bool,
    /// Each run waits for up to so long, always the same for the same time.
    pub jitter: i64,
    /// From start to start, retries aside.
    pub interval_min: i64,
    /// After a failure.
    pub retries: u32,
    /// Before the first retry; doubles from one to the next.
    pub retry_delay: i64,
    /// How late a run may be before it counts as overdue; by the schedule if it is not set.
    pub grace: Option<i64>,
    /// Makes the jitter of entries differ.
    pub seed: u64,
}

/// What has been of an entry. All times are unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When it was first met.
    pub first_seen: i64,
    /// All times of the schedule up to here have had their run; `None`: none has been yet, and the first is due at once.
    pub covered: Option<i64>,
    /// Start of the last run.
    pub started: Option<i64>,
    /// End of the last run.
    pub ended: Option<i64>,
    /// Start of the last run that succeeded.
    pub succeeded: Option<i64>,
    /// When the schedule was changed last: what is due counts from then on.
    #[serde(default)]
    pub rescheduled: Option<i64>,
    /// How often the run that covers what is covered has failed.
    pub failed: u32,
    /// What was covered before the run that is under way.
    pub under_way: Option<UnderWay>,
}

/// What a run found, should it not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// What was covered.
    pub covered: Option<i64>,
    /// How often it had failed.
    pub failed: u32,
    /// When the run before began.
    pub started: Option<i64>,
}

/// The next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// When it should start.
    pub at: i64,
    /// The time of the schedule that it is for.
    pub time: i64,
    /// Whether it repeats one that failed.
    pub is_retry: bool,
}

impl Progress {
    /// Of an entry that is met for the first time: cron's waits for its time, `@every` begins at once.
    pub fn new(schedule: &Schedule, now: i64) -> Self {
        let covered = match schedule {
            Schedule::Every(_) => None,
            Schedule::Clock(_) => Some(now),
        };
        let (started, ended, succeeded, rescheduled, under_way) = (None, None, None, None, None);
        Self { first_seen: now, covered, started, ended, succeeded, rescheduled, failed: 0, under_way }
    }

    /// A run starts: it covers everything up to now; a retry only what the first try covered.
    pub fn begin(&mut self, now: i64, is_retry: bool) {
        self.under_way = Some(UnderWay { covered: self.covered, failed: self.failed, started: self.started });
        self.started = Some(now);
        if !is_retry {
            self.covered = Some(self.covered.map_or(now, |covered| covered.max(now)));
            self.failed = 0;
        }
    }

    /// It has ended.
    pub fn end(&mut self, now: i64, is_success: bool) {
        self.under_way = None;
        self.ended = Some(now);
        match is_success {
            true => (self.failed, self.succeeded) = (0, self.started),
            false => self.failed = self.failed.saturating_add(1),
        }
    }

    /// It was cut off, as by the end of the scheduler. With anacron it is due again.
    pub fn cut_off(&mut self, now: i64, anacron: bool) {
        let Some(before) = self.under_way.take() else { return };
        self.ended = Some(now);
        if anacron {
            (self.covered, self.failed, self.started) = (before.covered, before.failed, before.started);
        } else {
            self.failed = 0;
        }
    }

    /// The user wrote another schedule: it counts from now on.
    pub fn reschedule(&mut self, now: i64) {
        self.covered = Some(self.covered.map_or(now, |covered| covered.max(now)));
        self.rescheduled = Some(now);
        self.failed = 0;
    }

    /// The clock was set back, now that it shows this. By a little: what was covered stays so.
    pub fn set_back(&mut self, now: i64) {
        if self.covered.is_some_and(|covered| covered > now.saturating_add(SET_BACK_SECONDS_MAX)) {
            self.covered = Some(now);
        }
        let times = [&mut self.started, &mut self.ended, &mut self.succeeded, &mut self.rescheduled];
        for time in times.into_iter().flatten() {
            *time = (*time).min(now);
        }
        self.first_seen = self.first_seen.min(now);
    }
}

impl Policy {
    /// The next run; `None` where none ever comes.
    pub fn next(&self, progress: &Progress) -> Option<Next> {
        let time = match progress.covered {
            None => Some(progress.first_seen),
            Some(covered) => self.schedule.after(covered),
        };
        let regular = time.map(|time| {
            let earliest = progress.started.map_or(i64::MIN, |started| started.saturating_add(self.interval_min));
            Next { at: time.saturating_add(self.jitter_of(time)).max(earliest), time, is_retry: false }
        });
        match (self.retry(progress), regular) {
            (Some(retry), Some(regular)) if regular.at <= retry.at => Some(regular),
            (retry, regular) => retry.or(regular),
        }
    }

    fn retry(&self, progress: &Progress) -> Option<Next> {
        if progress.failed == 0 || progress.failed > self.retries {
            return None;
        }
        let doubled = self.retry_delay.saturating_mul(1 << (progress.failed - 1).min(20));
        let at = progress.ended?.saturating_add(doubled.clamp(0, RETRY_SECONDS_MAX.max(self.retry_delay)));
        Some(Next { at, time: progress.covered?, is_retry: true })
    }

    /// Whether a run that failed now is repeated before its turn comes again.
    pub fn will_retry(&self, progress: &Progress) -> bool {
        self.next(progress).is_some_and(|next| next.is_retry)
    }

    /// Times of the schedule that a run at `now` covers, at most `max`.
    pub fn times_due(&self, progress: &Progress, now: i64, max: usize) -> usize {
        let first = match progress.covered {
            None => Some(progress.first_seen),
            Some(covered) => self.schedule.after(covered),
        };
        std::iter::successors(first, |time| self.schedule.after(*time))
            .take_while(|time| *time <= now)
            .take(max)
            .count()
    }

    /// The machine slept or was off, or its clock was set forward. Without anacron what was missed is dropped; gives the
    /// first time of it.
    pub fn drop_missed(&self, progress: &mut Progress, now: i64) -> Option<i64> {
        let missed = self.schedule.after(progress.covered?)?;
        let is_missed = missed < now.saturating_sub(LATE_SECONDS.saturating_add(self.jitter));
        if self.anacron || !is_missed {
            return None;
        }
        progress.covered = Some(now);
        Some(missed)
    }

    /// By when the next success must have come, before the entry is overdue. From the last success, or from when the entry
    /// was met.
    pub fn due(&self, progress: &Progress) -> Option<i64> {
        let since = progress.succeeded.unwrap_or(progress.first_seen).max(progress.rescheduled.unwrap_or(i64::MIN));
        let time = self.schedule.after(since)?.max(since.saturating_add(self.interval_min));
        Some(time.saturating_add(self.jitter).saturating_add(self.grace(since)))
    }

    /// How old the last success may get before the entry is overdue.
    pub fn age_max(&self, now: i64) -> i64 {
        let gap = self.schedule.gap_after(now).max(self.interval_min);
        gap.saturating_add(self.jitter).saturating_add(self.grace(now))
    }

    /// What was set, else half the time between two runs, but no less than a minute and no more than twelve hours.
    fn grace(&self, since: i64) -> i64 {
        self.grace.unwrap_or_else(|| (self.schedule.gap_after(since) / 2).clamp(60, 12 * 3600))
    }

    /// FNV-1a of the entry and the time: looks like chance, and is the same after a restart.
    fn jitter_of(&self, time: i64) -> i64 {
        let bytes = self.seed.to_le_bytes().into_iter().chain(time.to_le_bytes());
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let span = u64::try_from(self.jitter).unwrap_or(0).saturating_add(1);
        i64::try_from((hash ^ (hash >> 32)) % span).unwrap_or(0)
    }
}
