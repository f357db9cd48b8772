//! Fuzzes `state.toml`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::config(data));
