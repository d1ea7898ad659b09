//! `datadb.v1.Monitor`: every command as it comes.

use datadb::{Fault, Kind, api};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{REPLIES_MAX, Replies, spawn};
use crate::{engine::Engine, observe::monitor::READERS_MAX};

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

#[tonic::async_trait]
impl api::monitor_server::Monitor for Service {
    type WatchStream = Replies<api::Seen>;

    async fn watch(&self, _: Request<api::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let Some(reader) = self.0.observed().monitor.watch() else {
            let message = format!("{READERS_MAX} readers watch already: end one of them");
            return Err(Fault::new(Kind::Unavailable, message).into());
        };
        let (replies, stream) = mpsc::channel(REPLIES_MAX);
        spawn(reader.forward(replies, |lost, seen| Ok(api::Seen { lost, ..seen.into() })));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
