//! Appending: a bundle becomes a record of the open pack; full packs are sealed.

use std::sync::Arc;

use datadb::{BlobId, Bundle, failpoint};

use super::{
    HEADS_BYTES_MAX, Inner, PACK_RECORDS_MAX, State,
    entry::Entry,
    pack::{self, PackFile},
    record::Head,
};
use crate::store::{Cursor, Outcome, Put, StoreError, check_put, disk::DiskFile};

/// The pack being written, and those before it that still wait for a sync.
#[derive(Debug, Default)]
pub(super) struct Appender {
    pub open: Option<OpenPack>,
    pub unsynced: Vec<UnsyncedPack>,
    /// Packs that take no more (sealed and synced, or ended by a failed sync) whose lengths the index doesn't have yet.
    pub closed: Vec<(u64, u64)>,
    /// A file was made since the directory was last synced.
    pub is_dir_dirty: bool,
    pub last_number: u64,
}

impl Appender {
    /// Pack files that it holds open.
    pub fn open_files(&self) -> u64 {
        (self.unsynced.len() + usize::from(self.open.is_some())) as u64
    }
}

/// The pack that takes the next record.
#[derive(Debug)]
pub(super) struct OpenPack {
    pub pack: PackFile,
    pub len: u64,
    /// Everything before this is on the medium.
    pub durable_len: u64,
    /// What its footer will list.
    pub records: Vec<(u64, Head)>,
    /// Bytes of their heads.
    pub heads_bytes: usize,
}

impl OpenPack {
    /// A pack of this length, which is durable up to there, with these records.
    pub fn new(pack: PackFile, len: u64, durable_len: u64, records: Vec<(u64, Head)>) -> Self {
        let heads_bytes = records.iter().map(|(_, head)| head.bytes().len()).sum();
        Self { pack, len, durable_len, records, heads_bytes }
    }

    fn push(&mut self, offset: u64, head: Head) {
        self.heads_bytes += head.bytes().len();
        self.records.push((offset, head));
    }

    /// Whether its footer would hold up others, or take too much memory until it is written.
    const fn has_long_footer(&self) -> bool {
        self.records.len() >= PACK_RECORDS_MAX || self.heads_bytes >= HEADS_BYTES_MAX
    }
}

/// A sealed pack that is not durable yet.
#[derive(Clone, Debug)]
pub(super) struct UnsyncedPack {
    pub pack: PackFile,
    pub len: u64,
    pub durable_len: u64,
}

impl State {
    fn put(&self, outcomes: Vec<Outcome>, cursor: Option<Cursor>) -> Put {
        let unflushed_blobs = self.pending.len() + self.flushing.len();
        Put { outcomes, cursor, unflushed_bytes: self.unflushed_bytes, unflushed_blobs }
    }
}

impl Inner {
    /// Appends a bundle, unless all of its blobs are known.
    pub(super) fn append(&self, bundle: &Bundle, label: &[u8]) -> Result<Put, StoreError> {
        check_put(bundle, label)?;
        let mut state = self.state();
        if state.is_broken {
            return Err(self.broken());
        }
        let ids: Vec<BlobId> = bundle.refs().map(|blob| blob.id).collect();
        let entries = self.with_indexed(state.waiting(&ids), &ids)?;
        let outcomes = judge(bundle, &entries);
        if !outcomes.contains(&Outcome::New) {
            return Ok(state.put(outcomes, None));
        }
        let head = Head::new(bundle, label);
        let (record_len, cursor) = (head.record_len(), self.write(&mut state, head, bundle.data())?);
        for (position, (blob, outcome)) in bundle.refs().zip(&outcomes).enumerate() {
            if *outcome != Outcome::New {
                state.totals.dead_bytes += u64::from(blob.len);
                continue;
            }
            if entries[position].is_some_and(|entry| entry.is_bad) {
                state.totals.bad_blobs = state.totals.bad_blobs.saturating_sub(1);
            } else {
                state.totals.blobs += 1;
                state.totals.blob_bytes += u64::from(blob.len);
            }
            state.pending.insert(blob.id, Entry::new(cursor, record_len, position, &blob));
        }
        state.totals.records += 1;
        state.unflushed_bytes += record_len;
        Ok(state.put(outcomes, Some(cursor)))
    }

