//! What can go wrong when something of the view is asked for.

use datadb::{BlobId, Fault};
use thiserror::Error;

/// Why an answer can't be given.
#[derive(Clone, Debug, Error)]
pub enum Trouble {
    /// There is nothing of this name.
    #[error("it is not there")]
    Absent,
    /// Something that only directories can.
    #[error("it is not a directory")]
    NotDir,
    /// Something that it can't, by its type.
    #[error("it is of another type")]
    OtherType,
    /// There is no such extended attribute.
    #[error("it has no such attribute")]
    NoAttribute,
    /// Behind this place of a file there is nothing to seek.
    #[error("nothing lies behind that place")]
    BehindEnd,
    /// It could not be read when it was backed up.
    #[error("it could not be read when it was backed up: {0}")]
    Unread(String),
    /// A blob can't be had, or is not what it should be.
    #[error("blob {id}: {what}")]
    Lost {
        /// The blob.
        id: BlobId,
        /// What is wrong with it.
        what: String,
    },
    /// The server can't be reached, or said no.
    #[error("{0}")]
    Server(#[from] Fault),
}
