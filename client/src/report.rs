//! What a run tells while it goes on: lines on stderr, and how far it is: to a person as a bar on a terminal, as a line a
//! minute where there is none, to a program as one status after the other.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::color::{self, Hue};

pub use datadb::terminal::escape;

/// Counts of a run that anybody may raise and everybody is shown.
#[derive(Debug, Default)]
pub struct Counters {
    /// Entries that are through.
    pub files: AtomicU64,
    /// Plain bytes of files that are through.
    pub bytes: AtomicU64,
    /// Bytes over the wire.
    pub wire_bytes: AtomicU64,
    /// Things that could not be read or restored.
    pub errors: AtomicU64,
    /// Entries that the user did not want; a directory is one, with all that is in it.
    pub excluded: AtomicU64,
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Reads a counter.
pub fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// How far a run is.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Entries that are through.
    pub files: u64,
    /// Plain bytes that are through.
    pub bytes: u64,
    /// Plain bytes that there will be, as far as is known.
    pub bytes_expected: Option<u64>,
    /// Bytes over the wire.
    pub wire_bytes: u64,
    /// Things that could not be read or restored.
    pub errors: u64,
    /// Since the beginning.
    pub seconds: f64,
    /// Plain bytes a second, of late.
    pub rate: f64,
    /// Until the end, as far as can be told.
    pub seconds_left: Option<u64>,
    /// A path that is being worked at; empty if none was named yet.
    pub current: Vec<u8>,
}

/// Whom to show how far it is.
pub enum Show {
    /// Nobody.
    Nothing,
    /// A person: a bar on a terminal, else now and then a line.
    Person,
    /// A program, which takes a status a second.
    Program(Box<dyn Fn(&Status) + Send>),
}

/// Between two pictures of the bar.
const BAR_PERIOD: Duration = Duration::from_millis(125);

/// Between two statuses for a program.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// Between two lines where there is no terminal, unless the environment says otherwise.
const LINE_SECONDS: u64 = 60;

/// The variable with the seconds between two lines.
pub const LINE_VARIABLE: &str = "DATADB_STATUS_SECONDS";

/// A rate is smoothed over about so many seconds.
const RATE_SECONDS: f64 = 5.0;

/// Before so many seconds there is no telling how long it will take.
const GUESS_SECONDS: f64 = 2.0;

/// Where lines and progress go.
#[derive(Debug)]
pub struct Report {
    /// The numbers.
    pub counters: Arc<Counters>,
    live: Arc<Live>,
    ticker: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct Live {
    counters: Arc<Counters>,
    bar: ProgressBar,
    verb: &'static str,
    started: Instant,
    /// 0 is not known.
    bytes_expected: AtomicU64,
    wants_current: AtomicBool,
    current: Mutex<Vec<u8>>,
}

impl Report {
    /// A report of a run that has `verb` (`read`, `restored`) so much.
    pub fn new(verb: &'static str, show: Show) -> Self {
        let is_bar = matches!(show, Show::Person) && std::io::stderr().is_terminal();
        let target = if is_bar { ProgressDrawTarget::stderr_with_hz(20) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {prefix}\n  {wide_msg}"));
        let counters = Arc::new(Counters::default());
        let live = Arc::new(Live {
            counters: Arc::clone(&counters),
            bar,
            verb,
            started: Instant::now(),
            bytes_expected: AtomicU64::new(0),
            wants_current: AtomicBool::new(true),
            current: Mutex::default(),
        });
        let period = match &show {
            Show::Nothing => None,
            Show::Person if is_bar => Some(BAR_PERIOD),
            Show::Person => Some(line_period()),
            Show::Program(_) => Some(STATUS_PERIOD),
        };
        let ticker = period.map(|period| {
            let (stop, stopped) = channel();
            let live = Arc::clone(&live);
            let tick = move || {
                let mut rate = Rate::default();
                while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                    let status = live.status(&mut rate);
                    match &show {
                        Show::Program(to) => to(&status),
                        _ if is_bar => live.draw(&status),
                        _ => eprintln!("{}", words(live.verb, &status)),
                    }
                }
            };
            (stop, thread::spawn(tick))
        });
        Self { counters, live, ticker: Mutex::new(ticker) }
    }

