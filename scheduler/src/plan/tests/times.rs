//! The times of schedules: against an obvious matcher, and over the days on which zones change their clocks.

use std::collections::BTreeMap;

use jiff::{
    Timestamp, Zoned,
    civil::{Date, DateTime, Weekday},
    tz::TimeZone,
};
use proptest::prelude::*;

use super::{DAY, START, ZONES, zone};
use crate::plan::{Schedule, schedule::ScheduleError};

const YEARS: i64 = 6;

fn local(second: i64, zone: &TimeZone) -> Zoned {
    Timestamp::from_second(second).unwrap().to_zoned(zone.clone())
}

fn parse(text: &str, rules: &str) -> Schedule {
    Schedule::parse(text, &zone(rules)).unwrap()
}

/// All times of six years.
fn times(schedule: &Schedule) -> impl Iterator<Item = i64> + '_ {
    std::iter::successors(schedule.after(START), |time| schedule.after(*time))
        .take_while(|t| *t < START + YEARS * 366 * DAY)
}

fn by_day(schedule: &Schedule, zone: &TimeZone) -> BTreeMap<Date, Vec<DateTime>> {
    let mut days = BTreeMap::<Date, Vec<DateTime>>::new();
    for time in times(schedule) {
        let shown = local(time, zone).datetime();
        days.entry(shown.date()).or_default().push(shown);
    }
    days
}

#[test]
fn a_day_has_one_daily_run_whatever_the_zone_does_to_its_clocks() {
    for (name, rules) in ZONES {
        let zone = zone(rules);
        for text in ["@daily", "30 2 * * *", "0 2 * * *", "59 1 * * *", "15 3 * * *", "59 23 * * *", "0 30 2 * * *"] {
            let days = by_day(&parse(text, rules), &zone);
            let (first, last) = (*days.keys().next().unwrap(), *days.keys().next_back().unwrap());
            let span = first.until(last).unwrap().get_days() as usize + 1;
            assert_eq!(days.len(), span, "{name}: {text} leaves out a day");
            for (day, runs) in &days {
                assert_eq!(runs.len(), 1, "{name}: {text} on {day}: {runs:?}");
            }
        }
    }
}

#[test]
fn several_named_times_of_a_day_are_that_many_runs() {
    for (name, rules) in ZONES {
        let zone = zone(rules);
        for (text, count) in [("30 2,14 * * *", 2), ("15 1,2,3 * * *", 3), ("0 0-3 * * *", 4)] {
            // The first and the last day are not whole.
            for (day, runs) in by_day(&parse(text, rules), &zone).iter().skip(1).take(365 * YEARS as usize) {
                // What the clock skips and what comes right behind it may be one run.
                let is_merged = runs.len() == count - 1 && text == "0 0-3 * * *" && has_gap(*day, &zone);
                assert!(runs.len() == count || is_merged, "{name}: {text} on {day}: {runs:?}");
            }
        }
    }
}

fn has_gap(day: Date, zone: &TimeZone) -> bool {
    day.to_zoned(zone.clone()).unwrap().end_of_day().unwrap().offset() > day.to_zoned(zone.clone()).unwrap().offset()
}

