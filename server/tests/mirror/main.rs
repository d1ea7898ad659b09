//! Mirrors: conformance, and what sides that fail, lose data, or come back late do to it.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "../../../tests/support/s3.rs"]
mod s3;

mod acks;
mod conformance;
mod healing;
mod histories;
mod scene;
mod stacks;
