//! What an application gives to a loop.

use crate::{Connections, Peer, TlsFailure};
use moorline_core::{Event, Outbox};
use std::io;
use std::time::{Duration, Instant};

/// Names one connection of one loop, and no other for the life of the loop.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The application. One handler per loop; its calls come from the loop's thread, so none of them may
/// block: what is slow belongs to another thread that sends back a message and
/// [wakes](crate::Handle::wake) the loop.
pub trait Handler {
    /// A connection was accepted from `peer`, and its TLS handshake is done if there is one. Connections that the application opens itself are not
    /// announced: [`Connections::connect`] has given their id already.
    fn opened(&mut self, now: Instant, id: ConnId, peer: Peer) {
        let _ = (now, id, peer);
    }

    /// Bytes of a connection were read, and their events come next. Whatever another thread had told this loop
    /// before its client sent them can be learned here first: what is taken in [`Handler::turn`] only may come
    /// too late for them. Called for every read, so it must cost nothing when there is nothing to learn.
    fn received(&mut self, now: Instant) {
        let _ = now;
    }

    /// The connection has an event. Answer into its outbox.
    fn event(&mut self, now: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox);

    /// A write has emptied the connection's outbox: the place to go on with what waits for a peer that
    /// reads slowly.
    fn flushed(&mut self, now: Instant, id: ConnId, outbox: &mut Outbox) {
        let _ = (now, id, outbox);
    }

    /// Once in every turn of the loop, after all events: the place to take messages of other threads
    /// and to send to other connections.
    fn turn(&mut self, now: Instant, connections: &mut Connections<'_>) {
        let _ = (now, connections);
    }

    /// A turn of the loop took this long: whatever became ready meanwhile has waited for so long at most.
    fn turned(&mut self, took: Duration) {
        let _ = took;
    }

    /// When [`Handler::turn`] must be called at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The loop was told to stop; it has closed its listener, but not the one for local connections. Say goodbye, and begin to end what is
    /// under way.
    fn stopping(&mut self, now: Instant, connections: &mut Connections<'_>) {
        let _ = (now, connections);
    }

    /// Whether a loop that stops may go now: whatever is still open then is closed with 1001 `going
    /// away`. Asked in every turn after [`Handler::stopping`].
    fn may_stop(&self) -> bool {
        true
    }

    /// A TLS handshake came to nothing. Of an accepted connection, with its `peer`, nothing else is told; of
    /// one that the application opens itself, [`Event::Closed`] follows.
    fn handshake_failed(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: Option<Peer>,
        failure: &TlsFailure,
    ) {
        let _ = (now, id, peer, failure);
    }

    /// A connection could not be accepted; the loop tries again after a pause.
    fn accept_failed(&mut self, error: &io::Error) {
        let _ = error;
    }
}
