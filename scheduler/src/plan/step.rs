//! Steps of the clock on the wall: a machine that slept, or a clock that was set.

/// Smaller differences between the two clocks are their own.
const STEP_MILLIS_MIN: i64 = 5000;

/// A moment by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Unix time.
    pub wall_millis: i64,
    /// How long the machine was awake since the program started.
    pub awake_millis: i64,
}

/// What became of the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It went on.
    None,
    /// It is further than it should be by so many seconds.
    Forward(i64),
    /// It is behind by so many seconds.
    Back(i64),
}

/// Compares both clocks.
pub const fn between(before: Moment, now: Moment) -> Step {
    let wall = now.wall_millis.saturating_sub(before.wall_millis);
    let step = wall.saturating_sub(now.awake_millis.saturating_sub(before.awake_millis));
    match step {
        STEP_MILLIS_MIN.. => Step::Forward(step / 1000),
        _ if step <= -STEP_MILLIS_MIN => Step::Back(-step / 1000),
        _ => Step::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_and_a_clock_that_is_set_are_told_from_time_that_passes() {
        let moment = |wall_millis, awake_millis| Moment { wall_millis, awake_millis };
        for (wall, awake, step) in [
            (1000, 1000, Step::None),
            (3_600_000, 3_600_000, Step::None),
            (5999, 1000, Step::None),
            (6000, 1000, Step::Forward(5)),
            (3_601_000, 1000, Step::Forward(3600)),
            (-3_599_000, 1000, Step::Back(3600)),
            (0, 4999, Step::None),
            (0, 5000, Step::Back(5)),
        ] {
            assert_eq!(between(moment(50_000, 7000), moment(50_000 + wall, 7000 + awake)), step, "{wall} {awake}");
        }
    }
}
