//! The client of DataDB: walks, chunks, hashes, compresses and streams; and brings everything back.
