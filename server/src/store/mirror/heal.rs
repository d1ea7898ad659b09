//! Healing: what one side lost comes back from another.

use std::{collections::HashSet, sync::PoisonError};

use datadb::{BlobId, BlobRef};

use super::{Inner, Standing};
use crate::store::{Item, Outcome, Presence, SharedStore, StoreError, Stored};

/// Blobs noted as lacking on a side; what is beyond is found by the next question.
pub(super) const OWED_MAX: usize = 1 << 14;

/// Damaged records noted for the log; what is beyond is found anew after a rebuild.
const DAMAGED_MAX: usize = 1 << 12;

/// Records read at once when a side is read through.
const PAGE: usize = 256;

impl Inner {
    /// Notes that these level sides lack a blob that another side has. `false` if there is no room for more.
    pub(super) fn owe(&self, lacking: &[usize], id: BlobId) -> bool {
        if lacking.is_empty() {
            return true;
        }
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        if owed.len() + lacking.len() > OWED_MAX {
            return false;
        }
        owed.extend(lacking.iter().map(|at| (*at, id)));
        true
    }

    fn take_owed(&self) -> HashSet<(usize, BlobId)> {
        std::mem::take(&mut *self.owed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a damaged record for the log.
    pub(super) fn note_damage(&self, error: &StoreError) {
        let StoreError::Damaged { leaf, cursor, .. } = error else { return };
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.len() < DAMAGED_MAX {
            damaged.push((leaf.clone(), *cursor));
        }
    }

    /// Gives level sides what was noted, before anything counts that may rely on it.
    pub(super) async fn pay_owed(&self) {
        for (at, id) in self.take_owed() {
            let (Standing::Level, Some(store)) = self.sides[at].now() else { continue };
            // It may have arrived meanwhile: who asks while another puts sees one side without the other.
            match store.find(&[id]).await.as_deref() {
                Ok([Presence::Missing]) => {}
                _ => continue,
            }
            let others = self.readable().into_iter().filter(|(other, ..)| *other != at).collect();
            if let (Some(stored), _) = self.get_from(others, &id, &mut Vec::new()).await {
                self.put_again(at, &id, &stored).await;
            }
        }
    }

    /// Puts a bundle on a side again that lost its copy.
    pub(super) async fn put_again(&self, at: usize, id: &BlobId, stored: &Stored) {
        let side = &self.sides[at];
        let (_, Some(store)) = side.now() else { return };
        match store.put(stored.bundle.clone(), stored.label.clone()).await {
            Ok(put) => {
                let new = put.outcomes.iter().filter(|outcome| **outcome == Outcome::New).count() as u64;
                if new > 0 {
                    side.healed_blobs.add(new);
                    tracing::warn!(%side, blob = %id, blobs = new, "lost or damaged copies are put there again");
                }
            }
            Err(error) => self.demote(at, &error),
        }
    }

    /// See [`super::Mirror::heal`].
    pub(super) async fn heal_all(
        &self,
        is_thorough: bool,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), StoreError> {
        if self.sides.iter().any(|side| side.now().0 == Standing::Away) {
            return Err(self.away("all sides are needed"));
        }
        if is_thorough {
            for at in 0..self.sides.len() {
                self.read_through(at, progress).await?;
            }
        }
        let sides = 0..self.sides.len();
        for at in sides.clone() {
            self.checkpoints.forget(at).await?;
        }
        for to in sides.clone() {
            for from in sides.clone().filter(|from| *from != to && !self.sides[*from].config.is_write_only) {
                let pulled = self.pull(to, from).await?;
                progress(&format!(
                    "{} from {}: {} records compared, {} blobs copied",
                    self.sides[to], self.sides[from], pulled.records, pulled.blobs
                ));
            }
            self.sides[to].becomes_level();
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// Reads every record of a side, so that damaged ones are known as such. Leaves mark them.
    async fn read_through(&self, at: usize, progress: &mut (dyn FnMut(&str) + Send)) -> Result<(), StoreError> {
        let side = &self.sides[at];
        let (_, Some(store)) = side.now() else { return Ok(()) };
        if side.config.is_write_only {
            return Ok(());
        }
        let (mut after, mut records, mut damaged) = (None, 0u64, 0u64);
        loop {
            let page = store.enumerate(after, PAGE).await?;
            for item in &page {
                let (cursor, refs) = match item {
                    Item::Record { cursor, refs, .. } => (cursor, &refs[..]),
                    Item::Damage(damage) => (&damage.cursor, &[][..]),
                };
                after = Some(*cursor);
                records += 1;
                for id in one_of_each(&store, refs).await? {
                    match store.get(&id).await {
                        Ok(_) => {}
                        Err(error @ StoreError::Damaged { .. }) => {
                            self.note_damage(&error);
                            damaged += 1;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            if page.len() < PAGE {
                progress(&format!("{side}: {records} records read, {damaged} of them damaged"));
                return Ok(());
            }
        }
    }
}

/// A blob of each bundle in which a record's blobs lie: some of them may count elsewhere.
async fn one_of_each(store: &SharedStore, refs: &[BlobRef]) -> Result<Vec<BlobId>, StoreError> {
    let ids: Vec<BlobId> = refs.iter().map(|blob| blob.id).collect();
    let mut places = HashSet::new();
    let mut one_of_each = Vec::new();
    for (id, presence) in ids.iter().zip(store.find(&ids).await?) {
        if let Presence::Have(found) = presence
            && places.insert(found.place)
        {
            one_of_each.push(*id);
        }
    }
    Ok(one_of_each)
}
