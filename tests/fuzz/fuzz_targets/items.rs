//! Fuzzes the items of a btrfs tree.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::items(data));
