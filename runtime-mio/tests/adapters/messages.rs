//! Messages: sizes, cuts, fragments, limits, and Pings among them.

use super::under_test::{Role, UnderTest, in_both_roles, pattern, roomy};
use crate::support::echo;
use moorline_core::Limits;
use std::io::Write as _;

#[test]
fn messages_of_every_size_come_back() {
    in_both_roles(&roomy(), |it| {
        for len in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
            let data = pattern(len);
            it.peer.send(2, &data);
            assert!(it.peer.read_message() == data, "{len} bytes");
            let text = "zß水🍌".repeat(len / 10);
            it.peer.send(1, text.as_bytes());
            assert!(it.peer.read_message() == text.as_bytes(), "{} bytes of text", text.len());
        }
    });
}

#[test]
fn a_large_message_comes_back_byte_for_byte() {
    in_both_roles(&roomy(), |it| {
        let data = pattern(16 << 20);
        let frame = it.peer.frame(0x82, &data);
        // The writer blocks when the other end stops reading, so it has its own thread.
        let mut writing = it.peer.stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || writing.write_all(&frame).unwrap());
        assert!(it.peer.read_message() == data);
        writer.join().unwrap();
    });
}

#[test]
fn fragments_are_one_message_and_a_ping_between_them_is_answered_first() {
    in_both_roles(&Limits::default(), |it| {
        let frames = [
            it.peer.frame(0x01, "Grü".as_bytes()),
            it.peer.frame(0x89, b"between"),
            // Cut inside a code point.
            it.peer.frame(0x00, &"ße".as_bytes()[..1]),
            it.peer.frame(0x80, &"ße".as_bytes()[1..]),
        ];
        for frame in &frames {
            it.peer.send_raw(frame);
        }
        assert_eq!(it.peer.read_frame(), (0x8A, b"between".to_vec()));
        assert_eq!(it.peer.read_frame(), (0x81, "Grüße".into()));
    });
}

#[test]
fn frames_of_one_write_are_answered_in_order() {
    in_both_roles(&Limits::default(), |it| {
        let texts: Vec<_> = (0..1000).map(|number| format!("message {number}")).collect();
        let batch: Vec<u8> =
            texts.iter().flat_map(|text| it.peer.frame(0x81, text.as_bytes())).collect();
        it.peer.send_raw(&batch);
        for text in &texts {
            assert_eq!(it.peer.read_message(), text.as_bytes());
        }
    });
}

#[test]
fn bytes_may_come_one_by_one() {
    in_both_roles(&Limits::default(), |it| {
        let frames = [it.peer.frame(0x81, "Grüße".as_bytes()), it.peer.frame(0x82, &[7; 200])];
        for byte in frames.concat() {
            it.peer.send_raw(&[byte]);
        }
        assert_eq!(it.peer.read_frame(), (0x81, "Grüße".into()));
        assert_eq!(it.peer.read_frame(), (0x82, vec![7; 200]));
    });
}

#[test]
fn the_message_limit_passes_at_its_value_and_closes_one_byte_above() {
    let limits = Limits { message: 1000, ..Limits::default() };
    in_both_roles(&limits, |it| {
        for len in [999, 1000] {
            it.peer.send(2, &pattern(len));
            assert_eq!(it.peer.read_message(), pattern(len));
        }
        it.peer.send(2, &pattern(1001));
        it.fails(1009, "limit");
    });
}

#[test]
fn a_ping_is_answered_while_a_large_message_is_being_sent() {
    // It must be read although the peer takes nothing.
    let limits = Limits { outbox_pause: u32::MAX, ..roomy() };
    for role in [Role::Server, Role::Client] {
        let mut it = UnderTest::upgraded(role, &limits, |event, outbox| {
            echo(event, outbox);
            if let moorline_core::Event::Text(_) = event {
                outbox.binary(&pattern(LARGE)).unwrap();
            }
        });
        it.peer.send(1, b"go");
        assert_eq!(it.peer.read_frame(), (0x81, b"go".to_vec()));
        let (first, mut message) = it.peer.read_frame();
        assert_eq!(first, 0x02, "a large message leaves in fragments");
        it.peer.send(9, b"still there?");
        let mut pong_after = None;
        loop {
            let (first, payload) = it.peer.read_frame();
            if first == 0x8A {
                assert_eq!(payload, b"still there?");
                pong_after = Some(message.len());
                continue;
            }
            message.extend_from_slice(&payload);
            if first == 0x80 {
                break;
            }
        }
        assert!(message == pattern(LARGE), "every byte");
        assert!(pong_after.is_some_and(|bytes| bytes < LARGE), "{pong_after:?}");
    }
}

#[test]
fn a_client_masks_every_frame_with_a_key_of_its_own() {
    const FRAMES: usize = 10_000;
    let mut it = UnderTest::upgraded(Role::Client, &Limits::default(), echo);
    let mut keys = Vec::new();
    for _ in 0..FRAMES / 100 {
        let batch = it.peer.frame(0x82, b"").repeat(100);
        it.peer.send_raw(&batch);
        for _ in 0..100 {
            let (_, len, key) = it.peer.read_frame_header();
            assert_eq!(len, 0);
            keys.push(u32::from_be_bytes(key.unwrap()));
        }
    }
    for bit in 0..32 {
        let ones = keys.iter().filter(|key| *key >> bit & 1 == 1).count();
        // Six standard deviations of random bits.
        assert!(ones.abs_diff(FRAMES / 2) < 300, "bit {bit} is one in {ones} of {FRAMES} keys");
    }
    keys.sort_unstable();
    let repeated = keys.windows(2).filter(|pair| pair[0] == pair[1]).count();
    // One pair is expected in about a hundred runs, three in a million.
    assert!(repeated < 3, "{repeated} keys came again");
}

/// More than the kernel takes for a connection whose peer does not read.
const LARGE: usize = 40 << 20;
