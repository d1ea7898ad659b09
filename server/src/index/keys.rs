//! The keys of the index and what lies under them.
//!
//! # Format (version 1); numbers in keys are big endian, values use the encodings of `datadb`
//! | family | key | value |
//! | --- | --- | --- |
//! | state | `complete` | version (varint), set last by creation and rebuild; without it the index is refused |
//! | state | `genesis` | body of the log's first record |
//! | state | `applied` | sequence, digest of the record (32), pack and offset of it in the log's leaf |
//! | state | `applied-blob` | the blob that this record is (20) |
//! | state | `totals` | number of backups, their bytes, number of snapshots, number of objects |
//! | state | `leaf:NAME` | how far the leaf's packs are indexed, and its totals; of Encrypt, how far it has read the labels, see `store::encrypt::entry` |
//! | state | `given:NAME` | the last pack of a leaf of which places were given out (varint), 1 if all of these are durable, else 0 |
//! | state | `pack:NAME:` number (8) | length of a sealed pack |
//! | state | `packs:NAME` | the last of the leaf's sealed packs of which only this is kept: how many they are, their length together |
//! | state | `slot:NAME` | the store's slot (2) in the family `stores` |
//! | state | `slots` | the last slot given (2) |
//! | state | `level:SIDE` NUL other side | up to which record of the other a mirror's side has everything: pack, offset |
//! | state | `side:NAME` | what proves that a directory is the one it was, see `store::proof` |
//! | state | `log-stack` | the stack of stores that held the log when `applied` got its place |
//! | objects | object key (20) | BLAKE3 of the encoding (32), the encoding |
//! | metas | meta key (20) | BLAKE3 of its encoding (first 16), key of a set that holds it (20), position (varint) |
//! | backups | `b` backup key (20) | the backup |
//! | backups | `s` snapshot key (20) time (8) | backup key |
//! | backups | `n` host NUL path | snapshot key |
//! | backups | `f` snapshot key (20) | sequence (8) and place in the record (4) of its first backup |
//! | backups | `t` time (8) sequence (8) place in the record (4) | backup key; equal times in the order of commits |
//! | backups | `k` token (16) | backup key |
//! | backups | `x` host NUL path | unix second (zigzag) at which it was said, what is expected |
//! | data | `k` database NUL key | type, form, count, and of a packed one its elements, see `index::data` |
//! | data | `e` database NUL length of the key (2) key, element | value, of what is not packed |
//! | data | `n` database | number of keys (varint) |
//! | blobs, log | blob id (20) | place, length, digest, see `store::blobsfile::entry` |
//! | stores | slot (2) blob id (20) | the same of other leaves, or what a wrapper knows of the blob |

use std::ops::Range;

use datadb::{BackupKey, HostName, SnapshotKey, TreePath, backup::BackupTime};

/// Set when the index is whole.
pub const COMPLETE: &[u8] = b"complete";
/// Body of the log's first record.
pub const GENESIS: &[u8] = b"genesis";
/// How far the log is applied.
pub const APPLIED: &[u8] = b"applied";
/// The blob that the last applied record is.
pub const APPLIED_BLOB: &[u8] = b"applied-blob";
/// Totals over all backups.
pub const TOTALS: &[u8] = b"totals";

