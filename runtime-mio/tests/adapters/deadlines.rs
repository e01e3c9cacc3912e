//! Deadlines, kept by a real clock: the shortest that tell anything.

use super::under_test::{Role, UnderTest, in_both_roles, roomy};
use crate::support::echo;
use moorline_core::{Event, Limits, Outbox};
use std::net::Shutdown;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_peer_that_never_finishes_the_handshake_is_left_at_the_deadline() {
    let limits = Limits { handshake_within: SHORT, ..Limits::default() };
    let mut silent = UnderTest::new(Role::Server, &limits, |_: Event<'_>, _: &mut Outbox| {});
    assert!(silent.peer.read_head().starts_with("HTTP/1.1 408 "));
    assert_eq!(silent.ended().0, "handshake-timeout");

    let mut client = UnderTest::new(Role::Client, &limits, |_: Event<'_>, _: &mut Outbox| {});
    client.peer.read_head();
    assert_eq!(client.ended().0, "handshake-timeout");
    assert_eq!(client.peer.read_rest(), b"");
}

#[test]
fn pings_are_sent_again_and_again_and_a_silent_peer_is_closed() {
    let limits = Limits {
        ping_every: Duration::from_millis(20),
        pong_within: Duration::from_secs(1),
        ..Limits::default()
    };
    in_both_roles(&limits, |it| {
        for _ in 0..5 {
            assert_eq!(it.peer.read_frame(), (0x89, Vec::new()));
            it.peer.send(10, b"");
        }
        assert_eq!(it.peer.read_frame(), (0x89, Vec::new()));
        assert_eq!(it.peer.read_close(), (1008, "keepalive timeout".into()));
        let _ = it.peer.stream.shutdown(Shutdown::Write);
        assert_eq!(it.ended().0, "keepalive-timeout");
    });
}

#[test]
fn a_message_that_does_not_end_in_time_is_closed() {
    let limits = Limits { message_within: SHORT, ..Limits::default() };
    in_both_roles(&limits, |it| {
        let first = it.peer.frame(0x01, b"begun");
        it.peer.send_raw(&first);
        it.fails(1008, "message-timeout");
    });
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let limits = Limits { drain_within: SHORT, ..roomy() };
    for role in [Role::Server, Role::Client] {
        let mut it = UnderTest::upgraded(role, &limits, |event, outbox| {
            echo(event, outbox);
            if let Event::Text(_) = event {
                outbox.binary(&vec![7; 40 << 20]).unwrap();
            }
        });
        it.peer.send(1, b"go");
        assert_eq!(it.ended().0, "slow-reader");
    }
}

#[test]
fn a_close_that_nobody_answers_ends_at_the_deadline() {
    let limits = Limits { close_within: SHORT, ..Limits::default() };
    for role in [Role::Server, Role::Client] {
        let mut it = UnderTest::upgraded(role, &limits, |event, outbox| {
            echo(event, outbox);
            if let Event::Text(_) = event {
                outbox.close(moorline_core::CloseCode::NORMAL, "");
            }
        });
        it.peer.send(1, b"close");
        assert_eq!(it.peer.read_message(), b"close");
        assert_eq!(it.peer.read_close().0, 1000);
        assert_eq!(it.peer.read_rest_of_any_kind(), b"");
        assert_eq!(it.ended().0, "local");
    }
}
