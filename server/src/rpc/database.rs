//! `datadb.v1.Database`: commands, one at a time or as a stream.

use std::time::Instant;

use datadb::{
    api,
    command::{Call, Refusal, Reply},
    limits,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Replies, client, spawn};
use crate::{engine::Engine, observe::Observed};

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

/// Carries out commands in order; those that can't be read are answered in their places. The one place where commands
/// are counted and shown; those that came together took the same time.
async fn answer(engine: &Engine, client: &str, commands: impl Iterator<Item = api::Command>) -> Vec<api::Reply> {
    let (began, Observed { commands: counts, monitor, .. }) = (Instant::now(), &**engine.observed());
    let mut calls = Vec::new();
    let take = |command| {
        let call = Call::try_from(command)?;
        let line = counts.begin(&call.command);
        calls.push(call);
        Ok(line)
    };
    let read: Vec<Result<usize, Refusal>> = commands.map(take).collect();
    if monitor.is_watched() {
        let micros = engine.now_micros();
        calls.iter().for_each(|call| monitor.show(call, client, micros));
    }
    let mut replies = engine.execute(calls).await.into_iter();
    let took = began.elapsed();
    let reply = |read: Result<usize, Refusal>| {
        let reply = match read {
            Ok(line) => {
                counts.count(line, took);
                replies.next().unwrap_or_else(|| Reply::Error(Refusal::err("the server is stopping")))
            }
            Err(refusal) => Reply::Error(refusal),
        };
        counts.count_refusals(&reply);
        (&reply).into()
    };
    read.into_iter().map(reply).collect()
}

/// Reads a stream as fast as it comes, and answers together what has come meanwhile.
async fn pipeline(
    engine: Engine,
    client: String,
    mut commands: Streaming<api::Command>,
    replies: mpsc::Sender<Result<api::Reply, Status>>,
) {
    let (ready, mut waiting) = mpsc::channel(limits::PIPELINE_COMMANDS_MAX);
    let read = async move {
        loop {
            let command = match commands.message().await {
                Ok(Some(command)) => Ok(command),
                Ok(None) => return,
                Err(status) => Err(status),
            };
            let is_last = command.is_err();
            if ready.send(command).await.is_err() || is_last {
                return;
            }
        }
    };
    let carry_out = async move {
        let mut some = Vec::new();
        while waiting.recv_many(&mut some, limits::PIPELINE_COMMANDS_MAX).await > 0 {
            let mut broken = None;
            let commands = some.drain(..).filter_map(|command| command.map_err(|status| broken = Some(status)).ok());
            for reply in answer(&engine, &client, commands.collect::<Vec<_>>().into_iter()).await {
                if replies.send(Ok(reply)).await.is_err() {
                    return;
                }
            }
            if let Some(status) = broken {
                // Where nobody listens any more nobody needs to know.
                drop(replies.send(Err(status)).await);
                return;
            }
        }
    };
    tokio::join!(read, carry_out);
}

#[tonic::async_trait]
impl api::database_server::Database for Service {
    async fn execute(&self, request: Request<api::Command>) -> Result<Response<api::Reply>, Status> {
        let client = client(&request);
        let mut replies = answer(&self.0, &client, std::iter::once(request.into_inner())).await;
        replies.pop().map(Response::new).ok_or_else(|| Status::internal("a command without a reply"))
    }

    type PipelineStream = Replies<api::Reply>;

    async fn pipeline(
        &self,
        request: Request<Streaming<api::Command>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let (replies, stream) = mpsc::channel(limits::PIPELINE_COMMANDS_MAX);
        let client = client(&request);
        spawn(pipeline(self.0.clone(), client, request.into_inner(), replies));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
