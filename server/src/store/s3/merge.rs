//! Merging: many small objects become a few large ones, when nothing else is written.
//!
//! Each commit leaves a pack or two, most of them small. Stores charge by the object and by the request, a start lists them
//! all, and a rebuild reads each. So packs are copied, as they are, into one object that holds them all (see
//! [`super::layout`]), and the objects they came from are deleted. A pack keeps its number, and a record its place in the
//! pack: neither the index, nor the log, nor any cursor knows of it.
//!
//! **Nothing is lost in between.** The merged object is in the bucket before any of the others goes, and every pack was
//! verified, record by record, on its way into it; one that is not intact stays where it is. A crash leaves both; the next
//! start reads from the merged one and deletes the rest. A reader who finds an object gone looks where the pack is now.
//!
//! **How much is copied.** Objects have a size class, eight times as large as the one below, and sixteen of a class are
//! merged, together with the smaller ones. So every byte is copied a handful of times, until its object has grown beyond
//! [`GROWN_BYTES`]; such objects are left alone, and only they are kept in the storage class that the config asks for.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, Weak, mpsc},
    time::Duration,
};

use bytes::Bytes;
use datadb::failpoint;
use tokio::{task::AbortHandle, time::sleep};

use super::{
    ahead::Object,
    bucket::{Bucket, Held, Place},
    error::{Failure, S3Error},
    layout::{MEMBERS_MAX, Member, Table},
    upload,
};
use crate::store::{blobsfile::pack, disk::DiskFile};

/// An object beyond this length is not merged any more.
pub(super) const GROWN_BYTES: u64 = 8 << 20;

/// The lengths up to which objects belong to each class.
const CLASSES: [u64; 3] = [128 << 10, 1 << 20, GROWN_BYTES];

/// So many objects of a class are merged.
const OBJECTS_MIN: usize = 16;

/// At most so many bytes go into one object.
const BYTES_MAX: u64 = 128 << 20;

/// A server that never rests merges all the same, when it was put off so often.
const PUT_OFF_MAX: u32 = 10;

/// In the staging directory: the object that is being put together.
const STAGED: &str = "merging";

/// How long a stop waits for the merging to end, which it does at its next request at the latest.
const END: Duration = Duration::from_secs(5);

/// Merges in the background until it is dropped.
#[derive(Debug)]
pub(super) struct Merging {
    task: AbortHandle,
    /// Nothing ever comes; it breaks when the task is gone, and with it its hold on the lease.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Merging {
    /// Starts it, unless the config says that nothing is to be merged.
    pub(super) fn start(bucket: &Arc<Bucket>) -> Option<Self> {
        let rest = bucket.client.config().patience.merge?;
        let (running, ended) = mpsc::channel();
        let merged = Arc::downgrade(bucket);
        let task = bucket.client.spawn(async move {
            merge_on(merged, rest).await;
            drop(running);
        });
        Some(Self { task, ended: Mutex::new(ended) })
    }
}

impl Drop for Merging {
    fn drop(&mut self) {
        self.task.abort();
        if let Ok(ended) = self.ended.get_mut()
            && ended.recv_timeout(END) == Err(mpsc::RecvTimeoutError::Timeout)
        {
            tracing::warn!("merging does not end");
        }
    }
}

async fn merge_on(bucket: Weak<Bucket>, rest: Duration) {
    let mut spoilt = HashSet::new();
    let mut put_off = 0;
    // What had been sent when there was nothing more to do.
    let mut settled = None;
    loop {
        sleep(rest).await;
        let Some(bucket) = bucket.upgrade() else { return };
        let sent = bucket.sent_at();
        if settled == Some(sent) {
            continue;
        }
        let is_busy = sent.is_some_and(|sent| sent.elapsed() < rest);
        if is_busy && put_off < PUT_OFF_MAX {
            put_off += 1;
            continue;
        }
        put_off = 0;
        loop {
            match merge_some(&bucket, &mut spoilt).await {
                Ok(true) => {}
                Ok(false) => {
                    settled = Some(sent);
                    break;
                }
                Err(error @ (S3Error::Denied { .. } | S3Error::Taken { .. })) => {
                    tracing::warn!(store = %bucket.client.config(), %error, "small packs are not merged any more");
                    return;
                }
                Err(error) => {
                    tracing::warn!(store = %bucket.client.config(), %error, "small packs could not be merged; tried again later");
                    break;
                }
            }
        }
    }
}

