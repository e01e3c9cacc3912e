//! An answer whose length nobody knows: its chunks, its end, who leaves meanwhile, and how long it may
//! take.

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
        outbox: 256,
        ..Limits::default()
    }
}

const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
const OLD: &[u8] = b"POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

/// Takes the body, and takes its time for the answer.
fn patient(event: &Event<'_>, outbox: &mut Outbox) {
    match event {
        Event::Request(_) => outbox.take_body(9).expect("a body"),
        Event::BodyEnd => outbox.await_answer(1000 * SECOND),
        _ => {}
    }
}

fn asked(request: &[u8]) -> Subject {
    let mut subject = Subject::server(timed(), patient);
    subject.feed(request);
    subject
}

fn begun(request: &[u8]) -> Subject {
    let mut subject = asked(request);
    let head = Response { status: 200, headers: &[("X", "y")], body: b"not looked at" };
    subject.outbox().begin_stream(&head).expect("a request");
    subject
}

fn piece(bytes: &'static [u8]) -> Bytes {
    Bytes::from_static(bytes)
}

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

#[test]
fn the_pieces_are_chunks_however_they_leave() {
    for size in [1, 3, 7, 1000] {
        let mut subject = begun(POST);
        for rest in [b"one".as_slice(), b"", b"0123456789abcdef", b"three"] {
            while !subject.outbox().is_empty() {
                subject.write(size);
            }
            assert!(subject.outbox().wants_body());
            assert_eq!(subject.end(), End::Stay);
            subject.outbox().body(Bytes::copy_from_slice(rest)).expect("room");
        }
        subject.outbox().end_body().expect("a body");
        assert!(!subject.outbox().wants_body());
        assert_eq!(subject.outbox().body(piece(b"x")), Err(AnswerError::BodySize));
        assert_eq!(subject.outbox().end_body(), Err(AnswerError::NothingToAnswer));
        while !subject.outbox().is_empty() {
            assert_eq!(subject.end(), End::Stay);
            subject.write(size);
        }
        let body = b"3\r\none\r\n10\r\n0123456789abcdef\r\n5\r\nthree\r\n0\r\n\r\n";
        assert_eq!(subject.output, [HEAD, body].concat());
        assert_eq!((subject.end(), subject.connection.retained()), (End::ShutdownWrite, 0));
        subject.eof();
        assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(200))));
    }
}

#[test]
fn an_old_client_gets_all_until_the_transport_ends() {
    for last in [true, false] {
        let mut subject = begun(OLD);
        subject.outbox().body(piece(b"one")).expect("room");
        if last {
            subject.flush();
        }
        subject.outbox().end_body().expect("a body");
        subject.flush();
        assert_eq!(subject.output, b"HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\none");
        assert_eq!(subject.end(), End::ShutdownWrite);
    }
}

#[test]
fn a_head_request_and_an_announced_length_have_no_end_of_their_own() {
    let mut subject = Subject::server(timed(), silent);
    subject.feed(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    subject.outbox().begin_stream(&Response::text(200, "")).expect("a request");
    assert!(!subject.outbox().wants_body());
    assert_eq!(subject.outbox().end_body(), Err(AnswerError::NothingToAnswer));
    let mut subject = Subject::server(timed(), silent);
    subject.feed(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        subject.outbox().begin_stream(&Response::text(100, "")),
        Err(AnswerError::Status),
        "nothing was sent"
    );
    subject.outbox().begin_response(&Response::text(200, ""), 3).expect("a request");
    assert_eq!(subject.outbox().end_body(), Err(AnswerError::NothingToAnswer));
}

#[test]
fn who_takes_time_to_answer_has_it_and_hears_of_a_client_that_leaves() {
    let mut subject = asked(POST);
    assert!(subject.connection.wants().read);
    assert_eq!(subject.due(), Some((1000 * SECOND, Why::Handshake)));
    subject.feed(POST);
    assert_eq!(subject.closed(), None, "what comes meanwhile is thrown away");
    subject.advance(999 * SECOND);
    subject.wake();
    assert_eq!(subject.closed(), None);
    subject.outbox().respond(&Response::text(200, "")).expect("a request");
    subject.flush();
    subject.eof();
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(200))));

    let mut subject = asked(POST);
    subject.eof();
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Eof)));
    assert_eq!((subject.end(), subject.connection.retained()), (End::Drop, 0));

    let mut subject = begun(POST);
    subject.flush();
    subject.eof();
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Eof)));
    assert_eq!(subject.outbox().body(piece(b"3")), Err(AnswerError::NothingToAnswer));

    // Who does not take it is not given it.
    let mut subject = asked(POST);
    assert_eq!(subject.pass_deadline(), Why::Handshake);
    assert!(subject.output.starts_with(b"HTTP/1.1 503 ") || !subject.outbox().is_empty());
}

#[test]
fn a_stream_may_take_long_but_each_silence_has_its_time() {
    let mut subject = begun(POST);
    for _ in 0..50 {
        subject.advance(9 * SECOND);
        subject.outbox().body(piece(b"x")).expect("room");
        subject.flush();
        subject.wake();
        assert_eq!(subject.closed(), None);
    }
    assert_eq!(subject.due(), Some((460 * SECOND, Why::Body)));
    assert_eq!(subject.pass_deadline(), Why::Body);
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Timeout(Why::Body))));
}

#[test]
fn the_end_of_a_long_stream_has_its_time_to_leave() {
    let mut subject = begun(POST);
    for _ in 0..20 {
        subject.advance(9 * SECOND);
        subject.outbox().body(piece(b"x")).expect("room");
        subject.flush();
    }
    subject.outbox().end_body().expect("a body");
    subject.refuse_write();
    assert_eq!(subject.due(), Some((200 * SECOND, Why::Drain)));
}

#[test]
fn a_reader_that_is_given_up_is_cut_off_and_costs_nothing_more() {
    let mut subject = begun(POST);
    subject.flush();
    subject.outbox().body(piece(b"0123456789")).expect("room");
    subject.refuse_write();
    assert_eq!(
        subject.outbox().body(Bytes::from(vec![b'x'; 256])),
        Err(AnswerError::Full),
        "it is bounded"
    );
    let before = subject.output.len();
    subject.outbox().give_up();
    assert_eq!(subject.outbox().body(piece(b"x")), Err(AnswerError::NothingToAnswer));
    assert_eq!(subject.pass_deadline(), Why::Resume);
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Overflow)));
    assert_eq!((subject.end(), subject.output.len()), (End::Drop, before));
    assert_eq!(subject.connection.retained(), 0);
}

#[test]
fn closing_in_the_midst_leaves_a_stream_without_its_last_chunk() {
    let mut subject = begun(POST);
    subject.outbox().body(piece(b"one")).expect("room");
    let now = subject.now;
    subject.connection.close(now, CloseCode::GOING_AWAY, "going away");
    assert_eq!(subject.take_output(), [HEAD, b"3\r\none\r\n"].concat());
    assert_eq!(subject.end(), End::ShutdownWrite);
    subject.advance(Duration::from_secs(5));
    subject.wake();
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(200))));
}
