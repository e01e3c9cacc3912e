//! See `moorline_fuzz::compressed_bytes`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::compressed_bytes(data));
