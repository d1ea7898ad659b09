//! How fast requests may go out: a store that asks for fewer slows all of them down, and retries come out of a budget.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The first wait before another attempt; it doubles with each.
const BACKOFF: Duration = Duration::from_millis(100);
/// The longest wait before another attempt.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The first gap between requests once the store asks for fewer; it doubles each time it asks again.
const GAP: Duration = Duration::from_millis(20);
/// The longest gap.
const GAP_MAX: Duration = Duration::from_secs(2);
/// A gap below this is none.
const GAP_MIN: Duration = Duration::from_millis(1);

/// Attempts beyond the first that may be made before some must succeed: enough for an outage in which every request that
/// may run at once tries for as long as it may, and no more.
const BUDGET_MAX: u32 = 500;

/// Shared by all requests of a leaf.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    gap: Duration,
    /// When the next request may go out.
    next: Instant,
    budget: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { state: Mutex::new(State { gap: Duration::ZERO, next: Instant::now(), budget: BUDGET_MAX }) }
    }
}

impl Pace {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this request's turn.
    pub(super) async fn turn(&self) {
        let at = {
            let mut state = self.state();
            let at = state.next.max(Instant::now());
            state.next = at + state.gap;
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// The store answered: each answer shortens the gap by a tenth, and gives one attempt back.
    pub(super) fn went_well(&self) {
        let mut state = self.state();
        state.gap = state.gap.mul_f64(0.9);
        if state.gap < GAP_MIN {
            state.gap = Duration::ZERO;
        }
        state.budget = (state.budget + 1).min(BUDGET_MAX);
    }

    /// The store asked for fewer requests.
    pub(super) fn slow_down(&self) {
        let mut state = self.state();
        state.gap = (state.gap * 2).clamp(GAP, GAP_MAX);
    }

    /// Takes one attempt from the budget, if there is one.
    pub(super) fn may_retry(&self) -> bool {
        let mut state = self.state();
        let left = state.budget.checked_sub(1);
        state.budget = left.unwrap_or(0);
        left.is_some()
    }
}

/// How long to wait before attempt `number` (the first retry is 1): anything up to a time that doubles, so that many who
/// failed together do not come back together.
pub(super) fn backoff(number: u32) -> Duration {
    let longest = BACKOFF.saturating_mul(1 << number.saturating_sub(1).min(10)).min(BACKOFF_MAX);
    // A hasher's random keys are chance enough here.
    let chance = RandomState::new().hash_one(number) as f64 / u64::MAX as f64;
    longest / 4 + longest.mul_f64(0.75 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_asks_for_fewer_requests_slows_all_down_until_it_answers_again() {
        let pace = Pace::default();
        for _ in 0..3 {
            pace.slow_down();
        }
        let start = Instant::now();
        for _ in 0..5 {
            pace.turn().await;
        }
        assert!(start.elapsed() >= 4 * 4 * GAP, "{:?}", start.elapsed());
        for _ in 0..20 {
            pace.slow_down();
        }
        assert_eq!(pace.state().gap, GAP_MAX);
        for _ in 0..100 {
            pace.went_well();
        }
        assert_eq!(pace.state().gap, Duration::ZERO);
    }

    #[tokio::test]
    async fn retries_end_with_the_budget_and_begin_again_with_success() {
        let pace = Pace::default();
        assert_eq!((0..2 * BUDGET_MAX).filter(|_| pace.may_retry()).count(), BUDGET_MAX as usize);
        pace.went_well();
        assert!(pace.may_retry());
        assert!(!pace.may_retry());
    }

    #[test]
    fn waits_double_differ_and_end() {
        for number in 1..40 {
            let wait = backoff(number);
            assert!(wait >= BACKOFF / 4 && wait <= BACKOFF_MAX, "{number}: {wait:?}");
        }
        let waits: std::collections::HashSet<Duration> = (0..20).map(|_| backoff(5)).collect();
        assert!(waits.len() > 10);
    }
}
