//! The one timer of a connection, armed lazily.

use smol::Timer;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// Received bytes move a connection's deadline later all the time. The timer is left alone then: it
/// fires early, which is harmless, and is armed anew for the deadline of that moment.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: Timer,
    armed: Option<Instant>,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { timer: Timer::never(), armed: None }
    }
}

impl Alarm {
    /// Whether the alarm went off. Else the task is woken at `wake_at` or before.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, wake_at: Option<Instant>) -> bool {
        if let Some(at) = wake_at
            && self.armed.is_none_or(|armed| at < armed)
        {
            self.timer.set_at(at);
            self.armed = Some(at);
        }
        if self.armed.is_none() {
            return false;
        }
        match Pin::new(&mut self.timer).poll(cx) {
            Poll::Ready(_) => {
                self.armed = None;
                true
            }
            Poll::Pending => false,
        }
    }
}
