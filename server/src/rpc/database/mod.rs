//! `datadb.v1.Database`: commands, one at a time or as a stream.

mod asker;
mod queue;

use std::pin::Pin;

use datadb::{api, limits};
use prost::Message as _;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use self::{
    asker::{Asker, Replies},
    queue::{Queued, queue},
};
use super::{client, spawn};
use crate::engine::Engine;

/// Bytes of a stream's commands that wait, and of its replies: room for the largest message.
const WAITING_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX;

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

/// Reads a stream as fast as it comes, and answers together what has come meanwhile.
async fn pipeline(mut asker: Asker, mut commands: Streaming<api::Command>, replies: Replies) {
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
            let messages = some.drain(..).filter_map(read).collect();
            if asker.answer_all(messages, &replies).await.is_err() {
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
        let mut asker = Asker::new(self.0.clone(), client(&request));
        Ok(Response::new(asker.answer(request.into_inner()).await))
    }

    type PipelineStream = Pin<Box<dyn Stream<Item = Result<api::Reply, Status>> + Send>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<api::Command>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let (replies, stream) = queue(limits::PIPELINE_COMMANDS_MAX, WAITING_BYTES_MAX);
        let asker = Asker::new(self.0.clone(), client(&request));
        spawn(pipeline(asker, request.into_inner(), replies));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(Queued::take))))
    }
}
