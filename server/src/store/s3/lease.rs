//! Who may write below a prefix: one server at a time.
//!
//! # Format (version 1)
//! The object `PREFIX/lease` is JSON: `version` 1; `fence`, a number that grows with each holder; `renewals`, how often this
//! holder wrote it; `holder`, `null` when nobody is, else `owner` (32 hex digits, drawn once for each staging directory),
//! `host`, `pid` and `since` (unix seconds by the store's clock). A newer version is refused.
//!
//! The lease of a holder that has not renewed it for the lease's time, by the store's own clock, may be taken; so may that
//! of an earlier run on the same staging directory, which lies in a data directory that only one server can hold. Stores
//! that honour `If-None-Match` and `If-Match` make the taking atomic; whether this one does is tried at each start. Where
//! it doesn't, a warning says so, and what was written is read back: that leaves a moment in which two may believe they
//! hold it, but objects' keys tell their runs apart (see [`super::layout`]), so neither overwrites what the other wrote.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use bytes::Bytes;
use datadb::Fault;
use serde_json::{Value, json};

use super::{
    client::Client,
    error::{Failure, S3Error},
    objects::{Condition, Keeping, Small},
    requests::Request,
};

/// Its key below the prefix.
pub(super) const NAME: &str = "lease";

/// Where the owner's number lies in the staging directory.
const OWNER_FILE: &str = "owner";

const VERSION: u64 = 1;

/// How often a start tries when others write the lease at the same moment.
const RACES_MAX: u32 = 5;

/// How long a stop waits for the lease to be given back; without that it runs out by itself.
const RELEASE: Duration = Duration::from_secs(5);

/// A lease that is held until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    inner: Arc<Inner>,
    renewing: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    key: String,
    holder: Holder,
    fence: u64,
    is_conditional: bool,
    state: Mutex<State>,
    /// Held by whoever writes the object.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    e_tag: Option<String>,
    renewals: u64,
    /// Since the machine started, its sleep included: whoever slept must not believe that no time has passed.
    renewed_at: Duration,
    /// Who took it over.
    taken_by: Option<String>,
}

/// Who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    owner: String,
    host: String,
    pid: u64,
    since: i64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a server on {} (process {}, since {})", self.host, self.pid, time(self.since))
    }
}

/// Time since the machine started, its sleep included.
fn awake() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// A moment as a person reads it.
fn time(seconds: i64) -> String {
    DateTime::from_secs(seconds).fmt(DateTimeFormat::DateTime).unwrap_or_else(|_| seconds.to_string())
}

/// What the object says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    fence: u64,
    renewals: u64,
    holder: Option<Holder>,
}

impl Record {
    fn encode(&self) -> Bytes {
        let holder = self.holder.as_ref().map(
            |holder| json!({ "owner": holder.owner, "host": holder.host, "pid": holder.pid, "since": holder.since }),
        );
        let (fence, renewals) = (self.fence, self.renewals);
        json!({ "version": VERSION, "fence": fence, "renewals": renewals, "holder": holder }).to_string().into()
    }

    fn decode(key: &str, bytes: &[u8]) -> Result<Self, S3Error> {
        let damaged = || S3Error::Other { said: format!("{key} is not a lease: delete it if no server runs here") };
        let value: Value = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        let version = value["version"].as_u64().ok_or_else(damaged)?;
        if version > VERSION {
            return Err(S3Error::Newer { key: key.to_owned(), version });
        }
        let holder = match &value["holder"] {
            Value::Null => None,
            holder => Some(Holder {
                owner: holder["owner"].as_str().ok_or_else(damaged)?.to_owned(),
                host: holder["host"].as_str().ok_or_else(damaged)?.to_owned(),
                pid: holder["pid"].as_u64().ok_or_else(damaged)?,
                since: holder["since"].as_i64().ok_or_else(damaged)?,
            }),
        };
        let fence = value["fence"].as_u64().ok_or_else(damaged)?;
        Ok(Self { fence, renewals: value["renewals"].as_u64().ok_or_else(damaged)?, holder })
    }
}

