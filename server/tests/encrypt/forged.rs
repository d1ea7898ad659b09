//! A keeper that lies: records whose checksums are in order, but whose bytes are not those that were sealed for them.

use std::sync::Arc;

use bytes::Bytes;
use datadb::{BlobId, BlobRef, Bundle, bundle::Codec};
use datadb_server::store::{
    BlobStore, Item, Outcome, Presence, SharedStore, StoreError, Stored,
    encrypt::Encrypt,
    testing::conformance::{all, bundle},
    testing::memory::MemoryStore,
};

use crate::{Place, encrypt, put, read, sample, try_encrypt};

/// Two records as the keeper has them, and the two blobs of each.
async fn honest() -> (Vec<Stored>, [Bytes; 4]) {
    let inner: SharedStore = Arc::new(MemoryStore::default());
    let store = encrypt(&Place::new(), inner.clone()).await;
    let blobs = [1, 2, 3, 4].map(|seed| sample(seed, 1000));
    let mut records = Vec::new();
    for some in blobs.chunks(2) {
        put(&*store, some).await;
    }
    for item in all(&*inner).await {
        let Item::Record { refs, .. } = item else { panic!("{item:?}") };
        records.push(inner.get(&refs[0].id).await.unwrap().unwrap());
    }
    (records, blobs)
}

/// A store of these records, and what opening it finds damaged.
async fn of(place: &Place, records: Vec<Stored>) -> (Arc<Encrypt>, usize) {
    let inner: SharedStore = Arc::new(MemoryStore::default());
    for Stored { bundle, label } in records {
        inner.put(bundle, label).await.unwrap();
    }
    let (store, report) = try_encrypt(place, inner, &[1]).await.unwrap();
    (store, report.damage.len())
}

/// The record with other data under the name of its own.
fn with_data(record: &Stored, data: Bytes) -> Stored {
    // A keeper chooses its own checksums and lengths; the name is what it is asked for.
    let mut blob = record.bundle.refs().next().unwrap();
    blob.len = u32::try_from(data.len()).unwrap();
    let mut table = Vec::new();
    blob.pack(&mut table);
    let bundle = Bundle::new(Codec::Raw, blob.len, table.into(), data).unwrap();
    Stored { bundle, label: record.label.clone() }
}

/// Blobs of a record whose bytes were forged: named once, missing from then on, and healed when they come again.
async fn assert_found_out(store: &Encrypt, hurt: &[Bytes], attack: &str) {
    let ids: Vec<BlobId> = hurt.iter().map(|blob| BlobId::of(blob)).collect();
    match store.get(&ids[0]).await {
        Err(StoreError::Damaged { id, leaf, .. }) => assert_eq!((id, &*leaf), (ids[0], "encrypted"), "{attack}"),
        other => panic!("{attack}: {other:?}"),
    }
    assert!(store.find(&ids).await.unwrap().iter().all(|found| *found == Presence::Missing), "{attack}");
    assert_eq!(store.get(&ids[1]).await.unwrap(), None, "{attack}");
    assert_eq!(store.stats().await.unwrap().bad_blobs, 2, "{attack}");
    assert_eq!(store.put(bundle(hurt), Bytes::new()).await.unwrap().outcomes, [Outcome::New; 2], "{attack}");
    store.flush().await.unwrap();
    for blob in hurt {
        assert_eq!(read(store, blob).await.as_ref(), Some(blob), "{attack}");
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.bad_blobs, stats.blobs), (0, 4), "{attack}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_under_the_name_of_a_sealed_bundle_are_found_out() {
    let (records, blobs) = honest().await;
    let data = records[0].bundle.data().clone();
    let flipped = |at: usize| {
        let mut bytes = data.to_vec();
        bytes[at] ^= 0x10;
        Bytes::from(bytes)
    };
    let attacks = [
        ("the other bundle", records[1].bundle.data().clone()),
        ("its own label", records[0].label.clone()),
        ("the other's label", records[1].label.clone()),
        ("cut short", data.slice(..data.len() - 1)),
        ("cut to its head", data.slice(..49)),
        ("nothing at all", Bytes::new()),
        ("longer than it was", [&data[..], &[0]].concat().into()),
        ("a flipped bit in the nonce", flipped(12)),
        ("a flipped bit in the tag", flipped(40)),
        ("a flipped bit at the end", flipped(data.len() - 1)),
        ("another key", flipped(3)),
        ("another version", flipped(0)),
        ("plain bytes", sample(1, 1000)),
    ];
    for (attack, data) in attacks {
        let place = Place::new();
        let (store, damaged) = of(&place, vec![with_data(&records[0], data), records[1].clone()]).await;
        // The label binds the name's digest, which is the honest one: only reading tells.
        assert_eq!(damaged, 0, "{attack}");
        assert_found_out(&store, &blobs[..2], attack).await;
        assert_eq!(read(&*store, &blobs[2]).await.as_ref(), Some(&blobs[2]), "{attack}");
    }
}

