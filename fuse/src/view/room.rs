//! How large everything is: what all backups come to, and what the repository takes.

use std::time::Duration;

use datadb_client::connection::Stats;
use tokio::{sync::Mutex, time::Instant};

use super::{View, trouble::Trouble};

/// So long a count is good.
const FRESH: Duration = Duration::from_secs(1);

/// Sizes in bytes, and a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The sizes of all backups added up.
    pub logical_bytes: u64,
    /// What the repository takes on disk.
    pub stored_bytes: u64,
    /// Backups.
    pub backups: u64,
}

impl From<Stats> for Room {
    fn from(stats: Stats) -> Self {
        Self { logical_bytes: stats.logical_bytes, stored_bytes: stats.stored_bytes, backups: stats.backups }
    }
}

/// The last count.
#[derive(Debug, Default)]
pub(super) struct RoomCache(Mutex<Option<(Instant, Room)>>);

impl View {
    /// How large everything is.
    pub async fn room(&self) -> Result<Room, Trouble> {
        let mut last = self.room.0.lock().await;
        if let Some((when, room)) = *last
            && when.elapsed() < FRESH
        {
            return Ok(room);
        }
        let room = Room::from(self.server.ask_once(|connection| async move { connection.stats().await }).await?);
        *last = Some((Instant::now(), room));
        Ok(room)
    }
}
