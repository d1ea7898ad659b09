//! The API as generated from `proto/`, and its descriptors for reflection.
//!
//! Only `wire`, the server's `rpc`, remote backends and the client's `connection` name these types; everything else
//! speaks the domain's own.

#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]

tonic::include_proto!("datadb.v1");

/// The encoded `FileDescriptorSet` of the whole API, with comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Every method of the API, as `package.Service/Method`, sorted.
pub const METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));
