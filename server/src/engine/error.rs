//! What can go wrong in the engine, and what each trouble means to a client.

use datadb::{Fault, Kind, bundle::BundleError, codec::DecodeError};
use thiserror::Error;

use crate::{index::IndexError, log::LogError, store::StoreError};

/// An error of the engine.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A blob store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The client sent something that is not what the format says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The client sent a bundle that is not what it claims.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The request can't be met, for a reason that the client can act on.
    #[error("{0}")]
    Refused(Fault),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl EngineError {
    /// A refusal.
    pub fn refused(kind: Kind, message: impl Into<String>) -> Self {
        Self::Refused(Fault::new(kind, message))
    }

    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Store(error) | Self::Log(LogError::Store(error)) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Log(_) => Kind::Internal,
            Self::Decode(_) | Self::Bundle(_) => Kind::Invalid,
            Self::Refused(fault) => fault.kind,
            Self::Stopping => Kind::Unavailable,
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Refused(fault) => fault,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}
