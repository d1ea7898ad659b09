//! A server that may be away for a while: questions are asked again until it answers or patience ends.

use std::time::Duration;

use datadb::{Fault, Kind};
use datadb_client::connection::Connection;
use tokio::time::{Instant, sleep, timeout};

/// Pauses between two tries: short at first, because a restart takes a moment only.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection, and how long to wait for what is behind it.
#[derive(Clone, Debug)]
pub struct Patient {
    connection: Connection,
    patience: Duration,
}

/// The time until which one question is asked again and again.
#[derive(Debug)]
pub struct Tries {
    deadline: Instant,
    pause: Duration,
}

impl Tries {
    /// Waits before the next try; false if there is no time for one.
    pub async fn pause(&mut self) -> bool {
        if Instant::now() + self.pause >= self.deadline {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

impl Patient {
    /// Waits so long for an answer.
    pub const fn new(connection: Connection, patience: Duration) -> Self {
        Self { connection, patience }
    }

    /// The connection. It finds its way back to a server that was away.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How long to wait.
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// From now on.
    pub fn tries(&self) -> Tries {
        Tries { deadline: Instant::now() + self.patience, pause: PAUSE_MIN }
    }

    /// Waits for one reply. A server that sends is there, however slowly it does.
    pub async fn within<T>(&self, reply: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let late = |_| Err(Fault::new(Kind::Unavailable, "the server does not answer"));
        timeout(self.patience, reply).await.unwrap_or_else(late)
    }

    /// Asks until there is an answer other than that nobody is there. Whoever reads several replies waits for each of them
    /// with `within`.
    pub async fn ask<T, F>(&self, question: impl Fn(Connection) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut tries = self.tries();
        loop {
            match question(self.connection.clone()).await {
                Err(fault) if fault.kind == Kind::Unavailable && tries.pause().await => {}
                answer => return answer,
            }
        }
    }

    /// The same for a question with a single reply.
    pub async fn ask_once<T, F>(&self, question: impl Fn(Connection) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        self.ask(|connection| self.within(question(connection))).await
    }
}
