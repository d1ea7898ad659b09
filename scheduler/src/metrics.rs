//! `/metrics`: for Prometheus, what an alert would use.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{
    clock,
    config::Config,
    history::{History, HistoryError},
    run::notify::Notifier,
    status::{self, State},
};

/// Connections at the same time: a few who scrape.
const CONNECTIONS_MAX: usize = 16;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A connection that has not sent the head of a request for so long is closed.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait when nothing can be accepted, and before an address that is taken is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the page is made of.
#[derive(Clone, Debug)]
pub struct Source {
    /// The configuration that counts.
    pub configs: watch::Receiver<Arc<Config>>,
    /// Where the history is.
    pub state: PathBuf,
    /// Counts letters that nobody got.
    pub notifier: Notifier,
}

/// Listens; a port that is taken is an error with a way out.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("can't listen on {address} for metrics: {error}. Change `metrics`, or leave it out"))
}

/// Serves where the configuration says, until it is dropped. `listener` is where it says so now.
pub async fn serve(mut listener: Option<TcpListener>, mut source: Source) {
    let mut address = source.configs.borrow_and_update().metrics;
    loop {
        let configs = &mut source.configs.clone();
        let moved = async {
            while configs.changed().await.is_ok() {
                let now = configs.borrow_and_update().metrics;
                if now != address {
                    return now;
                }
            }
            std::future::pending().await
        };
        let work = async {
            match &listener {
                Some(listener) => accept(listener, &source).await,
                None => std::future::pending().await,
            }
        };
        address = tokio::select! {
            moved = moved => moved,
            () = work => address,
        };
        listener = match address {
            None => None,
            Some(address) => match bind(address).await {
                Ok(listener) => Some(listener),
                Err(line) => {
                    tracing::error!("{line}");
                    None
                }
            },
        };
    }
}

async fn accept(listener: &TcpListener, source: &Source) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = connection(stream, source.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection over HTTP");
                sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, source: Source) {
    let answer = service_fn(move |request| answer(request, source.clone()));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection over HTTP broke");
    }
}

async fn answer(request: Request<Incoming>, source: Source) -> Result<Response<String>, hyper::http::Error> {
    let response = Response::builder().header(CONTENT_TYPE, "text/plain; charset=utf-8");
    if request.uri().path() != "/metrics" {
        return response.status(StatusCode::NOT_FOUND).body("only /metrics is here\n".to_owned());
    }
    if request.method() != Method::GET {
        return response.status(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, "GET").body(String::new());
    }
    let config = source.configs.borrow().clone();
    let page = tokio::task::spawn_blocking(move || {
        let states = states(&config, &source.state)?;
        Ok::<_, HistoryError>(page(&states, source.notifier.lost()))
    });
    let page = page.await.map_err(|error| error.to_string()).and_then(|page| page.map_err(|error| error.to_string()));
    match page {
        Ok(page) => Response::builder().header(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8").body(page),
        Err(line) => response.status(StatusCode::INTERNAL_SERVER_ERROR).body(line + "\n"),
    }
}

fn states(config: &Config, state: &Path) -> Result<Vec<State>, HistoryError> {
    status::all(config, &History::open(state)?, state, clock::now())
}

/// The page. Names of entries need no escape: they are words.
fn page(states: &[State], lost: u64) -> String {
    let mut page = String::new();
    type Value = fn(&State) -> Option<i64>;
    let families: [(&str, &str, &str, Value); 8] = [
        ("last_success_timestamp_seconds", "gauge", "Start of the last run that succeeded, in unix time.", |state| {
            state.succeeded
        }),
        ("last_duration_seconds", "gauge", "How long the last run took.", |state| {
            let last = state.last.as_ref()?;
            Some(last.end.as_ref()?.end.saturating_sub(last.start).max(0))
        }),
        ("last_bytes", "gauge", "Bytes in the backups of the last run.", |state| {
            i64::try_from(state.last.as_ref()?.end.as_ref()?.bytes).ok()
        }),
        ("last_uploaded_bytes", "gauge", "Bytes that the last run sent.", |state| {
            i64::try_from(state.last.as_ref()?.end.as_ref()?.uploaded).ok()
        }),
        ("last_ok", "gauge", "1, or 0 where the last run failed.", |state| {
            Some(i64::from(state.last.as_ref()?.end.as_ref()?.outcome.is_success()))
        }),
        ("failures", "gauge", "Runs that failed, as far as the history goes back.", |state| Some(state.failures)),
        ("overdue", "gauge", "1 where a success should have come by now and did not.", |state| {
            Some(i64::from(state.is_overdue))
        }),
        ("running", "gauge", "1 where a run is under way.", |state| Some(i64::from(state.running.is_some()))),
    ];
    for (name, kind, help, value) in families {
        head(&mut page, name, kind, help);
        for state in states {
            if let Some(value) = value(state) {
                line(&mut page, format_args!("datadb_scheduler_{name}{{entry=\"{}\"}} {value}", state.name));
            }
        }
    }
    head(&mut page, "letters_lost_total", "counter", "Letters to webhooks and checks that could not be delivered.");
    line(&mut page, format_args!("datadb_scheduler_letters_lost_total {lost}"));
    page
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    line(page, format_args!("# HELP datadb_scheduler_{name} {help}"));
    line(page, format_args!("# TYPE datadb_scheduler_{name} {kind}"));
}

fn line(page: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(page, "{line}").expect("a text grows");
}
