//! Streams of commands to the server: one for each client that has asked for anything, spread over as few connections as
//! the server's limit of streams allows.

use std::sync::Arc;

use datadb::{
    Fault,
    command::{Call, Reply, Seen},
    limits,
};
use datadb_client::connection::{
    Access, Connection,
    database::{Commands, Replies},
    monitor::Watching,
};
use tokio::sync::Mutex;

/// Streams of a connection; some are left for what is not a stream.
const LANE_STREAMS: usize = limits::STREAMS_MAX as usize - 16;

/// A connection to the server, and how many streams run over it.
#[derive(Debug)]
struct Lane {
    connection: Connection,
    seats: Arc<()>,
}

/// The connections to the server. They are opened when they are needed, so that the sidecar may start before the server.
#[derive(Debug)]
pub struct Lanes {
    access: Access,
    lanes: Mutex<Vec<Lane>>,
}

/// A client's stream of commands.
#[derive(Debug)]
pub struct Stream {
    commands: Commands,
    replies: Replies,
    _seat: Arc<()>,
}

/// What the server shows of all clients.
#[derive(Debug)]
pub struct Monitor {
    watching: Watching,
    _seat: Arc<()>,
}

impl Monitor {
    /// The next command; `None` when the server stops.
    pub async fn next(&mut self) -> Result<Option<Seen>, Fault> {
        self.watching.next().await
    }
}

impl Lanes {
    /// Of this server.
    pub fn new(access: Access) -> Self {
        Self { access, lanes: Mutex::default() }
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.access.url
    }

    /// Opens a stream on behalf of a client. `request` is its id in the server's log.
    pub async fn stream(&self, client: &str, request: &str) -> Result<Stream, Fault> {
        let (connection, seat) = self.seat().await?;
        let (commands, replies) = connection.pipeline_for(client, request).await?;
        Ok(Stream { commands, replies, _seat: seat })
    }

    /// Watches the commands of all clients.
    pub async fn watch(&self) -> Result<Monitor, Fault> {
        let (connection, seat) = self.seat().await?;
        Ok(Monitor { watching: connection.watch().await?, _seat: seat })
    }

    /// Connects, to see whether the server is there.
    pub async fn connect(&self) -> Result<(), Fault> {
        self.seat().await.map(drop)
    }

    async fn seat(&self) -> Result<(Connection, Arc<()>), Fault> {
        // Held while connecting: a thousand clients that come at once share the connection that the first one opens.
        let mut lanes = self.lanes.lock().await;
        let roomy = lanes.iter().find(|lane| Arc::strong_count(&lane.seats) <= LANE_STREAMS);
        if let Some(lane) = roomy {
            return Ok((lane.connection.clone(), lane.seats.clone()));
        }
        let connection = Connection::open(&self.access).await?;
        let seats = Arc::new(());
        lanes.push(Lane { connection: connection.clone(), seats: seats.clone() });
        Ok((connection, seats))
    }
}

impl Stream {
    /// Sends commands that came together; as many replies come in their order.
    pub async fn send(&mut self, calls: &[Call]) -> Result<(), Fault> {
        self.commands.send_group(calls).await
    }

    /// The next replies to what was sent, at least one.
    pub async fn receive(&mut self) -> Result<Vec<Reply>, Fault> {
        let gone = || Fault::new(datadb::Kind::Unavailable, "the server ended the stream of commands");
        match self.replies.next().await?.ok_or_else(gone)? {
            Reply::Replies(replies) => Ok(replies),
            reply => Ok(vec![reply]),
        }
    }
}
