//! The body of a request: its pieces, its end, its limits and its deadlines.

// quickcheck hands a property its arguments by value.
#![allow(clippy::needless_pass_by_value)]

mod support;
use moorline_core::*;
use quickcheck::QuickCheck;
use std::time::Duration;
use support::*;

/// Bytes that the application below takes.
const LIMIT: u64 = 20;

/// Takes bodies of up to [`LIMIT`] bytes, answers 413 where more are announced, and 200 at the end.
fn taking(event: &Event<'_>, outbox: &mut Outbox) {
    match event {
        Event::Request(_) => match outbox.take_body(LIMIT) {
            Ok(()) => {}
            Err(AnswerError::BodySize) => {
                outbox.respond(&Response::text(413, "announced\n")).expect("a request");
            }
            Err(error) => panic!("{error}"),
        },
        Event::BodyEnd => outbox.respond(&Response::text(200, "thanks\n")).expect("a request"),
        _ => {}
    }
}

/// Takes a body and never answers.
fn hoarding(event: &Event<'_>, outbox: &mut Outbox) {
    if let Event::Request(_) = event {
        outbox.take_body(LIMIT).expect("a body");
    }
}

/// Refuses as soon as there is a piece.
fn choosy(event: &Event<'_>, outbox: &mut Outbox) {
    match event {
        Event::Request(_) => outbox.take_body(LIMIT).expect("a body"),
        Event::Body(_) => {
            // The second piece finds the request answered.
            let _ = outbox.respond(&Response::text(507, "full\n"));
        }
        _ => {}
    }
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /up HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn known(body: &[u8]) -> Vec<u8> {
    post(&format!("Content-Length: {}\r\n", body.len()), body)
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// The body in chunks of these sizes.
fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size.max(1)) {
        out.extend(format!("{:x};n=v\r\n", chunk.len()).into_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nDigest: x\r\n\r\n");
    out
}

/// What an application is told, with the pieces of the body joined: where they are cut is the network's
/// choice.
fn told(subject: &Subject) -> (Vec<u8>, Vec<Recorded>) {
    let (mut body, mut others) = (Vec::new(), Vec::new());
    for event in &subject.events {
        match event {
            Recorded::Body(piece) => {
                assert!(!piece.is_empty());
                body.extend_from_slice(piece);
            }
            event => others.push(event.clone()),
        }
    }
    (body, others)
}

fn status(output: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(output);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn run(request: &[u8], split: Split, app: App) -> Subject {
    let mut subject = Subject::server(Limits::default(), app);
    subject.feed_split(request, split);
    subject
}

#[test]
fn a_body_arrives_whole_in_any_split() {
    let body = b"0123456789abcdefghij";
    for request in [known(body), post(CHUNKED, &chunks(body, 20)), post(CHUNKED, &chunks(body, 3))]
    {
        // What is glued on behind is neither content nor a second request.
        for behind in [&b""[..], b"\r\n", REQUEST] {
            for split in Split::ALL {
                let mut subject = run(&[&request, behind].concat(), split, taking);
                let (content, others) = told(&subject);
                assert_eq!(content, body);
                let [Recorded::Request { .. }, Recorded::BodyEnd, closed] = &others[..] else {
                    panic!("{others:?}");
                };
                assert_eq!(*closed, Recorded::Closed(Cause::Answered(200)));
                let output = subject.take_output();
                assert_eq!(status(&output), Some(200));
                assert!(output.ends_with(b"thanks\n"), "one answer");
                assert_eq!(subject.end(), End::ShutdownWrite);
                assert_eq!(subject.connection.retained(), 0);
            }
        }
    }
}

#[test]
fn any_damage_gives_the_same_in_any_split() {
    fn property(size: u8, chunk: u8, damage: Vec<(usize, u8)>, seed: u64) -> bool {
        let body = Rng(seed).bytes(usize::from(size) % 24);
        let mut bytes = match chunk % 8 {
            0 => known(&body),
            chunk => post(CHUNKED, &chunks(&body, usize::from(chunk))),
        };
        for (at, byte) in damage.into_iter().take(2) {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let result = |split| {
            let mut subject = run(&bytes, split, taking);
            subject.eof();
            let output = subject.take_output();
            (told(&subject), output)
        };
        let whole = result(Split::Whole);
        Split::ALL.into_iter().chain([Split::Random(seed)]).all(|split| result(split) == whole)
    }
    QuickCheck::new().tests(3000).quickcheck(property as fn(u8, u8, Vec<(usize, u8)>, u64) -> bool);
}

#[test]
fn a_request_without_a_body_has_an_empty_one() {
    for headers in ["", "Content-Length: 0\r\n"] {
        let mut subject = run(&post(headers, b""), Split::Whole, taking);
        assert_eq!(told(&subject).1.len(), 3, "{:?}", subject.events);
        assert_eq!(status(&subject.take_output()), Some(200));
    }
}

#[test]
fn the_limit_holds_at_under_and_over_as_soon_as_it_is_known() {
    for (len, fits) in [(19, true), (20, true), (21, false)] {
        let body = vec![b'x'; len];
        for split in Split::ALL {
            let mut subject = run(&known(&body), split, taking);
            assert_eq!(status(&subject.take_output()), Some(if fits { 200 } else { 413 }));
            assert_eq!(told(&subject).0.len(), if fits { len } else { 0 });
            let mut subject = run(&post(CHUNKED, &chunks(&body, 7)), split, taking);
            assert_eq!(status(&subject.take_output()), Some(if fits { 200 } else { 413 }));
            if !fits {
                let error = UpgradeError::BodySize { limit: LIMIT };
                assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Upgrade(error))));
                // Nothing of the chunk that is too much.
                assert_eq!(told(&subject).0.len(), 14);
            }
        }
    }
    // The announcement is enough, however large it is.
    for length in ["21", "18446744073709551615", "99999999999999999999999999"] {
        let request = post(&format!("Content-Length: {length}\r\n"), b"");
        let mut subject = run(&request, Split::Whole, taking);
        assert!(subject.take_output().ends_with(b"announced\n"), "{length}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    use UpgradeError::{Body, Coding, Malformed, Repeated};
    let both = Malformed("Content-Length beside Transfer-Encoding");
    for (headers, error) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", both),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", both),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", Repeated("Content-Length")),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", Repeated("Content-Length")),
        ("Content-Length: 3, 3\r\n", Malformed("Content-Length is not a number")),
        ("Content-Length: 0x3\r\n", Malformed("Content-Length is not a number")),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Repeated("Transfer-Encoding"),
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", Coding),
        ("Transfer-Encoding: chunked, identity\r\n", Coding),
        ("Transfer-Encoding: xchunked\r\n", Coding),
        ("Transfer-Encoding: \r\n", Coding),
    ] {
        for split in Split::ALL {
            let mut subject = run(&post(headers, b"abc"), split, taking);
            assert_eq!(subject.events, [Recorded::Closed(Cause::Upgrade(error))], "{headers}");
            assert_eq!(status(&subject.take_output()), Some(error.status()), "{headers}");
        }
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let error = Malformed("Transfer-Encoding needs HTTP/1.1");
    let subject = run(old, Split::Whole, taking);
    assert_eq!(subject.events, [Recorded::Closed(Cause::Upgrade(error))]);
    for method in ["GET", "HEAD"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        let subject = run(request.as_bytes(), Split::Whole, taking);
        assert_eq!(subject.events, [Recorded::Closed(Cause::Upgrade(Body))]);
    }
}

#[test]
fn broken_chunks_are_answered_400_and_end_the_connection() {
    for body in [&b"3\r\nabcd\r\n"[..], b"x\r\n", b"3 \r\n", b"0\r\n\r ", b"3\nabc"] {
        for split in Split::ALL {
            let mut subject = run(&post(CHUNKED, body), split, taking);
            let closed = subject.closed().expect("an end");
            let Recorded::Closed(Cause::Upgrade(error)) = closed else { panic!("{closed:?}") };
            assert_eq!(error.status(), 400);
            assert_eq!(status(&subject.take_output()), Some(400));
            assert_eq!(subject.end(), End::ShutdownWrite);
        }
    }
}

#[test]
fn a_client_that_waits_is_told_to_go_on_only_when_the_body_is_taken() {
    let head = |length: usize, version: &str| {
        format!(
            "POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut subject = Subject::server(Limits::default(), taking);
    subject.feed(head(5, "1.1").as_bytes());
    assert_eq!(subject.take_output(), b"HTTP/1.1 100 Continue\r\n\r\n");
    subject.feed(b"hello");
    assert_eq!(status(&subject.take_output()), Some(200));
    let refused = run(head(21, "1.1").as_bytes(), Split::Whole, taking).take_output();
    assert_eq!(status(&refused), Some(413));
    let answered = run(head(5, "1.1").as_bytes(), Split::Whole, echo).take_output();
    assert_eq!(status(&answered), Some(200), "who does not take it does not ask for it");
    // Nothing to wait for, and a client that cannot know of it (RFC 9110 section 10.1.1).
    assert_eq!(
        status(&run(head(0, "1.1").as_bytes(), Split::Whole, taking).take_output()),
        Some(200)
    );
    assert_eq!(run(head(5, "1.0").as_bytes(), Split::Whole, taking).take_output(), b"");
}

#[test]
fn an_answer_ends_the_body_at_any_time() {
    for split in Split::ALL {
        let mut subject = run(&known(b"0123456789"), split, choosy);
        let closed = Recorded::Closed(Cause::Answered(507));
        assert_eq!(subject.closed(), Some(&closed), "{split:?}");
        assert_eq!(status(&subject.take_output()), Some(507));
        assert_eq!(subject.end(), End::ShutdownWrite);
    }
    // From outside a turn: the next one tells.
    let mut subject = Subject::server(Limits::default(), hoarding);
    subject.feed(&post("Content-Length: 9\r\n", b"0123"));
    let now = subject.now;
    subject.connection.respond(now, &Response::text(500, "broken\n")).expect("a request");
    assert_eq!(status(&subject.take_output()), Some(500));
    assert!(subject.connection.wants().read, "it is thrown away");
    subject.feed(b"45678");
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(500))));
    assert_eq!(told(&subject).0, b"0123");
}

