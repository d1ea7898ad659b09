//! What a leaf knows of its part of a bucket: in which object each pack lies, and which objects are of no use any more.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use datadb::failpoint;
use tokio::{task::JoinSet, time::Instant};

use super::{
    ahead::{Object, ReadAhead},
    client::Client,
    error::{Failure, S3Error},
    layout::{Member, Name, TABLE_BYTES_MAX, Table},
    lease::Lease,
    objects::Listed,
};

/// What is read of a merged object at first: the tables of most are shorter.
const TABLE_BYTES_FIRST: u64 = 16 << 10;

/// A prefix of a bucket, and what all of its files share.
#[derive(Debug)]
pub(super) struct Bucket {
    pub client: Client,
    pub cache: Arc<ReadAhead>,
    pub lease: Arc<Lease>,
    /// Where packs are written before they are sent.
    pub staging: PathBuf,
    /// Where each pack lies that the store has, by its number.
    places: Mutex<HashMap<u64, Place>>,
    /// Objects whose packs are all in other objects, too.
    stale: Mutex<Vec<Arc<str>>>,
    sent_at: Mutex<Option<Instant>>,
}

/// Where a pack lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub object: Object,
    /// Where it begins in the object.
    pub base: u64,
    /// In bytes.
    pub len: u64,
    /// Under which lease it was written.
    pub fence: u64,
}

/// An object, and the packs in it that are read from there.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub object: Object,
    /// By number.
    pub packs: BTreeMap<u64, Place>,
}

