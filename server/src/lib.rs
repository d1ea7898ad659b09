//! The server of DataDB: it owns the log, the index derived from it, and the blob stores.
