//! See `moorline_fuzz::extension_answers`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::extension_answers(data));
