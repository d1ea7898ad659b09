//! Connections as they come in: each is counted and gets a place, or is closed.

use std::{io, sync::Arc, time::Duration};

use tokio_stream::{Stream, StreamExt as _};

use crate::{
    descriptors::{Held, Places},
    observe::Observed,
};

/// How long to wait when nothing can be accepted, as when all file descriptors are taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Those of a listener that may stay.
pub fn incoming<S>(
    accepted: impl Stream<Item = io::Result<S>>,
    observed: Arc<Observed>,
    places: Places,
) -> impl Stream<Item = io::Result<Held<S>>> {
    let doors = places.clone();
    let paused = accepted.then(move |connection| {
        let doors = doors.clone();
        async move {
            if let Err(error) = &connection {
                doors.cannot_accept(error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            connection
        }
    });
    paused.filter_map(move |connection| {
        let stream = match observed.connected(connection) {
            Ok(stream) => stream,
            Err(error) => return Some(Err(error)),
        };
        // Without a place it is dropped, which closes it.
        places.take().map(|place| Ok(Held::new(stream, place)))
    })
}
