//! See `moorline_fuzz::upgrade_request`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::upgrade_request(data));
