//! The command line as people see it: the real output of every subcommand, every flag, every exit code; one file per
//! subcommand. What differs from run to run (ids, times taken, rates, the scratch directory) stands as a word in
//! brackets. `UPDATE_EXPECT=1 cargo test --test cli` writes the present output into the tests: read the difference.

#[path = "../support/mod.rs"]
mod support;

mod scene;

mod cat;
mod completions;
mod diff;
mod dump;
mod find;
mod globals;
mod history;
mod ls;
mod restore;
mod snapshot;
mod snapshot_select;
mod snapshots;
mod stats;
mod tour;
