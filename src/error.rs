//! The coarse kinds of trouble that both sides decide by, and the form in which trouble crosses the wire.

use std::fmt;

/// What to do about an error, not what it says. Each layer's errors map to one of these by a `kind()` of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such backup, path, object or blob.
    NotFound,
    /// A name fits several things; the message lists some.
    Ambiguous,
    /// The request makes no sense, or breaks a limit.
    Invalid,
    /// What the request relies on is not there (children of an object, a session that expired).
    Missing,
    /// The key belongs to other content.
    Conflict,
    /// Stored bytes failed their verification.
    Damaged,
    /// No space is left where the data should go.
    Full,
    /// The other side can't be reached now; trying again may help.
    Unavailable,
    /// The session is not known (any more): open a new one and ask again.
    Expired,
    /// The two sides' versions don't fit.
    Unsupported,
    /// Nobody's fault but the program's or the machine's.
    Internal,
}

/// An error that came over the wire, or that is about to go there: a kind and one line for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What to do about it.
    pub kind: Kind,
    /// One line: what is wrong and, where there is one, the way out.
    pub message: String,
}

impl Fault {
    /// A fault of this kind with this line.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
