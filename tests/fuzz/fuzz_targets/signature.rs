//! Fuzzes signatures, lists of signers and proofs.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| state_fuzz::signature(data));
