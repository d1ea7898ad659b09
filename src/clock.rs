//! Time as people write it. Nothing here asks for the time or the zone: both are passed in.

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, DateTime},
    tz::{Offset, TimeZone},
};
use thiserror::Error;

/// The text is not a time.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{text:?} is not a time: write 2014, 2014-05, 2014-05-12, 2014-05-12T18:36, 2014-05-12T18:36:07+02:00, now, today, yesterday, 2h, 3d or 1w"
)]
pub struct TimeError {
    /// What was written.
    pub text: String,
}

/// Reads a time and gives unix seconds. What is written less exactly than a second means the last second of that span:
/// a date the end of its day, a month the end of that month. `2h`, `3d`, `1w` count back from `now`; `now` is the
/// present in unix seconds, `zone` counts where the text names none.
pub fn parse_time(text: &str, now: i64, zone: &TimeZone) -> Result<i64, TimeError> {
    parse(text, now, zone).ok_or_else(|| TimeError { text: text.to_owned() })
}

fn parse(text: &str, now: i64, zone: &TimeZone) -> Option<i64> {
    match text {
        "now" => return Some(now),
        "today" => return end(local_date(now, zone)?.tomorrow().ok()?.at(0, 0, 0, 0), zone),
        "yesterday" => return end(local_date(now, zone)?.at(0, 0, 0, 0), zone),
        _ => {}
    }
    if let Some(ago) = parse_ago(text) {
        return now.checked_sub(ago);
    }
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let Some(time) = time else { return parse_date(date, zone) };
    let (time, zone) = split_zone(time, zone)?;
    let date = parse_whole_date(date)?;
    let parts: Vec<i8> = time.split(':').map(|part| digits(part, 2)).collect::<Option<_>>()?;
    match parts[..] {
        [h] => end(checked_time(date, h, 0, 0)?.checked_add(1.hour()).ok()?, &zone),
        [h, m] => end(checked_time(date, h, m, 0)?.checked_add(1.minute()).ok()?, &zone),
        [h, m, s] => seconds(checked_time(date, h, m, s)?, &zone),
        _ => None,
    }
}

/// `2h` and the like, in seconds.
fn parse_ago(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let count = &text[..text.len() - unit.len_utf8()];
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    count.parse::<i64>().ok()?.checked_mul(seconds)
}

fn parse_date(text: &str, zone: &TimeZone) -> Option<i64> {
    let parts: Vec<&str> = text.split('-').collect();
    let next = match parts[..] {
        [year] => Date::new(digits(year, 4)?, 1, 1).ok()?.checked_add(1.year()),
        [year, month] => Date::new(digits(year, 4)?, digits(month, 2)?, 1).ok()?.checked_add(1.month()),
        _ => parse_whole_date(text)?.tomorrow(),
    };
    end(next.ok()?.at(0, 0, 0, 0), zone)
}

fn parse_whole_date(text: &str) -> Option<Date> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    Date::new(digits(year, 4)?, digits(month, 2)?, digits(day, 2)?).ok()
}

/// Cuts `Z` or `+02:00` from the end of a time of day.
fn split_zone<'a>(time: &'a str, zone: &TimeZone) -> Option<(&'a str, TimeZone)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, TimeZone::UTC));
    }
    let Some(sign) = time.find(['+', '-']) else { return Some((time, zone.clone())) };
    let (hours, minutes) = time[sign + 1..].split_once(':')?;
    let (hours, minutes): (i32, i32) = (digits(hours, 2)?, digits(minutes, 2)?);
    if minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    let seconds = if time[sign..].starts_with('-') { -seconds } else { seconds };
    Some((&time[..sign], TimeZone::fixed(Offset::from_seconds(seconds).ok()?)))
}

fn digits<T: std::str::FromStr>(text: &str, len: usize) -> Option<T> {
    (text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn checked_time(date: Date, hour: i8, minute: i8, second: i8) -> Option<DateTime> {
    Some(DateTime::from_parts(date, jiff::civil::Time::new(hour, minute, second, 0).ok()?))
}

fn local_date(now: i64, zone: &TimeZone) -> Option<Date> {
    Some(Timestamp::from_second(now).ok()?.to_zoned(zone.clone()).date())
}

fn seconds(time: DateTime, zone: &TimeZone) -> Option<i64> {
    Some(time.to_zoned(zone.clone()).ok()?.timestamp().as_second())
}

/// The last second before `next`.
fn end(next: DateTime, zone: &TimeZone) -> Option<i64> {
    let next = next.to_zoned(zone.clone()).ok()?.timestamp();
    Some(next.checked_sub(SignedDuration::from_secs(1)).ok()?.as_second())
}

/// Unix seconds in RFC 3339 with the zone's offset, e.g. `2014-05-11T11:01:07+02:00`.
pub fn format_time(seconds: i64, zone: &TimeZone) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        Err(_) => format!("@{seconds}"),
    }
}
