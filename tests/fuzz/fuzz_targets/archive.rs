//! Fuzzes whole archives.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::archive(data));
