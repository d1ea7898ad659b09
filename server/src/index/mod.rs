//! The index: everything that can be derived from the packs and the log, kept where it can be found fast.
//!
//! A narrow interface of ours over RocksDB, so that another ordered key-value store can take its place: get, multi-get,
//! paged scan, write batch. Calls block; callers run them inside [`crate::store::blocking`], a whole operation at a time,
//! so that an operation runs to its end even where its caller goes away. Writes are atomic per batch and ordered, and
//! have no write-ahead log of their own: the log and the packs are one. A crash takes what the buffers held, of all families
//! up to the same write, and the next start replays it.

pub mod apply;
pub mod data;
pub mod keys;
pub mod ranks;
pub mod space;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use datadb::Kind;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    Direction, ErrorKind, FlushOptions, IteratorMode, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions,
};
use thiserror::Error;

use crate::descriptors::index_tables_max;

/// Bytes of the block cache that all families share.
const BLOCK_CACHE_BYTES: usize = 64 << 20;

/// Bytes of all write buffers together: what a start after a crash replays at most, in less than a second.
const WRITE_BUFFER_BYTES: usize = 32 << 20;

/// No batch is larger, so that no caller holds others up for long.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// What can go wrong in the index.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The engine failed.
    #[error("index: {0}")]
    Engine(#[from] rocksdb::Error),
    /// A view of what is in memory was asked for more.
    #[error("index: this needs the disk")]
    NotInMemory,
    /// A value in the index is not what was written there.
    #[error("index: {what} is damaged: stop the server and run `datadb-server rebuild`")]
    Value {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: datadb::codec::DecodeError,
    },
}

impl IndexError {
    /// A damaged value.
    pub const fn value(what: &'static str) -> impl FnOnce(datadb::codec::DecodeError) -> Self {
        move |source| Self::Value { what, source }
    }

    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Engine(error) if error.to_string().contains("No space left") => Kind::Full,
            _ => Kind::Internal,
        }
    }
}

/// A key space of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// How far everything has been applied, and a few totals.
    State,
    /// Objects by key.
    Objects,
    /// Which set holds a meta.
    Metas,
    /// Backups, snapshots and their orders.
    Backups,
    /// Strings, hashes, sets and lists of users.
    Data,
    /// Places of blobs in the blob store's leaf.
    Blobs,
    /// Places of log records in the log's leaf.
    Log,
    /// What every other store of the stack knows of its blobs, see `space`.
    Stores,
}

impl Family {
    const ALL: [Self; 8] =
        [Self::State, Self::Objects, Self::Metas, Self::Backups, Self::Data, Self::Blobs, Self::Log, Self::Stores];

    const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Objects => "objects",
            Self::Metas => "metas",
            Self::Backups => "backups",
            Self::Data => "data",
            Self::Blobs => "blobs",
            Self::Log => "log",
            Self::Stores => "stores",
        }
    }
}

/// A key and its value.
pub type Pair = (Box<[u8]>, Box<[u8]>);

/// The index. See the module for its rules.
#[derive(Debug)]
pub struct Index {
    db: Arc<DB>,
    keys_read: AtomicU64,
    is_memory_only: bool,
}

/// Bytes of memory that the index takes, as far as it counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexMemory {
    /// Blocks kept for reading again.
    pub block_cache_bytes: u64,
    /// Writes that are not in files yet.
    pub memtable_bytes: u64,
}

/// An index that several parts hold.
pub type SharedIndex = Arc<Index>;

