//! What an idle TLS connection costs its loop, counted by the allocator.

#[path = "../../core/tests/support/counting.rs"]
#[allow(dead_code)]
mod counting;
#[path = "tls/peer.rs"]
mod peer;
#[path = "tls/support.rs"]
mod support;

use moorline_core::{Accept, Event, Limits, Outbox};
use moorline_mio::rustls::{self, SupportedProtocolVersion};
use moorline_mio::{ConnId, Handler, ServerOptions, TlsOptions};
use peer::TlsPeer;
use std::sync::Arc;
use std::time::Instant;
use support::Running;
use support::certificates::Authority;

/// Says what its thread holds when it is asked, and echoes everything else.
struct Holding;

impl Handler for Holding {
    fn event(&mut self, _now: Instant, _id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        match event {
            Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
            Event::Text("held?") => {
                outbox.text(&counting::HELD.get().to_string()).unwrap();
            }
            Event::Text(text) => outbox.text(text).unwrap(),
            _ => {}
        }
    }
}

/// Heap bytes of the loop for each connection: its place in the loop's tables, and the session, which
/// is nearly all of it: keys, and the tables of their ciphers. One record's buffer alone would be 16 KiB.
const CEILING: isize = 5 * 1024;

#[test]
fn an_idle_tls_connection_holds_its_session_and_no_buffer() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let each = held_by_each(version);
        println!("{each} bytes for each idle connection of {:?}", version.version);
        assert!(each < CEILING, "{each} bytes each");
    }
}

fn held_by_each(version: &'static SupportedProtocolVersion) -> isize {
    const CONNECTIONS: usize = 400;
    let authority = Authority::new();
    let tls = TlsOptions::new(Arc::new(authority.issue().server()));
    let options =
        ServerOptions { tls: Some(tls), limits: Limits::default(), ..ServerOptions::default() };
    let server = Running::start(options, || Holding);
    let config = Arc::new(authority.client_of(&[version]));
    let connect = || {
        let mut peer = TlsPeer::connect(server.address, &config);
        // Each has had a message of several records: what that needed is given back.
        let text = "x".repeat(50_000);
        peer.send(1, text.as_bytes());
        assert!(peer.read_message() == text.as_bytes());
        peer
    };
    let mut asking = connect();
    let mut held = || -> isize {
        asking.send(1, b"held?");
        String::from_utf8(asking.read_message()).unwrap().parse().unwrap()
    };
    // The first connections pay for what all share.
    let _warm: Vec<_> = (0..50).map(|_| connect()).collect();
    let before = held();
    let _idle: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    (held() - before) / CONNECTIONS as isize
}
