//! A loop without a listener: for programs that only connect.

use crate::event_loop::{EventLoop, Handle};
use crate::handler::Handler;
use moorline_core::Limits;
use std::io;
use std::sync::Arc;

/// Runs client connections on the calling thread. The handler opens them with
/// [`Connections::connect`](crate::Connections::connect) from its [`Handler::turn`], which is called
/// once at the start: call [`Handle::wake`] for more.
#[derive(Debug)]
pub struct Client {
    event_loop: EventLoop,
}

impl Client {
    /// A loop without connections.
    ///
    /// # Errors
    /// What the system says of making a poll.
    pub fn new() -> io::Result<Self> {
        let event_loop = EventLoop::new(None, Arc::new(Limits::default()), None, usize::MAX)?;
        event_loop.handle().wake();
        Ok(Self { event_loop })
    }

    /// Reaches the loop from other threads, and stops it.
    pub fn handle(&self) -> Handle {
        self.event_loop.handle()
    }

    /// Runs until the loop is stopped.
    ///
    /// # Errors
    /// What the system says of polling.
    pub fn run(self, handler: &mut impl Handler) -> io::Result<()> {
        self.event_loop.run(handler)
    }
}
