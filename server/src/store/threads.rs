//! Threads of a leaf's own, for what waits for its medium.
//!
//! The threads of the process compute and ask the index. A medium that is slow, or never answers at all (a stuck mount),
//! keeps threads for as long as it likes: they are its own, so that it holds up nobody but those who wait for it. They
//! are started as they are needed, and end when they are idle.

use std::{fmt, io, sync::Arc};

use tokio::runtime::{Handle, Runtime};

use super::blocking_on;

/// Threads of a leaf at most: enough for a disk to have something to do, whoever waits for what. What comes when all of
/// them wait is asked later.
pub const LEAF_THREADS_MAX: usize = 8;

/// Whose threads do what blocks. Clones are the same threads.
#[derive(Clone)]
pub struct Threads {
    handle: Handle,
    /// Ends the threads with the last one who holds them; those that are stuck are left alone.
    _owner: Option<Arc<Owner>>,
}

struct Owner(Option<Runtime>);

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Threads {
    /// Threads for one leaf. None is started before it is needed.
    pub fn of_leaf() -> io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.max_blocking_threads(LEAF_THREADS_MAX).thread_name("leaf").build()?;
        Ok(Self { handle: runtime.handle().clone(), _owner: Some(Arc::new(Owner(Some(runtime)))) })
    }

    /// Runs blocking work on one of them. It runs to its end even if the caller goes away.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let threads = self.clone();
        blocking_on(&self.handle, move || {
            let done = work();
            // Not before: whatever waits for its turn needs them.
            drop(threads);
            done
        })
        .await
    }
}

impl From<Handle> for Threads {
    /// The threads of a runtime that outlives whoever uses them.
    fn from(handle: Handle) -> Self {
        Self { handle, _owner: None }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// As many calls as there are threads never return; the process's own threads, and those of another leaf, go on.
    #[tokio::test]
    async fn a_leaf_whose_calls_never_return_takes_nobody_elses_threads() {
        let (stuck, healthy) = (Threads::of_leaf().unwrap(), Threads::of_leaf().unwrap());
        let mut releases = Vec::new();
        for _ in 0..LEAF_THREADS_MAX * 4 {
            let (release, released) = mpsc::channel::<()>();
            let (threads, started) = (stuck.clone(), tokio::sync::oneshot::channel());
            let (begin, began) = started;
            let task = tokio::spawn(async move {
                threads
                    .run(move || {
                        begin.send(()).unwrap();
                        released.recv().is_err()
                    })
                    .await
            });
            releases.push((release, task, began));
        }
        for (.., began) in &mut releases[..1] {
            began.await.unwrap();
        }
        assert_eq!(healthy.run(|| 1).await, 1);
        assert_eq!(super::super::blocking(|| 2).await, 2);
        for (release, task, _) in releases {
            drop(release);
            assert!(task.await.unwrap());
        }
        assert_eq!(stuck.run(|| 3).await, 3);
    }

    /// A leaf that is closed while a call is stuck is closed at once.
    #[tokio::test]
    async fn threads_that_are_let_go_of_while_one_is_stuck_hold_up_nobody() {
        let threads = Threads::of_leaf().unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (begin, began) = tokio::sync::oneshot::channel();
        let asked = threads.clone();
        let task = tokio::spawn(async move {
            asked
                .run(move || {
                    begin.send(()).unwrap();
                    released.recv().is_err()
                })
                .await
        });
        began.await.unwrap();
        drop(threads);
        drop(release);
        assert!(task.await.unwrap());
    }
}
