//! Fuzzes a stream of `zfs send`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::stream(data));
