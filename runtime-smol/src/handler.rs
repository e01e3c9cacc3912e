//! What an application gives to a connection.

use moorline_core::{Event, Outbox};
use std::time::Instant;

/// The application's end of one connection. Its calls come from the connection's task, in order, and
/// must not block: what is slow belongs to another task, which answers through a
/// [`Sender`](crate::Sender).
///
/// A closure is a handler too; it needs its types written out:
///
/// ```
/// use moorline_core::{Event, Outbox};
/// # fn takes(_: impl moorline_smol::Handler) {}
/// takes(|event: Event<'_>, outbox: &mut Outbox| {
///     if let Event::Text(text) = event {
///         let _ = outbox.text(text);
///     }
/// });
/// ```
pub trait Handler {
    /// The connection has an event, which borrows from the read buffer. Answer into the outbox.
    fn event(&mut self, now: Instant, event: Event<'_>, outbox: &mut Outbox);

    /// Whether the handler has enough for now: while this is true nothing is read (but one byte when
    /// a deadline passes, which tells a peer that must wait from one that is gone), and the peer feels
    /// it. It is asked before every read, and again when the connection's task is woken, which
    /// [`Sender::wake`](crate::Sender::wake) does.
    fn is_full(&self) -> bool {
        false
    }
}

impl<F: FnMut(Event<'_>, &mut Outbox)> Handler for F {
    fn event(&mut self, _now: Instant, event: Event<'_>, outbox: &mut Outbox) {
        self(event, outbox);
    }
}
