//! Fuzzes the kernel command line and other short texts.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::cmdline(data));
