//! The keys of the index and what lies under them.
//!
//! # Format (version 1); numbers in keys are big endian, values use the encodings of `datadb`
//! | family | key | value |
//! | --- | --- | --- |
//! | state | `complete` | version (varint), set last by creation and rebuild; without it the index is refused |
//! | state | `genesis` | body of the log's first record |
//! | state | `applied` | sequence, digest of the record (32), pack and offset of it in the log's leaf |
//! | state | `totals` | number of backups, their bytes, number of snapshots, number of objects |
//! | state | `leaf:NAME` | how far the leaf's packs are indexed, and its totals |
//! | state | `pack:NAME:` number (8) | length of a sealed pack |
//! | objects | object key (20) | BLAKE3 of the encoding (32), the encoding |
//! | metas | meta key (20) | BLAKE3 of its encoding (first 16), key of a set that holds it (20), position (varint) |
//! | backups | `b` backup key (20) | the backup |
//! | backups | `s` snapshot key (20) time (8) | backup key |
//! | backups | `n` host NUL path | snapshot key |
//! | backups | `t` time (8) backup key (20) | nothing |
//! | backups | `k` token (16) | backup key |
//! | blobs, log | blob id (20) | place, length, digest, see `store::blobsfile::entry` |

use datadb::{BackupKey, HostName, SnapshotKey, TreePath, backup::BackupTime};

/// Set when the index is whole.
pub const COMPLETE: &[u8] = b"complete";
/// Body of the log's first record.
pub const GENESIS: &[u8] = b"genesis";
/// How far the log is applied.
pub const APPLIED: &[u8] = b"applied";
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

/// Length of a sealed pack.
pub fn pack(leaf: &str, number: u64) -> Vec<u8> {
    [b"pack:", leaf.as_bytes(), b":", &number.to_be_bytes()].concat()
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

/// A snapshot by host and path.
pub fn name(host: &HostName, path: &TreePath) -> Vec<u8> {
    join(b'n', &[host.as_str().as_bytes(), &[0], path.as_bytes()])
}

/// Host and path of a `name` key.
pub fn parse_name(key: &[u8]) -> Option<(HostName, TreePath)> {
    let rest = key.strip_prefix(b"n")?;
    let cut = rest.iter().position(|byte| *byte == 0)?;
    let host = HostName::new(std::str::from_utf8(&rest[..cut]).ok()?).ok()?;
    Some((host, TreePath::new(&rest[cut + 1..]).ok()?))
}

/// A backup in the order of time.
pub fn by_time(time: BackupTime, key: &BackupKey) -> Vec<u8> {
    join(b't', &[&time.seconds().to_be_bytes(), key.as_bytes()])
}

/// The backup key at the end of a `by_time` key.
pub fn parse_by_time(key: &[u8]) -> Option<BackupKey> {
    let key = key.strip_prefix(b"t")?;
    BackupKey::try_from(key.get(8..)?).ok()
}

/// A backup by the token of its commit.
pub fn token(token: &[u8; 16]) -> Vec<u8> {
    join(b'k', &[token])
}
