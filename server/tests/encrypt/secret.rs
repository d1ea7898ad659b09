//! What the keeper of the bytes sees: nothing but padded lengths.

use std::sync::Arc;

use bytes::Bytes;
use datadb::{BlobRef, Bundle, bundle::Codec};
use datadb_server::store::{
    BlobStore, Item, SharedStore,
    testing::conformance::{all, bundle},
    testing::memory::MemoryStore,
    testing::power_cut::CutDisk,
};

use crate::{Place, encrypt, encrypted_packs, sample};

/// Bytes that don't compress.
fn noise(seed: u64, len: usize) -> Bytes {
    sample(seed, 2 * len).slice(..len)
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_hold_no_plain_id_no_digest_no_label_and_no_bytes() {
    let (place, disk) = (Place::new(), CutDisk::default());
    let store = encrypted_packs(&place, &disk).await;
    let blobs: Vec<Bytes> = (0..50).map(|at| noise(at, 5000)).collect();
    for some in blobs.chunks(5) {
        store.put(bundle(some), Bytes::from_static(b"a label that nobody else may read")).await.unwrap();
    }
    store.flush().await.unwrap();
    let packs: Vec<u8> = disk.files().iter().flat_map(|path| disk.read(path).unwrap()).collect();
    assert!(packs.len() > 50 * 5000);
    let seen = |needle: &[u8]| packs.windows(needle.len()).any(|window| window == needle);
    // The search finds what is there: the version and the id of the key stand before every seal.
    assert!(seen(crate::keys(&[1]).first().id().as_bytes()));
    for blob in &blobs[..10] {
        let BlobRef { id, digest, .. } = BlobRef::of(blob);
        assert!(!seen(id.as_bytes()) && !seen(digest.as_bytes()) && !seen(&blob[..16]));
    }
    assert!(!seen(b"nobody else") && !seen(crate::keys(&[1]).first().secret()));
}

/// Length of the sealed bundle and of its label, as the keeper has them.
async fn sizes(bundle: Bundle) -> (u32, usize) {
    let inner: SharedStore = Arc::new(MemoryStore::default());
    let store = encrypt(&Place::new(), inner.clone()).await;
    store.put(bundle, Bytes::new()).await.unwrap();
    match &all(&*inner).await[..] {
        [Item::Record { refs, label, .. }] if refs.len() == 1 => (refs[0].len, label.len()),
        other => panic!("expected one record, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_of_nearly_the_same_size_look_the_same() {
    let one = |len| bundle(&[noise(1, len)]);
    assert_eq!(sizes(one(100_000)).await, sizes(one(99_500)).await);
    assert_ne!(sizes(one(100_000)).await, sizes(one(120_000)).await);
    let many = |count: u64| bundle(&(0..count).map(|at| noise(at, 20)).collect::<Vec<_>>());
    assert_eq!(sizes(many(1)).await, sizes(many(2)).await, "few tiny blobs look like one");
    assert_eq!(sizes(many(300)).await.1, sizes(many(305)).await.1, "the table's length says little, too");
}

/// Sealed twice, the same bundle gives two blobs that have nothing in common.
#[tokio::test(flavor = "multi_thread")]
async fn equal_bundles_look_different() {
    let first = sealed(&bundle(&[noise(1, 5000)])).await;
    let second = sealed(&bundle(&[noise(1, 5000)])).await;
    assert_eq!((first.codec(), first.data().len()), (Codec::Raw, second.data().len()));
    let common = first.data()[9..].iter().zip(&second.data()[9..]).filter(|(a, b)| a == b).count();
    assert!(common < first.data().len() / 50, "{common} bytes are alike");
}

async fn sealed(bundle: &Bundle) -> Bundle {
    let inner: SharedStore = Arc::new(MemoryStore::default());
    let store = encrypt(&Place::new(), inner.clone()).await;
    store.put(bundle.clone(), Bytes::new()).await.unwrap();
    match &all(&*inner).await[..] {
        [Item::Record { refs, .. }] => inner.get(&refs[0].id).await.unwrap().unwrap().bundle,
        other => panic!("expected one record, got {other:?}"),
    }
}