#[test]
fn a_peer_that_leaves_is_told_once() {
    let mut subject = Subject::server(Limits::default(), hoarding);
    subject.feed(&post("Content-Length: 9\r\n", b"0123"));
    subject.eof();
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Eof)));
    assert_eq!((subject.end(), subject.connection.retained()), (End::Drop, 0));
    // Half-closed behind the whole body: the answer still has a reader.
    let mut subject = Subject::server(Limits::default(), hoarding);
    subject.feed(&post("Content-Length: 4\r\n", b"0123"));
    subject.eof();
    assert_eq!(subject.closed(), None);
    let now = subject.now;
    subject.connection.respond(now, &Response::text(200, "late\n")).expect("a request");
    assert_eq!(status(&subject.take_output()), Some(200));
    assert_eq!(subject.pass_deadline(), Why::Close);
    assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Answered(200))));
}

#[test]
fn a_held_body_is_not_read() {
    let mut subject = Subject::server(Limits::default(), hoarding);
    subject.feed(&post("Content-Length: 9\r\n", b"0123"));
    assert!(subject.connection.wants().read);
    subject.outbox().hold_body(true);
    assert!(!subject.connection.wants().read);
    // What was read already is handed out nevertheless.
    subject.feed(b"45");
    assert_eq!(told(&subject).0, b"012345");
    subject.outbox().hold_body(false);
    assert!(subject.connection.wants().read);
    subject.feed(b"678");
    assert_eq!(subject.events.last(), Some(&Recorded::BodyEnd));
    assert!(!subject.connection.wants().read, "there is nothing more to read");
    // There is no body to hold.
    let mut subject = Subject::server(Limits::default(), echo);
    subject.outbox().hold_body(true);
    assert!(subject.connection.wants().read);
}

