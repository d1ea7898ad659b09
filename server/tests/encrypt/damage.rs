//! Damage that the keeper meets by itself: it is found without any key, counts as missing, and heals when the bytes come
//! again.

use std::sync::Arc;

use bytes::Bytes;
use datadb::{BlobId, Kind};
use datadb_server::store::{
    BlobStore, Cursor, Item, Outcome, Presence, SharedStore, StoreError,
    blobsfile::Relied,
    testing::conformance::{all, bundle},
    testing::faulty::{Fault, Faulty},
    testing::memory::MemoryStore,
    testing::power_cut::CutDisk,
};

use crate::{Place, encrypt, encrypted_packs, leaf, pack, put, read, sample, try_encrypt};

/// Flips a byte in the middle of the data of the record at this place.
fn flip(disk: &CutDisk, cursor: Cursor) {
    let mut bytes = disk.read(&pack(cursor.pack)).unwrap();
    // Behind the head of 60 bytes, the table of one blob, and its label of 256.
    bytes[cursor.offset as usize + 60 + 56 + 256 + 100] ^= 1;
    disk.replace(&pack(cursor.pack), Some(bytes));
}

async fn cursors(store: &dyn BlobStore) -> Vec<Cursor> {
    let cursor = |item| match item {
        Item::Record { cursor, .. } => cursor,
        Item::Damage(damage) => panic!("{damage:?}"),
    };
    all(store).await.into_iter().map(cursor).collect()
}

/// How far the packs are durable: what the log knows of them.
async fn end(store: &dyn BlobStore) -> Relied {
    Relied::UpTo(store.flush().await.unwrap()[0].end)
}

