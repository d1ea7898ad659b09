//! Years of simulated time. No clock, no zone of the machine: the zones' rules stand here.

mod machine;
mod policy;
mod times;

use jiff::tz::TimeZone;

use super::{Policy, Schedule};

/// Zones by their rules: an hour at two and at three, both hemispheres, and one that moves by half an hour.
pub const ZONES: [(&str, &str); 5] = [
    ("Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"),
    ("New York", "EST5EDT,M3.2.0,M11.1.0"),
    ("Sydney", "AEST-10AEDT,M10.1.0,M4.1.0/3"),
    ("Lord Howe", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"),
    ("UTC", "UTC0"),
];

/// 2024-01-01T00:00:00Z.
pub const START: i64 = 1_704_067_200;

/// A day that no zone makes longer or shorter.
pub const DAY: i64 = 86_400;

pub fn zone(rules: &str) -> TimeZone {
    TimeZone::posix(rules).unwrap()
}

pub fn policy(text: &str, rules: &str) -> Policy {
    let schedule = Schedule::parse(text, &zone(rules)).unwrap();
    Policy { schedule, anacron: true, jitter: 0, interval_min: 0, retries: 0, retry_delay: 60, grace: None, seed: 7 }
}
