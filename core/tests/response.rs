//! An answer whose body comes in pieces: what leaves, what it holds, and how long it may take.

mod support;
use bytes::Bytes;
use moorline_core::*;
use std::time::Duration;
use support::*;

fn timed() -> Limits {
    Limits {
        body_within: 100 * SECOND,
        body_silence: 10 * SECOND,
        drain_within: 20 * SECOND,
        outbox: 8,
        ..Limits::default()
    }
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// Announces ten bytes, of which three are there.
fn announcing(event: &Event<'_>, outbox: &mut Outbox) {
    if let Event::Request(_) = event {
        let answer = Response { status: 200, headers: &[("X", "y")], body: b"012" };
        outbox.begin_response(&answer, 10).expect("a request");
    }
}

fn begun(request: &[u8]) -> Subject {
    let mut subject = Subject::server(timed(), announcing);
    subject.feed(request);
    subject
}

fn piece(bytes: &'static [u8]) -> Bytes {
    Bytes::from_static(bytes)
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789";

#[test]
fn the_pieces_are_one_body_however_they_leave() {
    for size in [1, 3, 7, 1000] {
        let mut subject = begun(GET);
        for rest in [b"3456".as_slice(), b"", b"789"] {
            while !subject.outbox().is_empty() {
                subject.write(size);
            }
            assert!(subject.outbox().wants_body());
            assert_eq!(subject.end(), End::Stay, "the next piece is awaited");
            subject.outbox().body(Bytes::copy_from_slice(rest)).expect("room");
        }
        assert!(!subject.outbox().wants_body());
        while !subject.outbox().is_empty() {
            assert_eq!(subject.end(), End::Stay);
            subject.write(size);
        }
        assert_eq!(subject.output, ANSWER);
        assert_eq!((subject.end(), subject.connection.retained()), (End::ShutdownWrite, 0));
        subject.eof();
        assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(200))));
        assert_eq!(subject.end(), End::Drop);
    }
}

#[test]
fn head_and_what_is_whole_at_once_are_done_at_once() {
    let mut subject = begun(HEAD);
    assert!(!subject.outbox().wants_body());
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(200))));
    assert_eq!(subject.take_output(), ANSWER[..ANSWER.len() - 10]);

    let mut subject = Subject::server(timed(), silent);
    subject.feed(GET);
    let all = Response { status: 200, headers: &[("X", "y")], body: b"0123456789" };
    assert_eq!(subject.outbox().begin_response(&all, 9), Err(AnswerError::BodySize));
    subject.outbox().begin_response(&all, 10).expect("a request");
    assert!(!subject.outbox().wants_body());
    assert_eq!(subject.take_output(), ANSWER);
    // What has no body gets none.
    let mut subject = Subject::server(timed(), silent);
    subject.feed(GET);
    let none = Response { status: 304, headers: &[], body: b"" };
    subject.outbox().begin_response(&none, 10).expect("a request");
    assert!(!subject.outbox().wants_body());
}

#[test]
fn more_than_was_announced_or_than_there_is_room_for_is_refused() {
    let mut subject = begun(GET);
    assert_eq!(subject.outbox().body(piece(b"3")), Err(AnswerError::Full), "the head has not left");
    subject.flush();
    assert_eq!(subject.outbox().body(piece(b"3456789x")), Err(AnswerError::BodySize));
    subject.outbox().body(piece(b"3456")).expect("nothing is queued");
    // Four are queued of the eight that may be.
    subject.outbox().body(piece(b"78")).expect("room");
    assert_eq!(subject.outbox().body(piece(b"9x")), Err(AnswerError::BodySize));
    subject.outbox().body(piece(b"9")).expect("room");
    assert_eq!(subject.outbox().body(piece(b"")), Ok(()));
    assert_eq!(subject.take_output(), ANSWER);
    assert_eq!(subject.outbox().body(piece(b"")), Err(AnswerError::NothingToAnswer));
}

