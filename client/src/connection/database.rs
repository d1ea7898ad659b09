//! The database: one command at a time, or a stream of them.

use datadb::{
    Fault, Kind, api,
    api::database_client::DatabaseClient,
    command::{Call, Reply},
    limits,
    wire::metadata,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::{Connection, Wire, fault};

/// Sends commands of a stream. Dropping it ends the stream after their replies.
#[derive(Clone, Debug)]
pub struct Commands(mpsc::Sender<api::Command>);

impl Commands {
    /// Sends a command; waits while [`limits::PIPELINE_COMMANDS_MAX`] are under way.
    pub async fn send(&self, call: &Call) -> Result<(), Fault> {
        self.put(call.into()).await
    }

    /// Sends up to [`limits::GROUP_COMMANDS_MAX`] commands as one message. Their replies come as [`Reply::Replies`], in
    /// one or more parts.
    pub async fn send_group(&self, calls: &[Call]) -> Result<(), Fault> {
        self.put(api::Command::group(calls)).await
    }

    async fn put(&self, command: api::Command) -> Result<(), Fault> {
        let gone = |_| Fault::new(Kind::Unavailable, "the connection to the server broke");
        self.0.send(command).await.map_err(gone)
    }
}

/// Replies of a stream, in the order of its commands.
#[derive(Debug)]
pub struct Replies(tonic::Streaming<api::Reply>);

impl Replies {
    /// The next reply; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Reply>, Fault> {
        Ok(self.0.message().await.map_err(fault)?.map(Reply::from))
    }
}

impl Connection {
    /// Carries out a command. Its own error is a reply.
    pub async fn execute(&self, call: &Call) -> Result<Reply, Fault> {
        Ok(self.database().execute(api::Command::from(call)).await.map_err(fault)?.into_inner().into())
    }

    /// Opens a stream of commands.
    pub async fn pipeline(&self) -> Result<(Commands, Replies), Fault> {
        let (commands, stream) = mpsc::channel(limits::PIPELINE_COMMANDS_MAX);
        self.stream(commands, Request::new(ReceiverStream::new(stream))).await
    }

    /// Opens a stream of commands on behalf of another client, whom a monitor shows in this one's place: visible ASCII of
    /// at most [`limits::CLIENT_BYTES_MAX`] bytes, as a rule an address.
    /// `request` is the id by which the server's log knows the stream, of visible ASCII, too.
    pub async fn pipeline_for(&self, client: &str, request: &str) -> Result<(Commands, Replies), Fault> {
        let bad = || Fault::new(Kind::Invalid, format!("{client:?} is no name that a monitor can show"));
        let named = metadata::client(client).and_then(|client| client.parse().ok()).ok_or_else(bad)?;
        let (commands, stream) = mpsc::channel(limits::PIPELINE_COMMANDS_MAX);
        let id =
            request.parse().map_err(|_| Fault::new(Kind::Invalid, format!("{request:?} is no id of a request")))?;
        let mut request = Request::new(ReceiverStream::new(stream));
        request.metadata_mut().insert(metadata::CLIENT, named);
        request.metadata_mut().insert(metadata::REQUEST_ID, id);
        self.stream(commands, request).await
    }

    async fn stream(
        &self,
        commands: mpsc::Sender<api::Command>,
        request: Request<ReceiverStream<api::Command>>,
    ) -> Result<(Commands, Replies), Fault> {
        let replies = self.database().pipeline(request).await.map_err(fault)?.into_inner();
        Ok((Commands(commands), Replies(replies)))
    }

    fn database(&self) -> DatabaseClient<Wire> {
        DatabaseClient::new(self.wire.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }
}
