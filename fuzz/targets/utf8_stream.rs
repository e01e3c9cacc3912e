//! See `moorline_fuzz::utf8_stream`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::utf8_stream(data));
