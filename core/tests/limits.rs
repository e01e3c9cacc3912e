//! Every limit at, under and over its value, and what a connection holds after every byte.

mod support;
use moorline_core::*;
use support::*;

/// Bookkeeping beyond the payload: boxes, small buffers.
const SLACK: usize = 1024;

fn limit_error(events: &[Recorded]) -> Option<LimitError> {
    match events.last() {
        Some(Recorded::Closed(Cause::Limit(error))) => Some(*error),
        _ => None,
    }
}

#[test]
fn a_message_at_the_limit_passes_and_one_over_fails_at_its_header() {
    for limit in [0u32, 1, 125, 126, 1000, 65_535, 65_536] {
        for role in ROLES {
            for first in [0x81, 0x82] {
                let limits = Limits { message: limit, ..Limits::default() };
                for len in [limit.saturating_sub(1), limit] {
                    let mut subject = Subject::open(role, limits.clone());
                    let payload = vec![b'a'; len as usize];
                    subject.hears(first, &payload);
                    assert_eq!(subject.frames(), [Wire::new(first & 0x0F, payload)]);
                }
                for split in [Split::Whole, Split::Chops(1)] {
                    let mut subject = Subject::open(role, limits.clone());
                    let size = u64::from(limit) + 1;
                    subject.feed_split(&header(first, peer_key(role), size), split);
                    let expected = LimitError::Message { size, limit };
                    assert_eq!(limit_error(&subject.events), Some(expected));
                    assert_eq!(subject.frames()[0].close_code(), Some(1009));
                }
            }
        }
    }
}

#[test]
fn the_message_limit_counts_all_fragments() {
    let limits = Limits { message: 1000, ..Limits::default() };
    for role in ROLES {
        for (last, fine) in [(399, true), (400, true), (401, false)] {
            let mut subject = Subject::open(role, limits.clone());
            subject.hears(0x02, &[1; 300]);
            subject.hears(0x00, &[2; 300]);
            subject.hears(0x80, &vec![3; last]);
            assert_eq!(limit_error(&subject.events).is_none(), fine, "{last}");
            if fine {
                // The next message counts anew.
                subject.hears(0x82, &[4; 1000]);
                assert_eq!(subject.events.len(), 2);
            }
        }
    }
}

#[test]
fn fragments_at_the_limit_pass_and_one_over_fails() {
    let limits = Limits { fragments: 5, ..Limits::default() };
    for role in ROLES {
        for (count, fine) in [(4, true), (5, true), (6, false)] {
            let mut subject = Subject::open(role, limits.clone());
            subject.hears(0x01, b"");
            for _ in 0..count - 2 {
                subject.hears(0x00, b"");
            }
            subject.hears(0x80, b"");
            if fine {
                assert_eq!(subject.events, [Recorded::Text(String::new())]);
            } else {
                assert_eq!(limit_error(&subject.events), Some(LimitError::Fragments { limit: 5 }));
                assert_eq!(subject.frames()[0].close_code(), Some(1008));
            }
        }
    }
}

#[test]
fn the_outbox_takes_what_fits_and_a_large_message_when_it_is_empty() {
    let limits = Limits { outbox: 1000, ..Limits::default() };
    for role in ROLES {
        let mut subject = Subject::open_with(role, limits.clone(), quiet);
        subject.outbox().binary(&[0; 5000]).unwrap();
        let queued = subject.outbox().queued();
        let full = Err(SendError::Full { queued, limit: 1000 });
        assert_eq!(subject.outbox().binary(b"x"), full);
        assert_eq!(subject.outbox().send(&Frame::text("x")), full);
        subject.take_output();
        subject.outbox().binary(&[0; 500]).unwrap();
        let room = 1000 - subject.outbox().queued();
        assert!(subject.outbox().binary(&vec![0; room + 1]).is_err(), "over");
        assert!(subject.outbox().binary(&vec![0; room - 1]).is_ok(), "under");
        subject.take_output();
        subject.outbox().binary(&[0; 500]).unwrap();
        assert!(subject.outbox().binary(&vec![0; room]).is_ok(), "at");
        // What was refused is not there.
        assert_eq!(subject.frames().len(), 2);
    }
}

