//! A simulated machine that sleeps, is switched off and on, and whose clock is set, with runs of any length that fail or
//! don't: no due run is lost, none doubled.

use proptest::prelude::*;

use super::{DAY, START, ZONES, policy};
use crate::plan::{Policy, Progress, Schedule, progress::LATE_SECONDS, progress::SET_BACK_SECONDS_MAX};

/// What happens to the machine, so many seconds after what happened before.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Sleep(i64),
    Off(i64),
    Forward(i64),
    Back(i64),
}

/// A run, and what it covered.
#[derive(Clone, Debug)]
struct Made {
    start: i64,
    from: Option<i64>,
    to: i64,
    is_retry: bool,
    is_cut: bool,
}

#[derive(Debug)]
struct Machine {
    policy: Policy,
    progress: Progress,
    wall: i64,
    running_until: Option<i64>,
    made: Vec<Made>,
    /// What was dropped, without anacron: from, to.
    dropped: Vec<(i64, i64)>,
    /// When the machine could not run anything, by the clock on the wall: from, to.
    away: Vec<(i64, i64)>,
}

impl Machine {
    fn new(policy: Policy) -> Self {
        let progress = Progress::new(&policy.schedule, START);
        let (made, dropped, away) = (Vec::new(), Vec::new(), Vec::new());
        Self { policy, progress, wall: START, running_until: None, made, dropped, away }
    }

    /// Lets time pass until a moment; `runs` tells how long each run takes and whether it succeeds.
    fn pass(&mut self, until: i64, runs: &mut impl Iterator<Item = (i64, bool)>) {
        loop {
            match self.running_until {
                Some(end) if end > until => break,
                Some(end) => {
                    self.wall = self.wall.max(end);
                    self.running_until = None;
                    let (_, is_success) = runs.next().unwrap();
                    self.progress.end(self.wall, is_success);
                }
                None => {
                    let next = self.policy.next(&self.progress).unwrap();
                    if next.at > until {
                        break;
                    }
                    self.wall = self.wall.max(next.at);
                    let from = self.progress.covered;
                    self.progress.begin(self.wall, next.is_retry);
                    let to = self.progress.covered.unwrap();
                    self.made.push(Made { start: self.wall, from, to, is_retry: next.is_retry, is_cut: false });
                    let (length, _) = runs.next().unwrap();
                    self.running_until = Some(self.wall + length);
                }
            }
        }
        self.wall = self.wall.max(until);
    }

    fn wake(&mut self) {
        if self.running_until.is_none() {
            let before = self.progress.covered;
            if self.policy.drop_missed(&mut self.progress, self.wall).is_some() {
                self.dropped.push((before.unwrap(), self.wall));
            }
        }
    }

    fn suffer(&mut self, trouble: Trouble) {
        let before = self.wall;
        match trouble {
            Trouble::Sleep(seconds) | Trouble::Forward(seconds) => {
                self.wall += seconds;
                self.running_until = self.running_until.map(|end| end + seconds);
                self.away.push((before, self.wall));
                self.wake();
            }
            Trouble::Off(seconds) => {
                self.wall += seconds;
                self.away.push((before, self.wall));
                if self.running_until.take().is_some() {
                    self.made.last_mut().unwrap().is_cut = true;
                    self.progress.cut_off(self.wall, self.policy.anacron);
                }
                self.progress.set_back(self.wall);
                self.wake();
            }
            Trouble::Back(seconds) => {
                self.wall -= seconds;
                self.running_until = self.running_until.map(|end| end - seconds);
                if self.running_until.is_none() {
                    self.progress.set_back(self.wall);
                }
            }
        }
    }

    /// Runs that count: a retry is a part of the run before, and one that was cut off is as if it had not been, if it is
    /// made up.
    fn counted(&self) -> impl Iterator<Item = &Made> {
        self.made.iter().filter(|made| !(made.is_retry || made.is_cut && self.policy.anacron))
    }
}

