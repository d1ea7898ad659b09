//! What commands have changed, as the log says it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datadb_fuzz::bodies::effect(bytes));
