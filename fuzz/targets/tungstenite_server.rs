//! See `moorline_fuzz::tungstenite_server`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_fuzz::tungstenite_server(data));
