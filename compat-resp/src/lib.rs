//! The RESP sidecar of DataDB: Redis clients on one side, a server's gRPC on the other.
//!
//! `frame -> connection -> command/*` is the way of a request: `frame` cuts it out of the bytes of a socket, `connection`
//! gathers what came at once, `command` answers what concerns the connection itself, and `lanes` carries the rest to the
//! server. Nothing is kept here but connections; `clients` is the list of them.

pub mod cli;
pub mod clients;
pub mod command;
pub mod connection;
pub mod frame;
pub mod lanes;
pub mod sidecar;
pub mod strangers;
