//! See `moorline_fuzz::server_bytes`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::server_bytes(data));
