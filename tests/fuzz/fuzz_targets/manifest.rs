//! Fuzzes the parts of a manifest.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::manifest(data));
