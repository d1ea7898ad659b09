//! Reading the log: every record once, in the order of their numbers, each the continuation of the one before it.
//!
//! A store gives records in the order in which they were put there. That is the order of their numbers, but for records that
//! were lost and put there again: these lie behind newer ones. So records that come too early are noted (not held), and
//! taken when their turn has come; what is applied already is passed over. Damage is an error only if something is missing
//! in the end.

use std::{collections::BTreeMap, vec};

use datadb::{BlobRef, Digest, codec::DecodeError, limits};

use super::{LogError, Logged, Position};
use crate::record::Record;
use crate::store::{Cursor, Item, SharedStore, StoreError};

/// Records read at once.
const PAGE: usize = 256;

/// Reads the log from a position on.
#[derive(Debug)]
pub struct LogReader {
    store: SharedStore,
    position: Position,
    /// Whether another copy of a damaged end is known to have been looked for.
    has_copies: bool,
    scan: Scan,
    /// Digests of the last records, against twins.
    recent: BTreeMap<u64, Digest>,
}

/// One way through the store.
#[derive(Debug)]
struct Scan {
    page: vec::IntoIter<Item>,
    /// The last item met.
    at: Option<Cursor>,
    is_from_front: bool,
    is_at_end: bool,
    /// The highest number met on this way.
    highest: u64,
    /// Records whose turn has not come: where they are found again.
    early: BTreeMap<u64, BlobRef>,
    /// There were more.
    has_dropped: bool,
    /// Damage with newer records behind it: what is missing was there, if anything is missing.
    damage_inside: Option<LogError>,
    /// Damage with nothing newer behind it.
    damage_at_end: Option<LogError>,
}

impl Scan {
    fn from(position: &Position) -> Self {
        let highest = if position.cursor.is_some() { position.sequence } else { 0 };
        Self {
            page: Vec::new().into_iter(),
            at: position.cursor,
            is_from_front: position.cursor.is_none(),
            is_at_end: false,
            highest,
            early: BTreeMap::new(),
            has_dropped: false,
            damage_inside: None,
            damage_at_end: None,
        }
    }

    fn has_met(&mut self, sequence: u64) {
        if sequence > self.highest {
            self.highest = sequence;
            let damage = self.damage_at_end.take();
            self.damage_inside = self.damage_inside.take().or(damage);
        }
    }

    fn is_damaged(&mut self, damage: LogError) {
        self.damage_at_end.get_or_insert(damage);
    }
}

/// A record of the store, or why it can't be read.
type Read = Result<Record, LogError>;

impl LogReader {
    /// Starts behind a position. `has_copies` says that the store has several sides, which were compared: then a damaged
    /// end is no loss.
    pub fn new(store: SharedStore, position: Position, has_copies: bool) -> Self {
        let recent = BTreeMap::from([(position.sequence, position.digest)]);
        Self { store, scan: Scan::from(&position), position, has_copies, recent }
    }

