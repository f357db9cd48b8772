//! Fuzzes the headers of a member.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::member(data));
