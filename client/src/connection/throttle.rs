//! A stream that reads and writes no faster than it is told: `--limit-upload` and `--limit-download`. It counts what goes
//! over the wire, whatever it is.

use std::{
    io,
    num::NonZeroU64,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Bytes a second.
pub type Rate = NonZeroU64;

/// How much may be made up for after a pause: short enough that nobody sees a burst.
const BURST: Duration = Duration::from_millis(50);

/// Bytes let through at once: small ones make a slow stream even, and cost nothing on a fast one.
const STEP_BYTES_MIN: u64 = 1 << 10;
const STEP_BYTES_MAX: u64 = 64 << 10;

/// One direction: a time from which on the next bytes may go.
#[derive(Debug)]
struct Gate {
    rate: Rate,
    free_from: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Gate {
    fn new(rate: Rate) -> Self {
        let now = Instant::now();
        Self { rate, free_from: now, sleep: Box::pin(sleep_until(now)) }
    }

    /// Waits until bytes may go; tells how many at most.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.free_from > Instant::now() {
            self.sleep.as_mut().reset(self.free_from);
            ready!(self.sleep.as_mut().poll(cx));
        }
        let step = (self.rate.get() / 100).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
        Poll::Ready(step as usize)
    }

    /// So many went.
    fn went(&mut self, bytes: usize) {
        let earliest = Instant::now().checked_sub(BURST).unwrap_or(self.free_from);
        self.free_from = self.free_from.max(earliest) + cost(self.rate, bytes);
    }
}

/// How long so many bytes take.
fn cost(rate: Rate, bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate.get() as f64)
}

/// A stream with a gate in each direction that has a limit.
#[derive(Debug)]
pub struct Throttled<S> {
    inner: S,
    up: Option<Gate>,
    down: Option<Gate>,
}

impl<S> Throttled<S> {
    /// Limits a stream; `None` does not. Must be called within a runtime.
    pub fn new(inner: S, up: Option<Rate>, down: Option<Rate>) -> Self {
        Self { inner, up: up.map(Gate::new), down: down.map(Gate::new) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Throttled<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(gate) = &mut this.down else { return Pin::new(&mut this.inner).poll_read(cx, buf) };
        let step = ready!(gate.poll(cx)).min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(step));
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        let got = part.filled().len();
        buf.advance(got);
        gate.went(got);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Throttled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(gate) = &mut this.up else { return Pin::new(&mut this.inner).poll_write(cx, buf) };
        let step = ready!(gate.poll(cx)).min(buf.len());
        let went = ready!(Pin::new(&mut this.inner).poll_write(cx, &buf[..step]))?;
        gate.went(went);
        Poll::Ready(Ok(went))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const RATE: u64 = 1_000_000;
    const WORTH_200_MS: usize = 200_000;

    fn rate() -> Option<Rate> {
        Rate::new(RATE)
    }

    /// Seconds that so many bytes take through a pipe with these limits.
    async fn seconds(up: Option<Rate>, down: Option<Rate>, bytes: usize) -> f64 {
        let (near, far) = duplex(1 << 20);
        let (mut near, mut far) = (Throttled::new(near, up, None), Throttled::new(far, None, down));
        let started = Instant::now();
        let sent: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
        let send = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(send, far.read_to_end(&mut got));
        read.unwrap();
        assert_eq!(got, sent);
        started.elapsed().as_secs_f64()
    }

    #[tokio::test]
    async fn each_direction_keeps_its_rate() {
        for (up, down) in [(rate(), None), (None, rate()), (rate(), rate())] {
            let took = seconds(up, down, WORTH_200_MS).await;
            assert!(took > 0.14, "{took} s for 200 ms' worth");
        }
    }

    #[tokio::test]
    async fn a_pause_is_not_made_up_for() {
        let mut gate = Gate::new(Rate::new(RATE).unwrap());
        gate.free_from = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        gate.went(RATE as usize);
        let wait = gate.free_from - Instant::now();
        assert!(wait > Duration::from_millis(900), "{wait:?}");
    }

    #[test]
    fn a_byte_costs_its_share_of_a_second() {
        assert_eq!(cost(Rate::new(RATE).unwrap(), WORTH_200_MS), Duration::from_millis(200));
    }
}
