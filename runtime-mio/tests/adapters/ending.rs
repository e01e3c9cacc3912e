//! How connections end: Closes of either side, half closes, resets, and a server that stops.

use super::under_test::{Role, UnderTest, echo_server, in_both_roles, is_refused};
use crate::support::Peer;
use crate::support::{Runtime as _, Server as _, Subject, echo};
use moorline_core::{CloseCode, Event, Limits};
use std::io::Write as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

#[test]
fn a_close_of_the_peer_comes_back_with_its_code_and_ends_the_transport() {
    for (code, reason) in
        [(1000, ""), (1001, "tab closed"), (1008, "no"), (1012, ""), (3000, "späte"), (4999, "x")]
    {
        in_both_roles(&Limits::default(), |it| {
            let code_bytes: [u8; 2] = u16::to_be_bytes(code);
            it.peer.send(8, &[&code_bytes, reason.as_bytes()].concat());
            assert_eq!(it.peer.read_close().0, code);
            it.ends_cleanly();
            let told = match reason {
                "" => format!("the peer closed with {code}"),
                reason => format!("the peer closed with {code}: {reason}"),
            };
            assert_eq!(it.ended(), ("peer", CloseCode(code), told));
        });
    }
}

#[test]
fn a_close_without_a_code_comes_back_without_one() {
    in_both_roles(&Limits::default(), |it| {
        it.peer.send(8, b"");
        assert_eq!(it.peer.read_frame(), (0x88, Vec::new()));
        it.ends_cleanly();
        assert_eq!(it.ended().1, CloseCode::NO_STATUS);
    });
}

#[test]
fn a_close_of_the_application_leaves_behind_what_was_sent_and_waits_for_its_answer() {
    for role in [Role::Server, Role::Client] {
        let mut it = UnderTest::upgraded(role, &Limits::default(), |event, outbox| {
            echo(event, outbox);
            if let Event::Text("close") = event {
                outbox.close(CloseCode(4001), "as you wish");
            }
        });
        it.peer.send(1, b"close");
        assert_eq!(it.peer.read_message(), b"close");
        assert_eq!(it.peer.read_close(), (4001, "as you wish".into()));
        it.peer.send(8, &4001_u16.to_be_bytes());
        it.ends_cleanly();
        let (name, code, _) = it.ended();
        assert_eq!((name, code), ("local", CloseCode(4001)));
    }
}

#[test]
fn a_violation_closes_with_its_code() {
    for (name, first, payload, code) in [
        ("a reserved opcode", 0x83, &b""[..], 1002),
        ("reserved bits", 0xC1, b"a", 1002),
        ("a lonely continuation", 0x80, b"a", 1002),
        ("bad text", 0x81, b"\xff", 1007),
        ("a close code that may not be sent", 0x88, &[0x03, 0xEE], 1002),
    ] {
        in_both_roles(&Limits::default(), |it| {
            println!("{name}");
            let frame = it.peer.frame(first, payload);
            it.peer.send_raw(&frame);
            it.fails(code, "protocol");
        });
    }
}

#[test]
fn frames_of_the_wrong_masking_close_with_1002() {
    in_both_roles(&Limits::default(), |it| {
        let own = it.peer.key;
        it.peer.key = if own.is_some() { None } else { Some([1, 2, 3, 4]) };
        let wrong = it.peer.frame(0x81, b"hello");
        it.peer.key = own;
        it.peer.send_raw(&wrong);
        it.fails(1002, "protocol");
    });
}

#[test]
fn a_close_frame_survives_bytes_that_are_never_read_as_messages() {
    in_both_roles(&Limits::default(), |it| {
        // A protocol error with a megabyte behind it: a plain close() would reset the connection and
        // destroy the Close frame on its way.
        let mut bytes = it.peer.frame(0x83, b"");
        bytes.resize(1 << 20, 0);
        let mut writing = it.peer.stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let _ = writing.write_all(&bytes);
            let _ = writing.shutdown(Shutdown::Write);
        });
        assert_eq!(it.peer.read_close().0, 1002);
        assert_eq!(it.peer.read_rest(), b"");
        writer.join().unwrap();
    });
}

#[test]
fn a_half_close_without_a_close_frame_ends_the_connection() {
    in_both_roles(&Limits::default(), |it| {
        it.peer.send(1, b"before");
        assert_eq!(it.peer.read_message(), b"before");
        it.peer.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(it.peer.read_rest(), b"", "the other half ends too");
        assert_eq!(it.ended().0, "eof");
    });
}

#[test]
fn a_half_close_inside_a_frame_is_no_message() {
    in_both_roles(&Limits::default(), |it| {
        let frame = it.peer.frame(0x81, b"cut off");
        it.peer.send_raw(&frame[..frame.len() - 1]);
        it.peer.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(it.peer.read_rest(), b"");
        assert_eq!(it.ended().0, "eof");
    });
}

#[test]
fn a_reset_is_told_once_in_every_phase() {
    // Idle, inside a frame, and with an answer under way that can no longer be written.
    for sent in [0, 5, usize::MAX] {
        in_both_roles(&super::under_test::roomy(), |it| {
            let frame = it.peer.frame(0x82, &vec![7; 1 << 20]);
            it.peer.send_raw(&frame[..sent.min(frame.len())]);
            it.reset();
            assert_eq!(it.ended().0, Subject::CUT);
        });
    }
}

#[test]
fn a_reset_leaves_other_connections_alone() {
    let server = echo_server(Limits::default());
    let mut other = Peer::connect(server.address());
    for _ in 0..50 {
        Peer::connect(server.address()).reset();
        other.send(1, b"still here");
        assert_eq!(other.read_message(), b"still here");
    }
}

#[test]
fn stopping_closes_every_connection_with_1001_and_ends_the_server() {
    let mut server = echo_server(Limits::default());
    let address = server.address();
    let peers: Vec<_> = (0..8).map(|_| Peer::connect(address)).collect();
    let mut silent = Peer::tcp(address);
    let began = Instant::now();
    let stopping = std::thread::spawn(move || server.stop());
    for mut peer in peers {
        assert_eq!(peer.read_close(), (1001, "going away".into()));
        peer.send(8, &1001_u16.to_be_bytes());
        assert_eq!(peer.read_rest(), b"");
    }
    // It was accepted or it still waited for that: neither holds the server up.
    let answer = silent.read_rest_of_any_kind();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 503 "));
    drop(silent);
    stopping.join().unwrap();
    assert!(began.elapsed() < Limits::default().close_within, "nothing waited for a deadline");
    assert!(is_refused(address), "nobody listens any more");
}

#[test]
fn a_peer_that_ignores_the_stop_is_dropped_at_the_close_deadline() {
    let limits = Limits { close_within: Duration::from_millis(50), ..Limits::default() };
    let mut server = echo_server(limits);
    let mut deaf = Peer::connect(server.address());
    server.stop();
    assert_eq!(deaf.read_close(), (1001, "going away".into()));
    assert_eq!(deaf.read_rest_of_any_kind(), b"");
}
