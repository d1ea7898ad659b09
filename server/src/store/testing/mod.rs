//! What stores are tested with: the suite that every one of them passes, disks and stores that fail as told, and one that
//! keeps everything in memory.

pub mod conformance;
pub mod faulty;
pub mod hanging;
pub mod memory;
pub mod power_cut;
