//! From a record of the log to the index. The same code serves a commit, the replay at start, and a rebuild.

use datadb::{
    Backup, BackupKey, BlobId, Digest, ObjectKey,
    codec::{DecodeError, Reader, Writer},
    failpoint,
    object::{ObjectRef, set_members},
};

use super::{
    Batch, Family, Index, IndexError,
    data::Overlay,
    keys,
    ranks::{self, Rank},
};
use crate::{
    place::Cursor,
    record::{Body, Genesis, Logged, Position},
};

/// Sums over all backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many backups.
    pub backups: u64,
    /// Their sizes added up.
    pub bytes: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// Objects in the log.
    pub objects: u64,
}

impl Totals {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.varint(self.backups).varint(self.bytes).varint(self.snapshots).varint(self.objects);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let totals = Self {
            backups: r.varint("backups")?,
            bytes: r.varint("bytes")?,
            snapshots: r.varint("snapshots")?,
            objects: r.varint("objects")?,
        };
        r.end()?;
        Ok(totals)
    }
}

fn encode_position(position: &Position) -> Vec<u8> {
    let mut w = Writer::default();
    w.varint(position.sequence).raw(position.digest.as_bytes());
    if let Some(cursor) = position.cursor {
        w.varint(cursor.pack).varint(cursor.offset);
    }
    w.finish()
}

fn put_position(batch: &mut Batch<'_>, position: &Position) {
    batch.put(Family::State, keys::APPLIED, &encode_position(position));
    if let Some(blob) = &position.blob {
        batch.put(Family::State, keys::APPLIED_BLOB, blob.as_bytes());
    }
}

fn decode_position(bytes: &[u8]) -> Result<Position, DecodeError> {
    let mut r = Reader::new(bytes);
    let (sequence, digest) = (r.varint("sequence")?, Digest::new(r.array("digest")?));
    let cursor = match r.remaining() {
        0 => None,
        _ => Some(Cursor { pack: r.varint("pack")?, offset: r.varint("offset")? }),
    };
    r.end()?;
    Ok(Position { sequence, digest, cursor, blob: None })
}

/// What stands before an object's encoding in the index.
pub const OBJECT_HEAD_BYTES: usize = Digest::LEN;

/// The value of a meta's key: a part of its digest, and where it stands.
pub fn meta_value(encoding: &[u8], set: &ObjectKey, position: usize) -> Vec<u8> {
    let mut w = Writer::with_capacity(40);
    w.raw(&meta_mark(encoding)).raw(set.as_bytes()).varint(position as u64);
    w.finish()
}

/// What tells two metas with one key apart.
pub fn meta_mark(encoding: &[u8]) -> [u8; 16] {
    *Digest::of(encoding).as_bytes().first_chunk().expect("a digest is 32 bytes long")
}

impl Index {
    /// How far the log is applied.
    pub fn applied(&self) -> Result<Position, IndexError> {
        match self.get(Family::State, keys::APPLIED)? {
            Some(bytes) => {
                let position = decode_position(&bytes).map_err(IndexError::value("the applied position"))?;
                let blob = self.get(Family::State, keys::APPLIED_BLOB)?;
                Ok(Position { blob: blob.and_then(|id| BlobId::try_from(&id[..]).ok()), ..position })
            }
            None => Ok(Position::START),
        }
    }

    /// Notes which stack of stores holds the log, and where in it the last applied record lies.
    pub fn note_log(&self, stack: &str, applied: &Position) -> Result<(), IndexError> {
        let mut batch = self.batch();
        batch.put(Family::State, keys::LOG_STACK, stack.as_bytes());
        if applied.sequence > 0 {
            put_position(&mut batch, applied);
        }
        self.write(batch)
    }

    /// Sums over all backups.
    pub fn totals(&self) -> Result<Totals, IndexError> {
        match self.get(Family::State, keys::TOTALS)? {
            Some(bytes) => Totals::decode(&bytes).map_err(IndexError::value("the totals")),
            None => Ok(Totals::default()),
        }
    }

    /// What the first record of the log says.
    pub fn genesis(&self) -> Result<Option<Genesis>, IndexError> {
        let Some(bytes) = self.get(Family::State, keys::GENESIS)? else { return Ok(None) };
        Genesis::decode(&mut Reader::new(&bytes)).map(Some).map_err(IndexError::value("the genesis"))
    }

