//! What can be seen of a mirror.

use std::time::Duration;

use super::{Inner, Standing};
use crate::store::{SharedStore, StoreStats};

/// Whoever looks waits so long for what a side has to say; what it can't say in time is unknown.
const ASKED: Duration = Duration::from_secs(2);

/// How a mirror is.
#[derive(Clone, Debug)]
pub struct MirrorStatus {
    /// What it prints itself as.
    pub name: String,
    /// Its sides.
    pub sides: Vec<SideStatus>,
}

/// How a side is.
#[derive(Clone, Debug)]
pub struct SideStatus {
    /// What it prints itself as.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// Why it is not level; empty if it is.
    pub trouble: String,
    /// Blobs that it lacks, as far as that is known.
    pub behind_blobs: Option<u64>,
    /// Their plain bytes.
    pub behind_bytes: Option<u64>,
    /// Blobs put there again because its copy was lost or damaged.
    pub healed_blobs: u64,
    /// Blobs copied there because it was behind.
    pub copied_blobs: u64,
    /// Bytes of the bundles that hold them.
    pub copied_bytes: u64,
}

impl Standing {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Behind => "behind",
            Self::Away => "away",
        }
    }
}

impl Inner {
    pub(super) async fn status(&self) -> MirrorStatus {
        let mut whole: Option<StoreStats> = None;
        if let Some((_, store, true)) = self.readable().first() {
            whole = stats_in_time(store).await;
        }
        let mut sides = Vec::new();
        for side in &self.sides {
            let (standing, store) = side.now();
            let own = match (standing, store) {
                (Standing::Behind, Some(store)) => stats_in_time(&store).await,
                _ => None,
            };
            let lacks = |of: fn(&StoreStats) -> u64| match standing {
                Standing::Level => Some(0),
                _ => Some(of(&whole?).saturating_sub(of(&own?))),
            };
            let (behind_blobs, behind_bytes) = (lacks(|it| it.blobs - it.bad_blobs), lacks(|it| it.blob_bytes));
            sides.push(SideStatus {
                name: side.to_string(),
                standing,
                trouble: side.trouble(),
                behind_blobs,
                behind_bytes,
                healed_blobs: side.healed_blobs.get(),
                copied_blobs: side.copied_blobs.get(),
                copied_bytes: side.copied_bytes.get(),
            });
        }
        MirrorStatus { name: self.to_string(), sides }
    }
}

async fn stats_in_time(store: &SharedStore) -> Option<StoreStats> {
    tokio::time::timeout(ASKED, store.stats()).await.ok()?.ok()
}
