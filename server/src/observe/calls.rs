//! Calls over gRPC, by method.

use std::time::Duration;

use datadb::wire::METHODS;

use super::histogram::{Durations, Histogram};

/// What has been counted of each method. A stream takes until it ends.
#[derive(Debug)]
pub struct Calls {
    /// As `METHODS`, and all others behind it.
    methods: Vec<Histogram>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { methods: std::iter::repeat_with(Histogram::default).take(METHODS.len() + 1).collect() }
    }
}

/// Which of the methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(usize);

impl Method {
    /// The method of a path such as `/datadb.v1.Upload/Commit`; unknown ones are all the same one, so that nobody makes
    /// up many.
    pub fn of(path: &str) -> Self {
        let known = |name: &str| METHODS.binary_search(&name).ok();
        Self(path.strip_prefix('/').and_then(known).unwrap_or(METHODS.len()))
    }

    /// Its name, without the slash in front.
    pub fn name(self) -> &'static str {
        METHODS.get(self.0).copied().unwrap_or("other")
    }
}

impl Calls {
    /// Counts a call that took so long.
    pub fn count(&self, method: Method, took: Duration) {
        self.methods[method.0].add(took);
    }

    /// How long each took, of those that were called.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, Durations)> + '_ {
        let all = self.methods.iter().enumerate().map(|(at, took)| (Method(at).name(), took.read()));
        all.filter(|(_, durations)| durations.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_and_nobody_makes_up_others() {
        assert!(METHODS.is_sorted() && METHODS.len() > 20, "{METHODS:?}");
        for name in METHODS {
            assert_eq!(Method::of(&format!("/{name}")).name(), *name);
        }
        for path in ["/datadb.v1.Upload/Nothing", "datadb.v1.Upload/Commit", "/", "", "/grpc.health.v1.Health/Check"] {
            assert_eq!(Method::of(path).name(), "other", "{path}");
        }
    }
}
