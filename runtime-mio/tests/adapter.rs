//! The list of what every adapter promises, run against the one of mio.

mod adapters;
mod support;