#[test]
fn reading_pauses_above_the_mark_and_goes_on_at_it() {
    let limits = Limits { outbox_pause: 1000, ..Limits::default() };
    for role in ROLES {
        let mut subject = Subject::open_with(role, limits.clone(), quiet);
        let header = if role == Role::Client { 8 } else { 4 };
        subject.outbox().binary(&vec![0; 1000 - header]).unwrap();
        assert_eq!(subject.outbox().queued(), 1000);
        assert!(subject.connection.wants().read);
        subject.outbox().binary(b"").unwrap();
        assert!(!subject.connection.wants().read);
        subject.write(header - 2);
        assert!(subject.connection.wants().read);
        // What was read already is still taken.
        subject.outbox().binary(&[0; 500]).unwrap();
        assert!(!subject.connection.wants().read);
        subject.hears(0x81, b"taken");
        assert_eq!(subject.events, [Recorded::Text("taken".into())]);
    }
}

#[test]
fn a_header_that_claims_everything_holds_next_to_nothing() {
    let limits = Limits { message: u32::MAX, fragments: u32::MAX, ..Limits::default() };
    for role in ROLES {
        for first in [0x81, 0x82, 0x01, 0x02] {
            for len in
                [1 << 16, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63]
            {
                for split in [Split::Whole, Split::Chops(1)] {
                    let mut subject = Subject::open(role, limits.clone());
                    let header = header(first, peer_key(role), len);
                    for piece in split.cut(&header) {
                        subject.feed(piece);
                        assert!(subject.connection.retained() < SLACK);
                    }
                    if len <= u64::from(u32::MAX) && first & 0x0F == 2 {
                        subject.feed(b"a few bytes");
                        assert!(subject.connection.retained() < SLACK);
                    }
                    assert_eq!(subject.closed().is_some(), len > u64::from(u32::MAX));
                }
            }
        }
    }
}

#[test]
fn what_is_held_grows_with_what_arrived_and_stays_under_the_limit() {
    let limit = 20_000;
    let limits = Limits { message: limit, fragments: u32::MAX, ..Limits::default() };
    for role in ROLES {
        for opcode in [0x01, 0x02] {
            for size in [1, 2, 7, 100, 3000, limit as usize] {
                let mut subject = Subject::open_with(role, limits.clone(), quiet);
                let payload = vec![b'a'; limit as usize];
                let mut arrived = 0;
                // Two messages, so that what the first leaves behind counts for the second.
                for (n, piece) in payload.chunks(size).chain(payload.chunks(size)).enumerate() {
                    let frames = (limit as usize).div_ceil(size);
                    let first = match n % frames {
                        0 => opcode,
                        _ => 0x00,
                    };
                    let fin = if n % frames + 1 == frames { 0x80 } else { 0x00 };
                    for byte in subject.peer(first | fin, piece) {
                        subject.feed(&[byte]);
                        let retained = subject.connection.retained();
                        assert!(retained <= limit as usize + SLACK, "{retained}");
                        assert!(
                            retained <= 2 * (arrived + size) + SLACK,
                            "{retained} of {arrived}"
                        );
                    }
                    arrived = (arrived + piece.len()) % payload.len();
                }
                assert_eq!(subject.events.len(), 2);
                assert_eq!(subject.connection.retained(), 0);
            }
        }
    }
}

#[test]
fn texts_and_binaries_in_turn_share_one_buffer() {
    let limits = Limits { message: 60_000, ..Limits::default() };
    let mut subject = Subject::open_with(Role::Server, limits, quiet);
    let mut stream = Vec::new();
    for n in 0..20u8 {
        stream.extend(subject.peer(1 + n % 2, &[b'a'; 30_000]));
        stream.extend(subject.peer(0x80, &[b'b'; 30_000]));
    }
    for piece in stream.chunks(50_000) {
        subject.feed(piece);
        assert!(subject.connection.retained() <= 60_000 + SLACK);
    }
    assert_eq!(subject.events.len(), 20);
}

