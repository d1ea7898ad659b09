//! A wrong or a missing key is found at the start; keys can be rotated; no key is ever shown.

use std::sync::Arc;

use datadb_server::store::{BlobStore, SharedStore, StoreError, testing::memory::MemoryStore};

use crate::{Place, encrypt, keys, put, read, sample, try_encrypt};

/// What a store says that is opened with these keys.
async fn refusal(place: &Place, inner: &SharedStore, key_bytes: &[u8]) -> String {
    match try_encrypt(place, inner.clone(), key_bytes).await {
        Err(error @ StoreError::WrongKey { .. }) => error.to_string(),
        other => panic!("expected a refusal of the keys {key_bytes:?}, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_at_the_start_with_and_without_the_index() {
    let (place, inner): (Place, SharedStore) = (Place::new(), Arc::new(MemoryStore::default()));
    let store = encrypt(&place, inner.clone()).await;
    put(&*store, &[sample(1, 100)]).await;
    store.flush().await.unwrap();
    for place in [place.copy(), Place::new()] {
        let said = refusal(&place, &inner, &[3, 4]).await;
        let needed = keys(&[1]).first().id().to_string();
        let there = keys(&[3]).first().id().to_string();
        for word in [&*needed, &there, "keygen PATH --recover", "encrypted"] {
            assert!(said.contains(word), "{said} lacks {word}");
        }
        // A refusal leaves nothing behind: with the right key all is there.
        let store = encrypt(&place, inner.clone()).await;
        assert!(read(&*store, &sample(1, 100)).await.is_some());
    }
}

/// New writes use the first key, and what the old one sealed stays readable as long as it is named.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_a_missing_old_one_is_refused_at_the_start() {
    let (mut place, inner): (Place, SharedStore) = (Place::new(), Arc::new(MemoryStore::default()));
    let (old, new) = (sample(1, 100), sample(2, 100));
    let store = encrypt(&place, inner.clone()).await;
    put(&*store, std::slice::from_ref(&old)).await;
    store.flush().await.unwrap();
    place = place.copy();
    let (store, _) = try_encrypt(&place, inner.clone(), &[2, 1]).await.unwrap();
    put(&*store, std::slice::from_ref(&new)).await;
    store.flush().await.unwrap();
    for place in [place.copy(), Place::new()] {
        let id = |byte| keys(&[byte]).first().id().to_string();
        assert!(refusal(&place, &inner, &[2]).await.contains(&format!("sealed with the key {}", id(1))));
        assert!(refusal(&place, &inner, &[1]).await.contains(&format!("sealed with the key {}", id(2))));
        for order in [[1, 2], [2, 1]] {
            let (store, report) = try_encrypt(&place, inner.clone(), &order).await.unwrap();
            assert_eq!(report.damage, []);
            for blob in [&old, &new] {
                assert_eq!(read(&*store, blob).await.as_ref(), Some(blob));
            }
        }
    }
}

/// Where nothing is sealed yet, any key will do; where plain records lie, none does.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_takes_any_key_and_a_plain_one_takes_none() {
    let inner: SharedStore = Arc::new(MemoryStore::default());
    for key in 1..4 {
        try_encrypt(&Place::new(), inner.clone(), &[key]).await.unwrap();
    }
    put(&*inner, &[sample(1, 100)]).await;
    let error = try_encrypt(&Place::new(), inner, &[1]).await.unwrap_err().to_string();
    assert!(error.contains("not encrypted") && error.contains("memory"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_shown_by_a_store_or_by_its_errors() {
    let (place, inner): (Place, SharedStore) = (Place::new(), Arc::new(MemoryStore::default()));
    let (store, _) = try_encrypt(&place, inner.clone(), &[0xab]).await.unwrap();
    put(&*store, &[sample(1, 10)]).await;
    store.flush().await.unwrap();
    let refused = try_encrypt(&Place::new(), inner, &[0xcd]).await.unwrap_err();
    let shown = format!("{store:?} {store} {refused} {refused:?}");
    for secret in ["abab", "cdcd", "171, 171", "205, 205"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains(&keys(&[0xab]).first().id().to_string()));
}