    /// A report that only says lines.
    pub fn lines_only() -> Self {
        Self::new("", Show::Nothing)
    }

    /// Whether anybody is shown how far it is.
    pub fn is_shown(&self) -> bool {
        self.ticker.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// How many plain bytes there will be, at a guess.
    pub fn expect_bytes(&self, bytes: u64) {
        self.live.bytes_expected.store(bytes, Ordering::Relaxed);
    }

    /// What is being worked at; the path is made only when somebody will be shown it.
    pub fn at(&self, path: impl FnOnce() -> Vec<u8>) {
        if self.live.wants_current.load(Ordering::Relaxed) && self.live.wants_current.swap(false, Ordering::Relaxed) {
            *self.live.current.lock().unwrap_or_else(PoisonError::into_inner) = path();
        }
    }

    /// Says one line on stderr, above the bar. Whatever it quotes can't steer the terminal.
    pub fn line(&self, line: &str) {
        self.say(&escape(line.as_bytes()));
    }

    fn say(&self, line: &str) {
        self.live.bar.suspend(|| eprintln!("{line}"));
    }

    /// Lets something else be written to the terminal, above the bar.
    pub fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.live.bar.suspend(write)
    }

    /// Says that something about a path went wrong, and counts it. A server may have worded it.
    pub fn error(&self, path: &[u8], what: &str) {
        count(&self.counters.errors, 1);
        let line = format!("{}: {}", escape(path), escape(what.as_bytes()));
        self.say(&color::err(Hue::Trouble, &line));
    }

