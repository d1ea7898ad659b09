//! What lies below a prefix: the names of objects, and the format of those that hold several packs.
//!
//! # Objects
//! `PREFIX/%016x-%08x.pack` is one pack: its number, and the fencing number of the lease (see [`super::lease`]) under which
//! it was written; the bytes are those of any pack. `PREFIX/DIGEST-%08x.packs` are several, merged (see [`super::merge`]):
//! the first 16 bytes of its table's BLAKE3 in hex digits, and the fencing number of who merged. So a key is only ever
//! written by one run of one server, always with the same bytes, and a request that arrives late, after its sender died,
//! can't replace what a later run wrote.
//!
//! Where two objects have the same pack, the one of the later run counts: it was written by somebody who did not see the
//! other, so nothing in the log relies on that one. Merging keeps a pack's fencing number: its copies are one and the same.
//! All else below the prefix is left alone.
//!
//! # Merged packs (version 1), numbers little endian
//! A table: magic `DataDBmp` (8), version (4), number of packs (4); for each its number (8), its fencing number (8) and its
//! length (8); BLAKE3 (its first 16 bytes) of all that. Then the packs as they are, one after the other in the table's
//! order, and the same table again, for whoever finds the first one damaged. A newer version is refused.

use super::error::S3Error;

/// No merged object has more packs, which bounds its table.
pub(super) const MEMBERS_MAX: usize = 1 << 14;

const MAGIC: &[u8; 8] = b"DataDBmp";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;
const MEMBER_BYTES: usize = 24;
const SUM_BYTES: usize = 16;

/// What an object is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// One pack.
    Pack {
        /// Its number.
        number: u64,
        /// Under which lease it was written.
        fence: u64,
    },
    /// Several packs.
    Merged {
        /// Of its table.
        digest: u128,
        /// Under which lease they were merged.
        fence: u64,
    },
}

impl Name {
    /// What the name says, if it is one of these.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (stem, kind) = name.rsplit_once('.')?;
        let (first, fence) = stem.split_once('-')?;
        let fence = u64::from_str_radix(fence, 16).ok()?;
        let parsed = match kind {
            "pack" => Self::Pack { number: u64::from_str_radix(first, 16).ok()?, fence },
            "packs" => Self::Merged { digest: u128::from_str_radix(first, 16).ok()?, fence },
            _ => return None,
        };
        (parsed.to_string() == name).then_some(parsed)
    }

    /// The fencing number in it.
    pub(super) const fn fence(&self) -> u64 {
        match self {
            Self::Pack { fence, .. } | Self::Merged { fence, .. } => *fence,
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pack { number, fence } => write!(f, "{number:016x}-{fence:08x}.pack"),
            Self::Merged { digest, fence } => write!(f, "{digest:032x}-{fence:08x}.packs"),
        }
    }
}

/// A pack in a merged object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its number.
    pub number: u64,
    /// Under which lease it was written.
    pub fence: u64,
    /// In bytes.
    pub len: u64,
}

/// The packs of a merged object, in the order in which they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub members: Vec<Member>,
}

/// Length of the table of so many packs.
const fn table_bytes(members: usize) -> usize {
    HEAD_BYTES + members * MEMBER_BYTES + SUM_BYTES
}

impl Table {
    pub(super) fn encode(&self) -> Vec<u8> {
        let count = u32::try_from(self.members.len()).expect("an object has at most MEMBERS_MAX packs");
        let mut bytes = Vec::with_capacity(table_bytes(self.members.len()));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        for Member { number, fence, len } in &self.members {
            for field in [number, fence, len] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
        }
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(&sum.as_bytes()[..SUM_BYTES]);
        bytes
    }

    /// The name of the object with this table.
    pub(super) fn name(&self, fence: u64) -> Name {
        let digest = blake3::hash(&self.encode());
        let first = digest.as_bytes().first_chunk().expect("a BLAKE3 is 32 bytes long");
        Name::Merged { digest: u128::from_be_bytes(*first), fence }
    }

    /// Where each pack begins.
    pub(super) fn offsets(&self) -> impl Iterator<Item = u64> {
        let first = table_bytes(self.members.len()) as u64;
        self.members.iter().scan(first, |next, member| {
            let offset = *next;
            *next = next.saturating_add(member.len);
            Some(offset)
        })
    }

    /// Length of the whole object; `None` if it can't be.
    pub(super) fn object_bytes(&self) -> Option<u64> {
        let tables = 2 * table_bytes(self.members.len()) as u64;
        self.members.iter().try_fold(tables, |sum, member| sum.checked_add(member.len))
    }

    /// How many bytes the table has that starts with these; `None` if none does.
    pub(super) fn declared_bytes(head: &[u8]) -> Option<usize> {
        let count = u32::from_le_bytes(head.get(12..HEAD_BYTES)?.try_into().ok()?) as usize;
        (head.starts_with(MAGIC) && count <= MEMBERS_MAX).then(|| table_bytes(count))
    }