#[test]
fn a_head_holds_no_more_than_its_limit() {
    let limits = Limits { head: 2000, target: 2000, ..Limits::default() };
    let head = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'a'; 3000]].concat();
    let mut subject = Subject::server(limits.clone(), echo);
    for byte in &head {
        subject.feed(&[*byte]);
        assert!(subject.connection.retained() <= 2000 + SLACK);
    }
    assert!(subject.closed().is_some());
    let answer = [b"HTTP/1.1 403 No\r\n\r\n".to_vec(), vec![b'a'; 3000]].concat();
    let mut subject = Subject::client(limits, echo);
    subject.flush();
    for byte in &answer {
        subject.feed(&[*byte]);
        assert!(subject.connection.retained() <= 2000 + SLACK);
    }
    assert!(subject.closed().is_some());
    // A list of subprotocols is remembered until it is answered, and no longer.
    let mut subject = Subject::server(Limits::default(), silent);
    let list = format!("Sec-WebSocket-Protocol: {}\r\n\r\n", "a,".repeat(7000));
    subject.feed(&[&REQUEST[..REQUEST.len() - 2], list.as_bytes()].concat());
    assert!(subject.connection.retained() <= 14_000 + SLACK);
    subject.connection.accept(subject.now, &Accept::default()).unwrap();
    subject.take_output();
    assert_eq!(subject.connection.retained(), 0);
}

#[test]
fn ten_million_empty_continuations_hold_a_constant_and_end_in_a_close() {
    const COUNT: usize = 10_000_000;
    for fragments in [Limits::default().fragments, u32::MAX] {
        for role in ROLES {
            let limits = Limits { fragments, ..Limits::default() };
            let mut subject = Subject::open(role, limits);
            subject.hears(0x01, b"");
            let frames = subject.peer(0x00, b"").repeat(10_000);
            let mut buffer = frames.clone();
            for round in 0..COUNT / 10_000 {
                buffer.copy_from_slice(&frames);
                let turn = subject.connection.receive(subject.now, &mut buffer);
                drain(turn, quiet, &mut subject.events);
                assert!(subject.connection.retained() < SLACK, "round {round}");
            }
            if fragments == u32::MAX {
                assert_eq!(subject.events, []);
                subject.advance(15 * SECOND);
                subject.hears(0x00, b"");
                assert_eq!(subject.pass_deadline(), Why::Message);
            } else {
                assert_eq!(
                    limit_error(&subject.events),
                    Some(LimitError::Fragments { limit: fragments })
                );
            }
            assert_eq!(subject.frames()[0].close_code(), Some(1008));
            assert_eq!(subject.connection.retained(), 0);
        }
    }
}

#[test]
fn a_million_pings_from_a_peer_that_never_reads_hold_less_than_the_outbox_limit() {
    let limits = Limits::default();
    for role in ROLES {
        for refused_at in [0, 1] {
            for payload in [&b""[..], &[b'p'; 125]] {
                let mut subject = Subject::open_with(role, limits.clone(), quiet);
                let pings = subject.peer(0x89, payload).repeat(1000);
                let mut buffer = pings.clone();
                for round in 0..1000 {
                    if round >= refused_at {
                        subject.refuse_write();
                    }
                    buffer.copy_from_slice(&pings);
                    let turn = subject.connection.receive(subject.now, &mut buffer);
                    drain(turn, quiet, &mut subject.events);
                    subject.events.clear();
                    let retained = subject.connection.retained();
                    assert!(retained <= limits.outbox as usize, "{retained} in round {round}");
                }
                assert!(subject.connection.retained() <= 4 * Frame::CUT);
            }
        }
    }
}

#[test]
fn small_shared_frames_for_a_peer_that_does_not_read_hold_about_what_they_count() {
    let limits = Limits { outbox: 100_000, ..Limits::default() };
    for role in ROLES {
        for size in [0, 1, 20, 100, 200, 1000, 5000] {
            let mut subject = Subject::open_with(role, limits.clone(), quiet);
            let frame = Frame::binary(&vec![7; size]);
            subject.outbox().text("blocked").unwrap();
            subject.refuse_write();
            let mut sent = 0;
            while subject.outbox().send(&frame).is_ok() {
                sent += 1;
            }
            let retained = subject.connection.retained();
            assert!(retained <= 2 * limits.outbox as usize, "{retained} for {sent} of {size}");
            assert_eq!(subject.frames().len(), sent + 1);
        }
    }
}