    /// A backup by its key.
    pub fn backup(&self, key: &BackupKey) -> Result<Option<Backup>, IndexError> {
        let Some(bytes) = self.get(Family::Backups, &keys::backup(key))? else { return Ok(None) };
        Backup::decode(&mut Reader::new(&bytes)).map(Some).map_err(IndexError::value("a backup"))
    }

    /// Applies a record that is durable in the log. Applying one again changes nothing.
    pub fn apply(&self, logged: &Logged) -> Result<(), IndexError> {
        let mut totals = self.totals()?;
        let mut batch = self.batch();
        // Snapshots that begin here; several backups of one may stand in one record.
        let mut names = Vec::new();
        let mut data = Overlay::default();
        for (place, entry) in (0..).zip(&logged.record.entries) {
            match entry {
                Body::Genesis(genesis) => {
                    let mut w = Writer::default();
                    genesis.encode(&mut w);
                    batch.put(Family::State, keys::GENESIS, &w.finish());
                }
                Body::Objects(objects) => {
                    for encoding in objects {
                        put_object(&mut batch, encoding)?;
                        if batch.is_full() {
                            self.write(std::mem::replace(&mut batch, self.batch()))?;
                            failpoint::hit("apply.part");
                        }
                    }
                    totals.objects += objects.len() as u64;
                }
                Body::Backup(backup) => {
                    let rank = Rank { record: logged.record.sequence, place };
                    let order = keys::by_time(backup.time, rank.record, place);
                    batch.put(Family::Backups, &order, backup.key().as_bytes());
                    if let Some(name) = self.put_backup(&mut batch, backup, &mut totals)? {
                        if !names.contains(&name) {
                            ranks::put(&mut batch, &backup.snapshot(), rank);
                        }
                        names.push(name);
                    }
                }
                // Which copies are bad is said by their entries; a rebuild reads these records before the packs.
                Body::Bad(_) | Body::Good(_) => {}
                Body::Expected(expectation) => {
                    let mut w = Writer::default();
                    expectation.encode(w.signed(logged.record.time));
                    batch.put(Family::Backups, &keys::expected(&expectation.host, &expectation.path), &w.finish());
                }
                Body::Forgotten(host, path) => batch.delete(Family::Backups, &keys::expected(host, path)),
                Body::Commands(effects) => {
                    for effect in effects {
                        data.apply(self, effect)?;
                    }
                }
            }
        }
        data.write(self, &mut batch)?;
        names.sort();
        names.dedup();
        totals.snapshots += names.len() as u64;
        batch.put(Family::State, keys::TOTALS, &totals.encode());
        put_position(&mut batch, &logged.position);
        self.write(batch)?;
        failpoint::hit("apply.record");
        Ok(())
    }

    /// Gives the name of the backup's snapshot if the index doesn't know it yet.
    fn put_backup(
        &self,
        batch: &mut Batch<'_>,
        backup: &Backup,
        totals: &mut Totals,
    ) -> Result<Option<Vec<u8>>, IndexError> {
        let (key, snapshot) = (backup.key(), backup.snapshot());
        let mut w = Writer::default();
        backup.encode(&mut w);
        let name = keys::name(&backup.host, &backup.path);
        let is_new = self.get(Family::Backups, &name)?.is_none();
        totals.backups += 1;
        totals.bytes = totals.bytes.saturating_add(backup.counts.bytes);
        batch.put(Family::Backups, &keys::backup(&key), &w.finish());
        batch.put(Family::Backups, &keys::version(&snapshot, backup.time), key.as_bytes());
        batch.put(Family::Backups, &name, snapshot.as_bytes());
        batch.put(Family::Backups, &keys::token(&backup.token), key.as_bytes());
        Ok(is_new.then_some(name))
    }
}

fn put_object(batch: &mut Batch<'_>, encoding: &[u8]) -> Result<(), IndexError> {
    let ObjectRef { key, digest } = ObjectRef::of(encoding);
    batch.put(Family::Objects, key.as_bytes(), &[digest.as_bytes(), encoding].concat());
    if datadb::object::is_set(encoding) {
        let members = set_members(encoding).map_err(IndexError::value("an object of the log"))?;
        for (position, meta) in members.into_iter().enumerate() {
            batch.put(Family::Metas, ObjectKey::of(meta).as_bytes(), &meta_value(meta, &key, position));
        }
    }
    Ok(())
}
