//! A child process in a group of its own, which ends in time: by itself, by its timeout, or with the scheduler.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Between the request to end and the end.
const GRACE: Duration = Duration::from_secs(10);

/// What is left in the pipes of a child that has ended is read for so long; a grandchild may hold them open for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// A longer line is cut in pieces.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Bytes that are read at once.
const READ_BYTES: usize = 8 << 10;

/// A timeout that nobody waits for.
const NEVER: Duration = Duration::from_secs(400 * 86_400);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exit(ExitStatus),
    /// It took too long.
    Timeout,
    /// The scheduler stops.
    Stopped,
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// Tells whether the scheduler stops.
pub type Stop = watch::Receiver<bool>;

/// Returns when the scheduler stops.
pub async fn stopped(stop: &Stop) {
    // Where nobody can say any more that it stops, it has stopped.
    drop(stop.clone().wait_for(|stop| *stop).await);
}

/// The moment at which so many seconds have passed.
pub fn deadline(seconds: Option<i64>) -> Instant {
    let span = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(NEVER, Duration::from_secs);
    Instant::now() + span.min(NEVER)
}

/// Runs a command to its end, and shows each line that it writes.
pub async fn run(
    mut command: Command,
    stdin: Stdio,
    until: Instant,
    stop: &Stop,
    mut show: impl FnMut(Stream, &str) + Send,
) -> io::Result<Ended> {
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let (mut out, mut err) = (Lines::new(child.stdout.take()), Lines::new(child.stderr.take()));
    let mut lines = |stream, lines: Vec<String>| lines.iter().for_each(|line| show(stream, line));
    let ended = loop {
        tokio::select! {
            found = out.next() => lines(Stream::Out, found),
            found = err.next() => lines(Stream::Err, found),
            status = child.wait() => break Ended::Exit(status?),
            () = sleep_until(until) => {
                end(&mut child, group).await?;
                break Ended::Timeout;
            }
            () = stopped(stop) => {
                end(&mut child, group).await?;
                break Ended::Stopped;
            }
        }
    };
    let drain = async {
        while !out.is_at_end() || !err.is_at_end() {
            tokio::select! {
                found = out.next() => lines(Stream::Out, found),
                found = err.next() => lines(Stream::Err, found),
            }
        }
    };
    // A grandchild that keeps the pipes has nothing to say that counts.
    drop(timeout(DRAIN, drain).await);
    lines(Stream::Out, out.rest());
    lines(Stream::Err, err.rest());
    Ok(ended)
}

/// Asks the whole group to end, and then ends it.
async fn end(child: &mut Child, group: Option<Pid>) -> io::Result<()> {
    let signal = |signal| {
        if let Some(group) = group
            && let Err(error) = kill_process_group(group, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(%error, "a child can't be signalled");
        }
    };
    signal(Signal::TERM);
    let is_over = tokio::select! {
        _ = child.wait() => true,
        () = sleep(GRACE) => false,
    };
    // Of a leader that went, the others may have stayed.
    signal(Signal::KILL);
    if is_over { Ok(()) } else { child.wait().await.map(drop) }
}

/// Lines of a pipe, as they come.
struct Lines<R> {
    pipe: Option<R>,
    begun: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    const fn new(pipe: Option<R>) -> Self {
        Self { pipe, begun: Vec::new() }
    }

    const fn is_at_end(&self) -> bool {
        self.pipe.is_none()
    }

    /// The next lines; at the end it waits for ever.
    async fn next(&mut self) -> Vec<String> {
        let Some(pipe) = &mut self.pipe else { return std::future::pending().await };
        self.begun.reserve(READ_BYTES);
        if let Ok(0) | Err(_) = pipe.read_buf(&mut self.begun).await {
            self.pipe = None;
        }
        let mut lines = Vec::new();
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            lines.push(text(&line));
        }
        if self.begun.len() > LINE_BYTES_MAX {
            lines.extend(self.rest());
        }
        lines
    }

    /// What has no end yet.
    fn rest(&mut self) -> Vec<String> {
        let rest = std::mem::take(&mut self.begun);
        if rest.is_empty() { Vec::new() } else { vec![text(&rest)] }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}
