//! Many connections, and some that are slow: nobody waits for anybody else.

use super::under_test::{echo_server, pattern, roomy};
use crate::support::{Peer, request};
use crate::support::{Runtime as _, Server as _, Setup, Subject, echo};
use moorline_core::Limits;
use std::io::Write as _;

#[test]
fn a_hundred_connections_get_their_own_messages_at_the_same_time() {
    let server = echo_server(Limits::default());
    let address = server.address();
    std::thread::scope(|scope| {
        for client in 0..100 {
            scope.spawn(move || {
                let mut peer = Peer::connect(address);
                for round in 0..20 {
                    let text = format!("client {client} round {round} ").repeat(1 + client);
                    peer.send(1, text.as_bytes());
                    assert!(peer.read_message() == text.as_bytes());
                }
            });
        }
    });
}

#[test]
fn more_connections_at_once_than_one_turn_accepts_are_all_served() {
    let server = echo_server(Limits::default());
    // All of them wait to be accepted when the first one speaks, or come while it does.
    let mut peers: Vec<_> = (0..300).map(|_| Peer::tcp(server.address())).collect();
    for peer in &mut peers {
        peer.send_raw(&request(""));
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        assert!(peer.read_head().starts_with("HTTP/1.1 101 "));
        peer.send(1, number.to_string().as_bytes());
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        assert_eq!(peer.read_message(), number.to_string().as_bytes());
    }
}

#[test]
fn connections_over_the_bound_wait_until_there_is_room() {
    let setup = Setup { max_connections: 2, ..Limits::default().into() };
    let server = Subject::serve(setup, || Box::new(echo));
    let mut first = Peer::connect(server.address());
    let second = Peer::connect(server.address());
    let third = std::thread::spawn({
        let address = server.address();
        move || Peer::connect(address)
    });
    first.send(1, b"still served");
    assert_eq!(first.read_message(), b"still served");
    drop(second);
    let mut third = third.join().unwrap();
    third.send(1, b"in");
    assert_eq!(third.read_message(), b"in");
}

#[test]
fn a_slow_reader_of_a_large_message_gets_every_byte_and_delays_nobody() {
    let server = echo_server(roomy());
    let mut slow = Peer::connect(server.address());
    let mut quick = Peer::connect(server.address());
    let large = pattern(8 << 20);
    let frame = slow.frame(0x82, &large);
    // The writer blocks once the server stops reading, so it has its own thread.
    let mut writing = slow.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for _ in 0..3 {
            writing.write_all(&frame).unwrap();
        }
    });
    for round in 0..100 {
        let text = format!("round {round}");
        quick.send(1, text.as_bytes());
        assert_eq!(quick.read_message(), text.as_bytes());
    }
    for _ in 0..3 {
        assert!(slow.read_message() == large, "every byte, in order");
    }
    writer.join().unwrap();
}