impl Held {
    /// Bytes of its packs.
    pub(super) fn bytes(&self) -> u64 {
        self.packs.values().map(|place| place.len).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bucket {
    pub(super) fn new(client: Client, lease: Lease, staging: PathBuf) -> Self {
        let cache = Arc::new(ReadAhead::new(client.clone()));
        let (places, stale, sent_at) = Default::default();
        Self { client, cache, lease: Arc::new(lease), staging, places, stale, sent_at }
    }

    /// Where a pack lies.
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        lock(&self.places).get(&number).cloned()
    }

    /// The numbers and lengths of all packs that the store has.
    pub(super) fn packs(&self) -> Vec<(u64, u64)> {
        lock(&self.places).iter().map(|(number, place)| (*number, place.len)).collect()
    }

    /// Notes that the store has a pack now.
    pub(super) fn sent(&self, number: u64, place: Place) {
        lock(&self.places).insert(number, place);
        *lock(&self.sent_at) = Some(Instant::now());
    }

    /// When a pack was last sent.
    pub(super) fn sent_at(&self) -> Option<Instant> {
        *lock(&self.sent_at)
    }

    /// All objects that packs are read from, in the order of their first packs.
    pub(super) fn objects(&self) -> Vec<Held> {
        let mut objects: HashMap<Arc<str>, Held> = HashMap::new();
        for (number, place) in &*lock(&self.places) {
            let new = || Held { object: place.object.clone(), packs: BTreeMap::new() };
            let held = objects.entry(place.object.key.clone()).or_insert_with(new);
            held.packs.insert(*number, place.clone());
        }
        let mut objects: Vec<Held> = objects.into_values().collect();
        objects.sort_by_key(|held| held.packs.keys().next().copied());
        objects
    }

    /// Reads packs from another object from now on, where nobody else moved them meanwhile; those objects that they were
    /// read from so far are of no more use.
    pub(super) fn moved(&self, from: &[Held], to: BTreeMap<u64, Place>) {
        let mut places = lock(&self.places);
        let origin = |number: u64| from.iter().find_map(|held| held.packs.get(&number)).map(|place| &place.object.key);
        for (number, place) in to {
            if places.get(&number).is_some_and(|now| Some(&now.object.key) == origin(number)) {
                places.insert(number, place);
            }
        }
        lock(&self.stale).extend(from.iter().map(|held| held.object.key.clone()));
    }

    /// Deletes what is of no more use. What can't be deleted now is tried again by the next call.
    pub(super) async fn delete_stale(&self) -> Result<(), S3Error> {
        loop {
            let Some(key) = lock(&self.stale).last().cloned() else { return Ok(()) };
            self.lease.still_held().await?;
            self.client.delete(&key).await.map_err(Failure::into_error)?;
            failpoint::hit("merge.deleted");
            lock(&self.stale).retain(|stale| *stale != key);
        }
    }

    /// Looks where all packs lie.
    pub(super) async fn look(&self) -> Result<(), Failure> {
        let mut best: HashMap<u64, Place> = HashMap::new();
        let objects = self.listed().await?;
        for (number, place) in objects.iter().flatten() {
            let rank = |place: &Place| (place.fence, place.object.len);
            match best.get(number) {
                Some(known) if rank(known) >= rank(place) => {}
                _ => drop(best.insert(*number, place.clone())),
            }
        }
        // The very same packs, elsewhere. One of an older lease is another pack, though nothing relies on it: it stays.
        let is_elsewhere = |(number, place): &(u64, Place)| {
            best.get(number).is_some_and(|it| it.object.key != place.object.key && it.fence == place.fence)
        };
        let stale = objects.iter().filter(|packs| packs.iter().all(is_elsewhere));
        *lock(&self.stale) = stale.filter_map(|packs| Some(packs.first()?.1.object.key.clone())).collect();
        lock(&self.places).extend(best);
        Ok(())
    }

    /// The packs of each object.
    async fn listed(&self) -> Result<Vec<Vec<(u64, Place)>>, Failure> {
        let mut objects = Vec::new();
        let mut reading = JoinSet::new();
        for Listed { name, len } in self.client.list().await? {
            let Some(parsed) = Name::parse(&name) else { continue };
            let object = Object { key: self.client.key(&name).into(), len };
            match parsed {
                Name::Pack { number, fence } => objects.push(vec![(number, Place { object, base: 0, len, fence })]),
                Name::Merged { .. } => {
                    let client = self.client.clone();
                    reading.spawn(async move { packs_of(&client, &object).await });
                }
            }
        }
        while let Some(read) = reading.join_next().await {
            let ended = |error| Failure::Final(S3Error::Other { said: format!("reading a table ended: {error}") });
            objects.push(read.map_err(ended)??);
        }
        Ok(objects)
    }
}

/// The packs of a merged object; none if it is damaged beyond use, or gone.
async fn packs_of(client: &Client, object: &Object) -> Result<Vec<(u64, Place)>, Failure> {
    let table = match read_table(client, object).await {
        Ok(Some(table)) => table,
        Ok(None) => {
            tracing::error!(key = %object.key, "both tables of this object are damaged: its packs count as missing");
            return Ok(Vec::new());
        }
        Err(Failure::Missing) => return Ok(Vec::new()),
        Err(other) => return Err(other),
    };
    let place = |(member, base): (&Member, u64)| {
        (member.number, Place { object: object.clone(), base, len: member.len, fence: member.fence })
    };
    Ok(table.members.iter().zip(table.offsets()).map(place).collect())
}

async fn read_table(client: &Client, object: &Object) -> Result<Option<Table>, Failure> {
    let Object { key, len } = object;
    let read = async |first: u64, end: u64| -> Result<Bytes, Failure> {
        if first >= end { Ok(Bytes::new()) } else { client.get_range(key.clone(), first, end - 1).await }
    };
    let mut front = read(0, TABLE_BYTES_FIRST.min(*len)).await?;
    if let Some(declared) = Table::declared_bytes(&front).filter(|declared| *declared > front.len()) {
        front = read(0, (declared as u64).min(*len)).await?;
    }
    if let Some(table) = Table::at_front(key, *len, &front).map_err(Failure::Final)? {
        return Ok(Some(table));
    }
    let end = read(len.saturating_sub(TABLE_BYTES_MAX), *len).await?;
    Table::at_end(key, *len, &end).map_err(Failure::Final)
}
