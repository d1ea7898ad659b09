//! What the server has, fetched once and kept within bounds: directories and blobs, both immutable and named by their
//! content.

pub mod blobs;
pub mod dirs;
pub mod disk;
mod fetch;
pub mod patient;
pub mod walks;
