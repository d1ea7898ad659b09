//! The server over HTTP/1, for looking at it: `/debug/monitor`, `/debug/vars`, `/metrics`. One page a file; `door` says who may
//! see them.

mod door;
mod exposition;
mod metrics;
mod monitor;
mod vars;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    descriptors::Places,
    engine::{Engine, EngineError},
};
use door::Door;

/// Connections at the same time; more wait to be accepted. All readers of the monitor, and a few who scrape.
const CONNECTIONS_MAX: usize = 64;

/// Bytes of a request's head: a path, a host and what browsers add. Bodies are not read.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// A connection that has not sent the head of a request for so long is closed.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait when nothing can be accepted, as when all file descriptors are taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const INDEX: &str = "\
datadb-server
  /debug/monitor   every command as it comes (Server-Sent Events)
  /debug/vars      what was counted since the start (JSON)
  /metrics         the same for Prometheus
";

fn router(engine: Engine) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/debug/monitor", get(monitor::page))
        .route("/debug/vars", get(vars::page))
        .route("/metrics", get(metrics::page))
        .with_state(engine)
}

/// Serves until it is dropped, and then ends all connections. They have places among all those of the server.
pub async fn serve(listener: TcpListener, engine: Engine, places: Places) {
    let (router, turns, host_name) = (router(engine), Arc::new(Semaphore::new(CONNECTIONS_MAX)), door::host_name());
    let mut connections = JoinSet::new();
    loop {
        let turn = turns.clone().acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(place) = places.take() else { continue };
                let door = match (listener.local_addr(), stream.local_addr()) {
                    (Ok(bound), Ok(local)) => {
                        Door { bound: bound.ip(), local: local.ip(), host_name: host_name.clone() }
                    }
                    (Err(error), _) | (_, Err(error)) => {
                        tracing::debug!(%error, "a connection over HTTP has no address any more");
                        continue;
                    }
                };
                let router = router.clone().layer(middleware::from_fn_with_state(door, door::check));
                connections.spawn(async move {
                    connection(stream, router).await;
                    drop((turn, place));
                });
            }
            Err(error) => {
                places.cannot_accept(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection over HTTP broke");
    }
}

/// A page of this type.
fn page(content_type: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// What failed, as a page.
struct Failed(EngineError);

impl<E: Into<EngineError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", self.0)).into_response()
    }
}
