//! Mirrors: conformance, and what sides that fail, lose data, or come back late do to it.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "../../../tests/support/s3.rs"]
mod s3;

#[path = "../support/mod.rs"]
mod support;

mod acks;
mod conformance;
mod hanging;
mod healing;
mod histories;
mod places;
mod scene;
mod stacks;
