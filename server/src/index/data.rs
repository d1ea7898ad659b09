//! Strings, hashes, sets and lists as the index keeps them.
//!
//! Every key has elements in order, each with a value; a string has one. Small keys are packed in one value (`type u8 ·
//! form u8 = 0 · count · per element it and its value`); one that outgrows that is spilled for as long as it lives (`type
//! u8 · form u8 = 1 · count`), a key of the index for each element. Which of the two it is nobody above this file sees.
//!
//! An [`Overlay`] holds changes that the index doesn't show yet, and answers as the index will when they are written. The
//! same code plans commands, reads inside transactions, and applies records.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use bytes::Bytes;
use datadb::{
    codec::{DecodeError, Reader, Writer},
    limits,
};

use super::{Batch, Family, Index, IndexError, keys};
use crate::record::effect::{Change, DataType, Effect, Spot};

const PACKED: u8 = 0;
const SPILLED: u8 = 1;

/// Keys read at once.
const PAGE: usize = 1024;

/// Bytes of elements after which reading stops: more than a reply may have, which tells that there are more.
const READ_BYTES_MAX: usize = limits::REPLY_BYTES_MAX;

/// An element and its value.
pub type Element = (Bytes, Bytes);

/// Which elements, both ends included; an empty `low` and no `high` are all.
#[derive(Clone, Debug, Default)]
pub struct Among {
    /// The first.
    pub low: Bytes,
    /// The last.
    pub high: Option<Bytes>,
    /// From the last to the first.
    pub is_backward: bool,
}

impl Among {
    /// Whether an element is one of them.
    pub fn holds(&self, element: &[u8]) -> bool {
        self.low[..] <= *element && self.high.as_ref().is_none_or(|high| element <= &high[..])
    }
}

/// What the index holds of a key.
#[derive(Clone, Debug)]
struct Stored {
    kind: DataType,
    count: u64,
    /// In order; `None` where it is spilled.
    packed: Option<Vec<Element>>,
}

impl Stored {
    fn read(index: &Index, spot: &Spot) -> Result<Option<Self>, IndexError> {
        let value = index.get(Family::Data, &keys::data(&spot.database, spot.key.as_bytes()))?;
        value.map(Self::decode).transpose().map_err(IndexError::value("a key of a database"))
    }

    fn decode(value: Vec<u8>) -> Result<Self, DecodeError> {
        let value = Bytes::from(value);
        let mut r = Reader::new(&value);
        let (kind, form) = (DataType::try_from(r.u8("data type")?)?, r.u8("form")?);
        let count = r.varint("count")?;
        if form == SPILLED {
            r.end()?;
            return Ok(Self { kind, count, packed: None });
        }
        let mut packed = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(limits::PACKED_ELEMENTS_MAX));
        for _ in 0..count {
            let element = r.bytes("element", limits::MEMBER_BYTES_MAX)?;
            packed.push((value.slice_ref(element), value.slice_ref(r.bytes("value", limits::VALUE_BYTES_MAX)?)));
        }
        r.end()?;
        Ok(Self { kind, count, packed: Some(packed) })
    }
}

fn encode(kind: DataType, count: u64, packed: Option<&BTreeMap<Bytes, Bytes>>) -> Vec<u8> {
    let mut w = Writer::with_capacity(64);
    w.u8(kind as u8).u8(if packed.is_some() { PACKED } else { SPILLED }).varint(count);
    for (element, value) in packed.into_iter().flatten() {
        w.bytes(element).bytes(value);
    }
    w.finish()
}

fn fits_packed(kind: DataType, elements: &BTreeMap<Bytes, Bytes>) -> bool {
    let bytes: usize = elements.iter().map(|(element, value)| element.len() + value.len() + 4).sum();
    kind == DataType::String || (elements.len() <= limits::PACKED_ELEMENTS_MAX && bytes <= limits::PACKED_BYTES_MAX)
}

/// The first key behind all that begin with this.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// A key with its changes.
#[derive(Clone, Debug)]
struct Changed {
    stored: Option<Stored>,
    /// What is stored doesn't count any more.
    is_replaced: bool,
    kind: Option<DataType>,
    count: u64,
    elements: BTreeMap<Bytes, Option<Bytes>>,
}

impl Changed {
    fn read(index: &Index, spot: &Spot) -> Result<Self, IndexError> {
        let stored = Stored::read(index, spot)?;
        let (kind, count) = stored.as_ref().map_or((None, 0), |stored| (Some(stored.kind), stored.count));
        Ok(Self { stored, is_replaced: false, kind, count, elements: BTreeMap::new() })
    }

    fn base(&self) -> Option<&Stored> {
        self.stored.as_ref().filter(|_| !self.is_replaced)
    }

