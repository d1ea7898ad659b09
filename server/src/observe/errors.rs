//! What failed, by kind.

use std::fmt::Display;

use datadb::{Kind, wire::KINDS};

use super::Counter;

/// Errors by what is to be done about them.
#[derive(Debug, Default)]
pub struct Errors([Counter; KINDS.len()]);

impl Errors {
    /// Counts one.
    pub fn count(&self, kind: Kind) {
        if let Some(at) = KINDS.iter().position(|(known, ..)| *known == kind) {
            self.0[at].add(1);
        }
    }

    /// Counts one, and logs it within the span of its call: loudly where a person should look at it.
    pub fn report(&self, kind: Kind, error: &dyn Display) {
        self.count(kind);
        match kind {
            Kind::Damaged | Kind::Full | Kind::Internal => tracing::error!(?kind, "{error}"),
            _ => tracing::debug!(?kind, "refused: {error}"),
        }
    }

    /// How many of each kind, by its word.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        KINDS.iter().zip(&self.0).map(|((.., word), counter)| (*word, counter.get()))
    }
}
