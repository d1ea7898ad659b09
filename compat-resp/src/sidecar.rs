//! The sidecar: listens, and gives each connection a task of its own.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    clients::Clients,
    connection,
    frame::{Answer, Protocol},
    lanes::Lanes,
    strangers::Strangers,
};

/// Requests of more than a few KiB that are gathered at the same time: with the largest ones, some 200 MiB.
const LARGE_REQUESTS_MAX: usize = 32;

/// How long connections may take to end what they do after a signal to stop.
const GRACE: Duration = Duration::from_secs(5);

/// After this the operating system is asked again for a connection that it could not give.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
pub struct Sidecar {
    /// The way to the server.
    pub lanes: Lanes,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Those who spoke HTTP.
    pub strangers: Strangers,
    /// Permits to gather a large request.
    pub large: Arc<Semaphore>,
    /// Whether `SHUTDOWN` is obeyed.
    pub may_shut_down: bool,
    /// Connections at the same time.
    pub clients_max: usize,
    stop: watch::Sender<bool>,
}

/// Tells when it is time to end.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Whether it is.
    pub fn is_now(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is.
    pub async fn wait(&mut self) {
        // Where nobody can say so any more, it is.
        self.0.wait_for(|stop| *stop).await.ok();
    }
}

impl Sidecar {
    /// In front of a server.
    pub fn new(lanes: Lanes, clients_max: usize, may_shut_down: bool) -> Self {
        let large = Arc::new(Semaphore::new(LARGE_REQUESTS_MAX));
        Self {
            lanes,
            clients: Arc::default(),
            strangers: Strangers::default(),
            large,
            may_shut_down,
            clients_max,
            stop: watch::Sender::new(false),
        }
    }

    /// Ends `serve` when what is under way has been answered.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Tells when it is time to end.
    pub fn stopping(&self) -> Stopping {
        Stopping(self.stop.subscribe())
    }

    /// Serves until it is stopped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut stopping = self.stopping();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stopping.wait() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        connections.spawn(self.clone().welcome(socket));
                    }
                    Err(error) => {
                        tracing::warn!("can't accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!(connections = self.clients.count(), "closing connections in the middle of their commands");
        }
    }

    async fn welcome(self: Arc<Self>, mut socket: TcpStream) {
        let result = if self.clients.count() >= self.clients_max {
            refuse(&mut socket).await
        } else {
            connection::converse(socket, &self).await
        };
        if let Err(error) = result {
            tracing::debug!("a connection ended: {error}");
        }
    }
}

async fn refuse(socket: &mut TcpStream) -> io::Result<()> {
    let mut out = BytesMut::new();
    Answer::error("max number of clients reached").encode(Protocol::Resp2, &mut out);
    socket.write_all(&out).await
}
