//! permessage-deflate on a whole connection: what is agreed on, what passes, what is refused.
#![cfg(feature = "deflate")]

mod support;

use flate2::{Compress, Compression, FlushCompress};
use moorline_core::*;
use std::time::Duration;
use support::pair::Pair;
use support::wire::{frame, header, peer_key};
use support::*;

fn limits(deflate: Deflate) -> Limits {
    Limits { deflate: Some(deflate), ..Limits::default() }
}

fn compressing() -> Limits {
    limits(Deflate { threshold: 1, ..Deflate::default() })
}

/// A server that agreed to `permessage-deflate` with a client that speaks in bytes.
fn server(limits: Limits, offer: &str) -> Subject {
    let mut subject = Subject::server(limits, echo);
    let line = format!("Sec-WebSocket-Extensions: {offer}\r\n\r\n");
    let request = [&REQUEST[..REQUEST.len() - 2], line.as_bytes()].concat();
    subject.feed(&request);
    assert_eq!(subject.events.pop(), Some(Recorded::Open));
    let answer = String::from_utf8(subject.take_output()).unwrap();
    assert!(answer.contains("Sec-WebSocket-Extensions: permessage-deflate"), "{answer}");
    subject.events.clear();
    subject
}

/// What another implementation makes of a message: flate2 used directly.
fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(payload.len() + 1024);
    compress.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&TAIL));
    out.truncate(out.len() - TAIL.len());
    out
}

/// What a sender leaves out at the end of a message.
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, peer_key(Role::Server), payload)
}

fn words(count: usize) -> String {
    (0..count).map(|n| format!("word {} of many; ", n % 97)).collect()
}

#[test]
fn messages_pass_compressed_in_both_directions_and_any_settings() {
    for no_context_takeover in [false, true] {
        for window_bits in 9..=15 {
            let deflate =
                Deflate { no_context_takeover, window_bits, threshold: 100, ..Deflate::default() };
            let limits = limits(deflate);
            let mut pair = Pair::open(&limits, quiet, echo);
            for text in [words(1), words(10), words(5000), words(3), String::new(), words(5000)] {
                pair.client.outbox().text(&text).unwrap();
                let sent = pair.client.outbox().queued();
                assert!(
                    text.len() < 1000 || sent < text.len() / 3,
                    "{sent} bytes for {}",
                    text.len()
                );
                pair.settle();
                assert_eq!(pair.server.take_events(), [Recorded::Text(text.clone())]);
                assert_eq!(pair.client.take_events(), [Recorded::Text(text)]);
            }
        }
    }
}

#[test]
fn it_is_off_unless_both_want_it() {
    let mut pair = Pair::open(&Limits::default(), quiet, echo);
    pair.client.outbox().text(&words(1000)).unwrap();
    assert!(pair.client.outbox().queued() > words(1000).len());

    let mut plain = Subject::server(compressing(), echo);
    plain.feed(REQUEST);
    assert!(!String::from_utf8(plain.take_output()).unwrap().contains("Extensions"));
    plain.events.clear();
    plain.feed(&client_frame(0xC1, &deflated(b"Hello")));
    assert_eq!(close_code(&plain), 1002, "RSV1 without agreement");

    fn accept_plain(event: &Event<'_>, outbox: &mut Outbox) {
        if let Event::Request(_) = event {
            outbox.accept(&Accept { plain: true, ..Accept::default() }).unwrap();
        }
    }
    let mut declined = Pair::open(&compressing(), quiet, accept_plain);
    declined.client.outbox().text(&words(1000)).unwrap();
    assert!(declined.client.outbox().queued() > words(1000).len());
}

#[test]
fn the_threshold_decides_what_is_sent_plain() {
    let deflate = Deflate { threshold: 100, ..Deflate::default() };
    let mut subject = server(limits(deflate), "permessage-deflate");
    for (len, first) in [(99, 0x81), (100, 0xC1), (101, 0xC1)] {
        subject.outbox().text(&"a".repeat(len)).unwrap();
        subject.flush();
        assert_eq!(subject.take_output()[0], first, "{len} bytes");
    }
}

