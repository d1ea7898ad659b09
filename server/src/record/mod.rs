//! One record of the log.
//!
//! # Format (version 1)
//! `version u8 = 1 · sequence · digest of the previous record (32) · time (zigzag, unix seconds) · number of leaves · per
//! leaf its name, pack and offset up to which the packs that this record relies on are durable · number of entries · per
//! entry its kind u8 and body`. Numbers are varints, texts stand behind their lengths. What is committed together is one
//! record, and the next one is written when it is durable: so at most the last record can be torn. Kinds and bodies:
//! 1 genesis: `repository id (16) · format version · chunker minimum, average, maximum · chunker seed (8) · link secret
//! (32)`; 2 objects: `count · each encoding behind its length`, children first; 3 backup: see [`datadb::Backup::encode`];
//! 4 bad copies: `count · per copy the leaf's name, pack and offset of its record`; 7 commands, those of one transaction:
//! `count · effects`, see [`effect`]; 8 expected: see [`datadb::expected`]; 9 expected no longer: `host · path`;
//! 10 copies that verify again after they were called bad: as 4. Reserved: 5 delete, 6 checkpoint. A reader stops at a
//! version or kind that it doesn't know, and says so.

pub mod effect;
mod position;

use bytes::Bytes;
use datadb::{
    Backup, Digest, HostName, TreePath,
    chunking::ChunkerParams,
    codec::{DecodeError, Reader, Writer},
    expected::{Expectation, decode_place},
    limits,
};

use self::effect::Effect;
pub use self::position::{Logged, Position};
use crate::place::{Cursor, Durable};

const VERSION: u8 = 1;
const KIND_GENESIS: u8 = 1;
const KIND_OBJECTS: u8 = 2;
const KIND_BACKUP: u8 = 3;
const KIND_BAD: u8 = 4;
const KIND_COMMANDS: u8 = 7;
const KIND_EXPECTED: u8 = 8;
const KIND_FORGOTTEN: u8 = 9;
const KIND_GOOD: u8 = 10;

/// The longest name of a leaf within its stack.
pub const LEAF_BYTES_MAX: usize = 255;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1 for the first; no gaps.
    pub sequence: u64,
    /// Digest of the record before it, zeros for the first.
    pub previous: Digest,
    /// Unix seconds when it was written.
    pub time: i64,
    /// How far the packs were durable when it was written.
    pub durable: Vec<Durable>,
    /// What it says, in order.
    pub entries: Vec<Body>,
}

/// One thing that a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The repository begins.
    Genesis(Genesis),
    /// These objects are there; encodings, children first.
    Objects(Vec<Bytes>),
    /// This backup is there.
    Backup(Box<Backup>),
    /// These copies failed verification and count as missing.
    Bad(Vec<CopyPlace>),
    /// These copies were called bad, verify again, and count.
    Good(Vec<CopyPlace>),
    /// A transaction has changed this, in order.
    Commands(Vec<Effect>),
    /// By when a path's next backup must have come; what was said of the path before counts no more.
    Expected(Box<Expectation>),
    /// No backup of this path is expected any more.
    Forgotten(HostName, TreePath),
}

/// What a repository keeps for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Given once.
    pub repository: [u8; 16],
    /// Version of the formats.
    pub format: u32,
    /// How files are cut.
    pub chunker: ChunkerParams,
    /// Key of the hash in `Meta.link`.
    pub link_secret: [u8; 32],
}

/// Where a copy lies: a record of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlace {
    /// The leaf's name within its stack.
    pub leaf: String,
    /// The record.
    pub cursor: Cursor,
}

fn write_place(w: &mut Writer, leaf: &str, cursor: Cursor) {
    w.bytes(leaf.as_bytes()).varint(cursor.pack).varint(cursor.offset);
}

fn read_place(r: &mut Reader<'_>) -> Result<(String, Cursor), DecodeError> {
    let leaf = r.text("leaf", LEAF_BYTES_MAX)?.to_owned();
    Ok((leaf, Cursor { pack: r.varint("pack")?, offset: r.varint("offset")? }))
}

fn write_copies(w: &mut Writer, copies: &[CopyPlace]) {
    w.varint(copies.len() as u64);
    copies.iter().for_each(|copy| write_place(w, &copy.leaf, copy.cursor));
}

