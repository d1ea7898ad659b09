//! Places that a mirror gives out, or notes of its sides: whoever goes on from one of them misses nothing.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use datadb::BlobId;
use datadb_server::{
    index::{Index, SharedIndex, space::Space},
    store::mirror::Ack,
    store::{
        BlobStore as _, Item, Presence, SharedStore, StoreError,
        blobsfile::{BLOBS_RESERVE_BYTES, BlobsFile, LeafConfig, Relied},
        encrypt::{
            Encrypt,
            key::{Key, KeySource, Keys},
        },
        mirror::{Mirror, MirrorConfig, Opened, SILENCE, SideConfig, Standing},
        pulse::Pulse,
        testing::conformance::{bundle, sample},
        testing::faulty::Fault,
        testing::power_cut::CutDisk,
    },
};

use crate::scene::{Scene, assert_same, put, standing, wait_for};

/// A side on a disk whose power can be cut.
fn side(index: &SharedIndex, name: &'static str, disk: &CutDisk, is_away: &Arc<AtomicBool>) -> SideConfig {
    let (index, disk, is_away) = (index.clone(), disk.clone(), is_away.clone());
    let open = move || {
        let opened = if is_away.load(Ordering::Acquire) {
            Err(StoreError::Away { place: name.into(), what: "it was unplugged".into() })
        } else {
            let config = LeafConfig {
                name: name.to_owned(),
                dir: PathBuf::from("packs"),
                disk: Arc::new(disk.clone()),
                space: Space::of(&index, name).unwrap(),
                pack_bytes: 1 << 20,
                reserve_bytes: BLOBS_RESERVE_BYTES,
                is_sealed_by_flush: false,
                threads: None,
            };
            BlobsFile::open(config, Relied::Index, &[])
                .map(|(leaf, _)| Opened { store: Arc::new(leaf) as SharedStore, is_hurt: false })
        };
        Box::pin(async move { opened }) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>
    };
    let (prints_as, is_local) = (name.into(), name == "a");
    let pulse = Pulse::default();
    SideConfig { name: name.into(), prints_as, is_write_only: false, is_local, pulse, open: Arc::new(open) }
}

async fn open(index: &SharedIndex, disks: [&CutDisk; 2], is_b_away: &Arc<AtomicBool>) -> Mirror {
    let sides = vec![side(index, "a", disks[0], &Arc::default()), side(index, "b", disks[1], is_b_away)];
    let config = MirrorConfig {
        ack: Ack::Local,
        sides,
        index: index.clone(),
        settle: None,
        needs_all_that_counts: true,
        kin: None,
        silence: SILENCE,
    };
    Mirror::open(config).await.unwrap()
}

/// A side copies what another one has only written, not synced, and notes how far it is. Then the other loses its power, and
/// with it the end of its pack or all of it. What is put there later must not come to lie before the note.
#[tokio::test]
async fn what_a_source_gets_after_a_power_cut_is_never_taken_for_what_it_lost() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let index: SharedIndex = Arc::new(Index::open(dir.path()).unwrap());
        let (a, b, is_b_away) = (CutDisk::default(), CutDisk::default(), Arc::<AtomicBool>::default());
        let mirror = open(&index, [&a, &b], &is_b_away).await;
        // In half of the rounds there is a pack already, which goes on.
        if seed % 2 == 0 {
            put(&mirror, 1).await.unwrap();
            mirror.flush().await.unwrap();
        }
        mirror.stop().await;
        drop(mirror);
        is_b_away.store(true, Ordering::Release);
        let mirror = open(&index, [&a, &b], &is_b_away).await;
        let mut copied = Vec::new();
        for number in 10..16 {
            copied.push(put(&mirror, number).await.unwrap());
        }
        is_b_away.store(false, Ordering::Release);
        wait_for(&mirror, 1, Standing::Level).await;
        // The power of `a` goes before anybody flushed it.
        let a = a.after_the_cut(seed);
        is_b_away.store(true, Ordering::Release);
        drop(mirror);
        let mirror = open(&index, [&a, &b], &is_b_away).await;
        let mut later = Vec::new();
        for number in 20..23 {
            later.push(put(&mirror, number).await.unwrap());
        }
        mirror.flush().await.unwrap();
        mirror.stop().await;
        drop(mirror);
        is_b_away.store(false, Ordering::Release);
        let mirror = open(&index, [&a, &b], &is_b_away).await;
        assert_eq!(standing(&mirror, 1).await, Standing::Level);
        mirror.stop().await;
        drop(mirror);
        let alone = (side(&index, "b", &b, &is_b_away).open)().await.unwrap().store;
        for blob in copied.iter().chain(&later) {
            let found = alone.find(&[BlobId::of(blob)]).await.unwrap();
            assert!(matches!(found[..], [Presence::Have(_)]), "seed {seed}: b misses what a got after the cut");
        }
    }
}

