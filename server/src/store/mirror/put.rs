//! Writing: a bundle goes to all level sides at once; a flush counts when enough of them are durable.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use datadb::Bundle;
use tokio::{task::JoinSet, time::Instant};

use super::{Inner, PATIENCE, Standing, tag};
use crate::store::{Durable, Outcome, Put, SharedStore, StoreError, encrypt::check_fits};

/// How much longer than those that count a side may take for a flush.
const SLOW: Duration = Duration::from_secs(5);

/// What each side answered, in the config's order.
pub(super) type Answers<T> = Vec<(usize, Result<T, StoreError>)>;

impl Inner {
    /// Waits a while until so many sides are level that a write can count.
    async fn enough(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let before: Vec<u64> = self.sides.iter().map(super::Side::attempts).collect();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_level = |at: usize| self.sides[at].now().0 == Standing::Level;
            if self.is_met(is_level) {
                return Ok(());
            }
            // A side that was tried again since the write began, and is still away, is not waited for.
            let may_come = |at: usize| match self.sides[at].now().0 {
                Standing::Level | Standing::Behind => true,
                Standing::Away => self.sides[at].attempts() == before[at],
            };
            if !self.is_met(may_come) || self.is_stopping() {
                return Err(self.away("nothing is written, too few sides would have it"));
            }
            self.sides.iter().filter(|side| side.now().0 != Standing::Level).for_each(|side| side.wake.notify_one());
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(self.away("nothing is written, too few sides would have it"));
            }
        }
    }

    pub(super) async fn put(self: Arc<Self>, bundle: Bundle, label: Bytes) -> Result<Put, StoreError> {
        // By the rules of the strictest kind of side, or one could take it that another can't have.
        check_fits(&bundle, &label)?;
        self.enough().await?;
        let _gate = self.gate.read().await;
        if !self.is_met(|at| self.sides[at].now().0 == Standing::Level) {
            return Err(self.away("nothing is written, too few sides would have it"));
        }
        let answers = self.put_level(&bundle, &label).await;
        self.merge_puts(answers)
    }

    /// Puts a bundle on every level side. The gate is held for reading.
    pub(super) async fn put_level(&self, bundle: &Bundle, label: &Bytes) -> Answers<Put> {
        let put = |store: SharedStore| {
            let (bundle, label) = (bundle.clone(), label.clone());
            async move { store.put(bundle, label).await }
        };
        let answers = on_all(self.level(), put).await;
        for (at, answer) in &answers {
            match answer {
                Ok(put) => self.sides[*at].has_put(put.cursor),
                Err(error) => self.demote(*at, error),
            }
        }
        answers
    }

    /// One answer of many. What became of each blob is what the first side says, so that of several who put a blob at the
    /// same time one alone hears `New`; a conflict anywhere is one.
    fn merge_puts(&self, answers: Answers<Put>) -> Result<Put, StoreError> {
        let mut answers = self.judge(answers, "it was not put on")?;
        answers.sort_by_key(|(at, _)| self.sides[*at].config.is_write_only);
        let mut answers = answers.into_iter();
        let (first, put) = answers.next().expect("a write that counts has a side");
        let cursor = put.cursor.map(|cursor| tag::checked(first, cursor)).transpose()?;
        let mut merged = Put { cursor, ..put };
        for (_, put) in answers {
            for (outcome, other) in merged.outcomes.iter_mut().zip(put.outcomes) {
                if other == Outcome::Conflict {
                    *outcome = other;
                }
            }
            merged.unflushed_bytes = merged.unflushed_bytes.max(put.unflushed_bytes);
            merged.unflushed_blobs = merged.unflushed_blobs.max(put.unflushed_blobs);
        }
        Ok(merged)
    }

    /// What went well, if it is on so many sides that it counts. Else, where some side has it, nobody knows what will be.
    fn judge<T>(&self, answers: Answers<T>, what: &str) -> Result<Vec<(usize, T)>, StoreError> {
        let mut done = Vec::new();
        let mut failed = Vec::new();
        let mut is_in_doubt = false;
        for (at, answer) in answers {
            match answer {
                Ok(value) => done.push((at, value)),
                Err(error) => {
                    is_in_doubt |= matches!(error, StoreError::InDoubt { .. });
                    failed.push((at, error));
                }
            }
        }
        if self.is_met(|at| done.iter().any(|(side, _)| *side == at)) {
            return Ok(done);
        }
        if failed.len() == 1 && done.is_empty() && !is_in_doubt {
            return Err(failed.remove(0).1);
        }
        let lines: Vec<String> =
            failed.iter().map(|(at, error)| format!("{what} {}: {error}", self.sides[*at])).collect();
        if done.is_empty() && !is_in_doubt {
            return Err(StoreError::Away { place: self.to_string(), what: lines.join("; ") });
        }
        Err(StoreError::InDoubt { place: self.to_string(), what: lines.join("; ") })
    }

    pub(super) async fn flush(self: Arc<Self>) -> Result<Vec<Durable>, StoreError> {
        let _one_at_a_time = self.flushing.lock().await;
        self.enough().await?;
        self.pay_owed().await;
        let (level, ends) = {
            let _gate = self.gate.write().await;
            let level = self.level();
            let ends: Vec<_> = level.iter().map(|(at, _)| (*at, self.sides[*at].last())).collect();
            (level, ends)
        };
        let answers = self.flush_level(level).await;
        for (at, answer) in &answers {
            if let Err(error) = answer {
                self.demote(*at, error);
            }
        }
        let durable = self.judge(answers, "could not make durable")?;
        let is_durable = |at: usize| durable.iter().any(|(side, _)| *side == at);
        let mut checkpoints = Vec::new();
        for (side, _) in &ends {
            let others = ends.iter().filter_map(|(other, end)| Some((*other, (*end)?)));
            checkpoints.extend(
                others
                    .filter(|(other, _)| other != side && is_durable(*side) && is_durable(*other))
                    .map(|(other, end)| (*side, other, end)),
            );
        }
        self.checkpoints.set(checkpoints).await?;
        Ok(durable.into_iter().flat_map(|(_, durable)| durable).collect())
    }

    /// Flushes these sides at once. Once it counts, the others have a little time left: who needs more is behind from now
    /// on, and does not hold up every commit. What it was about goes on, and it catches up.
    async fn flush_level(&self, level: Vec<(usize, SharedStore)>) -> Answers<Vec<Durable>> {
        let mut waiting: BTreeSet<usize> = level.iter().map(|(at, _)| *at).collect();
        let mut asked = ask_all(level, |store| async move { store.flush().await });
        let mut answers: Answers<Vec<Durable>> = Vec::new();
        let mut end = None;
        while !waiting.is_empty() {
            let next = match end {
                None => Ok(asked.join_next().await),
                Some(end) => tokio::time::timeout_at(end, asked.join_next()).await,
            };
            let Ok(Some(answer)) = next else { break };
            let (at, answer) = answer.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()));
            waiting.remove(&at);
            answers.push((at, answer));
            let is_durable = |side: usize| answers.iter().any(|(at, answer)| *at == side && answer.is_ok());
            if end.is_none() && self.is_met(is_durable) {
                end = Some(Instant::now() + SLOW);
            }
        }
        asked.detach_all();
        answers.extend(waiting.into_iter().map(|at| {
            let what = format!("it was not done {} s after the others", SLOW.as_secs());
            (at, Err(StoreError::Away { place: self.sides[at].to_string(), what }))
        }));
        answers.sort_by_key(|(at, _)| *at);
        answers
    }

    /// A side that failed takes no more until it answers again and has caught up.
    pub(super) fn demote(&self, at: usize, error: &StoreError) {
        let side = &self.sides[at];
        if side.now().0 == Standing::Level {
            tracing::error!(%side, %error, "a side of a mirror fails");
        }
        side.fails(error, matches!(error, StoreError::Gone { .. }));
        side.wake.notify_one();
        self.changed.notify_waiters();
    }
}

/// Asks all of these at once.
pub(super) async fn on_all<T, F>(sides: Vec<(usize, SharedStore)>, ask: impl Fn(SharedStore) -> F) -> Answers<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let mut answers = ask_all(sides, ask).join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    answers
}

/// The same, to be waited for.
fn ask_all<T, F>(
    sides: Vec<(usize, SharedStore)>,
    ask: impl Fn(SharedStore) -> F,
) -> JoinSet<(usize, Result<T, StoreError>)>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let mut asked = JoinSet::new();
    for (at, store) in sides {
        let answer = ask(store);
        asked.spawn(async move { (at, answer.await) });
    }
    asked
}

/// A pause that doubles up to a maximum.
pub(super) fn longer(pause: Duration, max: Duration) -> Duration {
    (pause * 2).min(max)
}
