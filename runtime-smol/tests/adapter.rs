//! The list of what every adapter promises, run against the one of smol.

#[path = "../../runtime-mio/tests/adapters/mod.rs"]
mod adapters;
mod support;
