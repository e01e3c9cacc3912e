//! See `moorline_fuzz::client_bytes`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::client_bytes(data));
