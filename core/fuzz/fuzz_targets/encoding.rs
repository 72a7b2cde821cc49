//! See `omen_core::fuzz::encoding`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| omen_core::fuzz::encoding(input));
