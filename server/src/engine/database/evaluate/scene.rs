//! What commands see of keys and their elements, and how they change them.

use bytes::Bytes;
use datadb::{
    command::{Key, Refusal, Reply},
    limits,
};

use super::{Scene, Stop};
use crate::{
    engine::database::backups::{self, Shown},
    index::data::{Among, At, Element},
    record::effect::{Change, DataType, Effect, Spot},
};

/// A key that is there and has the type that was asked for.
pub(super) enum Found<'a> {
    Stored(At<'a>),
    Shown(Shown),
}

impl Found<'_> {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Stored(at) => at.count(),
            Self::Shown(shown) => shown.elements.len() as u64,
        }
    }
}

pub(super) fn too_large() -> Refusal {
    Refusal::err(format!(
        "the reply has more than {} elements or {} bytes: ask for it in parts",
        limits::REPLY_ELEMENTS_MAX,
        limits::REPLY_BYTES_MAX
    ))
}

pub(super) fn at_most(limit: u64) -> usize {
    if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) }
}

impl Scene<'_> {
    pub(super) fn spot(&self, key: &Key) -> Spot {
        Spot { database: self.database.clone(), key: key.as_str().to_owned() }
    }

    pub(super) fn kind(&self, key: &Key) -> Result<Option<DataType>, Stop> {
        let spot = self.spot(key);
        if backups::is_reserved(&spot) {
            return Ok(backups::read(self.index, &spot.key)?.map(|shown| shown.kind));
        }
        Ok(self.overlay.at(self.index, spot)?.kind())
    }

    pub(super) fn find(&self, key: &Key, wanted: DataType) -> Result<Option<Found<'_>>, Stop> {
        let spot = self.spot(key);
        if backups::is_reserved(&spot) {
            return match backups::read(self.index, &spot.key)? {
                Some(shown) if shown.kind != wanted => Err(Refusal::wrong_type().into()),
                shown => Ok(shown.map(Found::Shown)),
            };
        }
        let at = self.overlay.at(self.index, spot)?;
        match at.kind() {
            Some(kind) if kind != wanted => Err(Refusal::wrong_type().into()),
            kind => Ok(kind.is_some().then_some(Found::Stored(at))),
        }
    }

    pub(super) fn get(&self, found: Option<&Found<'_>>, element: &[u8]) -> Result<Option<Bytes>, Stop> {
        Ok(match found {
            None => None,
            Some(Found::Stored(at)) => at.get(self.index, element)?,
            Some(Found::Shown(shown)) => {
                shown.elements.iter().find(|(known, _)| *known == element).map(|(_, value)| value.clone())
            }
        })
    }

    pub(super) fn element(&self, key: &Key, kind: DataType, element: &[u8]) -> Result<Option<Bytes>, Stop> {
        self.get(self.find(key, kind)?.as_ref(), element)
    }

    pub(super) fn count(&self, key: &Key, kind: DataType) -> Result<Reply, Stop> {
        Ok(Reply::count(self.find(key, kind)?.map_or(0, |found| found.count())))
    }

    pub(super) fn some(&self, key: &Key, kind: DataType, among: &Among, max: usize) -> Result<Vec<Element>, Stop> {
        let elements = match self.find(key, kind)? {
            None => Vec::new(),
            // One more than a reply may have tells that there are more.
            Some(Found::Stored(at)) => at.elements(self.index, among, max.min(limits::REPLY_ELEMENTS_MAX + 1))?,
            Some(Found::Shown(shown)) => {
                let is_among = |element: &Element| !shown.is_sorted || among.holds(&element.0);
                let mut elements: Vec<Element> = shown.elements.into_iter().filter(is_among).collect();
                if among.is_backward {
                    elements.reverse();
                }
                elements.truncate(max);
                elements
            }
        };
        let bytes: usize = elements.iter().map(|(element, value)| element.len() + value.len()).sum();
        if elements.len() > limits::REPLY_ELEMENTS_MAX || bytes > limits::REPLY_BYTES_MAX {
            return Err(too_large().into());
        }
        Ok(elements)
    }

    pub(super) fn whole(&self, key: &Key, kind: DataType) -> Result<Vec<Element>, Stop> {
        self.some(key, kind, &Among::default(), usize::MAX)
    }

    /// Goes through the database's keys from one on until told to stop.
    pub(super) fn each_key(
        &self,
        mut from: String,
        mut each: impl FnMut(String, DataType) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        loop {
            let page = self.overlay.keys(self.index, &self.database, &from)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = format!("{last}\0");
            for (key, kind) in page {
                if !each(key, kind)? {
                    return Ok(());
                }
            }
        }
    }

    pub(super) fn change(&mut self, spot: &Spot, change: Change) -> Result<(), Stop> {
        let effect = Effect { spot: spot.clone(), change };
        self.overlay.apply(self.index, &effect)?;
        self.effects.push(effect);
        Ok(())
    }

    /// The key, if it may be written and is of this type or not there.
    fn writable(&self, key: &Key, kind: DataType) -> Result<At<'_>, Stop> {
        let spot = self.spot(key);
        backups::check_writable(&spot)?;
        let at = self.overlay.at(self.index, spot)?;
        match at.kind() {
            Some(had) if had != kind => Err(Refusal::wrong_type().into()),
            _ => Ok(at),
        }
    }

    /// Sets elements; gives how many are new.
    pub(super) fn put(&mut self, key: &Key, kind: DataType, elements: &[Element]) -> Result<i64, Stop> {
        let at = self.writable(key, kind)?;
        let (spot, before) = (at.spot().clone(), at.count());
        drop(at);
        for (element, value) in elements {
            // A member that is there already changes nothing, and needs no record.
            if self.overlay.get(self.index, &spot, element)?.as_ref() != Some(value) {
                self.change(&spot, Change::Put(kind, element.clone(), value.clone()))?;
            }
        }
        let after = self.overlay.at(self.index, spot)?.count();
        Ok(i64::try_from(after - before).unwrap_or(i64::MAX))
    }

    /// Removes elements; gives how many were there.
    pub(super) fn remove(&mut self, key: &Key, kind: DataType, elements: &[Bytes]) -> Result<i64, Stop> {
        let spot = self.writable(key, kind)?.spot().clone();
        let mut removed = 0;
        for element in elements {
            if self.overlay.get(self.index, &spot, element)?.is_some() {
                self.change(&spot, Change::Remove(element.clone()))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
