//! Places that were given out: none of them is ever overtaken.
//!
//! Whoever has the place of a record (a mirror's mark, how far Encrypt has read) goes on behind it one day, and must not
//! miss anything that was put later. But a power cut may take records whose places are known already, with the end of a
//! pack or all of it. So the index knows of which pack places were given out, from before the first of them; and where not
//! all of these were durable, the next start begins a new pack, with a number that none before it had.

use datadb::codec::{DecodeError, Reader, Writer};

use super::{Inner, LeafConfig, State};
use crate::{
    index::{Batch, Family, IndexError, keys},
    store::{Cursor, StoreError},
};

/// Of which pack places were given out last, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub pack: u64,
    /// Whether a flush has made all of them durable.
    pub is_durable: bool,
}

impl Default for Given {
    fn default() -> Self {
        Self { pack: 0, is_durable: true }
    }
}

impl Given {
    pub fn load(config: &LeafConfig) -> Result<Self, StoreError> {
        match config.index().get(Family::State, &keys::given(&config.name))? {
            Some(bytes) => Ok(Self::decode(&bytes).map_err(IndexError::value("what a leaf gave out"))?),
            None => Ok(Self::default()),
        }
    }

    fn put(self, config: &LeafConfig, batch: &mut Batch<'_>) {
        let mut w = Writer::default();
        w.varint(self.pack).u8(u8::from(self.is_durable));
        batch.put(Family::State, &keys::given(&config.name), &w.finish());
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let (pack, is_durable) = (r.varint("pack")?, r.u8("state")? == 1);
        r.end()?;
        Ok(Self { pack, is_durable })
    }
}

impl Inner {
    /// Notes that places of a pack are about to be given out; a write to the index for the first after a flush.
    pub(super) fn give_out(&self, state: &mut State, pack: u64) -> Result<(), StoreError> {
        let given = Given { pack: pack.max(state.given.pack), is_durable: false };
        if state.given != given {
            let mut batch = self.config.index().batch();
            given.put(&self.config, &mut batch);
            self.config.index().write(batch)?;
            state.given = given;
        }
        Ok(())
    }

    /// Ends a flush: with this batch the index knows all that is durable up to `end`.
    pub(super) fn end_flush(&self, mut batch: Batch<'_>, end: Cursor) -> Result<(), StoreError> {
        let mut state = self.state();
        // Unless something was put meanwhile.
        let is_all = state.packs.last_key_value().is_none_or(|(pack, len)| (*pack, *len) == (end.pack, end.offset));
        let given = Given { is_durable: is_all, ..state.given };
        if given != state.given {
            given.put(&self.config, &mut batch);
        }
        self.config.index().write(batch)?;
        state.given = given;
        Ok(())
    }
}