#[test]
fn shared_frames_are_compressed_once_and_every_context_stays_in_step() {
    let config = Deflate { threshold: 1, ..Deflate::default() };
    let frame = Frame::text_deflated(&words(200), &config);
    for no_context_takeover in [false, true] {
        let config = Deflate { no_context_takeover, ..config.clone() };
        let mut pair = Pair::open(&limits(config), quiet, quiet);
        for round in 0..5 {
            let own = format!("{} {round}", words(200));
            pair.server.outbox().text(&own).unwrap();
            let before = pair.server.outbox().queued();
            pair.server.outbox().send(&frame).unwrap();
            let shared = pair.server.outbox().queued() - before;
            assert!(shared < words(200).len() / 3, "compressed: {shared}");
            pair.settle();
            let heard = pair.client.take_events();
            assert_eq!(heard, [Recorded::Text(own), Recorded::Text(words(200))]);
        }
    }
    // A peer with a smaller window gets it plain.
    let mut narrow = server(compressing(), "permessage-deflate; server_max_window_bits=10");
    narrow.outbox().send(&frame).unwrap();
    assert!(narrow.outbox().queued() > words(200).len());
}

#[test]
fn any_split_of_compressed_input_gives_the_same_events() {
    let stream: Vec<u8> = [
        client_frame(0xC1, &deflated(words(500).as_bytes())),
        client_frame(0x81, b"plain between"),
        client_frame(0x42, &deflated(&[7; 3000])[..3]),
        client_frame(0x89, b"ping between"),
        client_frame(0x80, &deflated(&[7; 3000])[3..]),
        client_frame(0xC1, &[0]),
        client_frame(0xC1, &deflated("é".repeat(300).as_bytes())),
        client_frame(0xC1, &deflated(b"bad \xff utf-8")),
        client_frame(0x81, b"never"),
    ]
    .concat();
    let run = |split: Split, turn: u32| {
        let deflate = Deflate { turn, ..Deflate::default() };
        // Own contexts per message: the frames above do not refer to one another.
        let mut subject = server(limits(deflate), "permessage-deflate; client_no_context_takeover");
        subject.feed_split(&stream, split);
        while subject.connection.deadline().is_some_and(|(_, why)| why == Why::Resume) {
            assert!(!subject.connection.wants().read, "input waits");
            subject.wake();
        }
        subject.take_events()
    };
    let whole = run(Split::Whole, u32::MAX);
    assert_eq!(whole.len(), 7, "{whole:?}");
    assert!(whole[6].is_closed());
    for turn in [1, 100, 1 << 20] {
        for split in Split::ALL {
            assert_eq!(run(split, turn), whole, "{split:?}, {turn} bytes a turn");
        }
    }
}

#[test]
fn what_is_wrong_with_compressed_input_is_the_same_in_any_split() {
    let text = |len: usize, wrong_at: usize| {
        let mut text = vec![b'a'; len];
        text[wrong_at] = 0xFF;
        deflated(&text)
    };
    // A block of a reserved type behind what is sound so far.
    let broken = |payload: &[u8]| [payload, &TAIL, &[6, 0, 0]].concat();
    let bomb = [vec![0; 150_000], Rng(5).bytes(10_000)].concat();
    let (any, capped) = (u32::MAX, 100);
    for (name, first, payload, ratio, code) in [
        ("bad text, then broken data", 0xC1, broken(&text(20, 3)), any, 1007),
        ("broken data", 0xC1, broken(&deflated(b"sound")), any, 1007),
        ("bad text, then too much", 0xC1, text(220_000, 3), any, 1007),
        ("bad text right before the limit", 0xC1, text(220_000, 199_999), any, 1007),
        ("too much, then bad text", 0xC1, text(220_000, 200_000), any, 1009),
        ("too much, then broken data", 0xC2, broken(&deflated(&[7; 210_000])), any, 1009),
        ("bad text, then a bomb", 0xC1, text(150_000, 3), capped, 1007),
        ("a bomb, then what does not compress", 0xC2, deflated(&bomb), capped, 1009),
    ] {
        let run = |split: Split| {
            let deflate = Deflate { ratio, ..Deflate::default() };
            let limits = Limits { message: 200_000, ..limits(deflate) };
            let mut subject = server(limits, "permessage-deflate");
            subject.feed_split(&client_frame(first, &payload), split);
            while subject.connection.deadline().is_some_and(|(_, why)| why == Why::Resume) {
                subject.wake();
            }
            assert_eq!(close_code(&subject), code, "{name}, {split:?}");
            subject.take_events()
        };
        let whole = run(Split::Whole);
        for split in Split::ALL {
            assert_eq!(run(split), whole, "{name}, {split:?}");
        }
    }
}

