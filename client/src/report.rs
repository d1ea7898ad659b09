//! What a run tells a person while it goes on: lines on stderr beside a progress bar, and counters that feed the bar.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counts of a run that anybody may raise and a bar shows.
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
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Reads a counter.
pub fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Where lines and progress go.
#[derive(Debug)]
pub struct Report {
    /// The numbers.
    pub counters: Counters,
    bar: ProgressBar,
    verb: &'static str,
}

impl Report {
    /// A report of a run that `verb`s (`reading`, `restoring`); the bar shows only on a terminal and unless `quiet`.
    pub fn new(verb: &'static str, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { counters: Counters::default(), bar, verb }
    }

    /// Says one line on stderr, above the bar.
    pub fn line(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Says that something about a path went wrong, and counts it.
    pub fn error(&self, path: &[u8], what: &str) {
        count(&self.counters.errors, 1);
        self.line(&format!("{}: {what}", escape(path)));
    }

    /// Shows the counters; cheap enough to be called every few hundred files.
    pub fn tick(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let c = &self.counters;
        let (files, plain, wire) = (get(&c.files), get(&c.bytes), get(&c.wire_bytes));
        let seconds = self.bar.elapsed().as_secs_f64().max(0.001);
        let rate = bytes((plain as f64 / seconds) as u64);
        let verb = self.verb;
        let (plain, wire) = (bytes(plain), bytes(wire));
        self.bar.set_message(format!("{verb} {files} files, {plain}, {rate}/s, {wire} over the wire"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
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

/// A name or path as it may stand on a terminal: control characters and what is not UTF-8 as `\xNN`.
pub fn escape(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || is_bidi(c) {
                let mut utf8 = [0; 4];
                hex(&mut out, c.encode_utf8(&mut utf8).as_bytes());
            } else {
                out.push(c);
            }
        }
        hex(&mut out, chunk.invalid());
    }
    out
}

/// Marks that turn the direction of text, by which a name can look like another.
const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let written = write!(out, "\\x{byte:02x}");
        debug_assert!(written.is_ok(), "writing to a String never fails");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(escape(b"a\x1b[2Jb\n\xff"), "a\\x1b[2Jb\\x0a\\xff");
        assert_eq!(escape("äß \u{202e}".as_bytes()), "äß \\xe2\\x80\\xae");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }
}
