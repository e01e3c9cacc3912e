//! See `moorline_fuzz::completion_request`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::completion_request(data));
