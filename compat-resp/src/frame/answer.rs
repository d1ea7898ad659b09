//! Answers, and the versions of the protocol in which they are written.

use bytes::{Bytes, BytesMut};
use datadb::command::{Refusal, Reply};

use super::{resp2, resp3};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What every client speaks at first.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// 2 or 3.
    pub const fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the server answered.
    Reply(Reply),
    /// Lines for people.
    Text(Bytes),
    /// Answers in order.
    List(Vec<Answer>),
    /// Names and answers.
    Map(Vec<(&'static str, Answer)>),
}

impl Answer {
    /// `OK`.
    pub fn ok() -> Self {
        Self::Reply(Reply::ok())
    }

    /// A line without bytes of its own.
    pub fn status(line: &str) -> Self {
        Self::Reply(Reply::Status(line.to_owned()))
    }

    /// Bytes.
    pub fn value(value: impl Into<Bytes>) -> Self {
        Self::Reply(Reply::Value(value.into()))
    }

    /// A number.
    pub const fn integer(integer: i64) -> Self {
        Self::Reply(Reply::Integer(integer))
    }

    /// A refusal without a code of its own.
    pub fn error(message: impl Into<String>) -> Self {
        Refusal::err(message).into()
    }

    /// Writes it behind what is there.
    pub fn encode(&self, protocol: Protocol, out: &mut BytesMut) {
        match protocol {
            Protocol::Resp2 => resp2::encode(self, out),
            Protocol::Resp3 => resp3::encode(self, out),
        }
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Reply(Reply::Error(refusal))
    }
}

/// A refusal as one line, which it must be to be told from what follows.
pub(super) fn error_line(refusal: &Refusal) -> String {
    refusal.to_string().replace(['\r', '\n'], " ")
}