#[test]
fn a_bomb_closes_with_1009_and_retains_less_than_the_limit() {
    // 1 GiB of zeros in about 1 MiB.
    let mut compress = Compress::new(Compression::best(), false);
    let zeros = vec![0; 1 << 20];
    let mut bomb = Vec::with_capacity(2 << 20);
    for _ in 0..1024 {
        compress.compress_vec(&zeros, &mut bomb, FlushCompress::None).unwrap();
    }
    compress.compress_vec(&[], &mut bomb, FlushCompress::Sync).unwrap();
    for (ratio, message) in [(100, 64 << 20), (u32::MAX, 512 << 10)] {
        for fragment in [bomb.len(), 1000] {
            let limits = Limits {
                message,
                fragments: u32::MAX,
                deflate: Some(Deflate { ratio, ..Deflate::default() }),
                ..Limits::default()
            };
            let mut subject = server(limits, "permessage-deflate");
            let mut most = 0;
            let mut first = 0x42;
            'bomb: for piece in bomb.chunks(fragment) {
                let wire = client_frame(first, piece);
                first = 0;
                for read in wire.chunks(64 * 1024) {
                    subject.feed(read);
                    most = most.max(subject.connection.retained());
                    if subject.closed().is_some() {
                        break 'bomb;
                    }
                    while subject.connection.deadline().is_some_and(|(_, why)| why == Why::Resume) {
                        subject.wake();
                        most = most.max(subject.connection.retained());
                    }
                }
            }
            assert_eq!(close_code(&subject), 1009);
            let ceiling = (message as usize).min(bomb.len() * 101) * 2 + 400_000;
            assert!(most < ceiling, "{most} bytes retained, ratio {ratio}");
            subject.flush();
            assert_eq!(subject.connection.retained(), 0, "the context went with its connection");
        }
    }
}

#[test]
fn the_message_limit_holds_for_what_comes_out() {
    for (len, fits) in [(999, true), (1000, true), (1001, false), (100_000, false)] {
        let limits = Limits { message: 1000, ..compressing() };
        let mut subject = server(limits, "permessage-deflate");
        subject.feed(&client_frame(0xC2, &deflated(&vec![1; len])));
        if fits {
            assert_eq!(subject.events, [Recorded::Binary(vec![1; len])]);
        } else {
            assert_eq!(close_code(&subject), 1009, "{len} bytes");
        }
    }
    // What does not compress takes a few bytes more on the wire than the limit allows for messages.
    let noise = Rng(3).bytes(1000);
    let limits = Limits { message: 1000, ..compressing() };
    let mut subject = server(limits, "permessage-deflate");
    let wire = deflated(&noise);
    assert!(wire.len() > 1000);
    subject.feed(&client_frame(0xC2, &wire));
    assert_eq!(subject.events, [Recorded::Binary(noise)]);
}

#[test]
fn the_bit_is_refused_where_it_has_no_meaning() {
    for (name, wire) in [
        ("continuation", [client_frame(0x41, b"a"), client_frame(0xC0, b"b")].concat()),
        ("ping", client_frame(0xC9, b"a")),
        ("pong", client_frame(0xCA, b"a")),
        ("close", client_frame(0xC8, &[3, 232])),
        ("RSV2 with it", client_frame(0xE1, &deflated(b"a"))),
    ] {
        for split in Split::ALL {
            let mut subject = server(compressing(), "permessage-deflate");
            subject.feed_split(&wire, split);
            assert_eq!(close_code(&subject), 1002, "{name}");
        }
    }
}