    /// Reads the table at the front of some bytes; `None` if it is damaged.
    fn decode(key: &str, bytes: &[u8]) -> Result<Option<Self>, S3Error> {
        let Some(bytes) = Self::declared_bytes(bytes).and_then(|len| bytes.get(..len)) else { return Ok(None) };
        let (fields, sum) = bytes.split_at(bytes.len() - SUM_BYTES);
        if blake3::hash(fields).as_bytes()[..SUM_BYTES] != *sum {
            return Ok(None);
        }
        let version = u32::from_le_bytes(fields[8..12].try_into().expect("four bytes"));
        if version > VERSION {
            return Err(S3Error::Newer { key: key.to_owned(), version: version.into() });
        }
        let field =
            |member: &[u8], at: usize| u64::from_le_bytes(member[8 * at..8 * at + 8].try_into().expect("eight bytes"));
        let member = |bytes: &[u8]| Member { number: field(bytes, 0), fence: field(bytes, 1), len: field(bytes, 2) };
        Ok(Some(Self { members: fields[HEAD_BYTES..].chunks_exact(MEMBER_BYTES).map(member).collect() }))
    }

    /// The table that an object of `len` bytes begins with; `None` if it is damaged, or the object has another length.
    pub(super) fn at_front(key: &str, len: u64, bytes: &[u8]) -> Result<Option<Self>, S3Error> {
        Ok(Self::decode(key, bytes)?.filter(|table| table.object_bytes() == Some(len)))
    }

    /// The table that an object of `len` bytes ends with, within these bytes from its end.
    pub(super) fn at_end(key: &str, len: u64, bytes: &[u8]) -> Result<Option<Self>, S3Error> {
        // Nothing tells where it begins but the magic; its checksum says that it is one.
        for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(MAGIC)) {
            if let Some(table) = Self::at_front(key, len, &bytes[at..])? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }
}

/// No table is longer.
pub(super) const TABLE_BYTES_MAX: u64 = table_bytes(MEMBERS_MAX) as u64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_objects_name_tells_what_it_is_and_no_other_name_does() {
        let names = [
            ("000000000000001f-00000007.pack", Name::Pack { number: 0x1f, fence: 7 }),
            ("000000000000001f-10000000000.pack", Name::Pack { number: 0x1f, fence: 1 << 40 }),
            ("0000000000000000000000000000001f-00000007.packs", Name::Merged { digest: 0x1f, fence: 7 }),
        ];
        for (written, name) in names {
            assert_eq!((Name::parse(written), name.to_string()), (Some(name), written.to_owned()));
        }
        for other in [
            "000000000000001f.pack",
            "1f-7.pack",
            "lease",
            "000000000000001f-00000007.pack.new",
            "-.pack",
            "000000000000001f-00000007.packs",
            "0000000000000000000000000000001F-00000007.packs",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    fn members() -> impl Strategy<Value = Vec<Member>> {
        let member = (any::<u64>(), any::<u64>(), 0u64..5000);
        prop::collection::vec(member.prop_map(|(number, fence, len)| Member { number, fence, len }), 0..9)
    }

    /// The object of a table, its packs all zeros.
    fn object(table: &Table) -> Vec<u8> {
        let bytes: u64 = table.members.iter().map(|member| member.len).sum();
        [table.encode(), vec![0; bytes as usize], table.encode()].concat()
    }

    fn find(object: &[u8]) -> Option<Table> {
        let len = object.len() as u64;
        Table::at_front("key", len, object).unwrap().or_else(|| Table::at_end("key", len, object).unwrap())
    }

    proptest! {
        #[test]
        fn a_table_is_found_at_either_end(members in members(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let table = Table { members };
            let mut object = object(&table);
            prop_assert_eq!(table.object_bytes(), Some(object.len() as u64));
            prop_assert_eq!(table.offsets().count(), table.members.len());
            prop_assert_eq!(find(&object), Some(table.clone()));
            let encoded = table.encode().len();
            let at = at.index(encoded);
            object[at] ^= 1 << bit;
            prop_assert_eq!(find(&object), Some(table.clone()), "the first is damaged");
            let last = object.len() - encoded;
            object[last + at] ^= 1 << bit;
            prop_assert_eq!(find(&object), None, "both are damaged");
        }

        #[test]
        fn a_cut_object_has_no_table(members in members(), cut in 1usize..50) {
            let object = object(&Table { members });
            prop_assert_eq!(find(&object[..object.len().saturating_sub(cut)]), None);
        }

        #[test]
        fn any_bytes_are_no_table(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0u32..4) {
            let bytes = [MAGIC, &VERSION.to_le_bytes()[..], &count.to_le_bytes(), &bytes].concat();
            prop_assert_eq!(find(&bytes), None);
        }
    }

    #[test]
    fn a_newer_table_is_refused() {
        let mut bytes = Table::default().encode();
        bytes[8] = 2;
        let fields = bytes.len() - SUM_BYTES;
        let sum = blake3::hash(&bytes[..fields]);
        bytes[fields..].copy_from_slice(&sum.as_bytes()[..SUM_BYTES]);
        assert_eq!(Table::decode("key", &bytes), Err(S3Error::Newer { key: "key".into(), version: 2 }));
    }
}
