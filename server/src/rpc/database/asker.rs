//! One who asks the database: whatever it asks, by itself or in a stream, is counted, shown, carried out and answered here.

use std::{collections::VecDeque, time::Instant};

use datadb::{
    api,
    command::{Call, Command, Refusal, Reply},
    limits,
};
use prost::Message as _;
use tonic::Status;

use super::queue::{Gone, Sender};
use crate::{
    engine::{Engine, database::Held},
    observe::Observed,
};

/// Replies to a group go out when they have so many bytes, however many are still to come.
const PART_BYTES: usize = 256 << 10;

/// Where the replies of a stream go.
pub type Replies = Sender<Result<api::Reply, Status>>;

/// Who asks.
#[derive(Debug)]
pub struct Asker {
    engine: Engine,
    /// As the monitor shows it.
    client: String,
    /// Transactions that end with it.
    held: Vec<Held>,
}

/// A command that was read.
struct Taken {
    /// In the table.
    line: usize,
    is_begin: bool,
}

/// The commands of one message, and whether they came as a group.
type Message = (Vec<Result<Taken, Refusal>>, bool);

impl Asker {
    /// Nothing has been asked yet.
    pub const fn new(engine: Engine, client: String) -> Self {
        Self { engine, client, held: Vec::new() }
    }

    /// Answers one command. A transaction that it begins ends with its lease.
    pub async fn answer(&mut self, command: api::Command) -> api::Reply {
        let (began, mut calls) = (Instant::now(), VecDeque::new());
        let taken = self.take(command, &mut calls);
        self.show(&calls);
        let mut done = VecDeque::new();
        let reply = self.next_reply(&taken, &mut calls, &mut done, began).await;
        (&reply).into()
    }

    /// Answers messages of a stream in order; commands that can't be read are answered in their places. The next are carried
    /// out when the replies to those before have found room.
    pub async fn answer_all(&mut self, messages: Vec<api::Command>, replies: &Replies) -> Result<(), Gone> {
        let (began, mut calls) = (Instant::now(), VecDeque::new());
        let mut read: Vec<Message> = Vec::with_capacity(messages.len());
        for message in messages {
            let (commands, is_group) = message.ungroup();
            if commands.len() > limits::GROUP_COMMANDS_MAX {
                let max = limits::GROUP_COMMANDS_MAX;
                let status = Status::invalid_argument(format!("a group has at most {max} commands"));
                replies.send(Err(status), 0).await?;
                return Err(Gone);
            }
            read.push((commands.into_iter().map(|command| self.take(command, &mut calls)).collect(), is_group));
        }
        self.show(&calls);
        let mut done = VecDeque::new();
        for (commands, is_group) in read {
            let mut part = Part::default();
            for taken in commands {
                let reply = self.next_reply(&taken, &mut calls, &mut done, began).await;
                if taken.is_ok_and(|taken| taken.is_begin) {
                    self.hold(&reply);
                }
                if is_group {
                    part.add(api::Reply::of_group(&reply), replies).await?;
                } else {
                    send((&reply).into(), replies).await?;
                }
            }
            part.finish(replies).await?;
        }
        Ok(())
    }

    /// Reads a command, and counts it.
    fn take(&self, command: api::Command, calls: &mut VecDeque<Call>) -> Result<Taken, Refusal> {
        let call = Call::try_from(command)?;
        let line = self.engine.observed().commands.begin(&call.command);
        let is_begin = matches!(call.command, Command::Txinit(_));
        calls.push_back(call);
        Ok(Taken { line, is_begin })
    }

    fn show(&self, calls: &VecDeque<Call>) {
        let monitor = &self.engine.observed().monitor;
        if monitor.is_watched() {
            let micros = self.engine.now_micros();
            calls.iter().for_each(|call| monitor.show(call, &self.client, micros));
        }
    }

    /// The reply to a command; `calls` are those that are still to do, `done` what has been answered of them. Those that came
    /// together took the same time.
    async fn next_reply(
        &self,
        taken: &Result<Taken, Refusal>,
        calls: &mut VecDeque<Call>,
        done: &mut VecDeque<Reply>,
        began: Instant,
    ) -> Reply {
        let Observed { commands, .. } = &**self.engine.observed();
        let reply = match taken {
            Ok(taken) => {
                if done.is_empty() {
                    done.extend(self.engine.execute_next(calls).await);
                }
                commands.count(taken.line, began.elapsed());
                done.pop_front().unwrap_or_else(|| Reply::Error(Refusal::err("the server is stopping")))
            }
            Err(refusal) => Reply::Error(refusal.clone()),
        };
        commands.count_refusals(&reply);
        reply
    }

    /// Holds the transaction that a reply names, so that it ends with the stream.
    fn hold(&mut self, reply: &Reply) {
        self.held.retain(Held::is_open);
        if let Reply::Value(id) = reply {
            self.held.extend(self.engine.hold_transaction(&String::from_utf8_lossy(id)));
        }
    }
}

async fn send(reply: api::Reply, replies: &Replies) -> Result<(), Gone> {
    let bytes = reply.encoded_len();
    replies.send(Ok(reply), bytes).await
}

/// Replies to a group that have not gone out.
#[derive(Default)]
struct Part {
    replies: Vec<api::Reply>,
    bytes: usize,
}

impl Part {
    async fn add(&mut self, reply: api::Reply, to: &Replies) -> Result<(), Gone> {
        let bytes = reply.encoded_len();
        if self.bytes + bytes > PART_BYTES {
            self.go(to).await?;
        }
        self.bytes += bytes;
        self.replies.push(reply);
        Ok(())
    }

    async fn finish(mut self, to: &Replies) -> Result<(), Gone> {
        self.go(to).await
    }

    async fn go(&mut self, to: &Replies) -> Result<(), Gone> {
        if self.replies.is_empty() {
            return Ok(());
        }
        let replies = api::Replies { replies: std::mem::take(&mut self.replies) };
        self.bytes = 0;
        send(api::Reply { reply: Some(api::reply::Reply::Replies(replies)) }, to).await
    }
}