/// One step: deletes what is of no more use, then merges some objects. `false` when there is nothing to do.
async fn merge_some(bucket: &Bucket, spoilt: &mut HashSet<Arc<str>>) -> Result<bool, S3Error> {
    bucket.delete_stale().await?;
    let mut objects = bucket.objects();
    objects.retain(|held| !spoilt.contains(&held.object.key));
    let chosen = choose(objects);
    if chosen.is_empty() {
        return Ok(false);
    }
    bucket.lease.still_held().await?;
    let members = chosen.iter().flat_map(|held| &held.packs);
    let members =
        members.map(|(number, Place { fence, len, .. })| Member { number: *number, fence: *fence, len: *len });
    let table = Table { members: members.collect() };
    let file = match put_together(bucket, &chosen, &table).await {
        Ok(file) => file,
        Err(Unfit::Spoilt(key)) => {
            tracing::error!(%key, "this object is not intact: it is left out of merging, and stays as it is");
            spoilt.insert(key);
            return Ok(true);
        }
        Err(Unfit::Gone(key)) => {
            // Its packs are elsewhere now, or lost: reading them says so.
            bucket.look().await.map_err(Failure::into_error)?;
            spoilt.insert(key);
            return Ok(true);
        }
        Err(Unfit::Failed(error)) => return Err(error),
    };
    let len = file.metadata().map_err(unusable)?.len();
    let key: Arc<str> = bucket.client.key(&table.name(bucket.lease.fence()).to_string()).into();
    upload::send(&bucket.client, &key, Arc::new(file), len).await.map_err(Failure::into_error)?;
    bucket.lease.still_held().await?;
    failpoint::hit("merge.sent");
    let place = |(member, base): (&Member, u64)| {
        let object = Object { key: key.clone(), len };
        (member.number, Place { object, base, len: member.len, fence: member.fence })
    };
    let merged: BTreeMap<u64, Place> = table.members.iter().zip(table.offsets()).map(place).collect();
    tracing::debug!(store = %bucket.client.config(), %key, objects = chosen.len(), packs = merged.len(), len, "packs merged");
    bucket.moved(&chosen, merged);
    bucket.delete_stale().await?;
    Ok(true)
}

/// Why objects can't be merged.
enum Unfit {
    /// One of them holds a pack that is not intact.
    Spoilt(Arc<str>),
    /// One of them is not there any more.
    Gone(Arc<str>),
    Failed(S3Error),
}

fn unusable(error: io::Error) -> S3Error {
    S3Error::Other { said: format!("the staging directory can't be used: {error}") }
}

/// Writes the merged object to a file of its own, and verifies each pack on the way.
async fn put_together(bucket: &Bucket, chosen: &[Held], table: &Table) -> Result<File, Unfit> {
    let staging = |error| Unfit::Failed(unusable(error));
    let path = bucket.staging.join(STAGED);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).map_err(staging)?;
    // It needs no name, and so leaves nothing behind.
    std::fs::remove_file(&path).map_err(staging)?;
    let encoded = table.encode();
    file.write_all_at(&encoded, 0).map_err(staging)?;
    let mut offsets = table.offsets();
    let mut end = encoded.len() as u64;
    for Held { object, packs } in chosen {
        let bytes = match bucket.client.get_range(object.key.clone(), 0, object.len.saturating_sub(1)).await {
            Ok(bytes) => bytes,
            Err(Failure::Missing) => return Err(Unfit::Gone(object.key.clone())),
            Err(other) => return Err(Unfit::Failed(other.into_error())),
        };
        for (number, Place { base, len, .. }) in packs {
            let (Some(offset), true) = (offsets.next(), bytes.len() as u64 >= base + len) else {
                return Err(Unfit::Spoilt(object.key.clone()));
            };
            let pack = bytes.slice(*base as usize..(base + len) as usize);
            file.write_all_at(&pack, offset).map_err(staging)?;
            end = offset + len;
            if !pack::is_whole(&InMemory(pack), *number).map_err(staging)? {
                return Err(Unfit::Spoilt(object.key.clone()));
            }
        }
    }
    file.write_all_at(&encoded, end).map_err(staging)?;
    Ok(file)
}