/// Two bundles of two blobs each, flushed.
async fn two_bundles(store: &dyn BlobStore) -> [Bytes; 4] {
    let blobs = [1, 2, 3, 4].map(|seed| sample(seed, 4000));
    for some in blobs.chunks(2) {
        put(store, some).await;
    }
    store.flush().await.unwrap();
    blobs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_is_named_by_its_plain_id_counts_as_missing_and_is_healed() {
    let (place, disk) = (Place::new(), CutDisk::default());
    let store = encrypted_packs(&place, &disk).await;
    let blobs = two_bundles(&*store).await;
    let at = cursors(&*store).await;
    flip(&disk, at[0]);
    let ids = blobs.each_ref().map(|blob| BlobId::of(blob));
    match store.get(&ids[0]).await {
        Err(StoreError::Damaged { id, leaf, cursor, .. }) => assert_eq!((id, &*leaf, cursor), (ids[0], "blobs", at[0])),
        other => panic!("expected damage, got {other:?}"),
    }
    // Both blobs of the bundle are gone, those of the other one are there.
    let found = store.find(&ids).await.unwrap();
    assert_eq!(found[..2], [Presence::Missing; 2]);
    assert!(found[2..].iter().all(|found| matches!(found, Presence::Have(_))));
    assert_eq!(store.get(&ids[1]).await.unwrap(), None);
    assert!(store.stats().await.unwrap().bad_blobs > 0);
    // They come again, in another bundle.
    let again = store.put(bundle(&[blobs[1].clone(), blobs[0].clone()]), Bytes::new()).await.unwrap();
    assert_eq!(again.outcomes, [Outcome::New; 2]);
    store.flush().await.unwrap();
    for blob in &blobs {
        assert_eq!(read(&*store, blob).await.as_ref(), Some(blob));
    }
    assert_eq!(cursors(&*store).await.len(), 3);
    let relied = end(&*store).await;
    // Whoever makes the index anew and knows from the log which copy is bad takes the new one.
    for bad in [&[][..], &at[..1]] {
        let place = Place::new();
        let (leaf, _) = leaf(&place, &disk, relied, bad);
        let store = encrypt(&place, leaf).await;
        let first = store.get(&ids[0]).await;
        assert_eq!(first.is_ok(), !bad.is_empty(), "{first:?}");
        assert_eq!(store.stats().await.unwrap().blobs, 4);
        if bad.is_empty() {
            // Nobody told it; but it finds out, and the next upload heals.
            put(&*store, &blobs[..2]).await;
        }
        for blob in &blobs {
            assert_eq!(read(&*store, blob).await.as_ref(), Some(blob));
        }
    }
}

/// Whoever keeps the packs and has no key reads and verifies every record of them, and tells which one is damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_without_the_key_tells_damaged_ciphertext() {
    let (place, disk) = (Place::new(), CutDisk::default());
    let store = encrypted_packs(&place, &disk).await;
    let blobs: Vec<Bytes> = (0..20).map(|seed| sample(seed, 4000)).collect();
    for some in blobs.chunks(2) {
        put(&*store, some).await;
    }
    let (relied, at) = (end(&*store).await, cursors(&*store).await);
    drop(store);
    flip(&disk, at[3]);
    let (leaf, _) = leaf(&Place::new(), &disk, relied, &[]);
    let mut damaged = Vec::new();
    for item in all(&*leaf).await {
        let Item::Record { cursor, refs, .. } = item else { panic!("heads and labels are whole: {item:?}") };
        match leaf.get(&refs[0].id).await {
            // SHA-1 and BLAKE3 of the sealed bytes.
            Ok(Some(stored)) => drop(stored.bundle.verify().unwrap()),
            Err(StoreError::Damaged { cursor: named, .. }) => damaged.push((cursor, named)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(damaged, [(at[3], at[3])]);
}

/// What the inner store can't read whole is an error that names the blob as it was asked for; the next try may succeed.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_inner_store_cannot_read_is_named_by_its_plain_id() {
    let inner = Arc::new(Faulty::new(Arc::new(MemoryStore::default())));
    let store = encrypt(&Place::new(), inner.clone()).await;
    let blob = sample(9, 1000);
    let id = BlobId::of(&blob);
    put(&*store, std::slice::from_ref(&blob)).await;
    for fault in [Fault::ShortRead, Fault::FlippedBits] {
        inner.next([Some(fault)]);
        let error = store.get(&id).await.unwrap_err();
        assert!(error.to_string().contains(&id.to_string()), "{error}");
        assert_eq!(error.kind(), Kind::Damaged);
        assert_eq!(read(&*store, &blob).await.as_ref(), Some(&blob));
    }
}

/// A pack that is cut in the middle, or gone: its blobs are missing, all others are there, and nothing else changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_cut_or_gone_takes_its_own_blobs_only() {
    for is_gone in [false, true] {
        let (place, disk) = (Place::new(), CutDisk::default());
        let store = encrypted_packs(&place, &disk).await;
        let blobs: Vec<Bytes> = (0..6).map(|seed| sample(seed, 1 << 20)).collect();
        for blob in &blobs {
            put(&*store, std::slice::from_ref(blob)).await;
        }
        store.flush().await.unwrap();
        let at = cursors(&*store).await;
        let hurt = at[2].pack;
        assert!(at[0].pack < hurt && hurt < at[5].pack, "there are several packs: {at:?}");
        let again = place.copy();
        drop((store, place));
        let cut = disk.read(&pack(hurt)).map(|mut bytes| {
            bytes.truncate(1000);
            bytes
        });
        disk.replace(&pack(hurt), cut.filter(|_| !is_gone));
        let (leaf, report): (SharedStore, _) = leaf(&again, &disk, Relied::Index, &[]);
        assert!(!report.damage.is_empty());
        let (store, _) = try_encrypt(&again, leaf, &[1]).await.unwrap();
        for (blob, at) in blobs.iter().zip(&at) {
            let expected = (at.pack != hurt).then(|| blob.clone());
            assert_eq!(read(&*store, blob).await, expected);
        }
        for blob in &blobs {
            put(&*store, std::slice::from_ref(blob)).await;
            assert_eq!(read(&*store, blob).await.as_ref(), Some(blob));
        }
    }
}
