//! What `stats BACKUP` says a backup takes is what lies in it, counted by somebody who knows what was written.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{
    place::scratch,
    processes::{Client, Server, count, server_command},
    tree::{flip_byte, next_second, random_bytes, sources, write},
};

#[track_caller]
fn stats(client: &Client, words: &[&str]) -> Value {
    client.run(["--json", "-q", "stats"].iter().chain(words)).ok().summary()
}

/// Random files, each one blob that does not compress.
fn files(tree: &Path, names: std::ops::Range<u64>) -> u64 {
    names
        .map(|number| {
            let bytes = random_bytes(number, 1000 + 100 * number as usize);
            write(tree.join(format!("file{number}")), &bytes);
            bytes.len() as u64
        })
        .sum()
}

/// The only backup takes all there is; blobs that are used twice count once.
#[test]
fn a_lone_backup_takes_the_whole_repository() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    write(tree.join("copy.bin"), random_bytes(1, 6 << 20));
    let client = server.client();
    client.backup(&tree);
    let (all, one) = (stats(&client, &[]), stats(&client, &["latest", "--unique"]));
    assert_eq!(one["all"]["blobs"], all["blobs"]);
    assert_eq!(one["all"]["bytes"], all["blob_bytes"]);
    assert_eq!(one["all"], one["unique"]);
    assert_eq!((&one["all"]["estimated"], &one["all"]["stored_estimated"]), (&false.into(), &false.into()));
    assert!(count(&one, "bytes") > count(&one["all"], "bytes") + (5 << 20), "the copy is counted twice: {one}");
    // Packs hold heads beside tables and data.
    let (share, stored) = (count(&one["all"], "stored_bytes"), count(&all, "stored_bytes"));
    assert!(share <= stored && share > stored * 9 / 10, "{share} of {stored}");
}

/// What other backups hold, of whatever host and path, is not unique; and a rebuilt index says the same.
#[test]
fn unique_is_what_no_other_backup_holds() {
    let (mut server, scratch) = (Server::new(), scratch());
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    let (a, b, c) = (files(&one, 0..10), files(&one, 10..15), files(&one, 15..22));
    files(&two, 10..15);
    let client = server.client();
    let first = client.backup(&one);
    let elsewhere = client.backup(&two);
    (0..10).for_each(|number| std::fs::remove_file(one.join(format!("file{number}"))).expect("removed"));
    let d = files(&one, 30..33);
    next_second();
    let second = client.backup(&one);
    let expected = [(&first, a + b + c, 22, a, 10), (&second, b + c + d, 15, d, 3), (&elsewhere, b, 5, 0, 0)];
    let check = |client: &Client| {
        for (id, bytes, blobs, unique_bytes, unique_blobs) in expected {
            let stats = stats(client, &[id, "--unique"]);
            let figures = |field: &str| (count(&stats[field], "bytes"), count(&stats[field], "blobs"));
            assert_eq!((figures("all"), figures("unique")), ((bytes, blobs), (unique_bytes, unique_blobs)), "{id}");
            // Random bytes do not compress: each blob takes its length and 56 bytes of a table.
            for field in ["all", "unique"] {
                let (bytes, blobs) = figures(field);
                let stored = count(&stats[field], "stored_bytes");
                let most = bytes + 56 * blobs + bytes / 50 + 100;
                assert!((bytes..=most).contains(&stored), "{field}: {stored} bytes stored of {bytes}");
            }
        }
    };
    check(&client);
    server.stop();
    server_command(&["rebuild".as_ref(), "--data-dir".as_ref(), server.data().as_os_str()]).ok();
    server.start();
    check(&client.at(server.url()));
}

/// Long attributes are blobs, large files are lists of blobs; what is damaged is named and counted as missing.
#[test]
fn damaged_blobs_are_counted_as_missing() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), random_bytes(1, 3 << 20));
    let client = server.client();
    client.backup(&tree);
    let before = stats(&client, &["latest"]);
    assert_eq!(count(&before["all"], "bytes"), 3 << 20);
    assert_eq!(count(&before["all"], "missing"), 0);
    flip_byte(&server.data().join("blobs/0000000000000001.pack"), 1 << 20);
    // Whoever reads the bundle first finds the damage; from then on its blobs are missing.
    let first = stats(&client, &["latest"]);
    assert_eq!(first["all"]["stored_estimated"], true, "{first}");
    let second = stats(&client, &["latest"]);
    let missing = count(&second["all"], "missing");
    assert!(missing > 0, "{second}");
    assert_eq!(count(&second["all"], "blobs") + missing, count(&before["all"], "blobs"));
    let text = client.run(["-q", "stats", "latest"]).ok().text();
    assert!(text.contains(&format!("missing   {missing} blobs")), "{text}");
}
