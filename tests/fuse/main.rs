//! The time machine on real mounts: real servers, real programs, the kernel between them. Needs `/dev/fuse`, and to be root
//! where nothing helps others to mount; without it each test says so and passes.

#[path = "../support/mod.rs"]
mod support;

mod mounted;

mod names;
mod robust;
mod thrift;
mod times;
mod tree;
