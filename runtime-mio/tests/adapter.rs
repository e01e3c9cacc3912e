//! The list of what every adapter promises, run against the one of mio.

#[path = "../../tests/adapters/mod.rs"]
mod adapters;
mod support;
