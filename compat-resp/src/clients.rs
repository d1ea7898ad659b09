//! The list of connections, for `CLIENT LIST`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::frame::Protocol;

/// What a client may tell about itself, and what it chose.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Of the connection.
    pub name: String,
    /// Of the client's library.
    pub library: String,
    /// Of the client's library.
    pub version: String,
    /// Version of the protocol.
    pub protocol: Protocol,
    /// Empty: `default`.
    pub database: String,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    /// Given once, counting up.
    pub id: i64,
    /// Of the client.
    pub address: SocketAddr,
    /// By which logs of the sidecar and of the server know what it asks.
    pub request: String,
    local: SocketAddr,
    since: Instant,
    told: Mutex<Told>,
}

impl Client {
    /// What it told so far.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line about it, in the manner of Redis.
    pub fn line(&self) -> String {
        let told = self.told().clone();
        let database = if told.database.is_empty() { "default" } else { &told.database };
        format!(
            "id={} addr={} laddr={} name={} age={} db={database} resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local,
            told.name,
            self.since.elapsed().as_secs(),
            told.protocol.number(),
            told.library,
            told.version,
        )
    }
}

#[derive(Debug, Default)]
struct List {
    last: i64,
    clients: BTreeMap<i64, Arc<Client>>,
}

/// All connections that are open.
#[derive(Debug, Default)]
pub struct Clients(Mutex<List>);

/// A place in the list; dropping it leaves the list.
#[derive(Debug)]
pub struct Listed {
    clients: Arc<Clients>,
    /// Who stands there.
    pub client: Arc<Client>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.clients.list().clients.remove(&self.client.id);
    }
}

impl Clients {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a new connection.
    pub fn enter(self: &Arc<Self>, address: SocketAddr, local: SocketAddr) -> Listed {
        let mut list = self.list();
        list.last += 1;
        let request = format!("resp-{}-{}", std::process::id(), list.last);
        let (since, told) = (Instant::now(), Mutex::default());
        let client = Arc::new(Client { id: list.last, address, request, local, since, told });
        list.clients.insert(client.id, client.clone());
        Listed { clients: self.clone(), client }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list().clients.len()
    }

    /// A line about each.
    pub fn lines(&self) -> String {
        let clients: Vec<_> = self.list().clients.values().cloned().collect();
        clients.iter().fold(String::new(), |mut lines, client| {
            writeln!(lines, "{}", client.line()).expect("a String takes all");
            lines
        })
    }
}
