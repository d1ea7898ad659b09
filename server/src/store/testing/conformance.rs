//! The conformance suite: what every blob store promises, as checks that any backend, wrapper or pair must pass.
//!
//! A test makes a fresh store, and says how it is opened again after its process went away; `check` does the rest. Each
//! promise of [`crate::store`] has a function of its name here.

#![expect(clippy::unwrap_used, reason = "a store that fails here has broken a promise, and the panic says where")]

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use datadb::{BlobId, BlobRef, Bundle, bundle::BundleBuilder, limits};
use tokio::task::JoinSet;

use crate::store::{BlobStore, Cursor, Item, Outcome, Presence, SharedStore, StoreError, StoreStats, Stored};

/// Opens a store on the same data again, as after a restart; `None` where nothing outlives the process.
pub type Reopen<'a> = &'a mut (dyn FnMut(SharedStore) -> Option<SharedStore> + Send);

/// Bytes that are different for each seed, and compress by about half.
pub fn sample(seed: u64, len: usize) -> Bytes {
    let mut random = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; len];
    random.fill(&mut bytes[..len.div_ceil(2)]);
    bytes.into()
}

/// A bundle of these blobs.
pub fn bundle(blobs: &[Bytes]) -> Bundle {
    let mut builder = BundleBuilder::new();
    for blob in blobs {
        builder.push(&BlobRef::of(blob), blob);
    }
    builder.seal(1)
}

/// Runs every check.
///
/// # Panics
/// At the first promise that is broken.
pub async fn check(store: SharedStore, reopen: Reopen<'_>) {
    absence_is_a_value(&*store).await;
    what_was_put_is_found_and_read(&*store).await;
    known_blobs_are_not_stored_twice(&*store).await;
    same_id_same_bytes(&*store).await;
    labels_travel(&*store).await;
    many_at_once(&store).await;
    let kept = put_around_the_limits(&*store, 1).await;
    let store = durable_after_flush(store, reopen).await;
    assert_kept(&*store, &kept).await;
    append_order(&*store).await;
}

/// Promise 5.
async fn absence_is_a_value(store: &dyn BlobStore) {
    let id = BlobId::of(b"nobody put this");
    assert_eq!(store.find(&[id]).await.unwrap(), [Presence::Missing]);
    assert_eq!(store.get(&id).await.unwrap(), None);
    assert_eq!(store.find(&[]).await.unwrap(), []);
}

/// Promises 1 and 4: of bundles of many shapes.
async fn what_was_put_is_found_and_read(store: &dyn BlobStore) {
    let shapes: [&[usize]; 6] = [&[0], &[1], &[1, 2, 3], &[100_000, 0, 7], &[2 << 20], &[17; 300]];
    for (number, shape) in shapes.iter().enumerate() {
        let blobs: Vec<Bytes> =
            shape.iter().enumerate().map(|(at, len)| sample((number * 1000 + at) as u64, *len)).collect();
        let put = store.put(bundle(&blobs), Bytes::new()).await.unwrap();
        assert_eq!(put.outcomes.len(), blobs.len());
        for blob in &blobs {
            assert_readable(store, blob).await;
        }
    }
}

async fn assert_readable(store: &dyn BlobStore, bytes: &Bytes) {
    let blob = BlobRef::of(bytes);
    match &store.find(&[blob.id]).await.unwrap()[..] {
        [Presence::Have(found)] => assert_eq!((found.digest, found.len), (blob.digest, blob.len)),
        other => panic!("{} is {other:?}", blob.id),
    }
    let stored = store.get(&blob.id).await.unwrap().expect("what is found can be read");
    assert_eq!(bytes_of(&stored, &blob.id).as_ref(), Some(bytes));
}

/// The bytes of a blob in a bundle.
pub fn bytes_of(stored: &Stored, id: &BlobId) -> Option<Bytes> {
    let plain = stored.bundle.verify().expect("a stored bundle is intact");
    plain.iter().find(|(blob, _)| blob.id == *id).map(|(_, bytes)| bytes)
}

/// Known blobs become dead bytes; a bundle of nothing else leaves no trace.
async fn known_blobs_are_not_stored_twice(store: &dyn BlobStore) {
    let (old, new) = (sample(20_000, 500), sample(20_001, 500));
    store.put(bundle(std::slice::from_ref(&old)), Bytes::new()).await.unwrap();
    let before = store.stats().await.unwrap();
    let put = store.put(bundle(std::slice::from_ref(&old)), Bytes::new()).await.unwrap();
    assert_eq!((&put.outcomes[..], put.cursor), (&[Outcome::Known][..], None));
    assert_eq!(store.stats().await.unwrap().records, before.records);
    let put = store.put(bundle(&[old.clone(), new.clone(), new.clone()]), Bytes::new()).await.unwrap();
    assert_eq!(put.outcomes, [Outcome::Known, Outcome::New, Outcome::Known]);
    let after = store.stats().await.unwrap();
    assert_eq!((after.blobs, after.dead_bytes), (before.blobs + 1, before.dead_bytes + 1000));
    assert_readable(store, &old).await;
    assert_readable(store, &new).await;
}