#[test]
fn broken_data_and_broken_text_close_with_1007() {
    let mut cut = deflated(words(100).as_bytes());
    cut[10] ^= 0xFF;
    cut.truncate(40);
    for (name, first, payload) in [
        ("garbage", 0xC2, vec![0xFF; 50]),
        ("a reserved block type", 0xC2, vec![0x06, 0, 0]),
        ("bits turned", 0xC1, cut),
        ("invalid UTF-8 inside", 0xC1, deflated(b"abc\xff")),
        ("a text that ends inside a code point", 0xC1, deflated("é".as_bytes()[..1].as_ref())),
    ] {
        for split in Split::ALL {
            let mut subject = server(compressing(), "permessage-deflate");
            subject.feed_split(&client_frame(first, &payload), split);
            assert_eq!(close_code(&subject), 1007, "{name}");
        }
    }
}

#[test]
fn invalid_text_is_refused_before_its_frame_has_arrived() {
    let mut compress = Compress::new(Compression::none(), false);
    let mut payload = Vec::with_capacity(4096);
    compress.compress_vec(b"abc\xff", &mut payload, FlushCompress::Sync).unwrap();
    let mut subject = server(compressing(), "permessage-deflate");
    subject.feed(&header(0xC1, Some([0; 4]), 100));
    subject.feed(&payload);
    assert_eq!(close_code(&subject), 1007);
}

#[test]
fn a_turn_inflates_its_share_and_the_rest_waits_without_being_read() {
    let deflate = Deflate { turn: 64 * 1024, threshold: 1, ..Deflate::default() };
    let mut subject = server(limits(deflate), "permessage-deflate");
    let one = client_frame(0xC2, &deflated(&[9; 40_000]));
    subject.feed(&one.repeat(10));
    let first = subject.events.len();
    assert!((1..=3).contains(&first), "{first} messages in the first turn");
    let wants = subject.connection.wants();
    assert_eq!((wants.read, wants.wake_at), (false, Some(subject.now)));
    let mut turns = 1;
    while subject.connection.wants().wake_at == Some(subject.now) {
        subject.wake();
        turns += 1;
    }
    assert_eq!(subject.events.len(), 10);
    assert!((4..=10).contains(&turns), "{turns} turns");
    assert!(subject.connection.wants().read);
}

#[test]
fn an_idle_sending_context_is_released_and_made_again() {
    let deflate = Deflate { threshold: 1, idle: Duration::from_secs(7), ..Deflate::default() };
    let mut pair = Pair::open(&limits(deflate), quiet, quiet);
    for _ in 0..2 {
        pair.server.outbox().text(&words(100)).unwrap();
        pair.settle();
        assert_eq!(pair.client.take_events(), [Recorded::Text(words(100))]);
        assert!(pair.server.connection.retained() > 100_000);
        assert_eq!(pair.server.pass_deadline(), Why::Idle);
        assert!(pair.server.connection.retained() < 1000);
        pair.client.now = pair.server.now;
    }
}

#[test]
fn without_takeover_nothing_is_held_between_messages() {
    let offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let mut subject = server(compressing(), offer);
    for _ in 0..3 {
        subject.feed(&client_frame(0xC1, &deflated(words(100).as_bytes())));
        subject.flush();
        assert!(subject.connection.retained() < 10_000, "{}", subject.connection.retained());
    }
    assert_eq!(subject.take_events().len(), 3);
}

fn close_code(subject: &Subject) -> u16 {
    match subject.closed() {
        Some(Recorded::Closed(cause)) => cause.close_code().0,
        other => panic!("not closed: {other:?}"),
    }
}

#[test]
fn a_compressed_message_costs_no_more_than_its_limit() {
    let limits = Limits { message: 600 * 1024, ..compressing() };
    let mut subject = server(limits, "permessage-deflate");
    let mut state = 1_u32;
    let payload: Vec<u8> = (0..590 * 1024)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let bytes = frame(0x42, peer_key(Role::Server), &deflated(&payload));
    // All but the end: the message is collected.
    for piece in bytes[..bytes.len() - 10].chunks(16 * 1024) {
        subject.feed(piece);
        let contexts = 48 * 1024 + 16 * 1024;
        assert!(subject.connection.retained() <= 600 * 1024 + contexts);
    }
}