    fn get(&self, index: &Index, spot: &Spot, element: &[u8]) -> Result<Option<Bytes>, IndexError> {
        match (self.elements.get(element), self.base()) {
            (Some(changed), _) => Ok(changed.clone()),
            (None, None) => Ok(None),
            (None, Some(Stored { packed: Some(packed), .. })) => {
                let found = packed.binary_search_by(|(known, _)| known[..].cmp(element));
                Ok(found.ok().map(|at| packed[at].1.clone()))
            }
            (None, Some(_)) => {
                let key = keys::element(&spot.database, &spot.key, element);
                Ok(index.get(Family::Data, &key)?.map(Bytes::from))
            }
        }
    }

    fn clear(&mut self) {
        self.is_replaced = true;
        (self.kind, self.count) = (None, 0);
        self.elements.clear();
        if let Some(Stored { packed: Some(packed), .. }) = &mut self.stored {
            packed.clear();
        }
    }

    fn change(&mut self, index: &Index, spot: &Spot, change: &Change) -> Result<(), IndexError> {
        match change {
            Change::Drop => self.clear(),
            Change::Put(kind, element, value) => {
                if self.kind.is_some_and(|had| had != *kind) {
                    self.clear();
                }
                self.kind = Some(*kind);
                self.count += u64::from(self.get(index, spot, element)?.is_none());
                self.elements.insert(element.clone(), Some(value.clone()));
            }
            Change::Remove(element) => {
                if self.get(index, spot, element)?.is_some() {
                    self.count -= 1;
                    self.elements.insert(element.clone(), None);
                }
                if self.count == 0 {
                    self.clear();
                }
            }
        }
        Ok(())
    }

    /// At most `max` elements, in order; see [`At::elements`].
    fn elements(&self, index: &Index, spot: &Spot, among: &Among, max: usize) -> Result<Vec<Element>, IndexError> {
        if max == 0 || among.high.as_ref().is_some_and(|high| *high < among.low) {
            return Ok(Vec::new());
        }
        let mut merged: BTreeMap<Bytes, Bytes> = match self.base() {
            None => BTreeMap::new(),
            Some(Stored { packed: Some(packed), .. }) => {
                let some = packed.iter().filter(|(element, _)| among.holds(element)).cloned();
                if self.elements.is_empty() && !among.is_backward {
                    return Ok(some.take(max).collect());
                }
                some.collect()
            }
            Some(_) => self.spilled(index, spot, among, max)?,
        };
        for (element, value) in self.elements.iter().filter(|(element, _)| among.holds(element)) {
            match value {
                Some(value) => drop(merged.insert(element.clone(), value.clone())),
                None => drop(merged.remove(element)),
            }
        }
        Ok(if among.is_backward {
            merged.into_iter().rev().take(max).collect()
        } else {
            merged.into_iter().take(max).collect()
        })
    }

    /// The first elements of their own in the index that have not changed.
    fn spilled(
        &self,
        index: &Index,
        spot: &Spot,
        among: &Among,
        max: usize,
    ) -> Result<BTreeMap<Bytes, Bytes>, IndexError> {
        let of = |element: &[u8]| keys::element(&spot.database, &spot.key, element);
        let (skip, end) = (of(&[]).len(), behind(&of(&[])));
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        let mut show = |(key, value): super::Pair| {
            let element = Bytes::from(key).slice(skip..);
            if !self.elements.contains_key(&element) {
                bytes += element.len() + value.len();
                found.insert(element, Bytes::from(value));
            }
            found.len() < max && bytes <= READ_BYTES_MAX
        };
        if among.is_backward {
            let from = among.high.as_ref().map_or(end.clone(), |high| of(high));
            // The end itself belongs to another key.
            index.each_back(Family::Data, &from, &of(&among.low), |pair| pair.0[..] >= end[..] || show(pair))?;
        } else {
            let end = among.high.as_ref().map_or(end, |high| [&of(high)[..], &[0]].concat());
            index.each(Family::Data, &of(&among.low), &end, show)?;
        }
        Ok(found)
    }

