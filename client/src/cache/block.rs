//! Blocks of the cache: framed, numbered, checksummed.

use std::io::{self, Read, Write};

use datadb::BackupKey;

/// Payload bytes after which a block ends.
pub const BLOCK_BYTES: usize = 64 << 10;
/// No block is longer: a full one and the longest record.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + (512 << 10);
/// Bytes of the head.
pub const HEAD_BYTES: usize = 128;
const SUM_BYTES: usize = 16;
const MAGIC: &[u8; 12] = b"DATADB-CACHE";
const VERSION: u8 = 1;

fn sum(number: u64, payload: &[u8]) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_be_bytes()).update(payload);
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM_BYTES]);
    sum
}

/// The head of a cache of this backup.
pub fn head(repository: &[u8; 16], base: BackupKey) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..12].copy_from_slice(MAGIC);
    head[12] = VERSION;
    head[13..29].copy_from_slice(repository);
    head[29..49].copy_from_slice(base.as_bytes());
    let sum = sum(u64::MAX, &head[..HEAD_BYTES - SUM_BYTES]);
    head[HEAD_BYTES - SUM_BYTES..].copy_from_slice(&sum);
    head
}

/// The backup that a head names, or what is wrong with it.
pub fn read_head(head: &[u8; HEAD_BYTES], repository: &[u8; 16]) -> Result<BackupKey, &'static str> {
    if &head[..12] != MAGIC {
        return Err("it is not a cache");
    }
    if head[12] != VERSION {
        return Err("another version of the program wrote it");
    }
    if head[HEAD_BYTES - SUM_BYTES..] != sum(u64::MAX, &head[..HEAD_BYTES - SUM_BYTES]) {
        return Err("it is damaged");
    }
    if &head[13..29] != repository {
        return Err("it belongs to another repository");
    }
    BackupKey::try_from(&head[29..49]).map_err(|_| "it is damaged")
}

/// Writes one block.
pub fn write(out: &mut impl Write, number: u64, payload: &[u8]) -> io::Result<()> {
    out.write_all(&(payload.len() as u32).to_be_bytes())?;
    out.write_all(&sum(number, payload))?;
    out.write_all(payload)
}

/// Reads the next block into `payload`; `Ok(false)` at the end, an error where it is damaged.
pub fn read(input: &mut impl Read, number: u64, payload: &mut Vec<u8>) -> io::Result<bool> {
    let mut frame = [0; 4 + SUM_BYTES];
    let mut have = 0;
    while have < frame.len() {
        match input.read(&mut frame[have..])? {
            0 if have == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => have += n,
        }
    }
    let len = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    if len > BLOCK_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    payload.clear();
    payload.resize(len, 0);
    input.read_exact(payload)?;
    if frame[4..] != sum(number, payload) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(true)
}
