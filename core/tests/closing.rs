//! How connections end: every cause, exactly one Closed, and what the transport is asked to do.

mod support;
use moorline_core::*;
use support::*;

fn closed(cause: Cause<'static>) -> Recorded {
    Recorded::Closed(cause)
}

/// A way to end a connection that is open, and what it is called.
type Ending = (&'static str, fn(&mut Subject), fn(Role) -> Recorded);

const ENDINGS: &[Ending] = &[
    (
        "the peer closes",
        |subject| subject.hears(0x88, &close_payload(1001, "away")),
        |_| Recorded::PeerClosed(1001, "away".into()),
    ),
    (
        "the peer closes without a code",
        |subject| subject.hears(0x88, b""),
        |_| Recorded::PeerClosed(1005, String::new()),
    ),
    (
        "the application closes and is answered",
        |subject| {
            subject.outbox().close(CloseCode::NORMAL, "");
            subject.flush();
            subject.hears(0x88, &close_payload(1000, ""));
        },
        |_| closed(Cause::Local(CloseCode::NORMAL)),
    ),
    (
        "the application closes and the peer leaves",
        |subject| {
            subject.outbox().close(CloseCode::GOING_AWAY, "");
            subject.flush();
            subject.eof();
        },
        |_| closed(Cause::Local(CloseCode::GOING_AWAY)),
    ),
    (
        "the application closes and the peer breaks the protocol",
        |subject| {
            subject.outbox().close(CloseCode::GOING_AWAY, "");
            subject.hears(0xFF, b"");
        },
        |_| closed(Cause::Local(CloseCode::GOING_AWAY)),
    ),
    (
        "the application closes and nothing comes",
        |subject| {
            subject.outbox().close(CloseCode::GOING_AWAY, "");
            assert_eq!(subject.pass_deadline(), Why::Close);
        },
        |_| closed(Cause::Local(CloseCode::GOING_AWAY)),
    ),
    ("the transport ends", Subject::eof, |_| closed(Cause::Eof)),
    ("the transport is cut", Subject::truncation, |_| closed(Cause::Truncated)),
    (
        "the application closes and the transport is cut",
        |subject| {
            subject.outbox().close(CloseCode::GOING_AWAY, "");
            subject.truncation();
        },
        |_| closed(Cause::Local(CloseCode::GOING_AWAY)),
    ),
    (
        "a rule is broken",
        |subject| subject.hears(0x83, b""),
        |_| closed(Cause::Protocol(ProtocolError::ReservedOpcode(3))),
    ),
    (
        "a limit is exceeded",
        |subject| {
            let header = header(0x82, peer_key(subject.role), 524_289);
            subject.feed(&header);
        },
        |_| closed(Cause::Limit(LimitError::Message { size: 524_289, limit: 524_288 })),
    ),
    (
        "nothing is heard",
        |subject| {
            assert_eq!(subject.pass_deadline(), Why::Ping);
            subject.flush();
            assert_eq!(subject.pass_deadline(), Why::Pong);
        },
        |_| closed(Cause::Timeout(Why::Pong)),
    ),
    (
        "a message does not end",
        |subject| {
            subject.hears(0x01, b"begin");
            subject.advance(15 * SECOND);
            subject.hears(0x89, b"");
            subject.flush();
            assert_eq!(subject.pass_deadline(), Why::Message);
        },
        |_| closed(Cause::Timeout(Why::Message)),
    ),
    (
        "nothing is read",
        |subject| {
            subject.outbox().binary(&[0; 100_000]).unwrap();
            subject.write(1);
            assert_eq!(subject.pass_deadline(), Why::Drain);
        },
        |_| closed(Cause::SlowReader),
    ),
    (
        "a turn is not drained",
        |subject| {
            let mut bytes = subject.peer(0x81, b"lost");
            drop(subject.connection.receive(subject.now, &mut bytes));
            assert_eq!(subject.end(), End::Drop);
            subject.wake();
        },
        |_| closed(Cause::Abandoned),
    ),
];

#[test]
fn every_ending_of_an_open_connection_is_told_once_with_its_cause() {
    for role in ROLES {
        for (name, end, expected) in ENDINGS {
            let mut subject = Subject::open(role, Limits::default());
            end(&mut subject);
            assert_eq!(subject.closed(), Some(&expected(role)), "{name}");
            // Whatever comes later changes nothing.
            let count = subject.events.len();
            subject.hears(0x81, b"late");
            subject.hears(0x88, b"");
            subject.outbox().close(CloseCode::NORMAL, "again");
            assert_eq!(subject.outbox().text("late"), Err(SendError::NotOpen), "{name}");
            subject.flush();
            subject.eof();
            subject.eof();
            while subject.connection.deadline().is_some() {
                subject.pass_deadline();
            }
            assert_eq!(subject.events.len(), count, "{name}");
            assert_eq!(subject.end(), End::Drop, "{name}");
            assert_eq!(subject.connection.retained(), 0, "{name}");
        }
    }
}

#[test]
fn causes_of_the_handshake_are_told_once() {
    let mut subject = Subject::server(Limits::default(), echo);
    subject.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(subject.closed(), Some(&closed(Cause::Answered(200))));
    for app in [echo, silent] {
        for cut in 0..REQUEST.len() {
            let mut subject = Subject::server(Limits::default(), app);
            subject.feed(&REQUEST[..cut]);
            subject.eof();
            assert_eq!(subject.events, [closed(Cause::Eof)], "cut at {cut}");
            assert_eq!(subject.end(), End::Drop);
        }
    }
}

#[test]
fn the_end_of_file_at_any_byte_of_a_stream_is_told_once() {
    for role in ROLES {
        let frames = [
            (0x81, &b"text"[..]),
            (0x01, b"a"),
            (0x89, b"ping"),
            (0x80, b"b"),
            (0x82, &[1; 200]),
            (0x88, &close_payload(1000, "bye")),
        ];
        let stream: Vec<u8> =
            frames.iter().flat_map(|(first, data)| peer_frame(role, *first, data)).collect();
        for cut in 0..=stream.len() {
            let mut subject = Subject::open(role, Limits::default());
            subject.feed(&stream[..cut]);
            subject.eof();
            let expected = if cut == stream.len() {
                Recorded::PeerClosed(1000, "bye".into())
            } else {
                closed(Cause::Eof)
            };
            assert_eq!(subject.closed(), Some(&expected), "cut at {cut}");
            subject.flush();
            assert_eq!(subject.end(), End::Drop);
            assert_eq!(subject.connection.retained(), 0);
        }
    }
}

#[test]
fn after_a_clean_close_the_server_ends_the_transport_and_the_client_waits() {
    for ours in [false, true] {
        for role in ROLES {
            let mut subject = Subject::open(role, Limits::default());
            if ours {
                subject.outbox().close(CloseCode::NORMAL, "");
                assert_eq!(subject.end(), End::Stay, "the Close is queued");
                subject.flush();
                assert_eq!(subject.end(), End::Stay, "the answer is awaited");
                assert!(subject.connection.wants().read);
            }
            subject.hears(0x88, &close_payload(1000, ""));
            if !ours {
                assert_eq!(subject.end(), End::Stay, "the answer is queued");
                subject.flush();
            }
            let expected = if role == Role::Server { End::ShutdownWrite } else { End::Stay };
            assert_eq!(subject.end(), expected);
            assert!(subject.connection.wants().read, "to the end of file");
            subject.eof();
            assert_eq!(subject.end(), End::Drop);
        }
    }
}

#[test]
fn after_a_failure_both_ends_shut_down_and_read_to_the_end_of_file() {
    for role in ROLES {
        let mut subject = Subject::open(role, Limits::default());
        subject.hears(0x83, b"");
        assert_eq!(subject.end(), End::Stay, "the Close is queued");
        subject.write(2);
        assert_eq!(subject.end(), End::Stay);
        subject.flush();
        assert_eq!(subject.end(), End::ShutdownWrite);
        subject.feed(&[0; 100_000]);
        assert_eq!(subject.connection.retained(), 0);
        assert_eq!(subject.end(), End::ShutdownWrite);
        subject.eof();
        assert_eq!(subject.end(), End::Drop);
    }
}

#[test]
fn what_is_queued_at_the_end_of_file_is_dropped_unless_it_is_an_answer() {
    // The transport is gone in both directions as far as frames go.
    let mut subject = Subject::open(Role::Server, Limits::default());
    subject.outbox().text("nobody reads this").unwrap();
    subject.eof();
    assert_eq!(subject.end(), End::Drop);
    assert!(!subject.connection.wants().write);
    // A Close that is queued still leaves when only the peer's half has ended.
    let mut subject = Subject::open(Role::Server, Limits::default());
    subject.hears(0x88, &close_payload(1000, ""));
    subject.eof();
    assert_eq!(subject.end(), End::Stay);
    assert_eq!(subject.frames()[0].close_code(), Some(1000));
    assert_eq!(subject.end(), End::Drop);
    // A failed one gives up on the second end of file.
    let mut subject = Subject::open(Role::Server, Limits::default());
    subject.hears(0x83, b"");
    subject.eof();
    subject.eof();
    assert_eq!(subject.end(), End::Drop);
}

/// A request of a client that then ends its half of the transport.
fn half_closed() -> Subject {
    let mut subject = Subject::server(Limits::default(), silent);
    subject.feed(REQUEST);
    subject.eof();
    assert_eq!(subject.closed(), None, "the answer still has a reader");
    subject
}

/// Does what an adapter does until it drops the transport, and no more.
fn run_adapter(subject: &mut Subject) {
    for _ in 0..10 {
        subject.flush();
        let wants = subject.connection.wants();
        if wants.end == End::Drop {
            return;
        }
        if wants.wake_at.is_some_and(|at| at > subject.now) {
            subject.now = wants.wake_at.unwrap();
        }
        subject.wake();
    }
    panic!("it never ends");
}

#[test]
fn a_half_closed_request_is_answered_and_then_told_to_have_ended() {
    let mut subject = half_closed();
    subject.connection.respond(subject.now, &Response::text(200, "here")).unwrap();
    run_adapter(&mut subject);
    assert!(subject.output.ends_with(b"\r\n\r\nhere"));
    assert_eq!(subject.closed(), Some(&closed(Cause::Answered(200))));
}

#[test]
fn a_half_closed_upgrade_opens_and_ends() {
    let mut subject = half_closed();
    subject.connection.accept(subject.now, &Accept::default()).unwrap();
    run_adapter(&mut subject);
    assert_eq!(subject.events[1..], [Recorded::Open, closed(Cause::Eof)]);
    assert_eq!(subject.now, subject.start, "without waiting for anything");
}

#[test]
fn a_half_closed_request_that_the_application_closes_ends() {
    let mut subject = half_closed();
    subject.connection.close(subject.now, CloseCode::GOING_AWAY, "");
    run_adapter(&mut subject);
    assert!(subject.output.starts_with(b"HTTP/1.1 503 "));
    assert_eq!(subject.closed(), Some(&closed(Cause::Local(CloseCode::GOING_AWAY))));
}

#[test]
fn a_half_closed_request_that_nobody_answers_gets_503() {
    let mut subject = half_closed();
    run_adapter(&mut subject);
    assert!(subject.output.starts_with(b"HTTP/1.1 503 "));
    assert_eq!(subject.closed(), Some(&closed(Cause::Upgrade(UpgradeError::Unanswered))));
}

#[test]
fn a_close_during_the_handshake_answers_503_and_ends() {
    for asked in [0, 20, REQUEST.len()] {
        let mut subject = Subject::server(Limits::default(), silent);
        subject.feed(&REQUEST[..asked]);
        subject.connection.close(subject.now, CloseCode::GOING_AWAY, "ignored");
        subject.feed(b"whatever comes is not read");
        assert!(subject.take_output().starts_with(b"HTTP/1.1 503 "));
        assert_eq!(subject.end(), End::ShutdownWrite);
        subject.eof();
        assert_eq!(subject.closed(), Some(&closed(Cause::Local(CloseCode::GOING_AWAY))));
        assert_eq!(subject.end(), End::Drop);
    }
    let mut subject = Subject::client(Limits::default(), quiet);
    subject.connection.close(subject.now, CloseCode::NORMAL, "");
    assert_eq!(subject.take_output(), b"", "nobody needs to be told");
    assert_eq!(subject.end(), End::ShutdownWrite);
    subject.feed(b"HTTP/1.1 101 ");
    assert_eq!(subject.pass_deadline(), Why::Close);
    assert_eq!(subject.events, [closed(Cause::Local(CloseCode::NORMAL))]);
}

#[test]
fn a_close_inside_a_turn_discards_the_rest_of_it() {
    fn close_at_stop(event: &Event<'_>, outbox: &mut Outbox) {
        echo(event, outbox);
        if let Event::Text("stop") = event {
            outbox.close(CloseCode(4000), "as asked");
            outbox.close(CloseCode::NORMAL, "the first one counts");
            assert!(!outbox.is_open());
        }
    }
    for role in ROLES {
        for split in Split::ALL {
            let mut subject = Subject::open_with(role, Limits::default(), close_at_stop);
            let frames =
                [(0x81, "go"), (0x81, "stop"), (0x81, "late"), (0x89, "late"), (0x82, "l")];
            let stream: Vec<u8> = frames
                .iter()
                .flat_map(|(first, text)| subject.peer(*first, text.as_bytes()))
                .collect();
            subject.feed_split(&stream, split);
            let texts = ["go", "stop"].map(|text| Recorded::Text(text.into()));
            assert_eq!(subject.events, texts);
            let close = Wire::new(8, close_payload(4000, "as asked"));
            assert_eq!(subject.frames(), [Wire::text("go"), Wire::text("stop"), close]);
            subject.hears(0x88, &close_payload(4000, ""));
            assert_eq!(subject.closed(), Some(&closed(Cause::Local(CloseCode(4000)))));
        }
    }
}

#[test]
fn an_application_may_close_in_any_event() {
    fn always(event: &Event<'_>, outbox: &mut Outbox) {
        echo(event, outbox);
        outbox.close(CloseCode::NORMAL, "");
    }
    let mut subject = Subject::server(Limits::default(), always);
    subject.feed(&[REQUEST, &peer_frame(Role::Server, 0x81, b"hi")].concat());
    // It was accepted and closed in one event: the Close follows the 101, and Open is not told.
    assert_eq!(subject.events.len(), 1);
    let output = subject.take_output();
    assert!(output.starts_with(b"HTTP/1.1 101 ") && output.ends_with(b"\r\n\r\n\x88\x02\x03\xe8"));
    assert_eq!(subject.end(), End::Stay, "the answer is awaited");
    subject.hears(0x88, &close_payload(1000, ""));
    assert_eq!(subject.closed(), Some(&closed(Cause::Local(CloseCode::NORMAL))));
}

#[test]
fn a_long_reason_is_cut_at_a_code_point_and_a_bad_code_is_left_out() {
    for (code, reason, payload) in [
        (1000, "é".repeat(200), close_payload(1000, &"é".repeat(61))),
        (4999, "x".repeat(123), close_payload(4999, &"x".repeat(123))),
        (4999, "x".repeat(124), close_payload(4999, &"x".repeat(123))),
        (1005, "no code, no reason".into(), Vec::new()),
        (1006, String::new(), Vec::new()),
        (0, String::new(), Vec::new()),
    ] {
        for role in ROLES {
            let mut subject = Subject::open(role, Limits::default());
            subject.outbox().close(CloseCode(code), &reason);
            assert_eq!(subject.frames(), [Wire::new(8, &payload)]);
        }
    }
}

#[test]
fn an_abandoned_turn_ends_the_connection_in_every_phase() {
    let phases: [fn() -> Subject; 4] = [
        || Subject::server(Limits::default(), echo),
        || Subject::client(Limits::default(), echo),
        || Subject::open(Role::Server, Limits::default()),
        half_closed,
    ];
    for phase in phases {
        for next in 0..3 {
            let mut subject = phase();
            subject.events.clear();
            drop(subject.connection.receive(subject.now, &mut [0x81]));
            assert_eq!(subject.end(), End::Drop);
            match next {
                0 => subject.wake(),
                1 => subject.eof(),
                _ => subject.feed(b"more"),
            }
            assert_eq!(subject.events, [closed(Cause::Abandoned)]);
            assert_eq!(subject.end(), End::Drop);
            assert_eq!(subject.connection.retained(), 0);
        }
    }
}

#[test]
fn a_turn_dropped_after_closed_is_not_told_again() {
    let mut subject = Subject::open(Role::Server, Limits::default());
    let mut bytes = subject.peer(0x88, b"");
    let mut turn = subject.connection.receive(subject.now, &mut bytes);
    let event = turn.next_event().map(|(event, _)| Recorded::from(&event));
    assert_eq!(event, Some(Recorded::PeerClosed(1005, String::new())));
    drop(turn);
    subject.wake();
    assert_eq!(subject.events, []);
    assert_eq!(subject.end(), End::Drop);
}

#[test]
fn causes_have_a_code_a_word_and_somebody_who_did_it() {
    let words: std::collections::BTreeSet<_> = [
        Cause::Peer(CloseCode::NORMAL, ""),
        Cause::Local(CloseCode::NORMAL),
        Cause::Eof,
        Cause::Truncated,
        Cause::Timeout(Why::Handshake),
        Cause::Timeout(Why::Pong),
        Cause::Timeout(Why::Message),
        Cause::Protocol(ProtocolError::Masked),
        Cause::Limit(LimitError::Fragments { limit: 1 }),
        Cause::Upgrade(UpgradeError::Key),
        Cause::Answered(200),
        Cause::SlowReader,
        Cause::Overflow,
        Cause::Abandoned,
    ]
    .iter()
    .map(|cause| cause.name())
    .collect();
    assert_eq!(words.len(), 14);
    assert_eq!(Cause::Protocol(ProtocolError::InvalidUtf8).close_code(), CloseCode(1007));
    assert_eq!(Cause::SlowReader.close_code(), CloseCode(1008));
    assert_eq!(Cause::Eof.close_code(), CloseCode(1006));
    assert_eq!(Cause::SlowReader.initiator(), Initiator::Clock);
    assert_eq!(Cause::Overflow.close_code(), CloseCode(1008));
    assert_eq!(Cause::Overflow.initiator(), Initiator::Local);
}
