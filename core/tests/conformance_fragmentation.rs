//! What the field's conformance suite asks of fragments.

mod support;
use moorline_core::*;
use support::suite::*;
use support::*;

const T: u8 = 0x01;
const T_FIN: u8 = 0x81;
const C: u8 = 0x00;
const C_FIN: u8 = 0x80;
const PING: u8 = 0x89;

const F1: &[u8] = b"fragment1";
const F2: &[u8] = b"fragment2";
const F3: &[u8] = b"fragment3";
const F4: &[u8] = b"fragment4";
const HELLO: &[u8] = b"Hello, world!";
const LONE: &[u8] = b"non-continuation payload";

#[test]
fn control_frames_are_never_fragmented() {
    for (name, first) in [("5.1", 0x09), ("5.2", 0x0A), ("a close", 0x08)] {
        run(&case(name, &[(first, F1), (C_FIN, F2)], &[], Ending::Fails(1002)));
    }
}

#[test]
fn fragments_become_one_message_with_pings_between_answered_first() {
    let joined = Wire::text("fragment1fragment2");
    run(&case("5.3", &[(T, F1), (C_FIN, F2)], std::slice::from_ref(&joined), Ending::Clean));
    let ping = b"ping payload";
    let sends = [(T, F1), (PING, &ping[..]), (C_FIN, F2)];
    run(&case("5.6", &sends, &[Wire::pong(ping), joined], Ending::Clean));
}

#[test]
fn a_continuation_without_a_message_fails() {
    let fails = Ending::Fails(1002);
    for first in [C_FIN, C] {
        run(&case("5.9, 5.12", &[(first, LONE), (T_FIN, HELLO)], &[], fails.clone()));
        let twice = [(first, F1), (T, F2), (C_FIN, F3), (first, F1), (T, F2), (C_FIN, F3)];
        run(&case("5.16, 5.17", &twice, &[], fails.clone()));
        let after = [(T, F1), (C_FIN, F2), (first, F3), (T_FIN, F4)];
        run(&case("5.15", &after, &[Wire::text("fragment1fragment2")], fails.clone()));
    }
}

#[test]
fn a_message_inside_a_message_fails() {
    for second in [T_FIN, T, 0x82, 0x02] {
        run(&case("5.18", &[(T, F1), (second, F2)], &[], Ending::Fails(1002)));
    }
}

#[test]
fn a_pause_between_fragments_changes_nothing() {
    for role in ROLES {
        let mut subject = Subject::open(role, suite_limits());
        for (first, payload) in [(T, F1), (C, F2), (PING, b"pongme 1!")] {
            subject.hears(first, payload);
        }
        assert_eq!(subject.frames(), [Wire::pong("pongme 1!")]);
        subject.advance(SECOND);
        subject.wake();
        for (first, payload) in [(C, F3), (C, F4), (PING, b"pongme 2!"), (C_FIN, b"fragment5")] {
            subject.hears(first, payload);
        }
        let joined = Wire::text("fragment1fragment2fragment3fragment4fragment5");
        assert_eq!(subject.frames(), [Wire::pong("pongme 2!"), joined]);
    }
}

#[test]
fn empty_fragments_become_an_empty_message() {
    run(&case("6.1.1", &[(T_FIN, b"")], &[Wire::text("")], Ending::Clean));
    run(&case("6.1.2", &[(T, b""), (C, b""), (C_FIN, b"")], &[Wire::text("")], Ending::Clean));
    let middle = b"middle frame payload";
    let sends = [(T, &b""[..]), (C, middle), (C_FIN, b"")];
    run(&case("6.1.3", &sends, &[Wire::text(middle)], Ending::Clean));
    run(&case("binary", &[(0x02, b""), (C_FIN, b"")], &[Wire::binary("")], Ending::Clean));
}

#[test]
fn automatic_fragments_of_1300_become_one_message() {
    let payload = vec![b'*'; 65_536];
    let pieces: Vec<_> = payload.chunks(1300).collect();
    let last = pieces.len() - 1;
    let sends: Vec<_> = pieces
        .iter()
        .enumerate()
        .map(|(at, piece)| {
            let first = if at == 0 { T } else { C };
            (if at == last { first | 0x80 } else { first }, *piece)
        })
        .collect();
    assert_eq!(sends.len(), 51);
    run(&case("10.1.1", &sends, &[Wire::text(&payload)], Ending::Clean));
}

#[test]
fn a_message_is_one_event_whatever_its_fragments() {
    let mut rng = Rng(11);
    for round in 0..200 {
        let mut text = "zß水🍌".repeat(rng.below(60));
        text.push('.');
        let bytes = text.as_bytes();
        let role = ROLES[round % 2];
        let mut subject = Subject::open(role, Limits::default());
        let pieces = Split::Random(round as u64).cut(bytes);
        let mut stream = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let first = if at == 0 { T } else { C };
            let fin = if at + 1 == pieces.len() { 0x80 } else { 0 };
            stream.extend(subject.peer(first | fin, piece));
            if rng.chance(5) && fin == 0 {
                stream.extend(subject.peer(0x8A, b"pong"));
                stream.extend(subject.peer(C, b""));
            }
        }
        subject.feed_split(&stream, Split::Random(rng.next()));
        subject.events.retain(|event| *event != Recorded::Pong(b"pong".to_vec()));
        assert_eq!(subject.events, [Recorded::Text(text)]);
    }
}
