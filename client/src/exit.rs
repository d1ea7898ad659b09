//! Exit codes, and what an interrupt does.

use std::{
    process::ExitCode,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use datadb::{Fault, Kind};
use tokio::sync::Semaphore;

use crate::color::{self, Hue};

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done: 0.
    Done,
    /// Done, but something could not be read or restored, each named on stderr: 3.
    Partial,
}

impl Outcome {
    /// `Partial` if there were errors.
    pub const fn of(errors: u64) -> Self {
        if errors == 0 { Self::Done } else { Self::Partial }
    }

    /// The worse of two.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Done { other } else { self }
    }
}

/// The program failed: 1.
pub const FAILED: u8 = 1;
/// It was used wrongly: 2.
pub const USAGE: u8 = 2;
/// Something could not be read or restored: 3.
pub const PARTIAL: u8 = 3;
/// It was interrupted: 130, as a shell says it.
pub const INTERRUPTED: u8 = 130;

static INTERRUPT: AtomicBool = AtomicBool::new(false);
static PARTING: OnceLock<&str> = OnceLock::new();

/// What to say besides when the run is interrupted: what becomes of what was done. The first one counts.
pub fn on_interrupt_say(parting: &'static str) {
    PARTING.get_or_init(|| parting);
}

/// Has no permits; an interrupt closes it, which wakes all who wait for one.
static GATE: Semaphore = Semaphore::const_new(0);

/// Whether Ctrl+C was pressed; whoever holds half-written files then removes them and stops.
pub fn is_interrupted() -> bool {
    INTERRUPT.load(Ordering::Relaxed)
}

/// The fault of whoever stops because of an interrupt.
pub fn interrupted() -> Fault {
    Fault::new(Kind::Internal, "interrupted")
}

/// Waits for something that may take long, but no longer than until an interrupt.
pub async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::select! {
        biased;
        _ = GATE.acquire() => Err(interrupted()),
        done = work => done,
    }
}

/// Waits for Ctrl+C or SIGTERM, gives everybody a second to clean up, and ends the process.
pub async fn on_interrupt() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    INTERRUPT.store(true, Ordering::Relaxed);
    GATE.close();
    let parting = PARTING.get().map(|parting| format!(": {parting}")).unwrap_or_default();
    eprintln!("\ndatadb-client: interrupted{parting}");
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
        _ = int.recv() => {}
    }
    std::process::exit(i32::from(INTERRUPTED));
}

/// The exit code of a run, after the one line about its failure.
pub fn code(result: Result<Outcome, Fault>) -> ExitCode {
    match result {
        _ if is_interrupted() => ExitCode::from(INTERRUPTED),
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(PARTIAL),
        Err(fault) => {
            let program = color::err(Hue::Trouble, "datadb-client:");
            eprintln!("{program} {}", crate::report::escape(fault.message.as_bytes()));
            ExitCode::from(FAILED)
        }
    }
}
