//! Fuzzes frames and the seek table.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::frames(data));
