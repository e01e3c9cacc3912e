//! See `moorline_fuzz::inflate`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::inflate(data));
