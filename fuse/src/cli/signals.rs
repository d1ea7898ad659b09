//! Until it is unmounted: by a signal, or by somebody else.

use std::{io, path::Path};

use datadb::{Fault, Kind};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::adapter::session::{self, Still};

fn internal(error: io::Error) -> Fault {
    Fault::new(Kind::Internal, error.to_string())
}

/// Signals that ask for the end.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on none is lost. Must be called within a runtime.
    pub fn new() -> Result<Self, Fault> {
        let listen = |kind| signal(kind).map_err(internal);
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Returns when nothing is mounted any more. The first signal unmounts; while that is not possible the second takes the
/// mount out of sight and serves those who still use it, and the third ends that.
pub async fn until_unmounted(
    mountpoint: &Path,
    mut signals: Signals,
    mut ended: oneshot::Receiver<io::Result<()>>,
) -> Result<(), Fault> {
    let (mut is_detached, mut is_unmounted) = (false, false);
    let mut lazily = false;
    loop {
        tokio::select! {
            done = &mut ended => return how_it_ended(done.unwrap_or(Ok(())), is_unmounted),
            () = signals.next() => {}
        }
        if is_detached {
            return Ok(());
        }
        let (place, shown) = (mountpoint.to_owned(), mountpoint.display());
        // Unmounting asks the file system itself, so it must not keep the tasks from answering.
        let end = tokio::task::spawn_blocking(move || session::end(&place, lazily)).await;
        match end.map_err(|error| Fault::new(Kind::Internal, error.to_string()))? {
            Ok(()) if lazily => {
                (is_detached, is_unmounted) = (true, true);
                eprintln!("datadb-fuse: detached from {shown}; it ends when nobody uses it any more");
            }
            Ok(()) => is_unmounted = true,
            Err(Still::Busy) => {
                lazily = true;
                eprintln!(
                    "datadb-fuse: {shown} is busy: leave it (`fuser -vm` names who uses it), or interrupt again to detach it"
                );
            }
            Err(Still::Failed(why)) => {
                lazily = true;
                eprintln!("datadb-fuse: can't unmount {shown}: {why}; interrupt again to detach it");
            }
        }
    }
}

/// What the session says at its end. The kernel takes the connection down with the last file that was open; who reads it
/// at that moment may be told that it was aborted, which is the end that was asked for.
fn how_it_ended(done: io::Result<()>, is_unmounted: bool) -> Result<(), Fault> {
    match done {
        Err(error) if is_unmounted && error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
        other => other.map_err(internal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aborted_connection_is_a_failure_unless_it_was_asked_for() {
        let aborted = || Err(io::Error::from(io::ErrorKind::ConnectionAborted));
        assert!(how_it_ended(aborted(), true).is_ok());
        assert!(how_it_ended(aborted(), false).is_err());
        assert!(how_it_ended(Err(io::Error::other("panicked")), true).is_err());
        assert!(how_it_ended(Ok(()), false).is_ok());
    }
}