impl Lease {
    /// Takes the lease with a fencing number above `floor`, and renews it from then on. Blocks.
    pub(super) fn take(client: &Client, staging: &Path, floor: u64) -> Result<Self, S3Error> {
        let unusable = |error: io::Error| S3Error::Other { said: format!("{}: {error}", staging.display()) };
        let owner = owner(staging).map_err(unusable)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let holder = Holder { owner, host, pid: std::process::id().into(), since: 0 };
        let asking = client.clone();
        let inner = Arc::new(client.wait(async move { take(asking, holder, floor).await })?);
        let (renewed, every) = (Arc::downgrade(&inner), client.config().patience.lease / 3);
        let renewing = client.spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(inner) = renewed.upgrade() else { return };
                if let Err(error) = inner.renew().await {
                    tracing::warn!(store = %inner.client.config(), %error, "the lease could not be renewed");
                }
            }
        });
        Ok(Self { inner, renewing })
    }

    /// Its fencing number.
    pub(super) fn fence(&self) -> u64 {
        self.inner.fence
    }

    /// Fails if another server has taken it, or may have. Blocks if it must be renewed to know.
    pub(super) fn check(&self) -> io::Result<()> {
        let fault = |error: S3Error| io::Error::other(Fault::from(error));
        if self.inner.is_fresh().map_err(fault)? {
            return Ok(());
        }
        let inner = self.inner.clone();
        self.inner.client.wait(async move { inner.renew().await }).map_err(fault)
    }

    /// The same, for those who don't block.
    pub(super) async fn still_held(&self) -> Result<(), S3Error> {
        if self.inner.is_fresh()? { Ok(()) } else { self.inner.renew().await }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        let inner = self.inner.clone();
        let released = self.inner.client.wait(async move { tokio::time::timeout(RELEASE, inner.release()).await });
        let said = match released {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(store = %self.inner.client.config(), said, "the lease could not be given back; it runs out by itself");
    }
}

/// The number of this staging directory, drawn when it is first used.
fn owner(staging: &Path) -> io::Result<String> {
    let path = staging.join(OWNER_FILE);
    match std::fs::read_to_string(&path) {
        Ok(owner) if owner.len() == 32 => return Ok(owner),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // It is missing, or a crash tore it: then it was never used.
        _ => {}
    }
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let owner: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(&path, &owner)?;
    std::fs::File::open(&path)?.sync_all()?;
    Ok(owner)
}

async fn take(client: Client, holder: Holder, floor: u64) -> Result<Inner, S3Error> {
    let key = client.key(NAME);
    let mut is_conditional = true;
    for _ in 0..RACES_MAX {
        let found = client.get_small(Request::Lease, &key).await.map_err(Failure::into_error)?;
        let before = found.as_ref().map(|found| Record::decode(&key, &found.bytes)).transpose()?;
        refuse_if_held(&client, &holder, found.as_ref(), before.as_ref())?;
        let fence = before.map_or(0, |before| before.fence).max(floor) + 1;
        let holder = Holder { since: client.store_time(), ..holder.clone() };
        let record = Record { fence, renewals: 0, holder: Some(holder.clone()) };
        let condition = match found.map(|found| found.e_tag) {
            _ if !is_conditional => Condition::Always,
            None => Condition::Absent,
            Some(Some(tag)) => Condition::Is(tag),
            Some(None) => Condition::Always,
        };
        let asked_at = awake();
        let e_tag = match put(&client, &key, &record, &condition).await {
            Ok(e_tag) => e_tag,
            Err(Failure::NotImplemented) => {
                is_conditional = false;
                continue;
            }
            // Somebody was faster, or an answer got lost: look again.
            Err(Failure::Condition | Failure::Missing) => continue,
            Err(other) => return Err(other.into_error()),
        };
        is_conditional = is_conditional && honours_conditions(&client, &key, &record).await?;
        if !is_conditional {
            tracing::warn!(
                store = %client.config(),
                "this store does not honour conditional writes: see to it yourself that only one server writes here"
            );
            let now = client.get_small(Request::Lease, &key).await.map_err(Failure::into_error)?;
            if now.map(|now| Record::decode(&key, &now.bytes)).transpose()?.as_ref() != Some(&record) {
                continue;
            }
        }
        let state = State { e_tag, renewals: 0, renewed_at: asked_at, taken_by: None };
        let (state, writing) = (Mutex::new(state), tokio::sync::Mutex::default());
        return Ok(Inner { client, key, holder, fence, is_conditional, state, writing });
    }
    Err(S3Error::Busy { said: "others write the lease at the same moment".into() })
}

/// Who holds the lease, whether or not it has run out.
pub(super) async fn holder(client: &Client) -> Result<Option<String>, S3Error> {
    let key = client.key(NAME);
    let found = client.get_small(Request::Lease, &key).await.map_err(Failure::into_error)?;
    let record = found.map(|found| Record::decode(&key, &found.bytes)).transpose()?;
    Ok(record.and_then(|record| record.holder).map(|holder| holder.to_string()))
}

/// A lease that somebody else holds, and that has not run out.
fn refuse_if_held(
    client: &Client,
    mine: &Holder,
    found: Option<&Small>,
    record: Option<&Record>,
) -> Result<(), S3Error> {
    let Some(holder) = record.and_then(|record| record.holder.as_ref()) else { return Ok(()) };
    let lasts = i64::try_from(client.config().patience.lease.as_secs()).unwrap_or(i64::MAX);
    let now = client.store_time();
    // A store that doesn't tell the time gives no reason to think that it has run out.
    let until = found.and_then(|found| found.modified).unwrap_or(now).saturating_add(lasts);
    if holder.owner == mine.owner || now > until {
        return Ok(());
    }
    Err(S3Error::Held { holder: holder.to_string(), until: time(until) })
}

/// No object has this tag.
const OTHER_TAG: &str = "\"00000000000000000000000000000000\"";

