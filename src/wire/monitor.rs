//! What a monitor shows.

use super::database::{all, to_words};
use crate::{api, command::Seen};

impl From<&Seen> for api::Seen {
    fn from(seen: &Seen) -> Self {
        Self {
            lost: seen.lost,
            seconds: seen.seconds,
            micros: seen.micros,
            database: seen.database.clone(),
            client: seen.client.clone(),
            name: seen.name.clone(),
            arguments: to_words(&seen.arguments),
        }
    }
}

impl From<api::Seen> for Seen {
    fn from(seen: api::Seen) -> Self {
        Self {
            lost: seen.lost,
            seconds: seen.seconds,
            micros: seen.micros,
            database: seen.database,
            client: seen.client,
            name: seen.name,
            arguments: all(seen.arguments),
        }
    }
}
