//! Time: every deadline, what moves it, and what it leads to.

mod support;
use moorline_core::*;
use std::time::Duration;
use support::*;

fn limits() -> Limits {
    Limits {
        handshake_within: 5 * SECOND,
        ping_every: 20 * SECOND,
        pong_within: 10 * SECOND,
        drain_within: 60 * SECOND,
        message_within: 30 * SECOND,
        close_within: 4 * SECOND,
        ..Limits::default()
    }
}

fn timeout(why: Why) -> Recorded {
    Recorded::Closed(Cause::Timeout(why))
}

/// A subject that has no keep-alive in the way.
fn without_pings(role: Role) -> Subject {
    Subject::open(role, Limits { ping_every: Duration::MAX, ..limits() })
}

#[test]
fn a_request_that_dribbles_is_answered_with_408_at_the_absolute_deadline() {
    let mut subject = Subject::server(limits(), echo);
    for byte in &REQUEST[..49] {
        subject.feed(&[*byte]);
        assert_eq!(subject.due(), Some((5 * SECOND, Why::Handshake)));
        subject.advance(100 * MS);
        subject.wake();
    }
    assert_eq!(subject.pass_deadline(), Why::Handshake);
    assert_eq!(subject.events, [timeout(Why::Handshake)]);
    let answer = String::from_utf8(subject.take_output()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert_eq!(subject.end(), End::ShutdownWrite);
    assert_eq!(subject.connection.retained(), 0);
    assert_eq!(subject.due(), Some((9 * SECOND, Why::Close)));
    subject.pass_deadline();
    assert_eq!(subject.end(), End::Drop);
}

#[test]
fn a_silent_socket_is_answered_with_408_too() {
    let mut subject = Subject::server(limits(), echo);
    assert_eq!(subject.pass_deadline(), Why::Handshake);
    assert!(subject.take_output().starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn a_request_the_application_does_not_answer_gets_503() {
    let mut subject = Subject::server(limits(), silent);
    subject.advance(3 * SECOND);
    subject.feed(REQUEST);
    assert_eq!(subject.due(), Some((5 * SECOND, Why::Handshake)));
    subject.pass_deadline();
    let cause = Cause::Upgrade(UpgradeError::Unanswered);
    assert_eq!(subject.events[1..], [Recorded::Closed(cause)]);
    let answer = String::from_utf8(subject.take_output()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1"), "{answer}");
    let late = subject.connection.accept(subject.now, &Accept::default());
    assert_eq!(late, Err(AnswerError::NothingToAnswer));
}

#[test]
fn a_server_that_does_not_answer_is_left() {
    let mut subject = Subject::client(limits(), echo);
    subject.flush();
    subject.advance(4 * SECOND);
    subject.feed(b"HTTP/1.1 101 Sw");
    subject.pass_deadline();
    assert_eq!(subject.events, [timeout(Why::Handshake)]);
    assert_eq!(subject.end(), End::Drop);
}

#[test]
fn a_refusal_whose_body_does_not_end_is_handed_out_at_the_deadline() {
    let mut subject = Subject::client(limits(), echo);
    subject.flush();
    subject.feed(b"HTTP/1.1 403 Forbidden\r\n\r\nbad token");
    subject.pass_deadline();
    let closed = Recorded::Closed(Cause::Upgrade(UpgradeError::Status(403)));
    let response = Recorded::Response { status: 403, body: b"bad token".to_vec() };
    assert_eq!(subject.events, [response, closed]);
    assert_eq!(subject.end(), End::Drop);
}

#[test]
fn a_ping_is_due_after_silence_and_any_byte_moves_it() {
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        let (at, why) = subject.due().unwrap();
        assert_eq!(why, Why::Ping);
        assert!(at > 18 * SECOND && at <= 20 * SECOND, "within a tenth: {at:?}");
        for _ in 0..10 {
            subject.advance(10 * SECOND);
            // Half a header is life, too.
            let byte = subject.peer(0x8A, b"")[..1].to_vec();
            let heard = subject.now - subject.start;
            subject.feed(&byte);
            assert_eq!(subject.due(), Some((heard + at, Why::Ping)));
            subject.wake();
            let rest = subject.peer(0x8A, b"")[1..].to_vec();
            subject.feed(&rest);
        }
        assert_eq!(subject.frames(), []);
        assert_eq!(subject.pass_deadline(), Why::Ping);
        assert_eq!(subject.frames(), [Wire::ping()]);
    }
}

#[test]
fn pings_of_connections_that_began_together_are_spread() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let request = ClientRequest::new("a", "/").unwrap();
        let mut client = Subject::client_for(request, limits(), Box::new(Rng(seed)), echo);
        let mut server = Subject::server(limits(), echo);
        server.feed(&client.take_output());
        client.feed(&server.take_output());
        for subject in [&client, &server] {
            let (at, _) = subject.due().unwrap();
            assert!(at > 18 * SECOND && at <= 20 * SECOND, "{at:?}");
            seen.insert(at);
        }
    }
    assert!(seen.len() > 30, "{} different times", seen.len());
}

#[test]
fn a_huge_ping_interval_never_pings_and_never_panics() {
    for ping_every in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::MAX / 2] {
        for role in ROLES {
            let mut subject = Subject::open(role, Limits { ping_every, ..limits() });
            assert!(subject.due().is_none_or(|(at, _)| at > Duration::from_secs(1 << 60)));
            subject.advance(1_000_000 * SECOND);
            subject.wake();
            assert_eq!(subject.frames(), []);
        }
    }
}

