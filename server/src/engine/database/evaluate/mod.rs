//! What each command answers, and what it changes: a file for each type of data. `scene` is what they share.

mod hashes;
mod keys;
mod lists;
mod scans;
mod scene;
mod sets;
mod strings;
pub mod weight;

use bytes::Bytes;
use datadb::{
    command::{Call, Command, Group, Refusal, Reply},
    limits,
};

use self::scene::too_large;
use super::{Cursors, DEFAULT, Stop};
use crate::{
    engine::EngineError,
    index::{Index, data::Overlay},
    record::effect::Effect,
};

/// Carries out commands one after the other on an index and what an overlay has changed of it. Gives their replies and
/// what they changed. It stops before the last command when the replies get large; at least one is carried out.
pub fn all(
    index: &Index,
    overlay: &mut Overlay,
    cursors: &Cursors,
    micros: i64,
    calls: &[Call],
) -> Result<(Vec<Reply>, Vec<Effect>), EngineError> {
    let mut scene = Scene { index, overlay, cursors, micros, effects: Vec::new(), database: String::new() };
    let (mut replies, mut bytes) = (Vec::with_capacity(calls.len()), 0);
    for call in calls {
        let reply = scene.answer(call)?;
        bytes += reply_bytes(&reply);
        replies.push(reply);
        if bytes > limits::REPLY_BYTES_MAX {
            break;
        }
    }
    Ok((replies, scene.effects))
}

struct Scene<'a> {
    index: &'a Index,
    overlay: &'a mut Overlay,
    cursors: &'a Cursors,
    /// Unix time.
    micros: i64,
    effects: Vec<Effect>,
    database: String,
}

fn reply_bytes(reply: &Reply) -> usize {
    let sum = |values: &mut dyn Iterator<Item = usize>| values.map(|len| len + 8).sum();
    match reply {
        Reply::Value(value) => value.len(),
        Reply::Values(values) => sum(&mut values.iter().map(|value| value.as_ref().map_or(0, Bytes::len))),
        Reply::Set(values) | Reply::Page(_, values) => sum(&mut values.iter().map(Bytes::len)),
        Reply::Map(pairs) => sum(&mut pairs.iter().map(|(field, value)| field.len() + value.len() + 8)),
        Reply::Integers(integers) => integers.len() * 10,
        Reply::Status(status) => status.len() + 8,
        Reply::Error(refusal) => refusal.code.len() + refusal.message.len() + 16,
        Reply::Replies(replies) => replies.iter().map(reply_bytes).sum(),
        Reply::Integer(_) | Reply::Nil => 16,
    }
}

fn stray(command: &Command) -> Stop {
    Refusal::err(format!("'{}' can't stand in a transaction", command.name())).into()
}

impl Scene<'_> {
    fn answer(&mut self, call: &Call) -> Result<Reply, EngineError> {
        let name = if call.database.is_empty() { DEFAULT } else { &call.database };
        if name.len() > limits::DATABASE_BYTES_MAX || name.contains('\0') {
            let max = limits::DATABASE_BYTES_MAX;
            return Ok(Reply::Error(Refusal::err(format!(
                "a database's name has at most {max} bytes, none of them 0"
            ))));
        }
        self.database = name.to_owned();
        match self.carry_out(call) {
            // A batch has seen to it already.
            Ok(reply @ Reply::Replies(_)) => Ok(reply),
            Ok(reply) if reply_bytes(&reply) > limits::REPLY_BYTES_MAX => Ok(Reply::Error(too_large())),
            Ok(reply) => Ok(reply),
            Err(Stop::Refused(refusal)) => Ok(Reply::Error(refusal)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn carry_out(&mut self, call: &Call) -> Result<Reply, Stop> {
        weight::check(call, 0)?;
        let command = &call.command;
        match command.class().0 {
            Group::Server => self.server_command(command),
            Group::Keys => self.keys_command(command),
            Group::Strings => self.strings_command(command),
            Group::Hashes => self.hashes_command(command),
            Group::Sets => self.sets_command(command),
            Group::Lists => self.lists_command(command),
            Group::Transactions | Group::Blobs | Group::Connection => match command {
                Command::Batch(calls) => self.batch(calls),
                other => Err(stray(other)),
            },
        }
    }

    fn server_command(&self, command: &Command) -> Result<Reply, Stop> {
        Ok(match command {
            Command::Dbsize(_) => Reply::count(self.overlay.len(self.index, &self.database)?),
            Command::Now(_) => Reply::Integer(self.micros.div_euclid(1_000_000)),
            Command::Time(_) => {
                let (seconds, micros) = (self.micros.div_euclid(1_000_000), self.micros.rem_euclid(1_000_000));
                Reply::Values([seconds, micros].map(|number| Some(number.to_string().into())).to_vec())
            }
            other => return Err(stray(other)),
        })
    }

    /// One after the other; what goes wrong with one doesn't stop the rest.
    fn batch(&mut self, calls: &[Call]) -> Result<Reply, Stop> {
        let (mut replies, mut bytes) = (Vec::with_capacity(calls.len()), 0);
        for call in calls {
            let mut reply = match &call.command {
                Command::Batch(_) => Reply::Error(Refusal::err("MULTI calls can not be nested")),
                _ => self.answer(call)?,
            };
            if bytes + reply_bytes(&reply) > limits::REPLY_BYTES_MAX {
                reply = Reply::Error(too_large());
            }
            bytes += reply_bytes(&reply);
            replies.push(reply);
        }
        Ok(Reply::Replies(replies))
    }
}
