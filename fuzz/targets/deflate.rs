//! See `moorline_fuzz::deflate`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::deflate(data));