    /// Ends the showing, and takes the bar away.
    pub fn finish(&self) {
        let ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = ticker {
            drop(stop);
            // A panic in it was printed already, and spoils nothing but the showing.
            drop(thread.join());
        }
        self.live.bar.finish_and_clear();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Seconds between two lines: as the environment says, else a minute.
fn line_period() -> Duration {
    let seconds = std::env::var(LINE_VARIABLE).ok().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
    Duration::from_secs(seconds.unwrap_or(LINE_SECONDS))
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    style.progress_chars("=> ")
}

/// A smoothed rate.
#[derive(Default)]
struct Rate {
    seconds: f64,
    bytes: u64,
    rate: f64,
}

impl Rate {
    fn next(&mut self, seconds: f64, bytes: u64) -> f64 {
        let passed = (seconds - self.seconds).max(0.001);
        // Counters fall back to zero when an attempt starts again.
        let new = bytes.saturating_sub(self.bytes) as f64 / passed;
        let weight = if self.seconds == 0.0 { 1.0 } else { (passed / RATE_SECONDS).min(1.0) };
        self.rate += (new - self.rate) * weight;
        (self.seconds, self.bytes) = (seconds, bytes);
        self.rate
    }
}

impl Live {
    fn status(&self, rate: &mut Rate) -> Status {
        let c = &self.counters;
        let (seconds, bytes) = (self.started.elapsed().as_secs_f64(), get(&c.bytes));
        let rate = rate.next(seconds, bytes);
        let bytes_expected = Some(get(&self.bytes_expected)).filter(|expected| *expected > 0);
        let left = bytes_expected.and_then(|expected| expected.checked_sub(bytes));
        let can_tell = seconds >= GUESS_SECONDS && rate >= 1.0;
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.wants_current.store(true, Ordering::Relaxed);
        Status {
            files: get(&c.files),
            bytes,
            bytes_expected,
            wire_bytes: get(&c.wire_bytes),
            errors: get(&c.errors),
            seconds,
            rate,
            seconds_left: left.filter(|_| can_tell).map(|left| (left as f64 / rate).ceil() as u64),
            current,
        }
    }

    fn draw(&self, status: &Status) {
        if let Some(expected) = status.bytes_expected {
            if self.bar.length().is_none() {
                self.bar.set_style(style("[{bar:10}] {percent:>3}% {prefix}\n  {wide_msg}"));
            }
            self.bar.set_length(expected);
            self.bar.set_position(status.bytes.min(expected));
        }
        self.bar.set_prefix(numbers(self.verb, status));
        self.bar.set_message(beside(status));
        self.bar.tick();
    }
}

/// A status in a line.
fn words(verb: &str, status: &Status) -> String {
    let beside = beside(status);
    numbers(verb, status) + if beside.is_empty() { "" } else { "  " } + &beside
}

/// How far it is: on a terminal the first line, which is short enough for one of 80 columns.
fn numbers(verb: &str, status: &Status) -> String {
    let of = status.bytes_expected.map(|expected| format!(" of {}", bytes(expected))).unwrap_or_default();
    let (files, plain, rate) = (many(status.files, "file"), bytes(status.bytes), bytes(status.rate as u64));
    let mut text = format!("{verb} {files}, {plain}{of}, {rate}/s");
    if let Some(left) = status.seconds_left {
        text += &format!(", {} left", duration(left));
    }
    if status.errors > 0 {
        text += &format!(", {}", many(status.errors, "error"));
    }
    text
}

/// What else there is to know: bytes over the wire, and where it is. On a terminal it is cut where that ends.
fn beside(status: &Status) -> String {
    let wire = (status.wire_bytes > 0).then(|| format!("{} over the wire", bytes(status.wire_bytes)));
    let current = Some(escape(&status.current)).filter(|current| !current.is_empty());
    wire.into_iter().chain(current).collect::<Vec<_>>().join("  ")
}

/// Seconds as a person reads them: `7 s`, `3:07 min`, `2:05 h`.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

/// A number of things in words: `1 file`, `2 files`.
pub fn many(count: u64, thing: &str) -> String {
    let plural = match (count, thing.strip_suffix('y')) {
        (1, _) => thing.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{thing}s"),
    };
    format!("{count} {plural}")
}

/// Bytes as a person reads them: `17 B`, `3.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_line_that_tells_how_far_it_is() {
        let status = Status {
            files: 12,
            bytes: 3 << 20,
            bytes_expected: Some(5 << 20),
            wire_bytes: 1 << 20,
            rate: 1024.0 * 1024.0,
            seconds_left: Some(127),
            current: b"/home/x\x1b".to_vec(),
            ..Status::default()
        };
        let line = "read 12 files, 3.0 MiB of 5.0 MiB, 1.0 MiB/s, 2:07 min left  1.0 MiB over the wire  /home/x\\x1b";
        assert_eq!(words("read", &status), line);
    }

    #[test]
    fn a_rate_follows_what_is_done_and_survives_a_new_start() {
        let mut rate = Rate::default();
        assert_eq!(rate.next(1.0, 100), 100.0);
        let faster = rate.next(2.0, 1100);
        assert!(faster > 100.0 && faster < 1000.0, "{faster}");
        assert!(rate.next(3.0, 0) < faster);
    }

    #[test]
    fn a_program_gets_the_last_word_of_the_counters() {
        let (send, got) = channel();
        let report = Report::new("read", Show::Program(Box::new(move |status| drop(send.send(status.clone())))));
        count(&report.counters.files, 3);
        report.at(|| b"/a".to_vec());
        let status = got.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!((status.files, &status.current[..]), (3, &b"/a"[..]));
        report.finish();
        assert!(got.recv().is_err(), "nothing is shown after the end");
    }

    #[test]
    fn numbers_of_things_read_well() {
        assert_eq!([many(1, "file"), many(0, "file"), many(3, "directory")], ["1 file", "0 files", "3 directories"]);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([duration(7), duration(187), duration(7500)], ["7 s", "3:07 min", "2:05 h"]);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }
}
