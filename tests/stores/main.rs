//! Stacks of stores with real programs: configs, sides that go and come back, and disasters.

#[path = "../support/mod.rs"]
mod support;

mod configs;
mod disasters;
mod sides;
mod site;
