//! Records of the log.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datadb_fuzz::bodies::record(bytes));