#[test]
fn a_time_that_the_clock_skips_comes_behind_the_gap_and_one_that_it_shows_twice_comes_first() {
    let at = |rules: &str, text: &str, after: &str| {
        let zone = zone(rules);
        let after: Timestamp = after.parse().unwrap();
        local(parse(text, rules).after(after.as_second()).unwrap(), &zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    };
    let berlin = ZONES[0].1;
    assert_eq!(at(berlin, "30 2 * * *", "2025-03-29T12:00:00Z"), "2025-03-30T03:00:00+02:00");
    assert_eq!(at(berlin, "30 2 * * *", "2025-03-30T01:00:00Z"), "2025-03-31T02:30:00+02:00");
    assert_eq!(at(berlin, "30 2 * * *", "2025-10-25T12:00:00Z"), "2025-10-26T02:30:00+02:00");
    assert_eq!(at(berlin, "30 2 * * *", "2025-10-26T00:30:00Z"), "2025-10-27T02:30:00+01:00");
    assert_eq!(at(berlin, "30 2 * * *", "2025-10-26T00:59:00Z"), "2025-10-27T02:30:00+01:00");
    let new_york = ZONES[1].1;
    assert_eq!(at(new_york, "15 2 * * *", "2025-03-08T12:00:00Z"), "2025-03-09T03:00:00-04:00");
    assert_eq!(at(new_york, "15 1 * * *", "2025-11-02T04:00:00Z"), "2025-11-02T01:15:00-04:00");
    assert_eq!(at(new_york, "15 1 * * *", "2025-11-02T05:15:00Z"), "2025-11-03T01:15:00-05:00");
    let lord_howe = ZONES[3].1;
    assert_eq!(at(lord_howe, "15 2 * * *", "2025-10-04T12:00:00Z"), "2025-10-05T02:30:00+11:00");
    assert_eq!(at(lord_howe, "45 1 * * *", "2025-04-05T12:00:00Z"), "2025-04-06T01:45:00+11:00");
}

#[test]
fn what_goes_on_through_the_hours_goes_on_through_all_of_them() {
    for (name, rules) in ZONES {
        for (text, step) in [("@hourly", 3600), ("*/15 * * * *", 900), ("0 */10 * * * *", 600)] {
            let schedule = parse(text, rules);
            let all: Vec<i64> = times(&schedule).take(366 * 24 * 4).collect();
            for pair in all.windows(2) {
                let apart = pair[1] - pair[0];
                let is_half_hour = name == "Lord Howe" && text == "@hourly" && (apart == 5400 || apart == 1800);
                assert!(apart == step || is_half_hour, "{name}: {text}: {} after {}", apart, pair[0]);
            }
        }
    }
}

#[test]
fn a_leap_day_comes_when_there_is_one() {
    let schedule = parse("0 12 29 2 *", "UTC0");
    let mut years = Vec::new();
    let mut second = START;
    while years.len() < 20 {
        second = schedule.after(second).unwrap();
        years.push(local(second, &TimeZone::UTC).year());
    }
    let leap: Vec<i16> = (2024..).step_by(4).filter(|year| *year != 2100).take(20).collect();
    assert_eq!(years, leap);
}

#[test]
fn words_and_intervals_are_what_they_say() {
    let next = |text: &str| local(parse(text, "UTC0").after(START).unwrap(), &TimeZone::UTC).datetime().to_string();
    assert_eq!(next("@hourly"), "2024-01-01T01:00:00");
    assert_eq!(next("@daily"), "2024-01-02T00:00:00");
    assert_eq!(next("@Midnight"), "2024-01-02T00:00:00");
    assert_eq!(next("@weekly"), "2024-01-07T00:00:00");
    assert_eq!(next("@monthly"), "2024-02-01T00:00:00");
    assert_eq!(next("@yearly"), "2025-01-01T00:00:00");
    assert_eq!(next("@every 15m"), "2024-01-01T00:15:00");
    assert_eq!(next("@every 1h30m"), "2024-01-01T01:30:00");
    assert_eq!(next("30 */5 * * * *"), "2024-01-01T00:00:30");
    assert_eq!(next("0 9 * * MON-FRI"), "2024-01-01T09:00:00");
}

#[test]
fn what_is_no_schedule_is_told_apart_from_what_never_comes() {
    for text in [
        "",
        "@often",
        "@every",
        "@every 0s",
        "@every 5x",
        "* * * *",
        "* * * * * * *",
        "61 * * * *",
        "a b c d e",
        "@reboot",
    ] {
        let error = Schedule::parse(text, &TimeZone::UTC).unwrap_err();
        assert!(matches!(error, ScheduleError::Form { .. }), "{text}: {error}");
    }
    let error = Schedule::parse("0 0 30 2 *", &TimeZone::UTC).unwrap_err();
    assert!(matches!(error, ScheduleError::Never { .. }), "{error}");
}

#[test]
fn the_longest_gap_is_the_weekend() {
    assert_eq!(parse("0 9 * * 1-5", "UTC0").gap_after(START), 3 * DAY);
    assert_eq!(parse("@every 15m", "UTC0").gap_after(START), 900);
    assert_eq!(parse("@daily", "UTC0").gap_after(START + 12345), DAY);
}

/// A field as a list of values, or every one.
type Field = Option<Vec<u32>>;

fn text(field: &Field) -> String {
    let list = |values: &Vec<u32>| values.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    field.as_ref().map_or_else(|| "*".to_owned(), list)
}

fn field(low: u32, high: u32) -> impl Strategy<Value = Field> {
    let list = prop::collection::btree_set(low..=high, 1..4).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    prop::option::of(list)
}

/// What cron has always meant: day of the month or day of the week, where both are given.
fn matches(fields: &[Field; 5], at: DateTime) -> bool {
    let is_in = |field: &Field, value: u32| field.as_ref().is_none_or(|list| list.contains(&value));
    let dow = at.weekday().since(Weekday::Sunday) as u32;
    let (is_dom, is_dow) = (is_in(&fields[2], at.day() as u32), is_in(&fields[4], dow));
    let is_day = if fields[2].is_some() && fields[4].is_some() { is_dom || is_dow } else { is_dom && is_dow };
    is_in(&fields[0], at.minute() as u32)
        && is_in(&fields[1], at.hour() as u32)
        && is_in(&fields[3], at.month() as u32)
        && is_day
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_next_time_is_the_first_minute_that_matches(
        minute in field(0, 59), hour in field(0, 23), dom in field(1, 28), month in field(1, 12), dow in field(0, 6),
        after in START..START + 3 * 365 * DAY,
    ) {
        let fields = [minute, hour, dom, month, dow];
        let words: Vec<String> = fields.iter().map(text).collect();
        let schedule = parse(&words.join(" "), "UTC0");
        let found = schedule.after(after).unwrap();
        let mut minute = after - after.rem_euclid(60) + 60;
        while !matches(&fields, local(minute, &TimeZone::UTC).datetime()) {
            minute += 60;
        }
        prop_assert_eq!(found, minute, "{}", words.join(" "));
    }
}
