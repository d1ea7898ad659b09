//! A client's connection: what it sent at once is planned, sent on at once, and answered in its order.

mod monitor;
mod queue;
mod run;

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use datadb::{
    Fault,
    command::{Call, Command, Group, Refusal, Reply, Spec, spec, unknown},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use self::{
    queue::{Item, Queue},
    run::{Run, Slot},
};
use crate::{
    clients::{Client, Listed, Told},
    command::{self, Scene},
    frame::{Answer, Protocol, ProtocolError, Requests},
    lanes::Stream,
    sidecar::{Sidecar, Stopping},
};

/// Bytes that are asked of the socket at once.
const READ_BYTES: usize = 16 << 10;

/// A request above this, with what came before it, needs a permit.
const SMALL_BYTES: usize = 64 << 10;

/// Answers are written out when so many bytes have gathered, however many are still to come.
const WRITE_BYTES: usize = 64 << 10;

/// A client in the middle of a large request that sends nothing for so long is cut off: others wait for its permit.
const LARGE_PATIENCE: Duration = Duration::from_secs(30);

/// Speaks with a client until it leaves, or the sidecar stops.
pub async fn converse(socket: TcpStream, sidecar: &Sidecar) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut connection = Connection {
        listed: sidecar.clients.enter(socket.peer_addr()?, socket.local_addr()?),
        socket,
        sidecar,
        requests: Requests::default(),
        input: BytesMut::new(),
        output: BytesMut::new(),
        permit: None,
        stream: None,
        transaction: String::new(),
        queue: None,
    };
    connection.converse().await
}

struct Connection<'a> {
    /// Before the socket: who sees the connection closed does not find it in the list any more.
    listed: Listed,
    socket: TcpStream,
    sidecar: &'a Sidecar,
    requests: Requests,
    input: BytesMut,
    output: BytesMut,
    /// To gather what is large.
    permit: Option<OwnedSemaphorePermit>,
    stream: Option<Stream>,
    /// Id of the transaction that commands belong to; empty: none.
    transaction: String,
    /// Between `MULTI` and `EXEC`.
    queue: Option<Queue>,
}

/// What comes after a request has been planned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The next one.
    Go,
    /// What was planned must be answered before the next one can be understood.
    Settle,
    /// Every command of all clients is shown.
    Watch,
    /// Nothing: the connection ends.
    Close,
}