#[test]
fn it_may_be_taken_outside_a_turn_if_nothing_of_it_came() {
    for (headers, body) in [("Content-Length: 4\r\n", &b"0123"[..]), ("", b"")] {
        let mut subject = Subject::server(Limits::default(), silent);
        subject.feed(&post(headers, b""));
        assert!(!subject.connection.wants().read);
        subject.advance(SECOND);
        subject.outbox().take_body(LIMIT).expect("a request");
        assert_eq!(subject.pass_deadline(), Why::Resume, "an empty body ends by itself");
        if !body.is_empty() {
            assert!(subject.connection.wants().read);
            subject.feed(body);
        }
        assert_eq!(subject.events.last(), Some(&Recorded::BodyEnd));
        assert_eq!(told(&subject).0, body);
    }
    let mut subject = Subject::server(Limits::default(), silent);
    subject.feed(&post("Content-Length: 4\r\n", b"01"));
    let early = Recorded::Closed(Cause::Upgrade(UpgradeError::EarlyData));
    assert_eq!(subject.closed(), Some(&early));
}

fn timed() -> Limits {
    Limits { body_within: 100 * SECOND, body_silence: 10 * SECOND, ..Limits::default() }
}

/// The connection was ended by its clock and answered with this status.
fn timed_out(mut subject: Subject, cause: Cause<'static>, expected: u16) {
    assert_eq!(subject.closed(), Some(&Recorded::Closed(cause)));
    assert_eq!(status(&subject.take_output()), Some(expected));
    assert!(subject.outbox().respond(&Response::text(200, "")).is_err(), "it was answered");
    assert_eq!(subject.end(), End::ShutdownWrite);
    assert_eq!(subject.pass_deadline(), Why::Close);
    assert_eq!(subject.end(), End::Drop);
}

