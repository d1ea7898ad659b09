//! Whoever watches commands, and how they get to see them.
//!
//! Commands never wait for a reader: they go into a ring of bounded size, from which each reader reads at its own pace;
//! what is overwritten before a slow one got there is lost to it, and counted. While nobody watches, a command costs one
//! atomic load.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use datadb::command::{Call, Command, Seen};
use tokio::sync::{broadcast, mpsc, watch};

/// Commands that wait for slow readers: of some 4 to 12 KiB each at most, and a second of a busy server.
const WAITING_MAX: usize = 1024;

/// Readers at the same time: each is woken by every command.
pub const READERS_MAX: usize = 16;

/// Shows commands to readers.
#[derive(Debug)]
pub struct Monitor {
    ring: broadcast::Sender<Arc<Seen>>,
    readers: Arc<AtomicUsize>,
    is_closed: watch::Sender<bool>,
}

impl Default for Monitor {
    fn default() -> Self {
        let (ring, _) = broadcast::channel(WAITING_MAX);
        Self { ring, readers: Arc::default(), is_closed: watch::Sender::new(false) }
    }
}

impl Monitor {
    /// How many watch.
    pub fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.readers() > 0
    }

    /// Shows a command, and those of a batch before the batch itself. `micros` is unix time in microseconds.
    pub fn show(&self, call: &Call, client: &str, micros: i64) {
        if let Command::Batch(calls) = &call.command {
            calls.iter().for_each(|call| self.show(call, client, micros));
        }
        let seconds = micros.div_euclid(1_000_000);
        let seen = Seen::new(call, client, seconds, micros.rem_euclid(1_000_000) as u32);
        // The last reader may have left meanwhile.
        drop(self.ring.send(Arc::new(seen)));
    }

    /// A new reader, of what comes from now on; `None` if there are too many.
    pub fn watch(&self) -> Option<Reader> {
        let more = |readers: usize| (readers < READERS_MAX).then_some(readers + 1);
        self.readers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Reader {
            ring: self.ring.subscribe(),
            readers: self.readers.clone(),
            is_closed: self.is_closed.subscribe(),
        })
    }

    /// Ends all readers: the server stops.
    pub fn close(&self) {
        self.is_closed.send_replace(true);
    }
}

/// Someone who watches.
#[derive(Debug)]
pub struct Reader {
    ring: broadcast::Receiver<Arc<Seen>>,
    readers: Arc<AtomicUsize>,
    is_closed: watch::Receiver<bool>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    /// The next command, and how many were lost before it; `None` when the server stops.
    pub async fn next(&mut self) -> Option<(u64, Arc<Seen>)> {
        let mut lost = 0;
        loop {
            let next = tokio::select! {
                _ = self.is_closed.wait_for(|is_closed| *is_closed) => return None,
                next = self.ring.recv() => next,
            };
            match next {
                Ok(seen) => return Some((lost, seen)),
                Err(broadcast::error::RecvError::Lagged(count)) => lost += count,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Sends all commands on, until the server stops or nobody takes them any more.
    pub async fn forward<T>(mut self, to: mpsc::Sender<T>, show: impl Fn(u64, &Seen) -> T) {
        loop {
            let next = tokio::select! {
                () = to.closed() => return,
                next = self.next() => next,
            };
            let Some((lost, seen)) = next else { return };
            if to.send(show(lost, &seen)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Call {
        let words: Vec<bytes::Bytes> = line.split(' ').map(|word| word.to_owned().into()).collect();
        Command::parse(&words).expect("a command").into()
    }

    #[tokio::test]
    async fn a_reader_sees_what_comes_after_it_and_batches_command_by_command() {
        let monitor = Monitor::default();
        monitor.show(&call("get before"), "c", 0);
        assert!(!monitor.is_watched());
        let mut reader = monitor.watch().expect("room");
        assert!(monitor.is_watched());
        monitor.show(&Command::Batch(vec![call("get a"), call("get b")]).into(), "c", 1_500_000);
        for name in ["get", "get", "exec"] {
            let (lost, seen) = reader.next().await.expect("open");
            assert_eq!((lost, &*seen.name, seen.seconds, seen.micros), (0, name, 1, 500_000));
        }
        drop(reader);
        assert!(!monitor.is_watched());
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_lost() {
        let monitor = Monitor::default();
        let mut reader = monitor.watch().expect("room");
        for number in 0..WAITING_MAX + 10 {
            monitor.show(&call(&format!("get {number}")), "c", 0);
        }
        let (lost, seen) = reader.next().await.expect("open");
        assert_eq!((lost, &seen.arguments[..]), (10, &["10".into()][..]));
        assert_eq!(reader.next().await.expect("open").0, 0);
    }

    #[tokio::test]
    async fn readers_are_bounded_and_end_with_the_server() {
        let monitor = Monitor::default();
        let mut readers: Vec<Reader> = (0..READERS_MAX).map(|_| monitor.watch().expect("room")).collect();
        assert!(monitor.watch().is_none());
        readers.pop();
        let mut last = monitor.watch().expect("one has left");
        monitor.close();
        assert!(last.next().await.is_none());
    }
}