fn trouble(back_max: i64) -> impl Strategy<Value = Trouble> {
    prop_oneof![
        4 => (1..4 * DAY).prop_map(Trouble::Sleep),
        3 => (1..20 * DAY).prop_map(Trouble::Off),
        1 => (1..2 * DAY).prop_map(Trouble::Forward),
        2 => (1..=back_max).prop_map(Trouble::Back),
    ]
}

/// What befalls a machine. However often its clock is set back, it never shows more than `back_max` less than it once did:
/// several small steps are as one large one.
fn story(back_max: i64) -> impl Strategy<Value = Vec<(i64, Trouble)>> {
    prop::collection::vec(((0..30 * DAY), trouble(back_max)), 0..60).prop_map(move |mut story| {
        let (mut wall, mut highest) = (0, 0);
        for (after, trouble) in &mut story {
            wall += *after;
            highest = highest.max(wall);
            match trouble {
                Trouble::Sleep(seconds) | Trouble::Off(seconds) | Trouble::Forward(seconds) => wall += *seconds,
                Trouble::Back(seconds) => {
                    *seconds = (*seconds).min(back_max - (highest - wall));
                    wall -= *seconds;
                }
            }
            highest = highest.max(wall);
        }
        story
    })
}

#[test]
fn small_steps_back_that_come_to_more_than_a_little_are_as_one_large_one() {
    let schedule = policy("@daily", "UTC0").schedule;
    let mut progress = Progress::new(&schedule, START);
    progress.begin(START + DAY, false);
    progress.end(START + DAY, true);
    progress.set_back(START + DAY - SET_BACK_SECONDS_MAX);
    assert_eq!(progress.covered, Some(START + DAY), "by a little: what was covered stays so");
    progress.set_back(START + DAY - SET_BACK_SECONDS_MAX - 1);
    assert_eq!(progress.covered, Some(START + DAY - SET_BACK_SECONDS_MAX - 1));
}

fn schedules() -> impl Strategy<Value = (&'static str, &'static str)> {
    let texts =
        ["@daily", "30 2 * * *", "0 9 * * 1-5", "0 */6 * * *", "15 1,13 * * *", "@weekly", "0 0 29 2 *", "7 * * * *"];
    (prop::sample::select(texts.to_vec()), prop::sample::select(ZONES.to_vec())).prop_map(|(text, zone)| (text, zone.1))
}

/// Runs of an entry, for ever: their lengths and ends, again and again.
fn runs(pattern: Vec<(i64, bool)>) -> impl Iterator<Item = (i64, bool)> {
    pattern.into_iter().cycle()
}

fn live(policy: Policy, story: &[(i64, Trouble)], pattern: Vec<(i64, bool)>) -> Machine {
    let mut machine = Machine::new(policy);
    let mut runs = runs(pattern);
    for (after, trouble) in story {
        machine.pass(machine.wall + after, &mut runs);
        machine.suffer(*trouble);
    }
    // A while without trouble, in which everything that is due can come.
    machine.pass(machine.wall + 10 * DAY, &mut runs);
    machine
}

