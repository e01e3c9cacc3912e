//! What the tests share: a virtual clock, a peer that speaks in bytes, and a pair of connections.
#![allow(dead_code, clippy::disallowed_methods)]

use moorline_core::*;
use std::sync::Arc;
use std::time::Instant;

/// A request that every server accepts, with the example key of RFC 6455.
pub const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The start of virtual time.
pub fn epoch() -> Instant {
    Instant::now()
}

/// Takes everything the outbox would write.
pub fn drain_output(connection: &mut Connection, now: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    while !connection.outbox(now).is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let outbox = connection.outbox(now);
        let filled = outbox.slices(&mut slices);
        let before = all.len();
        for slice in &slices[..filled] {
            all.extend_from_slice(slice);
        }
        connection.outbox(now).written(now, all.len() - before);
    }
    all
}

/// A server connection that has accepted [`REQUEST`]; its 101 answer is gone.
pub fn open_server(limits: Limits, now: Instant) -> Connection {
    let mut server = Connection::server(Arc::new(limits), now);
    let mut request = REQUEST.to_vec();
    let mut turn = server.receive(now, &mut request);
    while let Some((event, outbox)) = turn.next_event() {
        if let Event::Request(_) = event {
            outbox.accept(&Accept::default()).expect("an upgrade");
        }
    }
    drain_output(&mut server, now);
    server
}
