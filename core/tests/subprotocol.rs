//! The subprotocol a client was given.

mod support;

use moorline_core::*;
use std::sync::Arc;
use support::*;

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// A client that offers `old` and `new`, and what a server makes of it that chooses this one.
fn chosen(choice: Option<&str>) -> Option<usize> {
    let (now, limits) = (epoch(), Arc::new(Limits::default()));
    let request = ClientRequest::new("localhost", "/").unwrap();
    let request = request.subprotocol("old").unwrap().subprotocol("new").unwrap();
    let mut client = Connection::client(request, Box::new(Zeros), limits.clone(), now);
    let mut server = Connection::server(limits, now);
    let mut bytes = drain_output(&mut client, now);
    let mut turn = server.receive(now, &mut bytes);
    while let Some((_, outbox)) = turn.next_event() {
        let _ = outbox.accept(&Accept { subprotocol: choice, headers: &[] });
    }
    let mut bytes = drain_output(&mut server, now);
    let mut turn = client.receive(now, &mut bytes);
    assert_eq!(turn.next_event().map(|(event, _)| event), Some(Event::Open));
    assert!(turn.next_event().is_none());
    client.subprotocol()
}

#[test]
fn a_client_knows_which_of_its_subprotocols_was_chosen() {
    assert_eq!(chosen(Some("new")), Some(1));
    assert_eq!(chosen(Some("old")), Some(0));
    assert_eq!(chosen(None), None);
}