#[test]
fn silence_within_a_body_is_ended_but_not_while_it_is_held() {
    let begun = || {
        let mut subject = Subject::server(timed(), hoarding);
        subject.advance(SECOND);
        subject.feed(&post("Content-Length: 9\r\n", b"01"));
        subject
    };
    let mut subject = begun();
    assert_eq!(subject.due(), Some((11 * SECOND, Why::Body)));
    subject.advance(9 * SECOND);
    subject.feed(b"2");
    assert_eq!(subject.due(), Some((20 * SECOND, Why::Body)));
    subject.pass_deadline();
    timed_out(subject, Cause::Timeout(Why::Body), 408);

    let mut subject = begun();
    subject.outbox().hold_body(true);
    assert_eq!(subject.due(), Some((101 * SECOND, Why::Body)));
    subject.advance(50 * SECOND);
    subject.wake();
    subject.outbox().hold_body(false);
    assert_eq!(subject.due(), Some((61 * SECOND, Why::Body)), "it has its time from here");
    // Further wishes for more are not a sign of life.
    subject.advance(5 * SECOND);
    subject.outbox().hold_body(false);
    assert_eq!(subject.due(), Some((61 * SECOND, Why::Body)));
}

#[test]
fn a_body_that_drips_has_its_time_and_no_more() {
    let mut subject = Subject::server(timed(), hoarding);
    subject.feed(&post(CHUNKED, b""));
    for _ in 0..19 {
        subject.advance(5 * SECOND);
        subject.feed(b"1\r\nx\r\n");
        subject.wake();
        assert_eq!(subject.closed(), None);
    }
    assert_eq!(subject.due(), Some((100 * SECOND, Why::Body)));
    subject.pass_deadline();
    timed_out(subject, Cause::Timeout(Why::Body), 408);
}

#[test]
fn an_answer_that_does_not_come_is_given_for_the_application() {
    let mut subject = Subject::server(timed(), hoarding);
    subject.advance(3 * SECOND);
    subject.feed(&known(b"0123"));
    assert_eq!(subject.due(), Some((13 * SECOND, Why::Handshake)));
    subject.pass_deadline();
    timed_out(subject, Cause::Upgrade(UpgradeError::Unanswered), 503);
}

#[test]
fn closing_in_the_midst_says_to_try_later() {
    for body in [&b"01"[..], b"0123"] {
        let mut subject = Subject::server(Limits::default(), hoarding);
        subject.feed(&post("Content-Length: 4\r\n", body));
        let now = subject.now;
        subject.connection.close(now, CloseCode::GOING_AWAY, "going away");
        assert_eq!(status(&subject.take_output()), Some(503));
        assert_eq!(subject.connection.retained(), 0);
        subject.feed(b"0123");
        assert_eq!(told(&subject).0, body, "nothing more is handed out");
        subject.advance(Duration::from_secs(5));
        subject.wake();
        assert_eq!(subject.closed(), Some(&Recorded::Closed(Cause::Local(CloseCode::GOING_AWAY))));
    }
}

#[test]
fn a_client_has_no_bodies_to_take() {
    let mut subject = Subject::client(Limits::default(), echo);
    assert_eq!(subject.outbox().take_body(1), Err(AnswerError::NothingToAnswer));
    let mut subject = Subject::server(Limits::default(), hoarding);
    subject.feed(&post("Content-Length: 4\r\n", b"0"));
    assert_eq!(subject.outbox().take_body(1), Err(AnswerError::NothingToAnswer), "it was taken");
}