impl Index {
    /// Opens the index in a directory, which is made if it is missing.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_db_write_buffer_size(WRITE_BUFFER_BYTES);
        // Without a write-ahead log nothing else keeps the families at the same write.
        options.set_atomic_flush(true);
        options.set_max_open_files(i32::try_from(index_tables_max()).unwrap_or(i32::MAX));
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        options.set_recycle_log_file_num(0);
        options.set_manifest_preallocation_size(64 << 10);
        options.set_stats_dump_period_sec(0);
        let families =
            Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache)));
        let db = Arc::new(DB::open_cf_descriptors(&options, dir, families)?);
        Ok(Self { db, keys_read: AtomicU64::new(0), is_memory_only: false })
    }

    /// The same index with a count of its own, for work that tells what it cost.
    pub fn view(&self) -> Self {
        Self { db: self.db.clone(), keys_read: AtomicU64::new(0), is_memory_only: false }
    }

    /// The same index for those who can't wait for a disk: what needs one, or may take long, is
    /// [`IndexError::NotInMemory`]. Only `get` is answered.
    pub fn memory_view(&self) -> Self {
        Self { is_memory_only: true, ..self.view() }
    }

    fn may_wait(&self) -> Result<(), IndexError> {
        if self.is_memory_only { Err(IndexError::NotInMemory) } else { Ok(()) }
    }

    /// How many keys were asked for, or met in scans, through this view.
    pub fn keys_read(&self) -> u64 {
        self.keys_read.load(Ordering::Relaxed)
    }

    fn count(&self, keys: usize) {
        self.keys_read.fetch_add(keys as u64, Ordering::Relaxed);
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("open makes every family")
    }

    /// The value of a key.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.count(1);
        if !self.is_memory_only {
            return Ok(self.db.get_cf(self.family(family), key)?);
        }
        let mut read = ReadOptions::default();
        read.set_read_tier(ReadTier::BlockCache);
        self.db.get_cf_opt(self.family(family), key, &read).map_err(|error| match error.kind() {
            ErrorKind::Incomplete => IndexError::NotInMemory,
            _ => error.into(),
        })
    }

    /// The values of many keys, in the order of the keys.
    pub fn multi_get<K: AsRef<[u8]>>(&self, family: Family, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>, IndexError> {
        self.may_wait()?;
        self.count(keys.len());
        let keys = keys.iter().map(AsRef::as_ref);
        self.db
            .batched_multi_get_cf(self.family(family), keys, false)
            .into_iter()
            .map(|found| Ok(found?.map(|value| value.to_vec())))
            .collect()
    }

    /// The first bytes of the values of many keys, in the order of the keys; for large values of which only the head counts.
    pub fn multi_get_head<K: AsRef<[u8]>>(
        &self,
        family: Family,
        keys: &[K],
        head_bytes: usize,
    ) -> Result<Vec<Option<Vec<u8>>>, IndexError> {
        self.may_wait()?;
        self.count(keys.len());
        let head = |value: &[u8]| value[..value.len().min(head_bytes)].to_vec();
        self.db
            .batched_multi_get_cf(self.family(family), keys.iter().map(AsRef::as_ref), false)
            .into_iter()
            .map(|found| Ok(found?.map(|value| head(&value))))
            .collect()
    }

    /// What is read of the values of many keys, in the order of the keys: one after the other, so that never more than one
    /// value is in memory, however large they are.
    pub fn read_each<K: AsRef<[u8]>, T>(
        &self,
        family: Family,
        keys: &[K],
        read: impl Fn(&[u8]) -> T,
    ) -> Result<Vec<Option<T>>, IndexError> {
        self.may_wait()?;
        self.count(keys.len());
        let family = self.family(family);
        let one = |key: &K| Ok(self.db.get_pinned_cf(family, key)?.map(|value| read(&value)));
        keys.iter().map(one).collect()
    }

    /// At most `max` pairs with `from <= key < end`, in the order of the keys. Whoever wants more goes on behind the
    /// last key.
    pub fn scan(&self, family: Family, from: &[u8], end: &[u8], max: usize) -> Result<Vec<Pair>, IndexError> {
        self.may_wait()?;
        let mut read = ReadOptions::default();
        read.set_iterate_upper_bound(end);
        let mode = IteratorMode::From(from, Direction::Forward);
        let pairs = self.db.iterator_cf_opt(self.family(family), read, mode);
        pairs.take(max).inspect(|_| self.count(1)).map(|pair| Ok(pair?)).collect()
    }

    /// At most `max` pairs with `low <= key <= from`, in descending order of the keys.
    pub fn scan_back(&self, family: Family, from: &[u8], low: &[u8], max: usize) -> Result<Vec<Pair>, IndexError> {
        self.may_wait()?;
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(low);
        let mode = IteratorMode::From(from, Direction::Reverse);
        let pairs = self.db.iterator_cf_opt(self.family(family), read, mode);
        pairs.take(max).inspect(|_| self.count(1)).map(|pair| Ok(pair?)).collect()
    }

    /// Shows pairs with `from <= key < end`, in the order of the keys, until told to stop: for values that may be large.
    pub fn each(
        &self,
        family: Family,
        from: &[u8],
        end: &[u8],
        show: impl FnMut(Pair) -> bool,
    ) -> Result<(), IndexError> {
        self.may_wait()?;
        let mut read = ReadOptions::default();
        read.set_iterate_upper_bound(end);
        self.show(family, read, IteratorMode::From(from, Direction::Forward), show)
    }

    /// Shows pairs with `low <= key <= from`, in descending order of the keys, until told to stop.
    pub fn each_back(
        &self,
        family: Family,
        from: &[u8],
        low: &[u8],
        show: impl FnMut(Pair) -> bool,
    ) -> Result<(), IndexError> {
        self.may_wait()?;
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(low);
        self.show(family, read, IteratorMode::From(from, Direction::Reverse), show)
    }

    fn show(
        &self,
        family: Family,
        read: ReadOptions,
        mode: IteratorMode<'_>,
        mut show: impl FnMut(Pair) -> bool,
    ) -> Result<(), IndexError> {
        for pair in self.db.iterator_cf_opt(self.family(family), read, mode) {
            self.count(1);
            if !show(pair?) {
                break;
            }
        }
        Ok(())
    }

    /// Applies a batch, whole or not at all, after all batches before it.
    pub fn write(&self, batch: Batch<'_>) -> Result<(), IndexError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        Ok(self.db.write_opt(batch.batch, &options)?)
    }

    /// What the index holds in memory.
    pub fn memory(&self) -> Result<IndexMemory, IndexError> {
        let property = |family, name| Ok(self.db.property_int_value_cf(self.family(family), name)?.unwrap_or_default());
        let memtables = Family::ALL.map(|family| property(family, "rocksdb.cur-size-all-mem-tables"));
        Ok(IndexMemory {
            // All families share one.
            block_cache_bytes: property(Family::State, "rocksdb.block-cache-usage")?,
            memtable_bytes: memtables.into_iter().sum::<Result<u64, IndexError>>()?,
        })
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch<'_> {
        Batch { index: self, batch: WriteBatch::default() }
    }

    /// Returns when everything written so far survives a power cut.
    pub fn sync(&self) -> Result<(), IndexError> {
        let families = Family::ALL.map(|family| self.family(family));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        Ok(self.db.flush_cfs_opt(&families, &options)?)
    }
}

/// Writes that are applied together.
pub struct Batch<'a> {
    index: &'a Index,
    batch: WriteBatch,
}

impl Batch<'_> {
    /// Sets a key.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.batch.put_cf(self.index.family(family), key, value);
    }

    /// Removes a key.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.batch.delete_cf(self.index.family(family), key);
    }

    /// Removes all keys with `from <= key < end`.
    pub fn delete_range(&mut self, family: Family, from: &[u8], end: &[u8]) {
        self.batch.delete_range_cf(self.index.family(family), from, end);
    }

    /// Whether it has reached the size at which it should be written.
    pub fn is_full(&self) -> bool {
        self.batch.size_in_bytes() >= BATCH_BYTES_MAX
    }
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_optimize_filters_for_memory(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    // Hashes don't compress; objects and backups are text and numbers.
    options.set_compression_type(match family {
        Family::Objects | Family::Backups | Family::Data => DBCompressionType::Lz4,
        _ => DBCompressionType::None,
    });
    options
}
