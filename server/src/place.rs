//! Places in a store. They stand alone, so that the log's formats can be read without a store.

/// A place in the enumeration. Ordered as the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Number of the pack.
    pub pack: u64,
    /// Offset of the record in it.
    pub offset: u64,
}

/// How far a leaf is durable: everything before `end` has reached the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The leaf's name within its stack.
    pub leaf: String,
    /// End of the last durable record.
    pub end: Cursor,
}