/// Promise 3, with two published files that share their SHA-1.
async fn same_id_same_bytes(store: &dyn BlobStore) {
    let [first, second] = COLLISION.map(Bytes::from_static);
    assert_eq!(BlobId::of(&first), BlobId::of(&second));
    assert_eq!(store.put(bundle(std::slice::from_ref(&first)), Bytes::new()).await.unwrap().outcomes, [Outcome::New]);
    let other = store.put(bundle(std::slice::from_ref(&second)), Bytes::new()).await.unwrap();
    assert_eq!(other.outcomes, [Outcome::Conflict]);
    assert_readable(store, &first).await;
}

/// SHA-mbles (2020): a chosen-prefix collision.
const COLLISION: [&[u8]; 2] = [
    include_bytes!("../../../../tests/fixtures/sha1-collisions/sha-mbles-1.bin"),
    include_bytes!("../../../../tests/fixtures/sha1-collisions/sha-mbles-2.bin"),
];

/// Promise 7.
async fn labels_travel(store: &dyn BlobStore) {
    for len in [0usize, 1, 3000] {
        let (blob, label) = (sample(40_000 + len as u64, 64), sample(41_000, len));
        store.put(bundle(std::slice::from_ref(&blob)), label.clone()).await.unwrap();
        let id = BlobId::of(&blob);
        assert_eq!(store.get(&id).await.unwrap().expect("it was put").label, label);
        let listed = all(store).await.into_iter().find_map(|item| match item {
            Item::Record { refs, label, .. } if refs.iter().any(|blob| blob.id == id) => Some(label),
            _ => None,
        });
        assert_eq!(listed, Some(label));
    }
}

/// Promise 1, from many tasks: each blob is stored once, whoever wins.
async fn many_at_once(store: &SharedStore) {
    let blobs: Vec<Bytes> = (0..40).map(|at| sample(50_000 + at, 3000)).collect();
    let before = store.stats().await.unwrap().blobs;
    let mut tasks = JoinSet::new();
    for task in 0..8usize {
        let (store, mut blobs) = (store.clone(), blobs.clone());
        blobs.rotate_left(task * 5);
        tasks.spawn(async move {
            let mut new = 0;
            for pair in blobs.chunks(2) {
                let put = store.put(bundle(pair), Bytes::new()).await.unwrap();
                new += put.outcomes.iter().filter(|outcome| **outcome == Outcome::New).count();
            }
            new
        });
    }
    let new: usize = tasks.join_all().await.into_iter().sum();
    assert_eq!(new, blobs.len());
    assert_eq!(store.stats().await.unwrap().blobs, before + blobs.len() as u64);
    for blob in &blobs {
        assert_readable(&**store, blob).await;
    }
}

/// A bundle that a store has accepted.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its blobs.
    pub refs: Vec<BlobRef>,
    /// Its label.
    pub label: Bytes,
}

/// Bytes that are different for each seed, and don't shrink.
fn noise(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"noise").update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Promise 8: puts bundles and labels of random sizes around every limit, and gives back what was accepted. What was refused
/// has left no trace.
pub async fn put_around_the_limits(store: &dyn BlobStore, seed: u64) -> Vec<Kept> {
    let mut random = blake3::Hasher::new().update(b"limits").update(&seed.to_le_bytes()).finalize_xof();
    let mut near = |limit: usize, spread: usize| {
        let spread = spread.min(limit - 1);
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        limit + spread - usize::try_from(u64::from_le_bytes(bytes) % (2 * spread as u64 + 1)).unwrap()
    };
    let mut bundles: Vec<(Bundle, usize)> = Vec::new();
    for (number, spread) in (0..).zip([0, 1, 1, 40_000]) {
        let base = seed * 1_000_000 + number * 10_000;
        let tiny: Vec<Bytes> = (0..near(limits::BUNDLE_BLOBS_MAX, spread) as u64)
            .map(|at| Bytes::copy_from_slice(&[base.to_le_bytes(), at.to_le_bytes()].concat()))
            .collect();
        bundles.push((bundle(&tiny), near(limits::LABEL_BYTES_MAX / 2, spread)));
        let half = limits::BUNDLE_BYTES_MAX / 2;
        bundles.push((bundle(&[sample(base + 1, half), noise(base + 2, near(half, spread))]), number as usize));
        bundles.push((bundle(&[sample(base + 3, 100)]), near(limits::LABEL_BYTES_MAX, spread)));
        bundles.push((bundle(&[sample(base + 4, 100)]), near(limits::LABEL_BYTES_MAX - (20 << 10), spread)));
        bundles.push((bundle(&[noise(base + 5, near(limits::BLOB_BYTES_MAX, spread))]), 7));
    }
    let base = seed * 1_000_000 + 500_000;
    bundles.push((bundle(&[sample(base, near(limits::LOG_RECORD_BYTES_MAX, 1))]), 0));
    bundles.push((bundle(&[noise(base + 1, near(limits::LOG_RECORD_BYTES_MAX, 1))]), 300));
    bundles.push((bundle(&[noise(base + 2, near(limits::SEALED_BYTES_MAX, 1))]), 0));
    let mut kept = Vec::new();
    for (number, (bundle, label_bytes)) in (0..).zip(bundles) {
        let (refs, label): (Vec<BlobRef>, Bytes) = (bundle.refs().collect(), sample(number, label_bytes));
        match store.put(bundle, label.clone()).await {
            Ok(put) => {
                assert!(put.outcomes.iter().all(|outcome| *outcome == Outcome::New));
                kept.push(Kept { refs, label });
            }
            Err(StoreError::Unfit { .. } | StoreError::Peer { .. }) => {
                let ids: Vec<BlobId> = refs.iter().map(|blob| blob.id).collect();
                assert!(store.find(&ids).await.unwrap().iter().all(|found| *found == Presence::Missing));
                assert_eq!(store.get(&ids[0]).await.unwrap(), None);
            }
            Err(other) => panic!("what is too long is refused as such, not: {other}"),
        }
    }
    assert!(kept.len() > 4, "most of what is within the limits is accepted");
    kept
}