    fn write(self, index: &Index, spot: &Spot, batch: &mut Batch<'_>) -> Result<(), IndexError> {
        let head = keys::data(&spot.database, spot.key.as_bytes());
        let of = |element: &[u8]| keys::element(&spot.database, &spot.key, element);
        let was_spilled = self.stored.as_ref().is_some_and(|stored| stored.packed.is_none());
        if was_spilled && self.is_replaced {
            batch.delete_range(Family::Data, &of(&[]), &behind(&of(&[])));
        }
        let Some(kind) = self.kind else {
            batch.delete(Family::Data, &head);
            return Ok(());
        };
        if was_spilled && !self.is_replaced {
            for (element, value) in &self.elements {
                match value {
                    Some(value) => batch.put(Family::Data, &of(element), value),
                    None => batch.delete(Family::Data, &of(element)),
                }
            }
            batch.put(Family::Data, &head, &encode(kind, self.count, None));
            return Ok(());
        }
        let all: BTreeMap<Bytes, Bytes> =
            self.elements(index, spot, &Among::default(), usize::MAX)?.into_iter().collect();
        let is_packed = fits_packed(kind, &all);
        batch.put(Family::Data, &head, &encode(kind, self.count, is_packed.then_some(&all)));
        if !is_packed {
            all.iter().for_each(|(element, value)| batch.put(Family::Data, &of(element), value));
        }
        Ok(())
    }
}

/// Changes that are not in the index yet.
#[derive(Debug, Default)]
pub struct Overlay {
    changed: BTreeMap<Spot, Changed>,
}

/// A key as it is now.
#[derive(Debug)]
pub struct At<'a> {
    spot: Spot,
    changed: Cow<'a, Changed>,
}

impl At<'_> {
    /// Which.
    pub const fn spot(&self) -> &Spot {
        &self.spot
    }

    /// What it holds; `None`: it is not there.
    pub fn kind(&self) -> Option<DataType> {
        self.changed.kind
    }

    /// How many elements.
    pub fn count(&self) -> u64 {
        self.changed.count
    }

    /// The value of an element.
    pub fn get(&self, index: &Index, element: &[u8]) -> Result<Option<Bytes>, IndexError> {
        self.changed.get(index, &self.spot, element)
    }

    /// At most `max` elements, in order. Where they come to more bytes than a reply may have, the first of them that do.
    pub fn elements(&self, index: &Index, among: &Among, max: usize) -> Result<Vec<Element>, IndexError> {
        self.changed.elements(index, &self.spot, among, max)
    }
}

impl Overlay {
    /// Adds a change.
    pub fn apply(&mut self, index: &Index, effect: &Effect) -> Result<(), IndexError> {
        let changed = match self.changed.entry(effect.spot.clone()) {
            Entry::Occupied(occupied) => occupied.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(Changed::read(index, &effect.spot)?),
        };
        changed.change(index, &effect.spot, &effect.change)
    }

    /// Puts everything into a batch.
    pub fn write(self, index: &Index, batch: &mut Batch<'_>) -> Result<(), IndexError> {
        let mut databases: Vec<&str> = self.changed.keys().map(|spot| &*spot.database).collect();
        databases.dedup();
        for database in databases {
            let mut w = Writer::default();
            w.varint(self.len(index, database)?);
            batch.put(Family::Data, &keys::data_count(database), &w.finish());
        }
        for (spot, changed) in self.changed {
            changed.write(index, &spot, batch)?;
        }
        Ok(())
    }

