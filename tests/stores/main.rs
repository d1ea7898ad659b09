//! Stacks of stores with real programs: configs, sides that go and come back, and disasters.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the S3 leaf's own tests use the rest")]
#[path = "../support/s3_proxy.rs"]
mod s3_proxy;

mod configs;
mod disasters;
mod places;
mod requests;
mod sides;
mod site;