#[test]
fn a_slow_reader_holds_at_most_its_limit_and_gives_it_back() {
    let limits = Limits::default();
    for role in ROLES {
        let mut subject = Subject::open_with(role, limits.clone(), quiet);
        for round in 0..2000 {
            for _ in 0..40 {
                let _ = subject.outbox().binary(&[1; 700]);
            }
            subject.write(20_000 + round % 3);
            assert!(subject.outbox().queued() <= limits.outbox as usize + 14);
            let retained = subject.connection.retained();
            assert!(retained <= 2 * limits.outbox as usize, "{retained} in round {round}");
        }
        subject.take_output();
        assert_eq!(subject.connection.retained(), 0);
    }
}

#[test]
fn an_idle_connection_holds_nothing() {
    for role in ROLES {
        let mut subject = Subject::open(role, Limits::default());
        assert_eq!(subject.connection.retained(), 0, "after the handshake");
        let frames: [(u8, &[u8]); 5] =
            [(0x81, b"text"), (0x02, &[1; 3000]), (0x80, &[2; 9000]), (0x89, b"p"), (0x8A, b"q")];
        for (first, payload) in frames {
            let bytes = subject.peer(first, payload);
            for split in Split::ALL {
                if payload.len() < 100 {
                    subject.feed_split(&bytes, split);
                }
            }
            if payload.len() >= 100 {
                subject.feed_split(&bytes, Split::Random(4));
            }
        }
        subject.outbox().send(&Frame::binary(&[0; 50_000])).unwrap();
        subject.take_output();
        assert_eq!(subject.connection.retained(), 0, "after messages");
    }
    assert!(size_of::<Connection>() <= 256);
}

#[test]
fn durations_that_cannot_be_added_are_never_reached() {
    let far = std::time::Duration::MAX;
    let limits = Limits {
        handshake_within: far,
        ping_every: far,
        pong_within: far,
        drain_within: far,
        message_within: far,
        close_within: far,
        body_within: far,
        body_silence: far,
        ..Limits::default()
    };
    let mut subject = Subject::server(limits, echo);
    assert_eq!(subject.due(), None);
    subject.feed(REQUEST);
    subject.hears(0x01, b"begun");
    subject.write(1);
    assert_eq!(subject.due(), None);
    subject.connection.close(subject.now, CloseCode::NORMAL, "");
    assert_eq!(subject.due(), None);
}

#[test]
fn a_connection_can_be_given_less_than_the_limit_and_more_later_but_never_over_it() {
    let limits = Limits { message: 1000, ..Limits::default() };
    for (bytes, given, fits) in [
        (99, Some(100), true),
        (100, Some(100), true),
        (101, Some(100), false),
        (1000, Some(u32::MAX), true),
        (1001, Some(u32::MAX), false),
        (1000, None, true),
    ] {
        for split in [Split::Whole, Split::Chops(1)] {
            let mut subject = Subject::open(Role::Server, limits.clone());
            subject.outbox().limit_messages(50);
            subject.outbox().limit_messages(given.unwrap_or(limits.message));
            let wire = subject.peer(0x82, &vec![1; bytes]);
            subject.feed_split(&wire, split);
            let refused = matches!(subject.closed(), Some(Recorded::Closed(Cause::Limit(_))));
            assert_eq!(refused, !fits, "{bytes} of {given:?}");
            assert!(fits || subject.connection.retained() < 1024, "nothing of it is kept");
        }
    }
}

#[test]
fn a_close_for_size_can_say_what_to_do_instead() {
    let hint = "; send less";
    let limits = Limits { message: 10, message_hint: hint, fragments: 1, ..Limits::default() };
    let mut subject = Subject::open(Role::Server, limits.clone());
    subject.hears(0x82, &[0; 11]);
    let reason = subject.frames().pop().expect("a Close").payload;
    assert_eq!(reason[2..], *b"message of 11 bytes exceeds 10; send less");
    // Other limits have nothing to do with it.
    let mut subject = Subject::open(Role::Server, limits);
    subject.hears(0x02, b"x");
    subject.hears(0x80, b"x");
    let reason = subject.frames().pop().expect("a Close").payload;
    assert!(!reason.ends_with(hint.as_bytes()), "{}", reason.escape_ascii());
}
