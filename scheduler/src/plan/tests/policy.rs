//! Jitter, intervals, retries, changes of the schedule, and when an entry is overdue.

use proptest::prelude::*;

use super::{DAY, START, policy};
use crate::plan::{Next, Policy, Progress, Schedule, progress::SET_BACK_SECONDS_MAX};

fn at(policy: &Policy, progress: &Progress) -> i64 {
    policy.next(progress).unwrap().at
}

#[test]
fn every_begins_at_once_and_then_counts_from_start_to_start() {
    let policy = policy("@every 15m", "UTC0");
    let mut progress = Progress::new(&policy.schedule, START);
    assert_eq!(at(&policy, &progress), START);
    progress.begin(START + 1, false);
    progress.end(START + 100, true);
    assert_eq!(at(&policy, &progress), START + 901);
    progress.begin(START + 901, false);
    // A run that outlasts its interval delays the next.
    progress.end(START + 3000, true);
    assert_eq!(at(&policy, &progress), START + 1801);
    progress.begin(START + 3000, false);
    progress.end(START + 3010, true);
    assert_eq!(at(&policy, &progress), START + 3900);
}

#[test]
fn retries_back_off_and_end_and_a_regular_time_comes_before_them() {
    let policy = Policy { retries: 3, retry_delay: 60, ..policy("@daily", "UTC0") };
    let mut progress = Progress::new(&policy.schedule, START);
    let mut now = at(&policy, &progress);
    assert_eq!(now, START + DAY);
    for pause in [60, 120, 240] {
        progress.begin(now, pause > 60);
        progress.end(now + 5, false);
        assert_eq!(
            policy.next(&progress),
            Some(Next { at: now + 5 + pause, time: progress.covered.unwrap(), is_retry: true })
        );
        assert!(policy.will_retry(&progress));
        now += 5 + pause;
    }
    progress.begin(now, true);
    progress.end(now + 5, false);
    assert!(!policy.will_retry(&progress), "three retries and no more");
    assert_eq!(at(&policy, &progress), START + 2 * DAY);
    // The next turn has all its retries again.
    progress.begin(START + 2 * DAY, false);
    progress.end(START + 2 * DAY + 1, false);
    assert!(policy.will_retry(&progress));
    let often = Policy { retries: 3, retry_delay: 3600, ..super::policy("@every 1m", "UTC0") };
    let mut progress = Progress::new(&often.schedule, START);
    progress.begin(START, false);
    progress.end(START + 1, false);
    assert_eq!(often.next(&progress), Some(Next { at: START + 60, time: START + 60, is_retry: false }));
}

#[test]
fn a_run_that_was_cut_off_is_due_again_with_anacron_alone() {
    for anacron in [true, false] {
        let policy = Policy { anacron, ..policy("@daily", "UTC0") };
        let mut progress = Progress::new(&policy.schedule, START);
        progress.begin(START + DAY + 3, false);
        progress.cut_off(START + DAY + 500, anacron);
        assert_eq!(at(&policy, &progress), START + if anacron { DAY } else { 2 * DAY });
    }
}

#[test]
fn a_new_schedule_counts_from_now_on_and_runs_nothing_at_once() {
    let (daily, hourly) = (policy("@daily", "UTC0"), policy("@hourly", "UTC0"));
    let mut progress = Progress::new(&daily.schedule, START);
    progress.begin(START + DAY, false);
    progress.end(START + DAY + 60, true);
    let now = START + DAY + 15 * 3600 + 10;
    progress.reschedule(now);
    assert_eq!(at(&hourly, &progress), START + DAY + 16 * 3600);
    assert!(hourly.due(&progress).is_some_and(|due| due > now), "and is not overdue by what was not said then");
    let every = policy("@every 10m", "UTC0");
    assert_eq!(at(&every, &progress), now + 600);
}

#[test]
fn a_clock_that_was_wrong_by_years_does_not_stop_the_schedule() {
    let policy = policy("@daily", "UTC0");
    let mut progress = Progress::new(&policy.schedule, START + 20 * 365 * DAY);
    progress.set_back(START);
    assert_eq!(at(&policy, &progress), START + DAY);
    // A little back: what has been is not repeated.
    let mut progress = Progress::new(&policy.schedule, START);
    progress.begin(START + DAY, false);
    progress.end(START + DAY + 1, true);
    progress.set_back(START + DAY - SET_BACK_SECONDS_MAX);
    assert_eq!(at(&policy, &progress), START + 2 * DAY);
}

#[test]
fn an_entry_is_overdue_a_while_after_its_next_success_should_have_come() {
    let daily = policy("@daily", "UTC0");
    let mut progress = Progress::new(&daily.schedule, START + 100);
    assert_eq!(daily.due(&progress), Some(START + DAY + DAY / 2), "half the time between runs is grace");
    progress.begin(START + DAY, false);
    progress.end(START + DAY + 60, true);
    assert_eq!(daily.due(&progress), Some(START + 2 * DAY + DAY / 2));
    progress.begin(START + 2 * DAY, false);
    progress.end(START + 2 * DAY + 60, false);
    assert_eq!(daily.due(&progress), Some(START + 2 * DAY + DAY / 2), "a failure is no success");
    assert_eq!(daily.age_max(START), DAY + DAY / 2);
    let strict = Policy { grace: Some(0), jitter: 600, ..daily };
    assert_eq!(strict.due(&progress), Some(START + 2 * DAY + 600));
    let often = policy("@every 2s", "UTC0");
    assert_eq!(often.due(&Progress::new(&often.schedule, START)), Some(START + 62), "a minute is the least grace");
    let rare = policy("@yearly", "UTC0");
    assert_eq!(rare.due(&Progress::new(&rare.schedule, START)), Some(START + 366 * DAY + DAY / 2));
}

proptest! {
    #[test]
    fn jitter_is_within_its_span_and_the_same_each_time(seed: u64, jitter in 0i64..7200, day in 0i64..3000) {
        let policy = Policy { jitter, seed, ..policy("@daily", "UTC0") };
        let progress = Progress::new(&policy.schedule, START + day * DAY);
        let next = policy.next(&progress).unwrap();
        prop_assert_eq!(Some(next), policy.clone().next(&progress));
        prop_assert!((0..=jitter).contains(&(next.at - next.time)));
    }

    #[test]
    fn starts_are_at_least_the_smallest_interval_apart(interval_min in 0i64..4000, ran in 0i64..5000) {
        let policy = Policy { interval_min, ..policy("*/10 * * * *", "UTC0") };
        let mut progress = Progress::new(&policy.schedule, START);
        let mut before = None;
        for _ in 0..50 {
            let now = at(&policy, &progress).max(progress.ended.unwrap_or(START));
            prop_assert!(before.is_none_or(|before| now - before >= interval_min));
            progress.begin(now, false);
            progress.end(now + ran, true);
            before = Some(now);
        }
    }
}

#[test]
fn jitter_spreads_entries() {
    let schedule = policy("@daily", "UTC0");
    let mut seen: Vec<i64> = (0..200)
        .map(|seed| at(&Policy { jitter: 3600, seed, ..schedule.clone() }, &Progress::new(&schedule.schedule, START)))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 150, "{} of 200", seen.len());
    assert!(seen[0] < START + DAY + 600 && seen[seen.len() - 1] > START + DAY + 3000, "{seen:?}");
    assert!(matches!(schedule.schedule, Schedule::Clock(_)));
}