/// Promise 8: what was accepted is found, read and listed as it was put.
pub async fn assert_kept(store: &dyn BlobStore, kept: &[Kept]) {
    let mut listed: HashMap<BlobId, (Vec<BlobRef>, Bytes)> = HashMap::new();
    for item in all(store).await {
        match item {
            Item::Record { refs, label, .. } => drop(listed.insert(refs[0].id, (refs, label))),
            Item::Damage(damage) => panic!("nothing is damaged, but {damage:?}"),
        }
    }
    for Kept { refs, label } in kept {
        let (listed_refs, listed_label) = listed.get(&refs[0].id).expect("what was accepted is listed");
        assert_eq!((listed_refs, listed_label), (refs, label));
        let ids: Vec<BlobId> = refs.iter().map(|blob| blob.id).collect();
        let is_right = |(found, blob): (&Presence, &BlobRef)| match found {
            Presence::Have(found) => found.digest == blob.digest && found.len == blob.len,
            Presence::Missing | Presence::Unknown => false,
        };
        assert!(store.find(&ids).await.unwrap().iter().zip(refs).all(is_right));
        let stored = store.get(&ids[0]).await.unwrap().expect("what was accepted can be read");
        assert_eq!(stored.label, label);
        assert!(stored.bundle.verify().unwrap().iter().map(|(blob, _)| blob).eq(refs.iter().copied()));
    }
}

/// Promise 2, as far as a restart can show it; the power-cut tests show the rest.
async fn durable_after_flush(store: SharedStore, reopen: Reopen<'_>) -> SharedStore {
    let blob = sample(60_000, 5000);
    store.put(bundle(std::slice::from_ref(&blob)), Bytes::new()).await.unwrap();
    assert!(!store.flush().await.unwrap().is_empty());
    store.flush().await.expect("a flush of nothing is fine");
    let (stats, items) = (counts(&*store).await, all(&*store).await);
    let again = store.clone();
    let Some(reopened) = reopen(again) else { return store };
    drop(store);
    assert_readable(&*reopened, &blob).await;
    assert_eq!(counts(&*reopened).await, stats);
    assert_eq!(all(&*reopened).await, items);
    reopened
}

/// Everything of the counts that outlives a process.
async fn counts(store: &dyn BlobStore) -> StoreStats {
    StoreStats { open_files: 0, ..store.stats().await.unwrap() }
}

/// Promise 6.
async fn append_order(store: &dyn BlobStore) {
    let blobs: Vec<Bytes> = (0..25).map(|at| sample(70_000 + at, 10)).collect();
    let last = all(store).await.iter().map(cursor).next_back();
    for blob in &blobs {
        store.put(bundle(std::slice::from_ref(blob)), Bytes::new()).await.unwrap();
    }
    let ids: Vec<BlobId> = blobs.iter().map(|blob| BlobId::of(blob)).collect();
    let listed = |items: Vec<Item>| -> Vec<BlobId> {
        items
            .into_iter()
            .flat_map(|item| match item {
                Item::Record { refs, .. } => refs.into_iter().map(|blob| blob.id).collect::<Vec<BlobId>>(),
                Item::Damage(damage) => panic!("nothing is damaged, but {damage:?}"),
            })
            .collect()
    };
    assert_eq!(listed(store.enumerate(last, 1000).await.unwrap()), ids);
    let by_ones = all(store).await;
    assert_eq!(store.enumerate(None, usize::MAX).await.unwrap(), by_ones);
    let cursors: BTreeMap<Cursor, ()> = by_ones.iter().map(|item| (cursor(item), ())).collect();
    assert_eq!(cursors.len(), by_ones.len(), "each record comes once");
    assert!(by_ones.is_sorted_by_key(cursor));
}

fn cursor(item: &Item) -> Cursor {
    match item {
        Item::Record { cursor, .. } => *cursor,
        Item::Damage(damage) => damage.cursor,
    }
}

/// Everything that a store enumerates, seven at a time.
pub async fn all(store: &dyn BlobStore) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    loop {
        let page = store.enumerate(items.last().map(cursor), 7).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            return items;
        }
        items.extend(page);
    }
}
