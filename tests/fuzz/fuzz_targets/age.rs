//! Fuzzes encrypted objects and files of identities.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::age(data));
