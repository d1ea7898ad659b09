//! When what is due. Nothing here does anything or asks for the time: a schedule, what has been, and a time go in.
//!
//! Promises, each with a test of its name:
//! 1. **No due run is lost.** Every time of a schedule is covered by a run that starts at it or later; many that were missed,
//!    because the machine slept or was off or the run before took so long, are covered by one. Without anacron, what was
//!    missed by more than [`progress::LATE_SECONDS`] is dropped, and that is told.
//! 2. **None is doubled.** Every run but a retry covers a time that none before it covered; a clock that is set back by a
//!    little repeats nothing.
//! 3. **A day has one daily run**, whatever the zone does to its clocks: a time that the clock skips counts as the first one
//!    behind the gap, a time that it shows twice as the first.

pub mod duration;
pub mod progress;
pub mod schedule;
pub mod step;
#[cfg(test)]
mod tests;

pub use progress::{Next, Policy, Progress};
pub use schedule::Schedule;