#[test]
fn the_pong_time_runs_from_the_moment_the_ping_left() {
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        subject.pass_deadline();
        subject.advance(3 * SECOND);
        assert_eq!(subject.frames(), [Wire::ping()]);
        let left = subject.now - subject.start;
        assert_eq!(subject.due(), Some((left + 10 * SECOND, Why::Pong)));
        subject.pass_deadline();
        assert_eq!(subject.events, [timeout(Why::Pong)]);
        let frames = subject.frames();
        assert_eq!(frames[0].payload, close_payload(1008, "keepalive timeout"));
        assert_eq!(subject.end(), End::ShutdownWrite);
    }
}

#[test]
fn being_woken_twice_before_the_ping_could_leave_is_harmless() {
    // The pong time is shorter than the silence before the Ping.
    let mut subject = Subject::open(Role::Server, limits());
    assert_eq!(subject.pass_deadline(), Why::Ping);
    subject.wake();
    subject.wake();
    assert_eq!(subject.events, [], "the Ping had no chance to leave");
    assert_eq!(subject.frames(), [Wire::ping()]);
}

#[test]
fn a_byte_heard_at_the_instant_the_ping_left_is_life() {
    let mut subject = Subject::open(Role::Server, limits());
    subject.pass_deadline();
    assert_eq!(subject.frames(), [Wire::ping()]);
    subject.hears(0x8A, b"");
    assert_eq!(subject.due().unwrap().1, Why::Ping);
}

#[test]
fn any_byte_after_a_ping_is_life() {
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        for _ in 0..5 {
            subject.pass_deadline();
            assert_eq!(subject.frames(), [Wire::ping()]);
            subject.advance(9 * SECOND);
            subject.hears(0x82, b"not a pong");
            subject.take_output();
            assert_eq!(subject.due().unwrap().1, Why::Ping);
        }
    }
}

#[test]
fn a_peer_that_drains_is_alive_though_it_says_nothing() {
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        subject.outbox().binary(&[0; 60_000]).unwrap();
        subject.refuse_write();
        // 60 000 bytes in ten minutes, and not a word.
        for _ in 0..100 {
            subject.advance(6 * SECOND);
            subject.wake();
            subject.write(600);
        }
        assert_eq!(subject.events, []);
        subject.flush();
        subject.advance(11 * SECOND);
        subject.wake();
        assert_eq!(subject.closed(), Some(&timeout(Why::Pong)), "then it is not");
    }
}

#[test]
fn a_ping_behind_a_slow_frame_leaves_at_its_boundary_and_counts_from_there() {
    let mut subject = Subject::open(Role::Server, limits());
    subject.outbox().binary(&[0; 60_000]).unwrap();
    subject.write(1000);
    let (at, _) = subject.due().unwrap();
    while subject.now - subject.start < at {
        subject.advance(SECOND);
        subject.write(1000);
    }
    subject.wake();
    let frame = 60_004;
    subject.write(frame - subject.output.len());
    assert_eq!(subject.write(1), 1, "half of the Ping");
    subject.advance(5 * SECOND);
    subject.write(1);
    let left = subject.now - subject.start;
    assert_eq!(subject.due(), Some((left + 10 * SECOND, Why::Pong)));
    assert_eq!(subject.frames()[1..], [Wire::ping()]);
}

#[test]
fn a_ping_that_waits_among_data_is_not_queued_again() {
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        subject.outbox().binary(&[0; 60_000]).unwrap();
        assert_eq!(subject.pass_deadline(), Why::Ping);
        for _ in 0..3 {
            subject.write(100);
            subject.advance(SECOND);
            subject.hears(0x8A, b"alive");
            assert_eq!(subject.pass_deadline(), Why::Ping);
        }
        let frames = subject.frames();
        assert_eq!(frames[1..], [Wire::ping()]);
    }
}

#[test]
fn a_peer_that_does_not_read_is_a_slow_reader() {
    for queued in [1000, 60_000, 900_000] {
        for role in ROLES {
            let mut subject = without_pings(role);
            subject.outbox().binary(&vec![0; queued]).unwrap();
            subject.write(100);
            assert_eq!(subject.due(), Some((60 * SECOND, Why::Drain)));
            subject.advance(50 * SECOND);
            subject.write(1);
            assert_eq!(subject.due(), Some((110 * SECOND, Why::Drain)), "it moved");
            subject.pass_deadline();
            assert_eq!(subject.events, [Recorded::Closed(Cause::SlowReader)]);
            // The frame under way ends, what was queued behind it is dropped, and the Close leaves.
            let frames = subject.frames();
            assert_eq!(frames.last().unwrap().payload, close_payload(1008, "slow consumer"));
            assert!(frames.len() <= 2);
        }
    }
}