fn read_copies(r: &mut Reader<'_>) -> Result<Vec<CopyPlace>, DecodeError> {
    let count = r.count("copies", 3)?;
    (0..count).map(|_| read_place(r).map(|(leaf, cursor)| CopyPlace { leaf, cursor })).collect()
}

impl Genesis {
    /// The body above.
    pub fn encode(&self, w: &mut Writer) {
        let ChunkerParams { bytes_min, bytes_avg, bytes_max, seed } = self.chunker;
        w.raw(&self.repository).varint(u64::from(self.format));
        w.varint(u64::from(bytes_min)).varint(u64::from(bytes_avg)).varint(u64::from(bytes_max));
        w.raw(&seed.to_le_bytes()).raw(&self.link_secret);
    }

    /// Reads what `encode` wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            repository: r.array("repository")?,
            format: r.varint32("format")?,
            chunker: ChunkerParams {
                bytes_min: r.varint32("chunker minimum")?,
                bytes_avg: r.varint32("chunker average")?,
                bytes_max: r.varint32("chunker maximum")?,
                seed: u64::from_le_bytes(r.array("chunker seed")?),
            }
            .checked()?,
            link_secret: r.array("link secret")?,
        })
    }
}

impl Record {
    /// The encoding above.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(256 + self.entries.iter().map(Body::size_hint).sum::<usize>());
        w.u8(VERSION).varint(self.sequence).raw(self.previous.as_bytes()).signed(self.time);
        w.varint(self.durable.len() as u64);
        for durable in &self.durable {
            write_place(&mut w, &durable.leaf, durable.end);
        }
        w.varint(self.entries.len() as u64);
        self.entries.iter().for_each(|entry| entry.encode(&mut w));
        w.finish()
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        match r.u8("record version")? {
            VERSION => {}
            other => return Err(DecodeError::Unknown { field: "log record", value: u64::from(other) }),
        }
        let sequence = r.varint("sequence")?;
        let previous = Digest::new(r.array("previous")?);
        let time = r.signed("time")?;
        let durable = (0..r.count("leaves", 3)?)
            .map(|_| read_place(&mut r).map(|(leaf, end)| Durable { leaf, end }))
            .collect::<Result<_, _>>()?;
        let entries = (0..r.count("entries", 2)?).map(|_| Body::decode(&mut r)).collect::<Result<_, _>>()?;
        r.end()?;
        Ok(Self { sequence, previous, time, durable, entries })
    }
}

