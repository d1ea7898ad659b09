//! Looking over many backups, tried on trees that are put right into an index.

mod trail;
mod tree;
mod trees;
mod walk;
