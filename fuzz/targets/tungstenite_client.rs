//! See `moorline_fuzz::tungstenite_client`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::tungstenite_client(data));
