//! `datadb.v1.Database`: commands, one at a time or as a stream.

use datadb::{
    api,
    command::{Call, Refusal, Reply},
    limits,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Replies;
use crate::engine::Engine;

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

/// Carries out commands in order; those that can't be read are answered in their places.
async fn answer(engine: &Engine, commands: impl Iterator<Item = api::Command>) -> Vec<api::Reply> {
    let mut calls = Vec::new();
    let read: Vec<Result<(), Refusal>> =
        commands.map(|command| Call::try_from(command).map(|call| calls.push(call))).collect();
    let mut replies = engine.execute(calls).await.into_iter();
    let mut reply = |read: Result<(), Refusal>| match read {
        Ok(()) => replies.next().unwrap_or_else(|| Reply::Error(Refusal::err("the server is stopping"))),
        Err(refusal) => Reply::Error(refusal),
    };
    read.into_iter().map(|read| (&reply(read)).into()).collect()
}

/// Reads a stream as fast as it comes, and answers together what has come meanwhile.
async fn pipeline(
    engine: Engine,
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
            for reply in answer(&engine, commands.collect::<Vec<_>>().into_iter()).await {
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
        let mut replies = answer(&self.0, std::iter::once(request.into_inner())).await;
        replies.pop().map(Response::new).ok_or_else(|| Status::internal("a command without a reply"))
    }

    type PipelineStream = Replies<api::Reply>;

    async fn pipeline(
        &self,
        request: Request<Streaming<api::Command>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let (replies, stream) = mpsc::channel(limits::PIPELINE_COMMANDS_MAX);
        tokio::spawn(pipeline(self.0.clone(), request.into_inner(), replies));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
