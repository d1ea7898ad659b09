//! Who is told of runs: a webhook gets a JSON object for each event, a check in the manner of healthchecks is pinged.
//!
//! Letters to one address go out one after the other, those to different addresses beside each other; each is tried three
//! times. A run never waits for them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::Notify as Bell,
    time::{sleep, timeout},
};
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

use crate::config::entry::{Event, Notify};

/// A server of a webhook that is slower is not there.
const ANSWER_SECONDS: u64 = 10;

/// Pauses between the tries.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// Letters that wait for one address; more are dropped, and counted.
const WAITING_MAX: usize = 100;

/// Bytes of a ping's body: checks keep no more.
const PING_BYTES_MAX: usize = 10_000;

/// What is told of an event.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which.
    pub event: Event,
    /// Everything about it, an object.
    pub about: Value,
}

/// One letter.
#[derive(Debug)]
struct Letter {
    entry: String,
    address: String,
    content_type: &'static str,
    body: String,
}

/// Sends letters. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Letters by address; an address has a task as long as it stands here.
    waiting: Mutex<HashMap<String, VecDeque<Letter>>>,
    agent: std::sync::OnceLock<Agent>,
    is_idle: Bell,
    lost: AtomicU64,
}

impl Notifier {
    /// Tells those that want to know. Must be called within a runtime.
    pub fn tell(&self, notify: &Notify, entry: &str, host: &str, told: &Told) {
        if let Some(webhook) = notify.webhook.as_ref().filter(|_| notify.on.contains(&told.event)) {
            let mut about = told.about.clone();
            about["event"] = json!(told.event.word());
            about["entry"] = json!(entry);
            about["host"] = json!(host);
            self.send(&webhook.0, &webhook.0, entry, "application/json", about.to_string());
        }
        let ending = match told.event {
            Event::Start => Some("/start"),
            Event::Success | Event::Incomplete => Some(""),
            Event::Failure => Some("/fail"),
            // The check notices by itself that nothing came.
            Event::Overdue => None,
        };
        if let (Some(ping), Some(ending)) = (&notify.ping, ending) {
            let mut line = told.about["error"].as_str().unwrap_or_default().to_owned();
            line.truncate(line.floor_char_boundary(PING_BYTES_MAX));
            let address = format!("{}{ending}", ping.0.trim_end_matches('/'));
            self.send(&ping.0, &address, entry, "text/plain; charset=utf-8", line);
        }
    }

    /// `queue` is the address whose letters keep their order; `to`, where this one goes.
    fn send(&self, queue: &str, to: &str, entry: &str, content_type: &'static str, body: String) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !waiting.contains_key(queue);
        let letters = waiting.entry(queue.to_owned()).or_default();
        if letters.len() >= WAITING_MAX {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(entry, "too many letters wait for {}: one is dropped", origin(queue));
            return;
        }
        let to = to.to_owned();
        letters.push_back(Letter { entry: entry.to_owned(), address: to, content_type, body });
        if is_new {
            tokio::spawn(self.clone().deliver(queue.to_owned()));
        }
    }

    async fn deliver(self, queue: String) {
        loop {
            let next = {
                let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let next = waiting.get_mut(&queue).and_then(VecDeque::pop_front);
                if next.is_none() {
                    waiting.remove(&queue);
                    self.0.is_idle.notify_waiters();
                    return;
                }
                next
            };
            if let Some(letter) = next {
                self.try_all(letter).await;
            }
        }
    }

    async fn try_all(&self, letter: Letter) {
        let (letter, inner) = (Arc::new(letter), self.0.clone());
        let pauses = PAUSES.into_iter().map(Some).chain([None]);
        for pause in pauses {
            let (one, inner) = (letter.clone(), inner.clone());
            let sent = tokio::task::spawn_blocking(move || inner.try_once(&one)).await;
            let why = match sent {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            match pause {
                Some(pause) => sleep(pause).await,
                None => {
                    self.0.lost.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(entry = letter.entry, "{} could not be told: {why}", origin(&letter.address));
                }
            }
        }
    }

    /// Letters that nobody got.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Waits until all letters are out, but no longer than this.
    pub async fn finish(&self, patience: Duration) {
        let all_out = async {
            loop {
                let bell = self.0.is_idle.notified();
                if self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                    return;
                }
                bell.await;
            }
        };
        if timeout(patience, all_out).await.is_err() {
            tracing::warn!("the scheduler ends before all letters were out");
        }
    }
}

/// What of an address may stand in a log: the rest is a secret, as a rule.
fn origin(address: &str) -> &str {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find(['/', '?']).map_or(address.len(), |at| start + at);
    let host = &address[start..end];
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

impl Inner {
    fn try_once(&self, letter: &Letter) -> Result<(), ureq::Error> {
        let agent = self.agent.get_or_init(agent);
        agent.post(&letter.address).content_type(letter.content_type).send(letter.body.as_bytes()).map(drop)
    }
}

/// Trusts whom this machine trusts; where it says nobody, whom browsers trust.
fn agent() -> Agent {
    let found = rustls_native_certs::load_native_certs();
    let certificates: Vec<Certificate<'static>> =
        found.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect();
    let roots = if certificates.is_empty() { RootCerts::WebPki } else { RootCerts::from(certificates) };
    Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(ANSWER_SECONDS)))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("datadb-scheduler/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_the_host_of_an_address_and_not_its_secret() {
        for (address, shown) in [
            ("https://hc-ping.com/6d1f-secret/fail", "hc-ping.com"),
            ("http://user:secret@host:8080/x", "host:8080"),
            ("https://host?token=secret", "host"),
            ("https://host", "host"),
        ] {
            assert_eq!(origin(address), shown);
        }
    }
}
