//! The time, passed in, so that a test can set it.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Unix seconds.
    fn now(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}
