//! What a snapshot asks of a store that charges by the request, and that it says so.

use serde_json::Value;

use crate::{
    disasters::SEALED_BUCKET,
    site::Site,
    support::{
        processes::count,
        tree::{random_bytes, write},
    },
};

/// Requests of a kind in a snapshot's summary.
fn asked(summary: &Value, kind: &str) -> u64 {
    summary["store_requests"][kind].as_u64().unwrap_or_default()
}

/// Thousands of small files don't become thousands of requests, and an unchanged tree costs at most three.
#[test]
fn a_snapshot_tells_its_requests_which_grow_with_bytes_and_not_with_files() {
    let site = Site::new(SEALED_BUCKET);
    for number in 0..3000 {
        write(site.tree().join(format!("{}/{number}", number % 30)), random_bytes(number, 2000));
    }
    let first = site.client.snapshot(&site.tree()).ok().summary();
    let uploaded = count(&first, "bytes_uploaded");
    let written = asked(&first, "put") + asked(&first, "part") + asked(&first, "multipart");
    // The blobs' pack, the objects' and the commit's records of the log, and what begins and ends a large upload.
    assert!((2..=6 + uploaded / (8 << 20)).contains(&written), "{first}");
    let second = site.client.snapshot(&site.tree()).ok().summary();
    assert!((1..=3).contains(&asked(&second, "put")), "{second}");
    assert_eq!((asked(&second, "part"), asked(&second, "delete")), (0, 0), "{second}");
    let said = site.client.run(["snapshot", site.tree().to_str().expect("UTF-8")]).ok().text();
    assert!(said.contains(" to the server's store: "), "{said}");
}