    /// A key as it is now; it is read once, whatever is asked of it then.
    pub fn at(&self, index: &Index, spot: Spot) -> Result<At<'_>, IndexError> {
        let changed = match self.changed.get(&spot) {
            Some(changed) => Cow::Borrowed(changed),
            None => Cow::Owned(Changed::read(index, &spot)?),
        };
        Ok(At { spot, changed })
    }

    /// The value of an element of a key.
    pub fn get(&self, index: &Index, spot: &Spot, element: &[u8]) -> Result<Option<Bytes>, IndexError> {
        match self.changed.get(spot) {
            Some(changed) => changed.get(index, spot, element),
            None => Changed::read(index, spot)?.get(index, spot, element),
        }
    }

    /// How many keys a database has.
    pub fn len(&self, index: &Index, database: &str) -> Result<u64, IndexError> {
        let value = index.get(Family::Data, &keys::data_count(database))?;
        let read = |value: Vec<u8>| Reader::new(&value).varint("count");
        let mut len = value.map_or(Ok(0), read).map_err(IndexError::value("the number of keys"))?;
        for (_, changed) in self.changed.iter().filter(|(spot, _)| spot.database == database) {
            len += u64::from(changed.kind.is_some());
            len = len.saturating_sub(u64::from(changed.stored.is_some()));
        }
        Ok(len)
    }

    /// The next keys of a database from one on, and how many were looked at; a page, and none is the end.
    pub fn keys(&self, index: &Index, database: &str, from: &str) -> Result<Vec<(String, DataType)>, IndexError> {
        let first = keys::data(database, from.as_bytes());
        let mut stored = Vec::new();
        // A string's value may be large, and is not asked for.
        index.each(Family::Data, &first, &keys::data_end(database), |(key, value)| {
            stored.push((key, value.first().copied()));
            stored.len() < PAGE
        })?;
        let mut page = BTreeMap::new();
        for (key, kind) in &stored {
            let damaged = IndexError::value("a key of a database");
            let name = std::str::from_utf8(keys::data_key(database, key));
            let name = name.map_err(|_| DecodeError::rule("key", "is not UTF-8"));
            let kind = kind.ok_or(DecodeError::Short { field: "data type" });
            let both = name.and_then(|name| Ok((name.to_owned(), DataType::try_from(kind?)?))).map_err(damaged)?;
            page.insert(both.0, both.1);
        }
        let is_last = stored.len() < PAGE;
        let last = page.keys().next_back().cloned();
        let from = Spot { database: database.to_owned(), key: from.to_owned() };
        for (spot, changed) in self.changed.range(from..).take_while(|(spot, _)| spot.database == database) {
            if !is_last && last.as_ref().is_none_or(|last| spot.key > *last) {
                break;
            }
            match changed.kind {
                Some(kind) => drop(page.insert(spot.key.clone(), kind)),
                None => drop(page.remove(&spot.key)),
            }
        }
        if page.is_empty()
            && !is_last
            && let Some(last) = last
        {
            return self.keys(index, database, &format!("{last}\0"));
        }
        Ok(page.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Model = BTreeMap<Bytes, Bytes>;

    fn effect(change: Change) -> Effect {
        Effect { spot: Spot { database: "d".into(), key: "k".into() }, change }
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let element = || prop::collection::vec(0u8..4, 0..3).prop_map(Bytes::from);
        let change = prop_oneof![
            6 => (element(), 0usize..3000).prop_map(|(e, len)| Change::Put(DataType::Hash, e, vec![7; len].into())),
            3 => element().prop_map(Change::Remove),
            1 => Just(Change::Drop),
        ];
        prop::collection::vec(change, 1..40)
    }

    fn follow(model: &mut Model, change: &Change) {
        match change {
            Change::Put(_, element, value) => drop(model.insert(element.clone(), value.clone())),
            Change::Remove(element) => drop(model.remove(element)),
            Change::Drop => model.clear(),
        }
    }

    fn check(index: &Index, overlay: &Overlay, model: &Model, among: &Among, max: usize) {
        let spot = effect(Change::Drop).spot;
        let mut wanted: Vec<Element> =
            model.iter().filter(|(e, _)| among.holds(e)).map(|(e, v)| (e.clone(), v.clone())).collect();
        if among.is_backward {
            wanted.reverse();
        }
        wanted.truncate(max);
        let at = overlay.at(index, spot).unwrap();
        assert_eq!(at.elements(index, among, max).unwrap(), wanted);
        assert_eq!(at.count(), model.len() as u64);
        assert_eq!(overlay.len(index, "d").unwrap(), u64::from(!model.is_empty()));
    }

    fn write(index: &Index, changes: &[Change]) {
        let mut overlay = Overlay::default();
        changes.iter().for_each(|change| overlay.apply(index, &effect(change.clone())).unwrap());
        let mut batch = index.batch();
        overlay.write(index, &mut batch).unwrap();
        index.write(batch).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// Packed, spilled, or not written yet: a key answers the same, whichever part of it is asked for.
        #[test]
        fn packed_and_spilled_keys_and_overlays_agree_with_a_model(
            before in changes(), after in changes(), low in prop::collection::vec(0u8..4, 0..3),
            high in prop::option::of(prop::collection::vec(0u8..4, 0..3)), is_backward: bool, max in 0usize..9
        ) {
            let dir = tempfile::tempdir().unwrap();
            let index = Index::open(dir.path()).unwrap();
            // A neighbour on each side, spilled too, of which nothing may show.
            for key in ["j", "l"] {
                let mut overlay = Overlay::default();
                let spot = Spot { database: "e".into(), key: key.into() };
                let change = Change::Put(DataType::Hash, Bytes::from_static(b"x"), vec![1; 9000].into());
                overlay.apply(&index, &Effect { spot, change }).unwrap();
                let mut batch = index.batch();
                overlay.write(&index, &mut batch).unwrap();
                index.write(batch).unwrap();
            }
            let among = Among { low: low.into(), high: high.map(Bytes::from), is_backward };
            let mut model = Model::new();
            before.iter().for_each(|change| follow(&mut model, change));
            write(&index, &before);
            check(&index, &Overlay::default(), &model, &among, max);
            let mut overlay = Overlay::default();
            for change in &after {
                follow(&mut model, change);
                overlay.apply(&index, &effect(change.clone())).unwrap();
                check(&index, &overlay, &model, &among, max);
            }
            write(&index, &after);
            check(&index, &Overlay::default(), &model, &among, max);
            // As after a power cut: what is in the index already is replayed from some point on.
            write(&index, &after);
            check(&index, &Overlay::default(), &model, &among, max);
        }
    }
}