/// Whether the store refuses to replace an object that may only be made, or that is not the one which is meant: tried with
/// the very bytes that are there.
async fn honours_conditions(client: &Client, key: &str, record: &Record) -> Result<bool, S3Error> {
    for condition in [Condition::Absent, Condition::Is(OTHER_TAG.to_owned())] {
        match put(client, key, record, &condition).await {
            Err(Failure::Condition) => {}
            Ok(_) | Err(Failure::NotImplemented) => return Ok(false),
            Err(other) => return Err(other.into_error()),
        }
    }
    Ok(true)
}

async fn put(client: &Client, key: &str, record: &Record, condition: &Condition) -> Result<Option<String>, Failure> {
    client.put(Request::Lease, key, record.encode(), condition, &Keeping::default()).await
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody can have taken it yet; an error if somebody is known to have.
    fn is_fresh(&self) -> Result<bool, S3Error> {
        let state = self.state();
        match state.taken_by.clone() {
            Some(holder) => Err(S3Error::Taken { holder }),
            None => Ok(awake().saturating_sub(state.renewed_at) < self.client.config().patience.lease),
        }
    }

    async fn renew(&self) -> Result<(), S3Error> {
        let _one_at_a_time = self.writing.lock().await;
        self.write(Some(self.holder.clone())).await
    }

    async fn release(&self) -> Result<(), S3Error> {
        let _one_at_a_time = self.writing.lock().await;
        match self.write(None).await {
            // It is somebody else's: nothing to give back.
            Err(S3Error::Taken { .. }) => Ok(()),
            other => other,
        }
    }

    /// Writes the lease, if it is still held here.
    async fn write(&self, holder: Option<Holder>) -> Result<(), S3Error> {
        for attempt in 0..RACES_MAX {
            let (e_tag, renewals) = {
                let state = self.state();
                if let Some(holder) = state.taken_by.clone() {
                    return Err(S3Error::Taken { holder });
                }
                (state.e_tag.clone(), state.renewals + 1)
            };
            if attempt > 0 || !self.is_conditional {
                self.look().await?;
            }
            let condition = match self.state().e_tag.clone().or(e_tag) {
                Some(tag) if self.is_conditional => Condition::Is(tag),
                _ => Condition::Always,
            };
            let record = Record { fence: self.fence, renewals, holder: holder.clone() };
            // Asked before, since a lease is as old as the request that wrote it.
            let asked_at = awake();
            match put(&self.client, &self.key, &record, &condition).await {
                Ok(e_tag) => {
                    let mut state = self.state();
                    (state.e_tag, state.renewals, state.renewed_at) = (e_tag, renewals, asked_at);
                    return Ok(());
                }
                Err(Failure::Condition | Failure::Missing) => {}
                Err(other) => return Err(other.into_error()),
            }
        }
        Err(S3Error::Busy { said: "the lease changes all the time".into() })
    }

    /// Reads who holds it now; an answer that got lost may have changed its tag.
    async fn look(&self) -> Result<(), S3Error> {
        let found = self.client.get_small(Request::Lease, &self.key).await.map_err(Failure::into_error)?;
        let record = found.as_ref().map(|found| Record::decode(&self.key, &found.bytes)).transpose()?;
        let mut state = self.state();
        let holder = match &record {
            Some(record) if record.fence == self.fence && is_of(record, &self.holder) => {
                state.e_tag = found.and_then(|found| found.e_tag);
                return Ok(());
            }
            Some(Record { holder: Some(holder), .. }) => holder.to_string(),
            Some(_) | None => "somebody who is gone again".to_owned(),
        };
        state.taken_by = Some(holder.clone());
        Err(S3Error::Taken { holder })
    }
}

/// Whether a record was written by this holder; it writes no holder when it gives the lease back.
fn is_of(record: &Record, holder: &Holder) -> bool {
    record.holder.as_ref().is_none_or(|found| found == holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: &str = r#"{"fence":3,"holder":null,"renewals":5,"version":1}"#;

    #[test]
    fn a_lease_comes_back_as_it_was_written() {
        let holder = Holder { owner: "00".repeat(16), host: "h\"ost".into(), pid: 7, since: 1_700_000_000 };
        for holder in [None, Some(holder)] {
            let record = Record { fence: 3, renewals: 5, holder };
            assert!(record.holder.is_some() || record.encode() == FREE);
            assert_eq!(Record::decode("lease", &record.encode()), Ok(record));
        }
    }

    #[test]
    fn a_newer_lease_is_refused_and_other_bytes_are_none() {
        let newer = br#"{"version":2,"who":"knows"}"#;
        assert_eq!(Record::decode("lease", newer), Err(S3Error::Newer { key: "lease".into(), version: 2 }));
        for bytes in
            [&b""[..], b"{}", b"[]", br#"{"version":1}"#, br#"{"version":1,"fence":1,"renewals":0,"holder":{}}"#]
        {
            assert!(matches!(Record::decode("lease", bytes), Err(S3Error::Other { .. })));
        }
    }
}