/// After a restart the blobs are still marked bad.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_seal_is_remembered() {
    let (records, blobs) = honest().await;
    let place = Place::new();
    let inner: SharedStore = Arc::new(MemoryStore::default());
    let forged = with_data(&records[0], records[1].bundle.data().clone());
    for Stored { bundle, label } in [forged, records[1].clone()] {
        inner.put(bundle, label).await.unwrap();
    }
    let store = encrypt(&place, inner.clone()).await;
    assert!(store.get(&BlobId::of(&blobs[1])).await.is_err());
    let again = encrypt(&place.copy(), inner).await;
    assert_eq!(again.find(&[BlobId::of(&blobs[0])]).await.unwrap(), [Presence::Missing]);
    assert_eq!(again.stats().await.unwrap(), store.stats().await.unwrap());
    assert_eq!(again.stats().await.unwrap().bad_blobs, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_forged_and_missing_labels_are_damage_and_their_blobs_missing() {
    let (records, blobs) = honest().await;
    let relabelled = |at: usize, label: Bytes| Stored { bundle: records[at].bundle.clone(), label };
    let mut flipped = records[1].label.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let second = |label: Bytes| vec![records[0].clone(), relabelled(1, label)];
    let cases = [
        ("swapped", vec![relabelled(0, records[1].label.clone()), relabelled(1, records[0].label.clone())], 2),
        ("the first one's", second(records[0].label.clone()), 1),
        ("flipped", second(flipped.into()), 1),
        ("cut", second(records[1].label.slice(..200)), 1),
        ("its own bundle", second(records[1].bundle.data().clone()), 1),
        ("none", second(Bytes::new()), 1),
    ];
    for (attack, records, expected) in cases {
        let (store, damaged) = of(&Place::new(), records).await;
        assert_eq!(damaged, expected, "{attack}");
        let items = all(&*store).await;
        assert_eq!(items.iter().filter(|item| matches!(item, Item::Damage(_))).count(), expected, "{attack}");
        assert_eq!(store.find(&[BlobId::of(&blobs[3])]).await.unwrap(), [Presence::Missing], "{attack}");
        assert_eq!(read(&*store, &blobs[0]).await.is_some(), expected == 1, "{attack}");
        put(&*store, &blobs[2..]).await;
        assert_eq!(read(&*store, &blobs[3]).await.as_ref(), Some(&blobs[3]), "{attack}");
    }
}

/// An old record in the place of a newer one takes the newer one's blobs away, and gives no others for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_record_is_never_taken_for_another() {
    let (records, blobs) = honest().await;
    // Under the name of the second, everything of the first.
    let replayed =
        Stored { bundle: with_data(&records[1], records[0].bundle.data().clone()).bundle, ..records[0].clone() };
    let (store, damaged) = of(&Place::new(), vec![records[0].clone(), replayed]).await;
    assert_eq!(damaged, 1, "the label belongs to another name");
    for blob in &blobs[..2] {
        assert_eq!(read(&*store, blob).await.as_ref(), Some(blob));
    }
    for blob in &blobs[2..] {
        assert_eq!(store.find(&[BlobRef::of(blob).id]).await.unwrap(), [Presence::Missing]);
        assert_eq!(read(&*store, blob).await, None);
    }
}