/// Times of a schedule behind one moment and up to another.
fn between(schedule: &Schedule, from: i64, to: i64) -> Vec<i64> {
    std::iter::successors(schedule.after(from), |time| schedule.after(*time)).take_while(|time| *time <= to).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_due_run_is_lost_and_none_doubled_with_anacron(
        (text, rules) in schedules(), story in story(SET_BACK_SECONDS_MAX - 60), jitter in 0i64..1800, retries in 0u32..4,
        pattern in prop::collection::vec((0i64..50_000, any::<bool>()), 1..20),
    ) {
        let machine = live(Policy { jitter, retries, ..policy(text, rules) }, &story, pattern);
        prop_assert!(machine.dropped.is_empty());
        let mut covered = START;
        for made in machine.counted() {
            // Each takes up where the one before ended: nothing lies between, nothing twice.
            prop_assert_eq!(made.from, Some(covered));
            let times = between(&machine.policy.schedule, covered, made.to);
            prop_assert!(!times.is_empty(), "a run for nothing at {}", made.start);
            prop_assert!(made.to >= made.start);
            covered = made.to;
        }
        prop_assert_eq!(machine.progress.covered.filter(|_| machine.running_until.is_none()).unwrap_or(covered), covered);
        // Nothing is left that should have begun.
        let late = between(&machine.policy.schedule, covered, machine.wall - jitter);
        prop_assert!(late.is_empty() || machine.running_until.is_some(), "{:?} did not come by {}", late, machine.wall);
    }

    #[test]
    fn without_anacron_only_what_was_missed_is_dropped_and_nothing_doubled(
        (text, rules) in schedules(), story in story(SET_BACK_SECONDS_MAX - 60),
        pattern in prop::collection::vec((0i64..3000, any::<bool>()), 1..20),
    ) {
        let machine = live(Policy { anacron: false, ..policy(text, rules) }, &story, pattern);
        let mut intervals: Vec<(i64, i64, bool)> =
            machine.counted().map(|made| (made.from.unwrap(), made.to, true)).collect();
        intervals.extend(machine.dropped.iter().map(|(from, to)| (*from, *to, false)));
        intervals.sort_unstable();
        let mut covered = START;
        for (from, to, is_run) in intervals {
            prop_assert_eq!(from, covered);
            for time in between(&machine.policy.schedule, from, to) {
                let was_away = machine.away.iter().any(|(gone, back)| time <= *back && time + LATE_SECONDS >= *gone);
                let ran_before = machine.made.iter().any(|made| made.start <= time && time <= made.start + 3000 + 4 * DAY);
                prop_assert!(is_run || was_away || ran_before, "{} was dropped while the machine was there", time);
            }
            covered = to;
        }
    }

    #[test]
    fn intervals_are_kept_from_start_to_start(
        every in 60i64..7200, story in story(SET_BACK_SECONDS_MAX - 60), pattern in prop::collection::vec((0i64..9000, any::<bool>()), 1..20),
    ) {
        let machine = live(policy(&format!("@every {every}s"), "UTC0"), &story, pattern);
        let counted: Vec<&Made> = machine.counted().collect();
        for pair in counted.windows(2) {
            prop_assert!(pair[1].to - pair[0].to >= every, "{:?} {:?}", pair[0], pair[1]);
        }
        let last = counted[counted.len() - 1];
        prop_assert!(machine.wall - last.start <= every + 9000);
    }

    #[test]
    fn a_clock_that_jumps_anywhere_never_stops_the_schedule(
        (text, rules) in schedules(), story in story(30 * 365 * DAY), anacron: bool,
        pattern in prop::collection::vec((0i64..3000, any::<bool>()), 1..20),
    ) {
        let text = if text == "0 0 29 2 *" || text == "@weekly" { "@daily" } else { text };
        let machine = live(Policy { anacron, ..policy(text, rules) }, &story, pattern);
        let since = machine.wall - 10 * DAY;
        prop_assert!(machine.made.iter().any(|made| made.start >= since), "ten quiet days without a run");
    }
}

/// Years of a machine that sleeps every night and is switched off every weekend: each day that it is awake has its run.
#[test]
fn a_laptop_that_sleeps_at_night_is_backed_up_on_every_day_that_it_is_used() {
    for (name, rules) in ZONES {
        let mut machine = Machine::new(policy("30 2 * * *", rules));
        let mut runs = runs(vec![(600, true)]);
        for day in 0..3 * 365 {
            machine.pass(machine.wall + 10 * 3600, &mut runs);
            let trouble = if day % 7 >= 5 { Trouble::Off(14 * 3600) } else { Trouble::Sleep(14 * 3600) };
            machine.suffer(trouble);
        }
        let days: std::collections::BTreeSet<i64> =
            machine.made.iter().map(|made| (made.start - START) / DAY).collect();
        assert_eq!(machine.made.len(), days.len(), "{name}: two runs on one day");
        assert!(days.len() >= 3 * 365 - 1, "{name}: {} days", days.len());
    }
}
