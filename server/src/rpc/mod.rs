//! The gRPC services: decode, call the engine, encode. One service a file; nothing here decides anything.

mod browse;
mod database;
mod incoming;
mod monitor;
mod repository;
mod requests;
mod schedules;
mod store;
mod upload;
mod versions;

use std::time::Duration;

use datadb::{Fault, api, limits, wire::metadata};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status,
    transport::server::{Router, UdsConnectInfo},
};
use tower::layer::util::{Identity, Stack};
use tracing::Instrument as _;

pub use self::{incoming::incoming, requests::Requests};

use crate::engine::{Engine, EngineError};

/// Window of one stream: what may be under way before the receiver has taken it.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Window of a connection with all its streams.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// One HTTP/2 frame.
const FRAME_BYTES: u32 = 256 << 10;
/// A connection that is silent for so long is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Replies that wait for a slow client.
const REPLIES_MAX: usize = 4;

/// A stream of replies.
type Replies<T> = ReceiverStream<Result<T, Status>>;

impl From<EngineError> for Status {
    fn from(error: EngineError) -> Self {
        Fault::from(error).into()
    }
}

fn status(error: impl Into<EngineError>) -> Status {
    error.into().into()
}

/// Spawns a part of a call, so that what it logs carries the call's span.
fn spawn<T: Send + 'static>(part: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(part.in_current_span())
}

/// Who asks, for showing: what the client says of whom it asks for, else where it is.
fn client<T>(request: &Request<T>) -> String {
    let named = request.metadata().get(metadata::CLIENT).and_then(|name| metadata::client(name.to_str().ok()?));
    if let Some(named) = named {
        return named.to_owned();
    }
    let unix = || request.extensions().get::<UdsConnectInfo>()?.peer_cred?.pid();
    match request.remote_addr() {
        Some(address) => address.to_string(),
        None => unix().map_or_else(|| "unix".to_owned(), |pid| format!("pid:{pid}")),
    }
}

/// The services with what every call goes through.
pub type Services = Router<Stack<Requests, Identity>>;

/// All services of a repository, with reflection and health.
pub async fn router(engine: Engine) -> Result<Services, tonic_reflection::server::Error> {
    use tonic_reflection::server::Builder;
    let descriptors = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(api::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    let repository = api::repository_server::RepositoryServer::new(repository::Service(engine.clone()));
    let upload = api::upload_server::UploadServer::new(upload::Service(engine.clone()));
    let browse = api::browse_server::BrowseServer::new(browse::Service(engine.clone()));
    let database = api::database_server::DatabaseServer::new(database::Service(engine.clone()));
    let monitor = api::monitor_server::MonitorServer::new(monitor::Service(engine.clone()));
    let schedules = api::schedules_server::SchedulesServer::new(schedules::Service(engine.clone()));
    let requests = Requests(engine.observed().clone());
    let store = api::store_server::StoreServer::new(store::Service::new(engine));
    reporter.set_serving::<api::repository_server::RepositoryServer<repository::Service>>().await;
    reporter.set_serving::<api::upload_server::UploadServer<upload::Service>>().await;
    reporter.set_serving::<api::browse_server::BrowseServer<browse::Service>>().await;
    reporter.set_serving::<api::database_server::DatabaseServer<database::Service>>().await;
    reporter.set_serving::<api::monitor_server::MonitorServer<monitor::Service>>().await;
    reporter.set_serving::<api::schedules_server::SchedulesServer<schedules::Service>>().await;
    reporter.set_serving::<api::store_server::StoreServer<store::Service>>().await;
    let max = limits::MESSAGE_BYTES_MAX;
    Ok(tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(limits::STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .layer(requests)
        .add_service(health)
        .add_service(descriptors().build_v1()?)
        .add_service(descriptors().build_v1alpha()?)
        .add_service(repository.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(upload.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(browse.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(database.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(monitor)
        .add_service(schedules)
        .add_service(store.max_decoding_message_size(max).max_encoding_message_size(max)))
}
