//! A slow reader of a large answer, served by smol.
#![cfg(target_os = "linux")]

#[path = "../../runtime-mio/tests/adapters/slow_reader.rs"]
mod slow_reader;
mod support;
