//! Every maximum that both sides keep to, with its reason.

/// Any gRPC message. Large enough for the largest object (4 MiB) with room for what frames it.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Plain bytes of a bundle of more than one blob: large enough for zstd to find what neighbouring files share, small
/// enough that fetching one small file of it stays cheap.
pub const BUNDLE_BYTES_MAX: usize = 1 << 20;

/// Blobs in one bundle: bounds the table (56 bytes each) when files are tiny.
pub const BUNDLE_BLOBS_MAX: usize = 4096;

/// Plain bytes of one blob of a backup. The chunker's maximum must not exceed it.
pub const BLOB_BYTES_MAX: usize = 4 << 20;

/// Plain bytes of one record of the log, which is stored as one blob: a part of 8 MiB and what frames it.
pub const LOG_RECORD_BYTES_MAX: usize = 16 << 20;

/// A bundle as Encrypt seals it, which is one blob: the largest log record with its table, its label, and the padding, which
/// at this length is half a MiB at most; and that sealed once more.
pub const SEALED_BYTES_MAX: usize = LOG_RECORD_BYTES_MAX + (2 << 20);

/// The label of a bundle: a sealed table of the largest one, padded, and sealed once more.
pub const LABEL_BYTES_MAX: usize = 512 << 10;

/// Encoded objects gathered in one log part before it is written.
pub const LOG_PART_BYTES: usize = 8 << 20;

/// Records of the log that are held while one before them is looked for, as where a lost one was put there again: some MiB.
/// Where more lie before it, the log is read several times.
pub const LOG_EARLY_MAX: usize = 1 << 16;

/// The encoding of one object; a directory of 30 million entries has a head of about this size.
pub const OBJECT_BYTES_MAX: usize = 4 << 20;

/// A meta's encoding: the longest name, target, error and all inline xattrs with room to spare.
pub const META_BYTES_MAX: usize = 256 << 10;

/// Entries of a segment of a directory or a file list: a listing page, and what a change of one entry rewrites.
pub const SEGMENT_ENTRIES_MAX: usize = 1024;

/// Below so many entries a segment is not cut, so that tiny segments stay rare.
pub const SEGMENT_ENTRIES_MIN: usize = 256;

/// Encoded bytes after which a segment is cut, however few its entries.
pub const SEGMENT_BYTES_MAX: usize = 512 << 10;

/// Refs in one question, ids in one download request: 52 KiB at most, and one multi-get of the index.
pub const QUESTION_REFS_MAX: usize = 1024;

/// Keys that a refusal lists; the rest is found by the next try.
pub const MISSING_KEYS_MAX: usize = 256;

/// Entries in one reply of a listing.
pub const PAGE_ENTRIES_MAX: usize = 512;

/// Bytes (roughly) in one reply of a listing or of a file.
pub const PAGE_BYTES: usize = 256 << 10;

/// Entries of one walk through a tree: what a reader that begins at the front holds of what is ahead, some MiB.
pub const TREE_ENTRIES_MAX: usize = 1 << 14;

/// Entries of one directory that a walk tells; whoever wants more of it lists it alone.
pub const TREE_DIR_ENTRIES_MAX: usize = 1 << 15;

/// A file or directory name (`NAME_MAX` of Linux).
pub const NAME_BYTES_MAX: usize = 255;

/// A path, or the target of a symlink. Twice `PATH_MAX` leaves room for trees that were made with relative calls.
pub const PATH_BYTES_MAX: usize = 64 << 10;

/// Values of xattrs up to here stand in the meta; longer ones are blobs.
pub const XATTR_INLINE_BYTES_MAX: usize = 4 << 10;

/// All inline xattr values of one file; what goes beyond becomes blobs.
pub const XATTRS_INLINE_BYTES_MAX: usize = 64 << 10;

/// Extended attributes of one file.
pub const XATTRS_MAX: usize = 2048;

/// Name of an extended attribute (`XATTR_NAME_MAX` of Linux).
pub const XATTR_NAME_BYTES_MAX: usize = 255;

/// A user's, group's or host's name.
pub const OWNER_BYTES_MAX: usize = 255;

/// The text of an entry's `error` field; longer ones are cut.
pub const ERROR_BYTES_MAX: usize = 1024;