fn join(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![tag];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// State of a leaf.
pub fn leaf(name: &str) -> Vec<u8> {
    [b"leaf:", name.as_bytes()].concat()
}

/// Of which pack of a leaf places were given out.
pub fn given(leaf: &str) -> Vec<u8> {
    [b"given:", leaf.as_bytes()].concat()
}

/// The last slot given to a store.
pub const SLOTS: &[u8] = b"slots";

/// The slot of a store.
pub fn slot(name: &str) -> Vec<u8> {
    [b"slot:", name.as_bytes()].concat()
}

/// Up to which record of another side a mirror's side has everything.
pub fn level(side: &str, other: &str) -> Vec<u8> {
    [b"level:", side.as_bytes(), &[0], other.as_bytes()].concat()
}

/// What proves that a directory is the one it was.
pub fn side(name: &str) -> Vec<u8> {
    [b"side:", name.as_bytes()].concat()
}

/// The stack of stores that held the log when `applied` got its place.
pub const LOG_STACK: &[u8] = b"log-stack";

/// Length of a sealed pack.
pub fn pack(leaf: &str, number: u64) -> Vec<u8> {
    [b"pack:", leaf.as_bytes(), b":", &number.to_be_bytes()].concat()
}

/// Sealed packs whose lengths are not kept singly.
pub fn packs(leaf: &str) -> Vec<u8> {
    [b"packs:", leaf.as_bytes()].concat()
}

/// A backup by its key.
pub fn backup(key: &BackupKey) -> Vec<u8> {
    join(b'b', &[key.as_bytes()])
}

/// One version of a snapshot.
pub fn version(snapshot: &SnapshotKey, time: BackupTime) -> Vec<u8> {
    join(b's', &[snapshot.as_bytes(), &time.seconds().to_be_bytes()])
}

/// The first and the last possible version of a snapshot.
pub fn versions(snapshot: &SnapshotKey) -> (Vec<u8>, Vec<u8>) {
    let first = join(b's', &[snapshot.as_bytes()]);
    let last = join(b's', &[snapshot.as_bytes(), &[0xff; 8]]);
    (first, last)
}

/// Unix seconds of a `version` key.
pub fn version_time(key: &[u8]) -> Option<i64> {
    let time = key.strip_prefix(b"s")?.get(20..)?;
    Some(i64::from_be_bytes(time.try_into().ok()?))
}

/// Where a snapshot began.
pub fn first(snapshot: &SnapshotKey) -> Vec<u8> {
    join(b'f', &[snapshot.as_bytes()])
}

/// A snapshot by host and path.
pub fn name(host: &HostName, path: &TreePath) -> Vec<u8> {
    join(b'n', &[host.as_str().as_bytes(), &[0], path.as_bytes()])
}

/// The names of all snapshots of a host.
pub fn names_of(host: &HostName) -> Range<Vec<u8>> {
    let key = |behind| join(b'n', &[host.as_str().as_bytes(), &[behind]]);
    key(0)..key(1)
}

/// Host and path of a `name` key.
pub fn parse_name(key: &[u8]) -> Option<(HostName, TreePath)> {
    let rest = key.strip_prefix(b"n")?;
    let cut = rest.iter().position(|byte| *byte == 0)?;
    let host = HostName::new(std::str::from_utf8(&rest[..cut]).ok()?).ok()?;
    Some((host, TreePath::new(&rest[cut + 1..]).ok()?))
}

/// A backup in the order of time, and of commits within a second: its record's number and its place in the record.
pub fn by_time(time: BackupTime, sequence: u64, place: u32) -> Vec<u8> {
    join(b't', &[&time.seconds().to_be_bytes(), &sequence.to_be_bytes(), &place.to_be_bytes()])
}

/// A backup by the token of its commit.
pub fn token(token: &[u8; 16]) -> Vec<u8> {
    join(b'k', &[token])
}

/// What is expected of a path.
pub fn expected(host: &HostName, path: &TreePath) -> Vec<u8> {
    join(b'x', &[host.as_str().as_bytes(), &[0], path.as_bytes()])
}

/// What is expected of all paths of a host.
pub fn expected_of(host: &HostName) -> Range<Vec<u8>> {
    let key = |behind| join(b'x', &[host.as_str().as_bytes(), &[behind]]);
    key(0)..key(1)
}

/// What is expected of all hosts.
pub fn expected_all() -> Range<Vec<u8>> {
    b"x".to_vec()..b"y".to_vec()
}

/// What a database's key holds.
pub fn data(database: &str, key: &[u8]) -> Vec<u8> {
    join(b'k', &[database.as_bytes(), &[0], key])
}

/// The end of a database's keys.
pub fn data_end(database: &str) -> Vec<u8> {
    join(b'k', &[database.as_bytes(), &[1]])
}

/// The part of a `data` key that is the user's.
pub fn data_key<'a>(database: &str, key: &'a [u8]) -> &'a [u8] {
    key.get(database.len() + 2..).unwrap_or_default()
}

/// An element of a database's key; without the element, what all of the key's begin with. A key is shorter than 64 KiB.
pub fn element(database: &str, key: &str, element: &[u8]) -> Vec<u8> {
    let len = (key.len() as u16).to_be_bytes();
    join(b'e', &[database.as_bytes(), &[0], &len, key.as_bytes(), element])
}

/// How many keys a database has.
pub fn data_count(database: &str) -> Vec<u8> {
    join(b'n', &[database.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host() -> impl Strategy<Value = HostName> {
        "[a-zA-Z0-9.é-]{1,20}".prop_map(|name| HostName::new(&name).unwrap())
    }

    fn path() -> impl Strategy<Value = TreePath> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 0..5).prop_filter_map("no path", |parts| {
            let joined: Vec<u8> = parts.iter().flat_map(|part| [b"/", &part[..]].concat()).collect();
            TreePath::lenient(&joined).ok()
        })
    }

    fn time() -> impl Strategy<Value = BackupTime> {
        (0..=datadb::limits::TIME_SECONDS_MAX).prop_map(|seconds| BackupTime::new(seconds).unwrap())
    }

    proptest! {
        #[test]
        fn a_name_key_tells_its_host_and_path(host in host(), path in path()) {
            prop_assert_eq!(parse_name(&name(&host, &path)), Some((host, path)));
        }

        #[test]
        fn any_bytes_are_a_name_key_that_is_written_the_same_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let key = [b"n", &bytes[..]].concat();
            if let Some((host, path)) = parse_name(&key) {
                prop_assert_eq!(name(&host, &path), key);
            }
        }

        #[test]
        fn versions_are_ordered_by_time_and_lie_between_their_ends(host in host(), path in path(), a in time(), b in time()) {
            let snapshot = SnapshotKey::of(&host, &path);
            let (first, last) = versions(&snapshot);
            prop_assert_eq!(version(&snapshot, a).cmp(&version(&snapshot, b)), a.cmp(&b));
            prop_assert!(first < version(&snapshot, a) && version(&snapshot, a) < last);
            prop_assert_eq!(version_time(&version(&snapshot, a)), Some(a.seconds()));
        }

        #[test]
        fn backups_are_ordered_by_time_then_by_commit(a in time(), b in time(), s in any::<(u64, u64)>(), p in any::<(u32, u32)>()) {
            let order = by_time(a, s.0, p.0).cmp(&by_time(b, s.1, p.1));
            prop_assert_eq!(order, (a, s.0, p.0).cmp(&(b, s.1, p.1)));
        }
    }
}
