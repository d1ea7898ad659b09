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
    let mut is_detached = false;
    let mut lazily = false;
    loop {
        tokio::select! {
            done = &mut ended => return done.unwrap_or(Ok(())).map_err(internal),
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
                is_detached = true;
                eprintln!("datadb-fuse: detached from {shown}; it ends when nobody uses it any more");
            }
            Ok(()) => {}
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
