//! The one place of the scheduler that asks for the time, as [`datadb_client::clock`] knows it.

use std::time::Instant;

use crate::plan::step::Moment;

/// The present in unix seconds.
pub fn now() -> i64 {
    datadb_client::clock::now().seconds
}

/// The present in unix milliseconds.
pub fn now_millis() -> i64 {
    let now = datadb_client::clock::now();
    now.seconds.saturating_mul(1000).saturating_add(i64::from(now.nanos / 1_000_000))
}

/// Both clocks: that of the wall, and the one that stands still while the machine sleeps.
pub fn moment(since: Instant) -> Moment {
    let awake = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
    Moment { wall_millis: now_millis(), awake_millis: awake }
}