/// Tags of one backup, and bytes of a tag's key or value.
pub const TAGS_MAX: usize = 64;
/// Bytes of a tag's key or value.
pub const TAG_BYTES_MAX: usize = 1024;

/// Backup times are kept as ten decimal digits of unix seconds (until the year 2286).
pub const TIME_SECONDS_MAX: i64 = 9_999_999_999;

/// A file of patterns (`.gitignore`, `--exclude-file`): one is held for each directory open at a time.
pub const PATTERN_FILE_BYTES_MAX: usize = 256 << 10;

/// The list of `--files-from`, which is sorted in memory: some millions of paths, 8 bytes more for each.
pub const LISTED_BYTES_MAX: usize = 256 << 20;

/// Paths in it.
pub const LISTED_PATHS_MAX: usize = 8 << 20;

/// A session without traffic for so long is forgotten.
pub const LEASE_SECONDS: u32 = 600;

/// Bytes of a pattern: a path of Linux. Bounds what the server compiles for a stranger.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// Backups of one snapshot that one walk compares: 28 bytes each for every open directory that differs in all of them.
/// Of a snapshot with more, a version that lies on both sides of a border is told twice.
pub const WALK_BACKUPS_MAX: usize = 1 << 16;

/// Bytes (roughly) of what a walk over many backups remembers: hits of one directory, and directories still to come. Where
/// it is too little, a directory is read in several passes.
pub const WALK_BYTES_MAX: usize = 8 << 20;

/// Distinct blobs that statistics count one by one, some 60 bytes each in memory. Of more, a sample of at least half as many
/// stands for all: a quarter of a percent for their number, about half a percent for their bytes.
pub const SAMPLE_BLOBS_MAX: usize = 1 << 18;

/// Bundles that statistics read to learn what blobs take as they are stored: some 200 MiB, a second of a disk.
pub const SAMPLE_BUNDLES_MAX: usize = 512;

/// A key of the database: twice the longest name of a file, and every index key stays small.
pub const KEY_BYTES_MAX: usize = 4 << 10;

/// A value: larger ones belong in blobs, and eight make a transaction.
pub const VALUE_BYTES_MAX: usize = 512 << 10;

/// A member of a set or a field of a hash: it is part of a key of the index.
pub const MEMBER_BYTES_MAX: usize = 64 << 10;

/// The name of a database or of a transaction.
pub const DATABASE_BYTES_MAX: usize = 64;

/// Commands of one transaction in memory and in the log: a record holds several.
pub const TRANSACTION_BYTES_MAX: usize = 4 << 20;

/// Elements in one reply; who wants more goes page by page.
pub const REPLY_ELEMENTS_MAX: usize = 1 << 16;

/// Bytes of elements in one reply: with what frames them they fit a message.
pub const REPLY_BYTES_MAX: usize = 6 << 20;

/// Elements of a key that are kept together in one value of the index.
pub const PACKED_ELEMENTS_MAX: usize = 128;

/// Bytes of them.
pub const PACKED_BYTES_MAX: usize = 4 << 10;

/// Commands of one stream that are carried out together, and that may be under way.
pub const PIPELINE_COMMANDS_MAX: usize = 256;

/// Commands in one message of a stream: what a client wrote at once, as a rule.
pub const GROUP_COMMANDS_MAX: usize = 1024;

/// Streams that one connection may have at the same time.
pub const STREAMS_MAX: u32 = 256;

/// Bytes (roughly) of the arguments of one command that a monitor shows: enough to recognise it, and what waits for slow
/// readers stays small.
pub const SEEN_BYTES_MAX: usize = 4 << 10;

/// What a monitor shows of who asked: an address of IPv6 with a zone and a port, with room to spare.
pub const CLIENT_BYTES_MAX: usize = 64;

/// The id of a request, as clients choose it: a UUID, or two with what joins them.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Paths of hosts whose next backups are expected: what a fleet has, and a page of metrics can look at.
pub const EXPECTATIONS_MAX: usize = 10_000;

/// What a host calls an entry of its schedule, and the schedule as it wrote it.
pub const SCHEDULE_BYTES_MAX: usize = 255;
