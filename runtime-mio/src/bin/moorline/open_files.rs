//! The limit on open files: one per connection.

use crate::config::Settings;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Those that are no connections of clients: listeners, the store, the log, links to agents.
const BESIDE: u64 = 64;

/// Raises the soft limit to the hard one, as servers with many sockets may, and says what it is now.
pub(crate) fn raise_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Where it is refused the old limit holds.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// How many a gateway needs that has as many connections as it may.
pub(crate) fn needed(settings: &Settings) -> u64 {
    settings.gateway.bounds.connections as u64 * u64::from(settings.loops) + BESIDE
}

/// Warns where fewer than that are allowed: sockets wait for each other then, and nobody says why.
pub(crate) fn warn_if_few(settings: &Settings) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let needed = needed(settings);
    if limit < needed {
        tracing::warn!(
            openFiles = limit,
            needed,
            "too few open files for limits.connections at all loops: allow more (LimitNOFILE={needed} in the \
             service, ulimit -n {needed} in a shell), or set limits.connections lower"
        );
    }
}