/// A side that is behind gives no places: what it lacks will lie behind them.
#[tokio::test]
async fn a_mirror_is_enumerated_from_a_side_that_is_level_or_not_at_all() {
    let scene = Scene::new(&["a", "b"], Ack::Sides(1));
    let mirror = scene.open().await.unwrap();
    put(&mirror, 1).await.unwrap();
    let first = mirror.enumerate(None, 10).await.unwrap();
    let [Item::Record { cursor, .. }] = &first[..] else { panic!("{first:?}") };
    // It misses a record, answers again, and takes its time to catch up.
    scene.side(0).faulty.next([Some(Fault::Fails), None, Some(Fault::Slow(3000))]);
    put(&mirror, 2).await.unwrap();
    wait_for(&mirror, 0, Standing::Behind).await;
    let error = mirror.enumerate(Some(*cursor), 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error:?}");
    assert_eq!(mirror.enumerate(None, 10).await.unwrap().len(), 2, "the other side is level");
    wait_for(&mirror, 0, Standing::Level).await;
    assert_eq!(mirror.enumerate(Some(*cursor), 10).await.unwrap().len(), 1, "what it missed lies behind the place");
    mirror.stop().await;
}

fn keys() -> Keys {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    Key::new([7; 32].into()).write(&path).unwrap();
    Keys::load(&[KeySource::File(path)]).unwrap()
}

async fn encrypt(index: &SharedIndex, mirror: &Mirror) -> Encrypt {
    let space = Space::of(index, "encrypted").unwrap();
    Encrypt::open(Arc::new(mirror.clone()), keys(), space, "encrypted").await.unwrap().0
}

/// An index that is new, as after a rebuild, knows only what the sides had that answered. What another one brings when it
/// comes back lies behind places that Encrypt has passed already.
#[tokio::test]
async fn labels_that_a_side_brings_back_are_all_read_at_the_next_start_without_a_rebuild() {
    let mut scene = Scene::new(&["a", "b"], Ack::Sides(1));
    let mirror = scene.open().await.unwrap();
    let store = encrypt(&scene.index, &mirror).await;
    let common = put(&store, 1).await.unwrap();
    store.flush().await.unwrap();
    // What only the second side has.
    let fails = [Some(Fault::Fails); 2000];
    scene.side(0).faulty.next(fails);
    let mut alone: Vec<Bytes> = Vec::new();
    for number in 2..6 {
        alone.push(put(&store, number).await.unwrap());
    }
    store.flush().await.unwrap();
    scene.side(0).set_away(true);
    mirror.stop().await;
    drop((store, mirror));
    scene.side(0).faulty.clear();

    scene.side(1).set_away(true);
    scene.side(0).set_away(false);
    let dir = tempfile::tempdir().unwrap();
    scene.index = Arc::new(Index::open(dir.path()).unwrap());
    let mut config = scene.config();
    config.needs_all_that_counts = false;
    let mirror = Mirror::open(config).await.unwrap();
    let store = encrypt(&scene.index, &mirror).await;
    assert_same(store.get(&BlobId::of(&common)).await.unwrap(), &common);
    scene.side(1).set_away(false);
    wait_for(&mirror, 1, Standing::Level).await;
    let mut later = Vec::new();
    for number in 10..14 {
        later.push(put(&store, number).await.unwrap());
    }
    store.flush().await.unwrap();
    mirror.stop().await;
    drop((store, mirror));

    let mirror = scene.open().await.unwrap();
    let store = encrypt(&scene.index, &mirror).await;
    for blob in alone.iter().chain(&later).chain([&common]) {
        assert_same(store.get(&BlobId::of(blob)).await.unwrap(), blob);
    }
    // From now on it goes on where it was.
    let again = sample(50, 500);
    store.put(bundle(std::slice::from_ref(&again)), Bytes::from("label")).await.unwrap();
    store.flush().await.unwrap();
    mirror.stop().await;
}
