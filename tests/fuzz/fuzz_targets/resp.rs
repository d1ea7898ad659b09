//! Commands as resp.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datadb_fuzz::bodies::resp(bytes));
