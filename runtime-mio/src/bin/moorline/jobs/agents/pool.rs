//! Connections that wait for their next request. HTTP/1.1: one request at a time on each.

use super::openai::Body;
use hyper::client::conn::http1::SendRequest;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long one is kept. Less than endpoints and proxies keep theirs, or it would be used as it is closed.
pub(super) const KEPT: Duration = Duration::from_secs(20);

/// How many are. More than a gateway begins at once; each is a socket.
const MOST: usize = 64;

#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<(Instant, SendRequest<Body>)>>);

impl Pool {
    /// The one that was used last, if there is any that still works.
    pub(super) fn take(&self, now: Instant) -> Option<SendRequest<Body>> {
        let mut idle = self.idle();
        drop_old(&mut idle, now);
        idle.pop().map(|(_, sender)| sender)
    }

    /// Says whether somebody should [`expire`](Self::expire) it: nobody was there before.
    pub(super) fn keep(&self, now: Instant, sender: SendRequest<Body>) -> bool {
        let mut idle = self.idle();
        drop_old(&mut idle, now);
        if idle.len() >= MOST {
            return false;
        }
        idle.push((now, sender));
        idle.len() == 1
    }

    /// Closes those that were not used for long; says whether some are left.
    pub(super) fn expire(&self, now: Instant) -> bool {
        let mut idle = self.idle();
        drop_old(&mut idle, now);
        !idle.is_empty()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, SendRequest<Body>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_old(idle: &mut Vec<(Instant, SendRequest<Body>)>, now: Instant) {
    idle.retain(|(since, sender)| {
        now.saturating_duration_since(*since) < KEPT && !sender.is_closed()
    });
}
