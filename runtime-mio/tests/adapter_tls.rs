//! The list of what every adapter promises, run against the one of mio once more, by TLS.

mod adapters;
#[path = "tls/support.rs"]
mod support;
