//! What the root integration tests stand on: real processes, a tree of oddities, and a judge of two trees.
//!
//! Nothing here uses the code it tests, except `raw`, which speaks the generated API to say what no client would.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

pub mod chance;
pub mod changing;
pub mod compare;
pub mod exposition;
pub mod http;
pub mod link;
pub mod many;
pub mod oddities;
pub mod place;
pub mod processes;
pub mod raw;
pub mod resp;
pub mod s3;
pub mod tree;
pub mod versions;
