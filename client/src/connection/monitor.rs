//! The monitor: every command as the server gets it.

use datadb::{
    Fault,
    api::{self, monitor_client::MonitorClient},
    command::Seen,
};

use super::{Connection, fault};

/// Commands of all clients, from the call of [`Connection::watch`] on.
#[derive(Debug)]
pub struct Watching(tonic::Streaming<api::Seen>);

impl Watching {
    /// The next command; `None` when the server stops. Who is too slow misses some, and learns from [`Seen::lost`] how many.
    pub async fn next(&mut self) -> Result<Option<Seen>, Fault> {
        Ok(self.0.message().await.map_err(fault)?.map(Seen::from))
    }
}

impl Connection {
    /// Watches the commands of all clients. What is asked after this returned is seen.
    pub async fn watch(&self) -> Result<Watching, Fault> {
        let mut client = MonitorClient::new(self.wire.clone());
        Ok(Watching(client.watch(api::WatchRequest {}).await.map_err(fault)?.into_inner()))
    }
}
