//! The connection to a server: the only room that names the API's messages. Everything it takes and gives is the
//! domain's own, every trouble a [`Fault`].

mod browse;
pub mod database;
pub mod monitor;
mod request_headers;
mod schedules;
mod throttle;
mod upload;
mod versions;

use std::{fmt, path::Path, time::Duration};

use datadb::{
    Fault, Kind, PROTOCOL_VERSION,
    api::{self, browse_client::BrowseClient, repository_client::RepositoryClient, upload_client::UploadClient},
    chunking::ChunkerParams,
    limits,
    terminal::escape,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tonic::{
    Code, Status,
    metadata::{Ascii, MetadataValue},
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, Uri},
};

pub use browse::{Delivery, Download, Downloads, Filter, Listing, Lists, SnapshotName, Tree, TreePart};
use request_headers::RequestHeaders;
pub use throttle::Rate;
use throttle::Throttled;
pub use upload::{
    Answers, Asking, BundleAck, Bundles, Commit, Committed, ObjectAck, Objects, Opened, Session, wait, wire_bytes,
};
pub use versions::{BackupStats, BlobStats, Search, SnapshotTotals, Versions, VersionsPage};

/// How long to wait for a server that does not answer.
const CONNECT_SECONDS: u64 = 10;

/// HTTP/2 windows: large enough that a stream never waits for a window update on a fast link.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Of a stream that is one of many.
const SMALL_WINDOW_BYTES: u32 = 256 << 10;
const FRAME_BYTES: u32 = 256 << 10;

/// Who the server is and what both sides keep to.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Given once when the repository was made.
    pub repository: [u8; 16],
    /// Of the server's software.
    pub version: String,
    /// The same for every client of the repository.
    pub chunker: ChunkerParams,
    /// The key of the hash by which hard links are recognised.
    pub link_secret: [u8; 32],
    /// A session lives this long without traffic.
    pub lease: Duration,
}

/// Counts and sizes of the whole repository.
pub type Stats = api::StatsReply;

/// Where the server is, and how to speak to it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `http://host:port` or `unix:PATH`.
    pub url: String,
    /// Who asks: sent with every request. A server without tokens does not look at it.
    pub token: Option<Token>,
    /// At most so fast to the server.
    pub limit_upload: Option<Rate>,
    /// At most so fast from the server.
    pub limit_download: Option<Rate>,
    /// What its streams carry.
    pub streams: Streams,
}

/// What the streams of a connection carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// A few carry much.
    #[default]
    Large,
    /// Up to [`limits::STREAMS_MAX`] carry little; one that nobody reads does not hold up the others.
    Many,
}

impl Streams {
    /// Windows of one stream and of all together.
    const fn windows(self) -> (u32, u32) {
        match self {
            Self::Large => (STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES),
            Self::Many => (SMALL_WINDOW_BYTES, SMALL_WINDOW_BYTES * limits::STREAMS_MAX),
        }
    }
}

/// A secret word, which is never printed.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

impl Token {
    /// Any line of visible ASCII.
    pub fn new(text: &str) -> Result<Self, Fault> {
        let value = format!("Bearer {text}").parse::<MetadataValue<Ascii>>();
        let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        match value {
            Ok(mut value) if is_word => {
                value.set_sensitive(true);
                Ok(Self(value))
            }
            _ => Err(Fault::new(Kind::Invalid, "a token is one word of visible ASCII")),
        }
    }

