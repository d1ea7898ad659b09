//! How many bytes a call may add to the log, whatever is there: each change says its key, however often.

use datadb::{
    command::{Access, Call, Command, Key, Refusal},
    limits,
};

/// What frames a change, with the longest name of a database.
const FRAME_BYTES: usize = limits::DATABASE_BYTES_MAX + 16;

/// At most so many bytes, and at least those that the call takes in memory.
pub fn bytes_max(call: &Call) -> usize {
    let changes = match &call.command {
        // No more than its commands, so that those of a transaction fit when they are committed.
        Command::Batch(calls) => return calls.iter().map(bytes_max).sum(),
        Command::Del(args) => args.keys.iter().map(|key| change(key, 0)).sum(),
        // It may have to drop what the key held.
        Command::Set(args) => change(&args.key, args.value.len()) + change(&args.key, 0),
        Command::Hset(args) | Command::Hmset(args) => {
            args.pairs.iter().map(|(field, value)| change(&args.key, field.len() + value.len())).sum()
        }
        Command::Hdel(args) | Command::Sadd(args) | Command::Srem(args) => {
            args.members.iter().map(|member| change(&args.key, member.len())).sum()
        }
        Command::Ladd(args) => change(&args.key, args.value.len()),
        Command::Lrem(args) => change(&args.key, 0),
        _ => 0,
    };
    changes.max(call.command.size_hint())
}

fn change(key: &Key, bytes: usize) -> usize {
    FRAME_BYTES + key.as_str().len() + bytes
}

/// Refuses what would make too large a transaction together with what it has already.
pub fn check(call: &Call, before: usize) -> Result<(), Refusal> {
    let is_write = call.command.class().1 == Access::Write;
    if is_write && before + bytes_max(call) > limits::TRANSACTION_BYTES_MAX {
        let max = limits::TRANSACTION_BYTES_MAX;
        return Err(Refusal::err(format!("a transaction has at most {max} bytes, its keys counted with each change")));
    }
    Ok(())
}
