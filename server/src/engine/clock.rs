//! The time, passed in, so that a test can set it.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Unix seconds.
    fn now(&self) -> i64;

    /// Unix microseconds, as exactly as the clock knows them.
    fn now_micros(&self) -> i64 {
        self.now().saturating_mul(1_000_000)
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> i64 {
        self.now_micros().div_euclid(1_000_000)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}