#[test]
fn one_answer_is_enough() {
    let mut subject = begun(GET);
    let answer = Response::text(500, "broken\n");
    assert_eq!(subject.outbox().respond(&answer), Err(AnswerError::NothingToAnswer));
    assert_eq!(subject.outbox().begin_response(&answer, 7), Err(AnswerError::NothingToAnswer));
    assert_eq!(subject.outbox().take_body(9), Err(AnswerError::NothingToAnswer));
    assert_eq!(subject.outbox().text("hello"), Err(SendError::NotOpen));
    let mut subject = begun(REQUEST);
    let accepted = subject.outbox().accept(&Accept::default());
    assert_eq!(accepted, Err(AnswerError::NothingToAnswer), "an upgrade, too");
}

#[test]
fn what_comes_meanwhile_is_thrown_away_and_a_peer_that_half_closes_gets_all() {
    let mut subject = begun(GET);
    assert!(subject.connection.wants().read);
    subject.feed(GET);
    subject.eof();
    assert_eq!(subject.closed(), None);
    subject.flush();
    subject.outbox().body(piece(b"3456789")).expect("room");
    assert_eq!(subject.take_output(), ANSWER);
    assert_eq!(subject.pass_deadline(), Why::Close);
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(200))));
    assert_eq!(subject.events.len(), 2);
    // It has gone altogether.
    let mut subject = begun(GET);
    subject.eof();
    subject.eof();
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Eof)));
    assert_eq!((subject.end(), subject.connection.retained()), (End::Drop, 0));
    assert_eq!(subject.outbox().body(piece(b"3")), Err(AnswerError::NothingToAnswer));
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off() {
    let mut subject = begun(GET);
    subject.advance(SECOND);
    subject.refuse_write();
    assert_eq!(subject.due(), Some((21 * SECOND, Why::Drain)));
    subject.advance(15 * SECOND);
    subject.write(1);
    assert_eq!(subject.due(), Some((36 * SECOND, Why::Drain)), "a byte is a sign of life");
    let before = subject.output.len();
    assert_eq!(subject.pass_deadline(), Why::Drain);
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::SlowReader)));
    assert_eq!((subject.end(), subject.output.len()), (End::Drop, before), "no frame in a body");
}

#[test]
fn an_application_that_brings_nothing_more_ends_it() {
    let mut subject = begun(GET);
    subject.advance(SECOND);
    subject.flush();
    assert_eq!(subject.due(), Some((10 * SECOND, Why::Body)));
    subject.advance(5 * SECOND);
    subject.outbox().body(piece(b"345")).expect("room");
    subject.flush();
    assert_eq!(subject.due(), Some((16 * SECOND, Why::Body)));
    assert_eq!(subject.pass_deadline(), Why::Body);
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Timeout(Why::Body))));
    assert_eq!(subject.end(), End::Drop);
}

#[test]
fn an_answer_that_drips_has_its_time_and_no_more() {
    let mut subject = begun(GET);
    subject.flush();
    subject.outbox().body(piece(b"3456789")).expect("room");
    subject.advance(SECOND);
    subject.refuse_write();
    for _ in 0..6 {
        subject.advance(15 * SECOND);
        subject.write(1);
        subject.wake();
        assert_eq!(subject.closed(), None);
    }
    assert_eq!(subject.due(), Some((100 * SECOND, Why::Body)), "all is queued, but has not left");
    assert_eq!(subject.pass_deadline(), Why::Body);
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Timeout(Why::Body))));
}

#[test]
fn closing_in_the_midst_leaves_an_answer_that_can_be_seen_not_to_be_whole() {
    let mut subject = begun(GET);
    let now = subject.now;
    subject.connection.close(now, CloseCode::GOING_AWAY, "going away");
    assert_eq!(subject.outbox().body(piece(b"3")), Err(AnswerError::NothingToAnswer));
    assert_eq!(subject.take_output(), ANSWER[..ANSWER.len() - 7]);
    assert_eq!(subject.end(), End::ShutdownWrite);
    subject.advance(Duration::from_secs(5));
    subject.wake();
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(200))));
    assert_eq!(subject.end(), End::Drop);
}
