//! What a client asked at once: the commands that go to the server, and where their replies belong.

use bytes::Bytes;
use datadb::{
    command::{Call, Reply},
    limits,
};

use crate::frame::{Answer, Protocol};

/// Bytes of commands that are sent together; a larger one is sent alone.
const RUN_BYTES: usize = 256 << 10;

/// Requests that are answered together.
#[derive(Debug, Default)]
pub struct Run {
    /// For the server.
    pub calls: Vec<Call>,
    /// In the order of the requests, each with the protocol in which it is answered.
    pub slots: Vec<(Protocol, Slot)>,
    /// Of what comes next.
    pub protocol: Protocol,
    bytes: usize,
}

/// The place of an answer.
#[derive(Debug)]
pub enum Slot {
    /// It is known.
    Answer(Answer),
    /// The next reply.
    Reply,
    /// The next reply, which is what `INFO` tells, for these sections.
    Info(Vec<Bytes>),
    /// The next reply, and with it a transaction begins.
    Begin,
    /// The next reply, and with it a transaction ends.
    End,
    /// The next reply is one to a batch, for the places that are not filled.
    Batch(Vec<Option<Answer>>),
}

impl Run {
    /// None yet, to be answered in this protocol.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, ..Self::default() }
    }

    /// Whether it is time to send it.
    pub const fn is_full(&self) -> bool {
        self.slots.len() >= limits::GROUP_COMMANDS_MAX || self.bytes >= RUN_BYTES
    }

    /// An answer that is known.
    pub fn answer(&mut self, answer: Answer) {
        self.slots.push((self.protocol, Slot::Answer(answer)));
    }

    /// A command for the server.
    pub fn call(&mut self, call: Call, slot: Slot) {
        self.bytes += call.command.size_hint();
        self.calls.push(call);
        self.slots.push((self.protocol, slot));
    }
}

impl Slot {
    /// The answer that a reply makes.
    pub fn fill(self, reply: Reply) -> Answer {
        match (self, reply) {
            (Self::Answer(answer), _) => answer,
            (Self::Batch(answers), Reply::Replies(replies)) => {
                let mut replies = replies.into_iter();
                let filled = answers.into_iter().map(|answer| match answer {
                    Some(answer) => answer,
                    None => replies.next().map_or_else(|| Answer::error("no reply came"), Answer::from),
                });
                Answer::List(filled.collect())
            }
            (_, reply) => reply.into(),
        }
    }
}
