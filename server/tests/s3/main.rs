//! The S3 leaf against a real S3 server, with a proxy in between that breaks what it is told to.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod classes;
#[allow(dead_code, reason = "other tests read pages and streams")]
#[path = "../../../tests/support/http.rs"]
mod http;
mod lease;
mod merge;
#[path = "../../../tests/support/s3_proxy.rs"]
mod s3_proxy;
#[path = "../../../tests/support/s3.rs"]
mod s3_server;
mod scene;
mod trouble;
mod whole;