    /// Writes a record at the end of the open pack and gives its place. A write that fails leaves no trace: the next one
    /// starts at the same offset.
    fn write(&self, state: &mut State, head: Head, data: &[u8]) -> Result<Cursor, StoreError> {
        let dir = &self.config.dir;
        let record_len = head.record_len();
        if self
            .config
            .disk
            .free_bytes(dir)
            .is_some_and(|free| free < self.config.reserve_bytes.saturating_add(record_len))
        {
            return Err(StoreError::Full { place: dir.display().to_string() });
        }
        if state.appender.open.is_none() {
            self.start_pack(state)?;
        }
        let number = state.appender.open.as_ref().expect("start_pack opens one").pack.number;
        self.give_out(state, number)?;
        let open = state.appender.open.as_mut().expect("start_pack opens one");
        let offset = open.len;
        let file = open.pack.file.clone();
        let written =
            file.write_at(head.bytes(), offset).and_then(|()| file.write_at(data, offset + head.bytes().len() as u64));
        if let Err(error) = written {
            self.cut_back(&*file, offset);
            return Err(StoreError::io(self.path(number).display(), error));
        }
        open.len += record_len;
        open.push(offset, head);
        failpoint::hit_in(&self.config.name, "written");
        let is_full = open.len >= self.config.pack_bytes || open.has_long_footer();
        state.packs.insert(number, open.len);
        if is_full {
            self.seal(state)?;
        }
        Ok(Cursor { pack: number, offset })
    }

    fn cut_back(&self, file: &dyn DiskFile, len: u64) {
        if let Err(error) = file.truncate(len) {
            // Harmless: whatever lies behind `len` is overwritten, or cut when the pack is opened again.
            tracing::warn!(leaf = %self.config.name, %error, "a failed write could not be cut off");
        }
    }

    fn start_pack(&self, state: &mut State) -> Result<(), StoreError> {
        let number = state.appender.last_number + 1;
        let path = self.path(number);
        let io = |source| StoreError::io(path.display(), source);
        let file: Arc<dyn DiskFile> = match self.config.disk.create(&path) {
            Ok(file) => file,
            // A start that failed half way left a file without records.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let file = self.config.disk.open(&path).map_err(io)?;
                file.truncate(0).map_err(io)?;
                file
            }
            Err(error) => return Err(io(error)),
        };
        state.appender.is_dir_dirty = true;
        file.write_at(&pack::header(number), 0).map_err(io)?;
        state.appender.last_number = number;
        state.packs.insert(number, pack::HEADER_BYTES);
        let pack = PackFile { number, file };
        state.appender.open = Some(OpenPack::new(pack, pack::HEADER_BYTES, 0, Vec::new()));
        Ok(())
    }

    /// Ends the open pack with its footer. A footer that can't be written is no loss: the records say the same.
    pub(super) fn seal(&self, state: &mut State) -> Result<(), StoreError> {
        let Some(open) = state.appender.open.take() else { return Ok(()) };
        let footer = pack::footer(&open.records);
        let mut len = open.len;
        match open.pack.file.write_at(&footer, len) {
            Ok(()) => len += footer.len() as u64,
            Err(error) => {
                tracing::warn!(leaf = %self.config.name, %error, "a pack stays without its footer");
                self.cut_back(&*open.pack.file, len);
            }
        }
        failpoint::hit_in(&self.config.name, "sealed");
        state.packs.insert(open.pack.number, len);
        state.appender.unsynced.push(UnsyncedPack { pack: open.pack, len, durable_len: open.durable_len });
        Ok(())
    }

    pub(super) fn broken(&self) -> StoreError {
        StoreError::Inconsistent {
            place: self.config.dir.display().to_string(),
            what: "a sync failed, and so did cutting off what was not synced; mend the disk and restart the server"
                .into(),
        }
    }
}

/// What becomes of each blob, given what is known of it. The second of two equal blobs in one bundle is known.
fn judge(bundle: &Bundle, entries: &[Option<Entry>]) -> Vec<Outcome> {
    let mut seen = std::collections::HashMap::new();
    let judge_one = |(blob, entry): (datadb::BlobRef, &Option<Entry>)| {
        let earlier = seen.insert(blob.id, blob.digest);
        let known = entry.filter(|entry| !entry.is_bad).map(|entry| entry.digest).or(earlier);
        match known {
            None => Outcome::New,
            Some(digest) if digest == blob.digest => Outcome::Known,
            Some(_) => Outcome::Conflict,
        }
    };
    bundle.refs().zip(entries).map(judge_one).collect()
}