impl Connection<'_> {
    async fn converse(&mut self) -> io::Result<()> {
        let mut stopping = self.sidecar.stopping();
        loop {
            let (mut run, then) = self.plan();
            self.settle(&mut run).await?;
            let is_drained = then == Then::Go && !run.is_full();
            if is_drained || then == Then::Close || self.output.len() >= WRITE_BYTES {
                self.write().await?;
            }
            if then == Then::Watch && !self.monitor(&mut stopping).await? {
                return Ok(());
            }
            if then == Then::Close || stopping.is_now() {
                return Ok(());
            }
            if is_drained && !self.read(&mut stopping).await? {
                return Ok(());
            }
        }
    }

    /// Plans the requests that have arrived.
    fn plan(&mut self) -> (Run, Then) {
        let mut run = Run::new(self.protocol());
        while !run.is_full() {
            match self.requests.next(&mut self.input) {
                Ok(None) => break,
                Ok(Some(words)) => match self.plan_one(&mut run, &words) {
                    Then::Go => {}
                    then => return (run, then),
                },
                Err(error) => {
                    match error {
                        ProtocolError::Http => self.sidecar.strangers.came(self.client().address),
                        ProtocolError::Broken(_) => run.answer(Answer::error(error.to_string())),
                    }
                    return (run, Then::Close);
                }
            }
        }
        (run, Then::Go)
    }

    fn plan_one(&mut self, run: &mut Run, words: &[Bytes]) -> Then {
        let Some(spec) = spec(&words[0]) else { return self.refuse(run, unknown(&words[0], &words[1..])) };
        if let Err(refusal) = spec.check_arity(words.len()) {
            return self.refuse(run, refusal);
        }
        match spec.name {
            "quit" => {
                run.answer(Answer::ok());
                return Then::Close;
            }
            "reset" => return self.reset(run),
            "multi" => run.answer(self.multi()),
            "exec" => return self.exec(run),
            "discard" => run.answer(match self.queue.take() {
                Some(_) => Answer::ok(),
                None => Answer::error("DISCARD without MULTI"),
            }),
            "watch" if self.queue.is_some() => run.answer(Answer::error("WATCH inside MULTI is not allowed")),
            _ if self.queue.is_some() => self.enqueue(run, spec, words),
            "shutdown" => return self.shut_down(run),
            "monitor" => return Then::Watch,
            _ if spec.group == Group::Connection => {
                let answer = command::answer(self.scene(), spec, words);
                run.protocol = self.protocol();
                run.answer(answer);
            }
            _ => return self.call(run, words),
        }
        Then::Go
    }

    fn client(&self) -> &Client {
        &self.listed.client
    }

    fn scene(&self) -> Scene<'_> {
        Scene { sidecar: self.sidecar, client: self.client() }
    }

    /// A command that is wrong between `MULTI` and `EXEC` spoils the transaction.
    fn refuse(&mut self, run: &mut Run, refusal: Refusal) -> Then {
        if let Some(queue) = &mut self.queue {
            queue.is_spoilt = true;
        }
        run.answer(refusal.into());
        Then::Go
    }

    /// A command for the server.
    fn call(&self, run: &mut Run, words: &[Bytes]) -> Then {
        let command = match Command::parse(words) {
            Ok(command) => command,
            Err(refusal) => {
                run.answer(refusal.into());
                return Then::Go;
            }
        };
        let (slot, then) = match &command {
            Command::Txinit(_) => (Slot::Begin, Then::Settle),
            Command::Txcommit(_) | Command::Txdiscard(_) => (Slot::End, Then::Settle),
            Command::Info(_) => (Slot::Info(words[1..].to_vec()), Then::Go),
            _ => (Slot::Reply, Then::Go),
        };
        run.call(self.directed(command), slot);
        then
    }

    /// A command in the database and the transaction that the client has chosen.
    fn directed(&self, command: Command) -> Call {
        Call { database: self.client().told().database.clone(), transaction: self.transaction.clone(), command }
    }

    fn multi(&mut self) -> Answer {
        if self.queue.is_some() {
            return Answer::error("MULTI calls can not be nested");
        }
        self.queue = Some(Queue::default());
        Answer::ok()
    }

    fn enqueue(&mut self, run: &mut Run, spec: &'static Spec, words: &[Bytes]) {
        let Some(queue) = &mut self.queue else { return };
        run.answer(match queue.push(spec, words, &self.sidecar.large) {
            Ok(()) => Answer::status("QUEUED"),
            Err(refusal) => refusal.into(),
        });
    }

    fn exec(&mut self, run: &mut Run) -> Then {
        let Some(queue) = self.queue.take() else {
            run.answer(Answer::error("EXEC without MULTI"));
            return Then::Go;
        };
        if queue.is_spoilt {
            let line = "Transaction discarded because of previous errors.";
            run.answer(Refusal::new("EXECABORT", line).into());
            return Then::Go;
        }
        let (mut calls, mut answers) = (Vec::new(), Vec::new());
        for item in queue.items {
            answers.push(match item {
                Item::Command(command) => {
                    let database = self.client().told().database.clone();
                    calls.push(Call { database, transaction: String::new(), command });
                    None
                }
                Item::Refused(refusal) => Some(refusal.into()),
                Item::Here(spec, words) => Some(command::answer(self.scene(), spec, &words)),
            });
        }
        if calls.is_empty() {
            run.answer(Answer::List(answers.into_iter().flatten().collect()));
        } else {
            run.call(self.directed(Command::Batch(calls)), Slot::Batch(answers));
        }
        Then::Go
    }

    /// As new. The server forgets a transaction whose stream ends.
    fn forget(&mut self) {
        *self.client().told() = Told::default();
        (self.queue, self.stream) = (None, None);
        self.transaction.clear();
    }

    fn reset(&mut self, run: &mut Run) -> Then {
        self.forget();
        run.protocol = self.protocol();
        run.answer(Answer::status("RESET"));
        Then::Settle
    }

    fn shut_down(&self, run: &mut Run) -> Then {
        if !self.sidecar.may_shut_down {
            run.answer(Answer::error("SHUTDOWN is off: start datadb-resp with --allow-shutdown to have it"));
            return Then::Go;
        }
        self.sidecar.stop();
        Then::Close
    }

    fn protocol(&self) -> Protocol {
        self.client().told().protocol
    }

    /// Sends what was planned, and writes down the answers.
    async fn settle(&mut self, run: &mut Run) -> io::Result<()> {
        let mut replies = Vec::new().into_iter();
        let mut trouble = None;
        let mut left = run.calls.len();
        if let Err(fault) = self.send(run).await {
            trouble = Some(fault);
        }
        for (protocol, slot) in std::mem::take(&mut run.slots) {
            let answer = match slot {
                Slot::Answer(answer) => answer,
                slot => {
                    while trouble.is_none() && replies.len() == 0 && left > 0 {
                        match self.receive().await {
                            Ok(some) => (left, replies) = (left.saturating_sub(some.len()), some.into_iter()),
                            Err(fault) => trouble = Some(fault),
                        }
                    }
                    let reply = replies.next().unwrap_or_else(|| missing(trouble.as_ref()));
                    self.remember(&slot, &reply);
                    match slot {
                        Slot::Info(sections) => command::info::answer(self.scene(), &sections, reply),
                        slot => slot.fill(reply),
                    }
                }
            };
            answer.encode(protocol, &mut self.output);
            if self.output.len() >= WRITE_BYTES {
                self.write().await?;
            }
        }
        if let Some(fault) = trouble {
            let Client { request, address, .. } = self.client();
            tracing::debug!(request, client = %address, "{fault}");
            // With the stream the server has forgotten the transaction, too.
            self.stream = None;
            self.transaction.clear();
        }
        Ok(())
    }

    async fn send(&mut self, run: &Run) -> Result<(), Fault> {
        if run.calls.is_empty() {
            return Ok(());
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let client = &self.listed.client;
                none.insert(self.sidecar.lanes.stream(&client.address.to_string(), &client.request).await?)
            }
        };
        stream.send(&run.calls).await
    }

    async fn receive(&mut self) -> Result<Vec<Reply>, Fault> {
        match &mut self.stream {
            Some(stream) => stream.receive().await,
            None => Ok(Vec::new()),
        }
    }

    /// Transactions begin and end with replies.
    fn remember(&mut self, slot: &Slot, reply: &Reply) {
        match (slot, reply) {
            (Slot::Begin, Reply::Value(id)) => self.transaction = String::from_utf8_lossy(id).into_owned(),
            (Slot::End, _) => self.transaction.clear(),
            _ => {}
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// Reads what comes next; whether anything did.
    async fn read(&mut self, stopping: &mut Stopping) -> io::Result<bool> {
        let is_large = self.input.len() > SMALL_BYTES;
        if !is_large {
            self.permit = None;
        } else if self.permit.is_none() {
            self.permit = self.sidecar.large.clone().acquire_owned().await.ok();
        }
        self.input.reserve(READ_BYTES);
        let read = self.socket.read_buf(&mut self.input);
        let read = async { if is_large { timeout(LARGE_PATIENCE, read).await? } else { read.await } };
        tokio::select! {
            biased;
            () = stopping.wait() => Ok(false),
            read = read => Ok(read? > 0),
        }
    }
}

/// In the place of a reply that did not come.
fn missing(trouble: Option<&Fault>) -> Reply {
    Reply::Error(Refusal::err(trouble.map_or("no reply came", |fault| &fault.message)))
}
