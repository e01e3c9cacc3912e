//! A slow reader of a large answer, served by mio through TLS.
#![cfg(target_os = "linux")]

#[path = "adapters/slow_reader.rs"]
mod slow_reader;
#[path = "tls/support.rs"]
mod support;
