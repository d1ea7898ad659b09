//! `datadb.v1.Database`: commands, one at a time or as a stream.

use std::{collections::VecDeque, pin::Pin};

use datadb::{
    api,
    command::{Call, Refusal, Reply},
    limits,
};
use prost::Message as _;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::queue::{Gone, Queued, Sender, queue};
use crate::engine::Engine;

/// Bytes of a stream's commands that wait, and of its replies: room for the largest message.
const WAITING_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX;

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

type Replies = Sender<Result<api::Reply, Status>>;

/// Carries out commands in order; those that can't be read are answered in their places. The next are carried out when
/// the replies to those before have found room.
async fn answer(engine: &Engine, commands: Vec<api::Command>, replies: &Replies) -> Result<(), Gone> {
    let mut calls = VecDeque::new();
    let read: Vec<Result<(), Refusal>> =
        commands.into_iter().map(|command| Call::try_from(command).map(|call| calls.push_back(call))).collect();
    let mut done = VecDeque::new();
    for read in read {
        let reply = match read {
            Ok(()) => {
                if done.is_empty() {
                    done.extend(engine.execute_next(&mut calls).await);
                }
                done.pop_front().unwrap_or_else(|| Reply::Error(Refusal::err("the server is stopping")))
            }
            Err(refusal) => Reply::Error(refusal),
        };
        let reply = api::Reply::from(&reply);
        let bytes = reply.encoded_len();
        replies.send(Ok(reply), bytes).await?;
    }
    Ok(())
}

/// Reads a stream as fast as it comes, and answers together what has come meanwhile.
async fn pipeline(engine: Engine, mut commands: Streaming<api::Command>, replies: Replies) {
    let (ready, mut waiting) = queue(limits::PIPELINE_COMMANDS_MAX, WAITING_BYTES_MAX);
    let read = async move {
        loop {
            let command = match commands.message().await {
                Ok(Some(command)) => Ok(command),
                Ok(None) => return,
                Err(status) => Err(status),
            };
            let (is_last, bytes) = (command.is_err(), command.as_ref().map_or(0, api::Command::encoded_len));
            if ready.send(command, bytes).await.is_err() || is_last {
                return;
            }
        }
    };
    let carry_out = async move {
        let mut some = Vec::new();
        while waiting.recv_many(&mut some, limits::PIPELINE_COMMANDS_MAX).await > 0 {
            let mut broken = None;
            let read = |queued: Queued<Result<_, Status>>| queued.take().map_err(|status| broken = Some(status)).ok();
            let commands = some.drain(..).filter_map(read).collect();
            if answer(&engine, commands, &replies).await.is_err() {
                return;
            }
            if let Some(status) = broken {
                // Where nobody listens any more nobody needs to know.
                drop(replies.send(Err(status), 0).await);
                return;
            }
        }
    };
    tokio::join!(read, carry_out);
}

#[tonic::async_trait]
impl api::database_server::Database for Service {
    async fn execute(&self, request: Request<api::Command>) -> Result<Response<api::Reply>, Status> {
        let reply = match Call::try_from(request.into_inner()) {
            Ok(call) => self.0.execute(vec![call]).await.pop().ok_or_else(|| Status::internal("no reply"))?,
            Err(refusal) => Reply::Error(refusal),
        };
        Ok(Response::new((&reply).into()))
    }

    type PipelineStream = Pin<Box<dyn Stream<Item = Result<api::Reply, Status>> + Send>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<api::Command>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let (replies, stream) = queue(limits::PIPELINE_COMMANDS_MAX, WAITING_BYTES_MAX);
        tokio::spawn(pipeline(self.0.clone(), request.into_inner(), replies));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(Queued::take))))
    }
}
