//! Commands of the database, by name: how many, how long, and how many were refused.

use std::time::Duration;

use datadb::command::{Command, Reply, TABLE};

use super::{
    Counter,
    histogram::{Durations, Histogram},
};

/// Codes of refusals that are counted by themselves; any other one is the last.
const CODES: [&str; 3] = ["ERR", "WRONGTYPE", "other"];

/// A line of the table.
#[derive(Debug, Default)]
struct Line {
    took: Histogram,
    /// Those of batches, whose time is the batch's.
    in_batches: Counter,
}

/// What has been counted of all of them.
#[derive(Debug)]
pub struct Commands {
    /// As the table, and batches behind it.
    lines: Vec<Line>,
    refused: [Counter; CODES.len()],
}

impl Default for Commands {
    fn default() -> Self {
        let lines = std::iter::repeat_with(Line::default).take(TABLE.len() + 1).collect();
        Self { lines, refused: Default::default() }
    }
}

fn name(line: usize) -> &'static str {
    TABLE.get(line).map_or("exec", |spec| spec.name)
}

impl Commands {
    /// Counts what a batch holds; gives the command's line in the table, for `count` when it is answered.
    pub fn begin(&self, command: &Command) -> usize {
        if let Command::Batch(calls) = command {
            calls.iter().for_each(|call| self.lines[call.command.line()].in_batches.add(1));
        }
        command.line()
    }

    /// Counts a command that was answered after this time.
    pub fn count(&self, line: usize, took: Duration) {
        self.lines[line].took.add(took);
    }

    /// Counts a reply if it is a refusal, and those in it.
    pub fn count_refusals(&self, reply: &Reply) {
        match reply {
            Reply::Error(refusal) => {
                let code = CODES.iter().position(|code| *code == refusal.code).unwrap_or(CODES.len() - 1);
                self.refused[code].add(1);
            }
            Reply::Replies(replies) => replies.iter().for_each(|reply| self.count_refusals(reply)),
            _ => {}
        }
    }

    /// How often each was called, of those that were.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let calls = |line: &Line| line.took.count() + line.in_batches.get();
        let all = self.lines.iter().enumerate().map(move |(at, line)| (name(at), calls(line)));
        all.filter(|(_, calls)| *calls > 0)
    }

    /// How long each took, of those that were called by themselves.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, Durations)> + '_ {
        let all = self.lines.iter().enumerate().map(|(at, line)| (name(at), line.took.read()));
        all.filter(|(_, durations)| durations.count > 0)
    }

    /// How many were refused, by the refusal's code.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CODES.iter().zip(&self.refused).map(|(code, counter)| (*code, counter.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::command::Refusal;

    fn command(line: &str) -> Command {
        let words: Vec<bytes::Bytes> = line.split(' ').map(|word| word.to_owned().into()).collect();
        Command::parse(&words).expect("a command")
    }

    #[test]
    fn commands_of_batches_are_calls_without_a_time_of_their_own() {
        let commands = Commands::default();
        for one in [command("get k"), Command::Batch(vec![command("get k").into(), command("set k v").into()])] {
            commands.count(commands.begin(&one), Duration::from_millis(1));
        }
        let calls: Vec<_> = commands.calls().collect();
        assert_eq!(calls, [("get", 2), ("set", 1), ("exec", 1)]);
        let timed: Vec<_> = commands.durations().map(|(name, durations)| (name, durations.count)).collect();
        assert_eq!(timed, [("get", 1), ("exec", 1)]);
    }

    #[test]
    fn refusals_are_counted_by_code_within_batches_too() {
        let commands = Commands::default();
        commands.count_refusals(&Reply::Replies(vec![Reply::Error(Refusal::wrong_type()), Reply::ok()]));
        commands.count_refusals(&Reply::Error(Refusal::new("NEW", "x")));
        assert_eq!(commands.refused().collect::<Vec<_>>(), [("ERR", 0), ("WRONGTYPE", 1), ("other", 1)]);
    }
}
