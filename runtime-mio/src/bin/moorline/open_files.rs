//! The limit on open files: one per connection.

use rustix::process::{Resource, getrlimit, setrlimit};

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
