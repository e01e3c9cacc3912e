//! What the field's conformance suite does not ask of permessage-deflate: misuse by the peer, and what
//! must not leak from message to message or from connection to connection. In both roles.
#![cfg(feature = "deflate")]

mod support;
use moorline_core::*;
use support::deflate::*;
use support::*;

/// The first bytes and the payloads of frames.
type Frames<'a> = &'a [(u8, &'a [u8])];

fn limits() -> Limits {
    Limits { deflate: Some(Deflate { threshold: 1, ..Deflate::default() }), ..Limits::default() }
}

fn open(role: Role, limits: Limits) -> (Subject, DeflatePeer) {
    open_deflate(role, limits, echo, "permessage-deflate")
}

/// The code that the connection was closed with, and that its Close carries.
fn close_code(subject: &mut Subject) -> u16 {
    let Some(Recorded::Closed(cause)) = subject.closed() else { panic!("{:?}", subject.events) };
    let code = cause.close_code().0;
    let output = subject.take_output();
    let frames = parse_deflate_frames(subject.role, &output);
    assert_eq!(frames.last().and_then(|(_, frame)| frame.close_code()), Some(code));
    code
}

fn words(count: usize) -> String {
    (0..count).map(|n| format!("word {} of many; ", n * n % 997)).collect()
}

#[test]
fn reserved_bits_fail_wherever_they_have_no_meaning() {
    for role in ROLES {
        let (_, mut peer) = open(role, limits());
        let data = peer.deflate(b"Hello");
        let rows: [(&str, Frames<'_>); 9] = [
            ("a compressed ping", &[(0xC9, b"a")]),
            ("a compressed pong", &[(0xCA, b"a")]),
            ("a compressed close", &[(0xC8, &[3, 232])]),
            ("on the last fragment", &[(0x41, &data[..2]), (0xC0, &data[2..])]),
            (
                "on a fragment between",
                &[(0x41, &data[..2]), (0x40, &data[2..4]), (0x80, &data[4..])],
            ),
            ("on a fragment of a plain message", &[(0x01, b"a"), (0xC0, b"b")]),
            ("RSV2 beside it", &[(0xE1, &data)]),
            ("RSV3 beside it", &[(0xD1, &data)]),
            ("RSV2 alone", &[(0xA1, b"a")]),
        ];
        for (name, frames) in rows {
            for split in Split::ALL {
                let (mut subject, _) = open(role, limits());
                let wire: Vec<u8> =
                    frames.iter().flat_map(|(first, data)| subject.peer(*first, data)).collect();
                subject.feed_split(&wire, split);
                assert_eq!(close_code(&mut subject), 1002, "{name} as {role:?}, {split:?}");
            }
        }
    }
}

#[test]
fn data_that_is_not_deflate_closes_with_1007() {
    for role in ROLES {
        let (_, mut peer) = open(role, limits());
        let whole = peer.deflate(words(300).as_bytes());
        let mut turned = whole.clone();
        turned[20..60].iter_mut().for_each(|byte| *byte ^= 0x5A);
        for (name, data) in [
            ("ones", vec![0xFF; 50]),
            ("a reserved block type", vec![0x06, 0, 0]),
            ("a stored block of a wrong length", vec![0x00, 5, 0, 0, 0]),
            ("bits turned", turned),
            ("a reference before the beginning", vec![0x02, 0x04, 0x00, 0xFE]),
        ] {
            for split in Split::ALL {
                for fragmented in [false, true] {
                    let (mut subject, _) = open(role, limits());
                    let wire = if fragmented {
                        let (head, tail) = data.split_at(1);
                        [subject.peer(0x42, head), subject.peer(0x80, tail)].concat()
                    } else {
                        subject.peer(0xC2, &data)
                    };
                    subject.feed_split(&wire, split);
                    assert_eq!(close_code(&mut subject), 1007, "{name} as {role:?}, {split:?}");
                }
            }
        }
    }
}

#[test]
fn a_message_that_was_cut_short_is_not_taken_for_a_whole_one() {
    let text = words(300);
    for role in ROLES {
        let (_, mut peer) = open(role, limits());
        let whole = peer.deflate(text.as_bytes());
        for len in 1..whole.len() {
            let (mut subject, _) = open(role, limits());
            subject.hears(0xC1, &whole[..len]);
            if subject.closed().is_none() {
                // Cut inside the table of codes, before any data. It cannot be told from a message
                // that is empty, until the next one is read as the rest of the table.
                assert_eq!(subject.take_events(), [Recorded::Text(String::new())], "{len} bytes");
                assert!(len < 40, "{len} of {} bytes", whole.len());
                subject.take_output();
                subject.hears(0xC1, &whole);
            }
            assert_eq!(close_code(&mut subject), 1007, "{len} bytes");
        }
    }
}

#[test]
fn invalid_text_fails_with_the_fragment_that_shows_it() {
    for role in ROLES {
        for (wrong, name) in
            [(&b"\xff"[..], "never"), (b"\xc0\xaf", "overlong"), (b"\xed\xa0", "half")]
        {
            let (mut subject, mut peer) = open(role, limits());
            let good = peer.deflate("Grüße ".repeat(20).as_bytes());
            let good = [&good[..], &[0, 0, 0xFF, 0xFF]].concat();
            let bad = [&peer.deflate(wrong)[..], &[0, 0, 0xFF, 0xFF]].concat();
            subject.hears(0x41, &good);
            assert_eq!(subject.closed(), None);
            // Not the last fragment: nothing else has to come.
            subject.hears(0x00, &bad);
            assert_eq!(close_code(&mut subject), 1007, "{name} as {role:?}");
        }
    }
}

#[test]
fn a_code_point_may_be_cut_between_compressed_fragments() {
    let text = "zß水🍌".repeat(50);
    for role in ROLES {
        for fragment in [1, 2, 3, 7] {
            let (mut subject, mut peer) = open(role, limits());
            let wire = peer.frames(1, text.as_bytes(), fragment);
            subject.feed(&wire);
            assert_eq!(peer.read(&subject.take_output()), [Wire::text(&text)]);
        }
    }
}

#[test]
fn a_ping_between_compressed_fragments_is_answered_at_once() {
    for role in ROLES {
        let (mut subject, mut peer) = open(role, limits());
        let data = peer.deflate(words(50).as_bytes());
        let (head, tail) = data.split_at(data.len() / 2);
        subject.hears(0x41, head);
        subject.hears(0x89, b"between");
        assert_eq!(subject.frames(), [Wire::pong("between")]);
        subject.hears(0x80, tail);
        assert_eq!(peer.read(&subject.take_output()), [Wire::text(words(50))]);
    }
}

#[test]
fn empty_messages_have_more_than_one_form() {
    for role in ROLES {
        // The one byte that RFC 7692 section 7.2.3.6 has, none at all, and fragments of both.
        for frames in [
            &[(0xC1, &[0_u8][..])][..],
            &[(0xC1, &[])],
            &[(0x41, &[]), (0x80, &[])],
            &[(0x41, &[0]), (0x00, &[]), (0x80, &[])],
            &[(0x41, &[]), (0x80, &[0])],
        ] {
            for split in Split::ALL {
                let (mut subject, mut peer) = open(role, limits());
                let wire: Vec<u8> =
                    frames.iter().flat_map(|(first, data)| subject.peer(*first, data)).collect();
                subject.feed_split(&wire, split);
                let after = peer.frames(1, b"after it", 0);
                subject.feed_split(&after, split);
                let expected = ["", "after it"].map(|text| Recorded::Text(text.into()));
                assert_eq!(subject.events, expected, "{frames:?} as {role:?}");
            }
        }
    }
}

#[test]
fn a_context_lives_from_message_to_message_across_plain_ones() {
    for role in ROLES {
        let (mut subject, mut peer) = open(role, limits());
        let first = peer.frames(1, words(200).as_bytes(), 0);
        let plain = subject.peer(0x81, b"plain between");
        let again = peer.frames(1, words(200).as_bytes(), 0);
        assert!(again.len() < first.len() / 4, "it refers to the first one");
        for wire in [first, plain, again] {
            subject.feed(&wire);
        }
        let texts = [words(200), "plain between".into(), words(200)];
        assert_eq!(subject.take_events(), texts.clone().map(Recorded::Text));
        let output = subject.take_output();
        assert!(output.len() < texts[0].len(), "so do the echoes: {}", output.len());
        assert_eq!(peer.read(&output), texts.map(Wire::text));
    }
}

#[test]
fn a_reference_to_a_context_that_was_not_to_be_kept_fails() {
    for role in ROLES {
        let alone = match role {
            Role::Server => "permessage-deflate; client_no_context_takeover",
            Role::Client => "permessage-deflate; server_no_context_takeover",
        };
        let (mut subject, _) = open_deflate(role, limits(), echo, alone);
        // The peer keeps its context all the same.
        let mut peer = DeflatePeer::new(role, "permessage-deflate");
        subject.feed(&peer.frames(1, words(200).as_bytes(), 0));
        assert_eq!(subject.take_events(), [Recorded::Text(words(200))]);
        subject.take_output();
        subject.feed(&peer.frames(1, words(200).as_bytes(), 0));
        assert_eq!(close_code(&mut subject), 1007, "{role:?}");
    }
}

#[test]
fn the_message_limit_holds_for_inflated_bytes_of_all_fragments() {
    let limits = Limits { message: 10_000, ..limits() };
    for role in ROLES {
        for (len, fits) in [(9_999, true), (10_000, true), (10_001, false), (1_000_000, false)] {
            for fragment in [0, 3, 64] {
                let (mut subject, mut peer) = open(role, limits.clone());
                // The limit is each message's own: the context does not count.
                subject.feed(&peer.frames(2, &[7; 9_000], 0));
                assert_eq!(subject.take_events(), [Recorded::Binary(vec![7; 9_000])]);
                subject.take_output();
                subject.feed(&peer.frames(2, &vec![7; len], fragment));
                if fits {
                    assert_eq!(subject.events, [Recorded::Binary(vec![7; len])]);
                } else {
                    assert_eq!(close_code(&mut subject), 1009, "{len} in {fragment}, {role:?}");
                }
                assert!(
                    subject.connection.retained() < 600_000,
                    "{}",
                    subject.connection.retained()
                );
            }
        }
    }
}

#[test]
fn the_fragment_limit_holds_for_compressed_messages() {
    let limits = Limits { fragments: 4, ..limits() };
    for role in ROLES {
        for (fragments, fits) in [(3, true), (4, true), (5, false)] {
            let (mut subject, mut peer) = open(role, limits.clone());
            let data = peer.deflate(words(50).as_bytes());
            for (at, piece) in data.chunks(data.len().div_ceil(fragments)).enumerate() {
                let first = if at == 0 { 0x41 } else { 0 };
                let last = if at + 1 == fragments { 0x80 } else { 0 };
                subject.hears(first | last, piece);
            }
            if fits {
                assert_eq!(subject.events, [Recorded::Text(words(50))]);
            } else {
                assert_eq!(close_code(&mut subject), 1008);
            }
        }
    }
}

#[test]
fn a_bomb_behind_an_honest_message_and_in_a_thousand_fragments_closes_with_1009() {
    for role in ROLES {
        for fragment in [0, 64] {
            let limits = Limits { fragments: u32::MAX, message: 32 << 20, ..limits() };
            let (mut subject, mut peer) = open_deflate(role, limits, quiet, "permessage-deflate");
            subject.feed(&peer.frames(2, words(500).as_bytes(), 0));
            assert_eq!(subject.take_events().len(), 1);
            let bomb = peer.frames(2, &vec![0; 64 << 20], fragment);
            for read in bomb.chunks(64 * 1024) {
                subject.feed(read);
                while subject.connection.deadline().is_some_and(|(_, why)| why == Why::Resume) {
                    subject.wake();
                }
                // What came in, times the ratio, bounds what is held.
                let most = (bomb.len() * 100).min(32 << 20) * 2 + 600_000;
                assert!(subject.connection.retained() < most);
            }
            assert_eq!(close_code(&mut subject), 1009);
        }
    }
}

#[test]
fn parameters_that_may_not_be_are_declined_by_a_server() {
    for params in
        ["x", "server_max_window_bits=8", "server_max_window_bits=16", "client_max_window_bits=7"]
    {
        let mut server = Subject::server(limits(), echo);
        let line = format!("Sec-WebSocket-Extensions: permessage-deflate; {params}\r\n\r\n");
        server.feed(&[&REQUEST[..REQUEST.len() - 2], line.as_bytes()].concat());
        assert_eq!(server.take_events().last(), Some(&Recorded::Open), "without it");
        let head = String::from_utf8(server.take_output()).unwrap();
        assert_eq!(extensions(&head), None, "{params}");
        let mut peer = DeflatePeer::new(Role::Server, "permessage-deflate");
        server.feed(&peer.frames(1, b"all the same", 0));
        assert_eq!(close_code(&mut server), 1002, "{params}");
    }
}

#[test]
fn parameters_that_may_not_be_fail_a_clients_handshake() {
    for wrong in [
        "permessage-deflate; x",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate, permessage-deflate",
        "x-webkit-deflate-frame",
    ] {
        let mut client = Subject::client(limits(), echo);
        let answer = answer_to(&client.take_output());
        let line = format!("Sec-WebSocket-Extensions: {wrong}\r\n\r\n");
        client.feed(&[&answer[..answer.len() - 2], line.as_bytes()].concat());
        let closed = client.closed();
        let Some(Recorded::Closed(Cause::Upgrade(UpgradeError::Answer(_)))) = closed else {
            panic!("{wrong}: {closed:?}");
        };
    }
}

#[test]
fn connections_that_share_a_buffer_never_see_each_others_bytes() {
    const CONNECTIONS: usize = 8;
    let mut all: Vec<_> = (0..CONNECTIONS).map(|n| open(ROLES[n % 2], limits())).collect();
    let mut spare = Vec::new();
    let mut rng = Rng(5);
    for round in 0..400 {
        let which = rng.below(CONNECTIONS);
        let (subject, peer) = &mut all[which];
        let canary = format!("canary {which} ");
        let text = canary.repeat(1 + rng.below(2000));
        let wire = peer.frames(1, text.as_bytes(), [0, 100][round % 2]);
        subject.outbox().lend(&mut spare);
        subject.feed(&wire);
        assert_eq!(subject.take_events(), [Recorded::Text(text.clone())]);
        let output = subject.take_output();
        subject.outbox().reclaim(&mut spare);
        assert_eq!(peer.read(&output), [Wire::text(&text)], "in its own context");
    }
}

#[test]
fn large_messages_come_back_byte_for_byte() {
    let mut rng = Rng(16);
    let mut data = Vec::new();
    while data.len() < 16 << 20 {
        data.extend_from_slice(format!("line {} of noise\n", rng.below(1 << 20)).as_bytes());
    }
    let limits = Limits { message: 32 << 20, fragments: u32::MAX, outbox: 64 << 20, ..limits() };
    for role in ROLES {
        let (mut subject, mut peer) = open(role, limits.clone());
        for read in peer.frames(2, &data, 0).chunks(64 * 1024) {
            subject.feed(read);
            while subject.connection.deadline().is_some_and(|(_, why)| why == Why::Resume) {
                subject.wake();
            }
        }
        assert!(peer.read(&subject.take_output()) == [Wire::binary(&data)], "{role:?}");
    }
}