#[test]
fn a_slow_reader_that_is_not_read_from_is_not_called_silent() {
    // Its outbox is above the pause, so that what it says is not heard.
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        subject.outbox().binary(&[0; 100_000]).unwrap();
        subject.refuse_write();
        assert!(!subject.connection.wants().read);
        while subject.closed().is_none() {
            subject.pass_deadline();
        }
        assert_eq!(subject.now - subject.start, 60 * SECOND);
        assert_eq!(subject.events, [Recorded::Closed(Cause::SlowReader)]);
    }
}

#[test]
fn a_message_must_end_in_time_however_it_dribbles() {
    for role in ROLES {
        for first in [0x01, 0x02, 0x82] {
            let mut subject = without_pings(role);
            subject.advance(SECOND);
            let bytes = subject.peer(first, &[b'x'; 100]);
            for byte in &bytes[..58] {
                subject.feed(&[*byte]);
                subject.advance(SECOND / 2);
                subject.wake();
            }
            assert_eq!(subject.events, []);
            assert_eq!(subject.pass_deadline(), Why::Message);
            assert_eq!(subject.events, [timeout(Why::Message)]);
            assert_eq!(subject.frames()[0].payload, close_payload(1008, "message timeout"));
        }
    }
}

#[test]
fn fragments_and_pings_do_not_move_the_message_deadline() {
    let mut subject = without_pings(Role::Server);
    subject.hears(0x01, b"begin");
    for _ in 0..29 {
        subject.advance(SECOND);
        subject.hears(0x00, b"more");
        subject.hears(0x89, b"alive");
        subject.take_output();
        assert_eq!(subject.due(), Some((30 * SECOND, Why::Message)));
    }
    subject.hears(0x80, b"end");
    assert_eq!(subject.due(), None);
    subject.hears(0x01, b"the next has its own time");
    assert_eq!(subject.due(), Some((59 * SECOND, Why::Message)));
}

#[test]
fn the_close_deadline_is_absolute() {
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        subject.advance(SECOND);
        subject.connection.close(subject.now, CloseCode::NORMAL, "bye");
        for _ in 0..7 {
            assert_eq!(subject.due(), Some((5 * SECOND, Why::Close)));
            subject.advance(SECOND / 2);
            subject.hears(0x81, b"still talking");
            subject.write(1);
            subject.wake();
        }
        assert_eq!(subject.pass_deadline(), Why::Close);
        assert_eq!(subject.events, [Recorded::Closed(Cause::Local(CloseCode::NORMAL))]);
        assert_eq!(subject.end(), End::Drop);
    }
}

#[test]
fn an_answered_close_keeps_the_deadline_of_the_first_one() {
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        subject.connection.close(subject.now, CloseCode::NORMAL, "bye");
        subject.flush();
        subject.advance(3 * SECOND);
        subject.hears(0x88, &close_payload(1000, ""));
        assert_eq!(subject.due(), Some((4 * SECOND, Why::Close)));
        subject.pass_deadline();
        assert_eq!(subject.end(), End::Drop);
        assert_eq!(subject.events.len(), 1);
    }
}

#[test]
fn after_a_failure_the_transport_ends_at_the_close_deadline() {
    for role in ROLES {
        let mut subject = Subject::open(role, limits());
        subject.hears(0xFF, b"");
        for _ in 0..7 {
            subject.advance(SECOND / 2);
            subject.feed(b"more junk");
            subject.refuse_write();
            assert_eq!(subject.due(), Some((4 * SECOND, Why::Close)));
        }
        subject.pass_deadline();
        assert_eq!(subject.end(), End::Drop);
        assert_eq!(subject.events.len(), 1);
        assert_eq!(subject.connection.retained(), 0);
    }
}

#[test]
fn early_deadlines_change_nothing_in_any_phase() {
    let server = |app: App| Subject::server(limits(), app);
    let mut phases = vec![
        server(echo),
        server(silent),
        server(echo),
        Subject::client(limits(), echo),
        Subject::open(Role::Server, limits()),
        Subject::open(Role::Client, limits()),
        Subject::open(Role::Server, limits()),
        Subject::open(Role::Server, limits()),
    ];
    phases[1].feed(REQUEST);
    phases[2].feed(&REQUEST[..20]);
    phases[6].hears(0x01, b"begun");
    phases[7].outbox().close(CloseCode::NORMAL, "");
    for subject in &mut phases {
        let before = (subject.connection.wants(), subject.events.len());
        for _ in 0..100 {
            subject.wake();
        }
        assert_eq!((subject.connection.wants(), subject.events.len()), before);
    }
}

#[test]
fn time_may_stand_still() {
    let mut subject = Subject::open(Role::Server, limits());
    for _ in 0..100 {
        subject.hears(0x89, b"");
        subject.flush();
        subject.wake();
    }
    assert!(subject.events.iter().all(|event| *event == Recorded::Ping(Vec::new())));
}