impl Body {
    /// Roughly how many bytes `encode` will write.
    pub fn size_hint(&self) -> usize {
        match self {
            Self::Objects(objects) => objects.iter().map(|object| object.len() + 4).sum(),
            Self::Backup(backup) => 256 + backup.path.as_bytes().len() + backup.tags.len() * 64,
            Self::Bad(copies) | Self::Good(copies) => copies.iter().map(|copy| copy.leaf.len() + 24).sum(),
            Self::Commands(effects) => 8 + effects.iter().map(Effect::size_hint).sum::<usize>(),
            Self::Genesis(_) => 128,
            Self::Expected(expectation) => {
                let Expectation { path, entry, schedule, .. } = &**expectation;
                290 + path.as_bytes().len() + entry.len() + schedule.len()
            }
            Self::Forgotten(_, path) => 260 + path.as_bytes().len(),
        }
    }

    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Genesis(genesis) => genesis.encode(w.u8(KIND_GENESIS)),
            Self::Objects(objects) => {
                w.u8(KIND_OBJECTS).varint(objects.len() as u64);
                for object in objects {
                    w.bytes(object);
                }
            }
            Self::Backup(backup) => backup.encode(w.u8(KIND_BACKUP)),
            Self::Bad(copies) => write_copies(w.u8(KIND_BAD), copies),
            Self::Good(copies) => write_copies(w.u8(KIND_GOOD), copies),
            Self::Commands(effects) => {
                w.u8(KIND_COMMANDS).varint(effects.len() as u64);
                effects.iter().for_each(|effect| effect.encode(w));
            }
            Self::Expected(expectation) => expectation.encode(w.u8(KIND_EXPECTED)),
            Self::Forgotten(host, path) => {
                w.u8(KIND_FORGOTTEN).bytes(host.as_str().as_bytes()).bytes(path.as_bytes());
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("entry kind")? {
            KIND_GENESIS => Self::Genesis(Genesis::decode(r)?),
            KIND_OBJECTS => {
                let count = r.count("objects", 2)?;
                let object = |_| r.bytes("object", limits::OBJECT_BYTES_MAX).map(Bytes::copy_from_slice);
                Self::Objects((0..count).map(object).collect::<Result<_, _>>()?)
            }
            KIND_BACKUP => Self::Backup(Box::new(Backup::decode(r)?)),
            KIND_BAD => Self::Bad(read_copies(r)?),
            KIND_GOOD => Self::Good(read_copies(r)?),
            KIND_COMMANDS => {
                let count = r.count("effects", 3)?;
                Self::Commands((0..count).map(|_| Effect::decode(r)).collect::<Result<_, _>>()?)
            }
            KIND_EXPECTED => Self::Expected(Box::new(Expectation::decode(r)?)),
            KIND_FORGOTTEN => {
                let (host, path) = decode_place(r)?;
                Self::Forgotten(host, path)
            }
            other => return Err(DecodeError::Unknown { field: "log entry kind", value: u64::from(other) }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::effect::{Change, DataType, Spot};
    use proptest::prelude::*;

    fn expected() -> impl Strategy<Value = Body> {
        let words = ("[a-z]{1,9}", "(/[a-z]{1,3}){1,3}", 0..=limits::TIME_SECONDS_MAX, any::<u64>(), "[ -~]{0,20}");
        words.prop_flat_map(|(host, path, due, age_seconds_max, schedule)| {
            let (host, path) = (HostName::new(&host).unwrap(), TreePath::new(path.as_bytes()).unwrap());
            let due = datadb::backup::BackupTime::new(due).unwrap();
            let forgotten = Body::Forgotten(host.clone(), path.clone());
            let said = Expectation { host, path, due, age_seconds_max, entry: "e".to_owned(), schedule };
            prop_oneof![Just(Body::Expected(Box::new(said))), Just(forgotten)]
        })
    }

    fn bodies() -> impl Strategy<Value = Body> {
        let cursor = (any::<u64>(), any::<u64>()).prop_map(|(pack, offset)| Cursor { pack, offset });
        let copy = ("[a-z]{1,9}", cursor).prop_map(|(leaf, cursor)| CopyPlace { leaf, cursor });
        let object = prop::collection::vec(any::<u8>(), 1..50).prop_map(Bytes::from);
        let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        let change = prop_oneof![
            (1u8..5, bytes(), bytes())
                .prop_map(|(kind, element, value)| { Change::Put(DataType::try_from(kind).unwrap(), element, value) }),
            bytes().prop_map(Change::Remove),
            Just(Change::Drop),
        ];
        let effect = ("[a-z]{1,9}", ".{0,9}", change)
            .prop_map(|(database, key, change)| Effect { spot: Spot { database, key }, change });
        prop_oneof![
            expected(),
            prop::collection::vec(effect, 0..5).prop_map(Body::Commands),
            prop::collection::vec(object, 0..5).prop_map(Body::Objects),
            prop::collection::vec(copy.clone(), 0..5).prop_map(Body::Bad),
            prop::collection::vec(copy, 0..5).prop_map(Body::Good),
            any::<([u8; 16], u64, [u8; 32])>().prop_map(|(repository, seed, link_secret)| {
                Body::Genesis(Genesis { repository, format: 1, chunker: ChunkerParams::with_seed(seed), link_secret })
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was_written(entries in prop::collection::vec(bodies(), 0..4), sequence in 1u64.., time: i64, digest: [u8; 32]) {
            let end = Cursor { pack: 3, offset: 7 };
            let durable = vec![Durable { leaf: "blobs".into(), end }];
            let record = Record { sequence, previous: Digest::new(digest), time, durable, entries };
            prop_assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        }

        #[test]
        fn any_bytes_are_an_error_or_a_record_that_encodes_to_them(
            bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..11, rest in prop::collection::vec(any::<u8>(), 0..99)
        ) {
            let entry = [&[VERSION, 1][..], &[0; 32], &[0, 0, 1, kind], &rest].concat();
            if let Ok(record) = Record::decode(&entry) {
                prop_assert_eq!(record.encode(), entry);
            }
            let bytes = [&[VERSION][..], &bytes].concat();
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }
}
