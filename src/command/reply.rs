//! What a command answers.

use std::fmt;

use bytes::Bytes;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One word in capitals by which clients decide: `ERR`, `WRONGTYPE`, ….
    pub code: String,
    /// One line.
    pub message: String,
}

impl Refusal {
    const ARITY: &str = "ARITY";

    /// A refusal with this code.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    /// A refusal without a code of its own.
    pub fn err(message: impl Into<String>) -> Self {
        Self::new("ERR", message)
    }

    /// The key holds something else.
    pub fn wrong_type() -> Self {
        Self::new("WRONGTYPE", "Operation against a key holding the wrong kind of value")
    }

    /// Neither known words nor a known order of them.
    pub fn syntax() -> Self {
        Self::err("syntax error")
    }

    /// Arguments don't come in pairs; the table's line words it.
    pub(super) fn arity() -> Self {
        Self::new(Self::ARITY, String::new())
    }

    pub(super) fn is_arity(&self) -> bool {
        self.code == Self::ARITY
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `OK` and its like.
    Status(String),
    /// Bytes.
    Value(Bytes),
    /// A number.
    Integer(i64),
    /// Nothing is there.
    Nil,
    /// Values in order; `None` where nothing is there.
    Values(Vec<Option<Bytes>>),
    /// The members of a set.
    Set(Vec<Bytes>),
    /// Fields and values.
    Map(Vec<(Bytes, Bytes)>),
    /// Numbers in order.
    Integers(Vec<i64>),
    /// A page of a scan; the cursor 0 ends it.
    Page(u64, Vec<Bytes>),
    /// One to each command of a batch.
    Replies(Vec<Reply>),
    /// Why not.
    Error(Refusal),
}

impl Reply {
    /// `OK`.
    pub fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    /// Bytes, or nil.
    pub fn value(value: Option<Bytes>) -> Self {
        value.map_or(Self::Nil, Self::Value)
    }

    /// A count.
    pub fn count(count: u64) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<Result<Reply, Refusal>> for Reply {
    fn from(result: Result<Self, Refusal>) -> Self {
        result.unwrap_or_else(Self::Error)
    }
}
