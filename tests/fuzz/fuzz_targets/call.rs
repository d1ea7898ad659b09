//! Commands as they come over the wire.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datadb_fuzz::bodies::call(bytes));
