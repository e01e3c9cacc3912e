//! The start of virtual time: the one place where tests of this package ask a clock.

use std::time::Instant;

/// A start. Only differences of times mean anything.
#[allow(clippy::disallowed_methods)]
pub fn epoch() -> Instant {
    Instant::now()
}
