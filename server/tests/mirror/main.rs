//! Mirrors: conformance, and what sides that fail, lose data, or come back late do to it.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod acks;
mod conformance;
mod healing;
mod histories;
mod scene;
