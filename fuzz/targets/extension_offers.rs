//! See `moorline_fuzz::extension_offers`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::extension_offers(data));
