//! Power cuts and failed syncs below `encrypt`: what a flush promised is there, and nothing is there that isn't.

use std::sync::Arc;

use bytes::Bytes;
use datadb::BlobId;
use datadb_server::{
    index::space::Space,
    store::{
        BlobStore, Cursor, Damage, Outcome, Presence, StoreError,
        blobsfile::{BLOBS_RESERVE_BYTES, BlobsFile, LeafConfig, Relied},
        encrypt::Encrypt,
        testing::conformance::bundle,
        testing::power_cut::{Chance, CutDisk},
    },
};

use crate::{Place, encrypted_packs, leaf, put, read, sample, try_encrypt};

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_made_durable_counts_as_missing_again() {
    let (place, disk) = (Place::new(), CutDisk::default());
    let store = encrypted_packs(&place, &disk).await;
    let (kept, lost) = (sample(1, 3000), sample(2, 3000));
    put(&*store, std::slice::from_ref(&kept)).await;
    store.flush().await.unwrap();
    let before = store.stats().await.unwrap();
    put(&*store, std::slice::from_ref(&lost)).await;
    disk.fail_next_sync();
    assert!(matches!(store.flush().await, Err(StoreError::NotDurable { .. })));
    let id = BlobId::of(&lost);
    assert_eq!(store.find(&[id]).await.unwrap(), [Presence::Missing]);
    assert_eq!(store.get(&id).await.unwrap(), None);
    assert_eq!(store.stats().await.unwrap().blobs, before.blobs);
    let again = store.put(bundle(&[kept.clone(), lost.clone()]), Bytes::new()).await.unwrap();
    assert_eq!(again.outcomes, [Outcome::Known, Outcome::New]);
    store.flush().await.unwrap();
    drop(store);
    let store = encrypted_packs(&place.copy(), &disk.after_the_cut(1)).await;
    for blob in [&kept, &lost] {
        assert_eq!(read(&*store, blob).await.as_ref(), Some(blob));
    }
    assert_eq!(store.stats().await.unwrap().blobs, 2);
}

/// What a run put, and how much of it a flush had confirmed when the power went.
#[derive(Default)]
struct Model {
    put: Vec<Bytes>,
    flushed: usize,
    end: Option<Cursor>,
}

/// Puts bundles and flushes now and then, until the disk is dead.
async fn run(place: &Place, disk: &CutDisk, seed: u64) -> Model {
    let mut model = Model::default();
    let mut chance = Chance::new(seed);
    let Some(store) = try_open(place, disk).await else { return model };
    for _ in 0..12 {
        let blobs: Vec<Bytes> =
            (0..1 + chance.below(4)).map(|_| sample(chance.below(1 << 40), chance.below(90_000) as usize)).collect();
        if store.put(bundle(&blobs), Bytes::new()).await.is_err() {
            break;
        }
        model.put.extend(blobs);
        if chance.below(2) == 0 {
            match store.flush().await {
                Ok(durable) => (model.flushed, model.end) = (model.put.len(), durable.first().map(|one| one.end)),
                Err(_) => break,
            }
        }
    }
    model
}

/// A store on a disk that may be dead already.
async fn try_open(place: &Place, disk: &CutDisk) -> Option<Arc<Encrypt>> {
    let space = Space::of(&place.index, "blobs").unwrap();
    let (name, dir, disk) = ("blobs".to_owned(), "packs".into(), Arc::new(disk.clone()));
    let config = LeafConfig {
        name,
        dir,
        disk,
        space,
        pack_bytes: 200_000,
        reserve_bytes: BLOBS_RESERVE_BYTES,
        is_sealed_by_flush: false,
        threads: None,
    };
    let (leaf, _) = BlobsFile::open(config, Relied::Index, &[]).ok()?;
    let (store, _) = try_encrypt(place, Arc::new(leaf), &[1]).await.ok()?;
    Some(store)
}

/// After a cut at every third operation (at every one with `DATADB_POWER_CUTS`), in turn with the index as it was and without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_operation_loses_nothing_that_was_flushed() {
    let disk = CutDisk::default();
    let whole = run(&Place::new(), &disk, 7).await;
    assert!(whole.flushed > 5 && disk.operations() > 20);
    // Every third one, unless all are asked for: each costs two new indexes and their syncs.
    let step = if std::env::var_os("DATADB_POWER_CUTS").is_some() { 1 } else { 3 };
    for cut_at in (0..=disk.operations()).step_by(step) {
        let (place, disk) = (Place::new(), CutDisk::default());
        disk.cut_power_at(cut_at);
        let model = run(&place, &disk, 7).await;
        let again = if cut_at % 2 == 0 { place.copy() } else { Place::new() };
        verify(&again, &disk.after_the_cut(cut_at), &model, &format!("cut at operation {cut_at}")).await;
    }
}

/// Everything that must hold after a cut.
async fn verify(place: &Place, disk: &CutDisk, model: &Model, context: &str) {
    let (leaf, report) = leaf(place, disk, model.end.map_or(Relied::Index, Relied::UpTo), &[]);
    let is_relied_on = |damage: &Damage| model.end.is_some_and(|end| damage.cursor < end);
    assert!(!report.damage.iter().any(is_relied_on), "{context}: {report:?}");
    let (store, report) = try_encrypt(place, leaf, &[1]).await.unwrap();
    assert!(!report.damage.iter().any(is_relied_on), "{context}: {report:?}");
    for (number, blob) in model.put.iter().enumerate() {
        let found = read(&*store, blob).await;
        assert!(found.as_ref() == Some(blob) || (found.is_none() && number >= model.flushed), "{context}");
    }
    for blob in &model.put {
        put(&*store, std::slice::from_ref(blob)).await;
        assert_eq!(read(&*store, blob).await.as_ref(), Some(blob), "{context}");
    }
    store.flush().await.unwrap();
}
