//! A slow reader of a large answer, served by mio.
#![cfg(target_os = "linux")]

#[path = "adapters/slow_reader.rs"]
mod slow_reader;
mod support;