    /// The last record read.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The next record; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Logged>, LogError> {
        loop {
            let next = self.position.sequence + 1;
            if let Some(blob) = self.scan.early.remove(&next) {
                let record = self.read(&blob).await?;
                return self.accept(record, &blob).map(Some);
            }
            let Some(item) = self.next_item().await? else {
                if self.is_done()? {
                    return Ok(None);
                }
                continue;
            };
            let after = self.position.sequence;
            let (cursor, refs) = match item {
                Item::Record { cursor, refs, .. } => (cursor, refs),
                Item::Damage(damage) => {
                    self.scan.at = Some(damage.cursor);
                    self.scan.is_damaged(LogError::Damage { after, cursor: damage.cursor, bytes: damage.bytes });
                    continue;
                }
            };
            self.scan.at = Some(cursor);
            let Some(blob) = refs.first() else {
                self.scan.is_damaged(LogError::Record { after, source: DecodeError::Short { field: "record" } });
                continue;
            };
            let record = match self.read(blob).await {
                Ok(record) => record,
                Err(error) if is_damage(&error) => {
                    self.scan.is_damaged(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.scan.has_met(record.sequence);
            self.check_twin(record.sequence, blob)?;
            if record.sequence == next {
                return self.accept(record, blob).map(Some);
            }
            if record.sequence > next {
                self.scan.early.insert(record.sequence, *blob);
                if self.scan.early.len() > limits::LOG_EARLY_MAX {
                    self.scan.early.pop_last();
                    self.scan.has_dropped = true;
                }
            }
        }
    }

    /// Refuses another record of a number that was met.
    fn check_twin(&self, sequence: u64, blob: &BlobRef) -> Result<(), LogError> {
        let early = self.scan.early.get(&sequence).map(|blob| blob.digest);
        match early.or_else(|| self.recent.get(&sequence).copied()) {
            Some(digest) if digest != blob.digest && sequence > 0 => Err(LogError::Twins { sequence }),
            _ => Ok(()),
        }
    }

    /// Takes a record whose turn it is.
    fn accept(&mut self, record: Record, blob: &BlobRef) -> Result<Logged, LogError> {
        if record.previous != self.position.digest {
            return Err(LogError::Fork { sequence: record.sequence });
        }
        // While records lie before this place whose turn has not come, whoever goes on begins at the front.
        let is_in_order = self.scan.early.is_empty() && !self.scan.has_dropped;
        let cursor = self.scan.at.filter(|_| is_in_order);
        self.position = Position { sequence: record.sequence, digest: blob.digest, cursor, blob: Some(blob.id) };
        self.recent.insert(record.sequence, blob.digest);
        if self.recent.len() > limits::LOG_EARLY_MAX {
            self.recent.pop_first();
        }
        Ok(Logged { record, position: self.position })
    }

    async fn next_item(&mut self) -> Result<Option<Item>, LogError> {
        loop {
            if let Some(item) = self.scan.page.next() {
                return Ok(Some(item));
            }
            if self.scan.is_at_end {
                return Ok(None);
            }
            match self.store.enumerate(self.scan.at, PAGE).await {
                Ok(items) => {
                    self.scan.is_at_end = items.len() < PAGE;
                    self.scan.page = items.into_iter();
                }
                // The side that this place belongs to can't be asked; another is read from its front.
                Err(StoreError::Away { .. }) if !self.scan.is_from_front => self.restart(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn restart(&mut self) {
        self.scan = Scan::from(&Position { cursor: None, ..self.position });
    }

    /// Whether the end is reached. What is missing may lie further in front.
    fn is_done(&mut self) -> Result<bool, LogError> {
        let is_incomplete = !self.scan.early.is_empty();
        if !is_incomplete && !self.scan.has_dropped && (self.has_copies || self.scan.damage_at_end.is_none()) {
            return Ok(true);
        }
        let has_progressed = self.scan.has_dropped && !is_incomplete;
        if !self.scan.is_from_front || has_progressed {
            self.restart();
            return Ok(false);
        }
        let expected = self.position.sequence + 1;
        let gap = self.scan.early.keys().next().map(|found| LogError::Gap { expected, found: *found });
        let damage = self.scan.damage_inside.take().or(self.scan.damage_at_end.take());
        match damage.or(gap) {
            Some(error) => Err(error),
            None => Ok(true),
        }
    }

    async fn read(&self, blob: &BlobRef) -> Read {
        let missing = DecodeError::Short { field: "record" };
        let damaged = |source| LogError::Record { after: self.position.sequence, source };
        let Some(stored) = self.store.get(&blob.id).await? else { return Err(damaged(missing)) };
        let Ok(plain) = stored.bundle.verify() else { return Err(damaged(missing)) };
        let bytes = plain.iter().find(|(inside, _)| inside.id == blob.id).map(|(_, bytes)| bytes);
        bytes.ok_or(missing).and_then(|bytes| Record::decode(&bytes)).map_err(damaged)
    }
}

/// Whether another copy may make up for it.
const fn is_damage(error: &LogError) -> bool {
    matches!(error, LogError::Record { .. } | LogError::Store(StoreError::Damaged { .. }))
}
