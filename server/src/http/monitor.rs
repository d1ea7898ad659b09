//! `/debug/monitor`: a line a command, as Server-Sent Events.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use datadb::command::Seen;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{engine::Engine, observe::monitor::READERS_MAX};

/// Events that wait for the connection; what waits longer waits in the ring.
const EVENTS_MAX: usize = 4;

/// While there is no command, a comment this often: whoever left is noticed, and proxies don't give up.
const ALIVE: Duration = Duration::from_secs(15);

/// The page.
pub async fn page(State(engine): State<Engine>) -> Response {
    let Some(reader) = engine.observed().monitor.watch() else {
        let line = format!("{READERS_MAX} readers watch already: end one of them\n");
        return (StatusCode::SERVICE_UNAVAILABLE, line).into_response();
    };
    let (events, stream) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(reader.forward(events, |lost, seen| Ok::<_, Infallible>(event(lost, seen))));
    Sse::new(ReceiverStream::new(stream)).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// A command is one line; one before it tells what was lost.
fn event(lost: u64, seen: &Seen) -> Event {
    match lost {
        0 => Event::default().data(seen.to_string()),
        lost => Event::default().data(format!("{lost} commands lost: this reader is too slow\n{seen}")),
    }
}
