//! From the set of all snapshots down to the bytes of a file, with nothing but `redis-cli`.

use sha1::{Digest as _, Sha1};

use crate::{
    House,
    support::{place::scratch, tree::write},
};

/// What redis-cli prints for this command, line by line.
#[track_caller]
fn lines(house: &House, words: &[&str]) -> Vec<String> {
    house.sidecar.cli(words).ok().text().lines().map(str::to_owned).collect()
}

/// A field of a hash that redis-cli printed.
#[track_caller]
fn field(hash: &[String], name: &str) -> String {
    let found = hash.as_chunks::<2>().0.iter().find(|[field, _]| field == name);
    found.unwrap_or_else(|| panic!("no {name} in {hash:?}"))[1].clone()
}

#[test]
fn redis_cli_walks_from_the_snapshots_down_to_a_blob() {
    let (house, scratch) = (House::new(), scratch());
    let (small, large) = ("Dear Ada,\n".to_owned(), "A long letter. ".repeat(200_000));
    write(scratch.path().join("home/letter.txt"), &small);
    write(scratch.path().join("home/long.txt"), &large);
    let id = house.server.client().on_host("box").backup(&scratch.path().join("home"));

    assert_eq!(lines(&house, &["ping"]), ["PONG"]);
    let snapshots = lines(&house, &["smembers", "snapshots"]);
    let backup = lines(&house, &["llast", &snapshots[0]]);
    assert_eq!(backup, [format!("backup:{id}")]);
    let backup = lines(&house, &["hgetall", &backup[0]]);
    assert_eq!((field(&backup, "hostname"), field(&backup, "files")), ("box".to_owned(), "2".to_owned()));
    let root = lines(&house, &["hgetall", &field(&backup, "ref")]);
    assert_eq!(field(&root, "type"), "dir");
    let members = lines(&house, &["smembers", &field(&root, "ref")]);
    assert_eq!(members.len(), 2);

    let letter = lines(&house, &["hgetall", &members[0]]);
    assert_eq!((field(&letter, "name"), field(&letter, "size")), ("letter.txt".to_owned(), "10".to_owned()));
    let blob = field(&letter, "blob");
    let bytes = house.sidecar.cli(&["--no-raw", "bget", &blob]).ok().text();
    assert_eq!(bytes.trim_end(), "\"Dear Ada,\\n\"");
    assert_eq!(blob, hex(&Sha1::digest(small.as_bytes())));

    let long = lines(&house, &["hgetall", &members[1]]);
    let chunks = lines(&house, &["liter", &field(&long, "ref"), "with", "index"]);
    let mut whole = Vec::new();
    for [end, blob] in chunks.as_chunks::<2>().0 {
        // redis-cli ends what it prints with a line's end of its own.
        let mut bytes = house.sidecar.cli(&["bget", blob]).ok().stdout;
        assert_eq!(bytes.pop(), Some(b'\n'));
        assert_eq!(*blob, hex(&Sha1::digest(&bytes)));
        whole.extend(bytes);
        assert_eq!(*end, whole.len().to_string());
    }
    assert!(chunks.len() > 2 && whole == large.as_bytes());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_shows_backups_can_not_be_written() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    for key in ["snapshots", "backup:x", "da39a3ee5e6b4b0d3255bfef95601890afd80709"] {
        let answer = client.ask(&["set", key, "x"]).text();
        assert!(answer.starts_with("ERR ") && answer.contains("can't be written"), "{answer}");
    }
}