/// The class of an object; `None` if it has grown beyond all of them, in bytes or in packs.
fn class_of(held: &Held) -> Option<usize> {
    let is_grown = held.packs.len() > MEMBERS_MAX / 2;
    CLASSES.iter().position(|max| held.object.len <= *max).filter(|_| !is_grown)
}

/// Which objects are merged next, out of all in the order of their packs; none if there are too few of each class.
fn choose(objects: Vec<Held>) -> Vec<Held> {
    let small: Vec<(usize, Held)> = objects.into_iter().filter_map(|held| Some((class_of(&held)?, held))).collect();
    let is_due = |class: &usize| small.iter().filter(|(of, _)| of == class).count() >= OBJECTS_MIN;
    let Some(class) = (0..CLASSES.len()).find(is_due) else { return Vec::new() };
    // Any two of them fit, since neither is grown.
    let (mut packs, mut bytes) = (0, 0);
    let chosen = small.into_iter().filter(|(of, _)| *of <= class).map(|(_, held)| held).take_while(|held| {
        packs += held.packs.len();
        bytes += held.bytes();
        packs <= MEMBERS_MAX && bytes <= BYTES_MAX
    });
    chosen.collect()
}

/// A pack that was read as a whole.
#[derive(Debug)]
struct InMemory(Bytes);

impl DiskFile for InMemory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(number: u64, len: u64) -> Held {
        let object = Object { key: number.to_string().into(), len };
        let place = Place { object: object.clone(), base: 0, len, fence: 1 };
        Held { object, packs: BTreeMap::from([(number, place)]) }
    }

    /// What is left when a server has merged for as long as there was something to do, and how many bytes it copied.
    fn settle(mut objects: Vec<Held>) -> (Vec<Held>, u64) {
        let mut copied = 0;
        loop {
            let chosen = choose(objects.clone());
            if chosen.is_empty() {
                return (objects, copied);
            }
            let keys: HashSet<_> = chosen.iter().map(|held| held.object.key.clone()).collect();
            objects.retain(|held| !keys.contains(&held.object.key));
            let len = chosen.iter().map(Held::bytes).sum();
            copied += len;
            let first = chosen[0].packs.keys().next().unwrap();
            let object = Object { key: format!("{first}+{len}").into(), len };
            let packs = chosen.into_iter().flat_map(|held| held.packs).collect();
            objects.push(Held { object, packs });
            objects.sort_by_key(|held| held.packs.keys().next().copied());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// However small or large the commits: few objects that are not grown, and no byte copied often.
        #[test]
        fn few_small_objects_are_left_and_little_is_copied(
            lens in prop::collection::vec(prop_oneof![9 => 200u64..60_000, 2 => 60_000u64..2_000_000, 1 => 2_000_000u64..40_000_000], 1..1500)
        ) {
            let (mut objects, mut copied) = (Vec::new(), 0);
            for (number, len) in (1..).zip(&lens) {
                objects.push(held(number, *len));
                let (left, bytes) = settle(objects);
                objects = left;
                copied += bytes;
                let small = objects.iter().filter(|held| class_of(held).is_some()).count();
                prop_assert!(small < OBJECTS_MIN * CLASSES.len(), "{small} small objects");
            }
            let packs: Vec<u64> = objects.iter().flat_map(|held| held.packs.keys().copied()).collect();
            prop_assert_eq!(packs.len(), lens.len(), "every pack is still somewhere, once");
            let mergeable: u64 = lens.iter().filter(|len| **len <= GROWN_BYTES).sum();
            prop_assert!(copied <= 12 * mergeable, "{copied} bytes copied of {mergeable}");
        }
    }

    #[test]
    fn grown_objects_are_left_alone() {
        assert!(choose((0..100).map(|number| held(number, GROWN_BYTES + 1)).collect()).is_empty());
        let some: Vec<Held> = (0..15).map(|number| held(number, 100)).collect();
        assert!(choose(some).is_empty(), "too few to be worth it");
    }
}