    /// What `DATADB_TOKEN` says, else the first line of the file that `DATADB_TOKEN_FILE` names.
    pub fn of_environment() -> Result<Option<Self>, Fault> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(text) = named("DATADB_TOKEN") {
            return Self::new(&text.to_string_lossy()).map(Some);
        }
        named("DATADB_TOKEN_FILE").map(|file| Self::of_file(Path::new(&file))).transpose()
    }

    /// The first line of a file.
    pub fn of_file(file: &Path) -> Result<Self, Fault> {
        let fault = |why: String| Fault::new(Kind::Invalid, format!("the token file {}: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| fault(error.to_string()))?;
        Self::new(text.lines().next().unwrap_or_default().trim()).map_err(|error| fault(error.message))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What the generated clients speak through.
type Wire = InterceptedService<Channel, RequestHeaders>;

/// An open connection to a server whose protocol we speak. Cloning is cheap and shares it.
#[derive(Clone, Debug)]
pub struct Connection {
    wire: Wire,
    url: String,
    capabilities: Capabilities,
}

impl Connection {
    /// Connects and asks who is there.
    pub async fn open(access: &Access) -> Result<Self, Fault> {
        let url = &*access.url;
        let wire = InterceptedService::new(connect(access).await?, RequestHeaders::new(access.token.clone())?);
        let mut client = RepositoryClient::new(wire.clone());
        let asked = client.capabilities(api::CapabilitiesRequest { protocol: PROTOCOL_VERSION });
        let reply = match tokio::time::timeout(Duration::from_secs(CONNECT_SECONDS), asked).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Err(not_a_server(url, status)),
            Err(_) => {
                let line = format!("what listens at {url} does not answer: is it a DataDB server? {OTHER}");
                return Err(Fault::new(Kind::Unavailable, line));
            }
        };
        Ok(Self { wire, url: url.to_owned(), capabilities: understood(url, reply)? })
    }

    /// What the server said about itself.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Counts and sizes of the whole repository.
    pub async fn stats(&self) -> Result<Stats, Fault> {
        Ok(self.repository().stats(api::StatsRequest {}).await.map_err(fault)?.into_inner())
    }

    fn repository(&self) -> RepositoryClient<Wire> {
        RepositoryClient::new(self.wire.clone())
    }

    fn browse(&self) -> BrowseClient<Wire> {
        BrowseClient::new(self.wire.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    fn upload(&self) -> UploadClient<Wire> {
        UploadClient::new(self.wire.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }
}

const OTHER: &str = "Name another with --server or DATADB_SERVER";

async fn connect(access: &Access) -> Result<Channel, Fault> {
    let url = &*access.url;
    let bad = || {
        let line = format!("{url} is not the address of a server: write http://HOST:PORT or unix:PATH");
        Fault::new(Kind::Invalid, line)
    };
    let path = url.strip_prefix("unix:").map(|path| path.strip_prefix("//").unwrap_or(path).to_owned());
    let address = if path.is_some() { "http://localhost" } else { url };
    if !address.starts_with("http://") {
        return Err(bad());
    }
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| bad())?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(bad());
    }
    let (stream_window, connection_window) = access.streams.windows();
    let endpoint = endpoint
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(60))
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        .max_frame_size(FRAME_BYTES);
    let (up, down) = (access.limit_upload, access.limit_download);
    let connected = match path {
        None if up.is_none() && down.is_none() => endpoint.connect().await,
        None => {
            let connect = move |uri: Uri| async move {
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(Throttled::new(stream, up, down)))
            };
            endpoint.connect_with_connector(tower::service_fn(connect)).await
        }
        Some(path) => {
            let connect = move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(|s| TokioIo::new(Throttled::new(s, up, down))) }
            };
            endpoint.connect_with_connector(tower::service_fn(connect)).await
        }
    };
    connected.map_err(|error| nobody_there(url, &error))
}

fn nobody_there(url: &str, error: &(dyn std::error::Error + 'static)) -> Fault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut io = None;
    let mut last = error.to_string();
    while let Some(error) = cause {
        io = io.or_else(|| error.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
        last = error.to_string();
        cause = error.source();
    }
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let line = match io {
        Some(ConnectionRefused | NotFound) => format!(
            "no server answers at {url}: start one with `datadb-server --data-dir DIR`, or name another with --server"
        ),
        Some(PermissionDenied) => format!("no permission to connect to {url}: ask its owner, or use another account"),
        _ if last.contains("lookup") => format!("{url}: the host's name is not known. {OTHER}"),
        _ => format!("can't connect to {url}: {last}. {OTHER}"),
    };
    Fault::new(Kind::Unavailable, line)
}

fn not_a_server(url: &str, status: Status) -> Fault {
    if status.metadata().get("datadb-kind").is_some() {
        return status.into();
    }
    let line = format!("what answers at {url} is not a DataDB server (its gRPC port is 9735 by default). {OTHER}");
    Fault::new(Kind::Unsupported, line)
}

fn understood(url: &str, reply: api::CapabilitiesReply) -> Result<Capabilities, Fault> {
    if reply.protocol != PROTOCOL_VERSION {
        let (theirs, version) = (reply.protocol, escape(reply.version.as_bytes()));
        let line = format!(
            "the server at {url} (version {version}) speaks protocol {theirs}, this client {PROTOCOL_VERSION}: upgrade the older of the two"
        );
        return Err(Fault::new(Kind::Unsupported, line));
    }
    if reply.format > datadb::FORMAT_VERSION {
        let (theirs, ours) = (reply.format, datadb::FORMAT_VERSION);
        let line = format!("the repository at {url} has format {theirs}, this client knows {ours}: upgrade the client");
        return Err(Fault::new(Kind::Unsupported, line));
    }
    let broken = |what| {
        let line = format!("the server at {url} names no usable {what}: upgrade the older of client and server");
        Fault::new(Kind::Unsupported, line)
    };
    let chunker = reply.chunker.ok_or_else(|| broken("chunker parameters"))?;
    let lease = reply.limits.map_or(limits::LEASE_SECONDS, |limits| limits.lease_seconds).max(4);
    Ok(Capabilities {
        repository: reply.repository[..].try_into().map_err(|_| broken("repository id"))?,
        version: escape(reply.version.as_bytes()),
        chunker: ChunkerParams::try_from(chunker).map_err(|_| broken("chunker parameters"))?,
        link_secret: reply.link_secret[..].try_into().map_err(|_| broken("link secret"))?,
        lease: Duration::from_secs(u64::from(lease)),
    })
}

/// A status as a fault; trouble of the connection itself, which no server worded, becomes one line about it.
fn fault(status: Status) -> Fault {
    let is_worded = status.metadata().get("datadb-kind").is_some();
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal if !is_worded => Fault::new(
            Kind::Unavailable,
            format!("the connection to the server broke: {}", escape(status.message().as_bytes())),
        ),
        _ => status.into(),
    }
}

/// The fault of a reply that breaks the protocol.
fn nonsense(what: &str) -> Fault {
    Fault::new(Kind::Unsupported, format!("the server's reply makes no sense ({what}): are both of the same version?"))
}
