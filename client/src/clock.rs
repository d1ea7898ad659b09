//! The one place of the client that asks for the time and the zone.

use std::time::{SystemTime, UNIX_EPOCH};

use datadb::meta::Timestamp;
use jiff::tz::TimeZone;

/// The present, with nanoseconds.
#[allow(clippy::disallowed_methods, reason = "this is the place that the ban names")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

/// The zone that this machine's users think in.
pub fn zone() -> TimeZone {
    TimeZone::system()
}
