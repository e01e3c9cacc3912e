//! The opening handshake on a server: every refusal with its status and body, every local mistake.

mod support;
use moorline_core::*;
use support::*;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

/// A head from lines, the blank line included.
fn head(lines: &[&str]) -> Vec<u8> {
    [lines.join("\r\n"), "\r\n\r\n".into()].concat().into_bytes()
}

/// A good upgrade with further lines in front of the needed ones.
fn upgrade_with(extra: &[&str]) -> Vec<u8> {
    let mut lines = vec!["GET /ws HTTP/1.1", "Host: localhost"];
    lines.extend_from_slice(extra);
    lines.extend(["Upgrade: websocket", "Connection: Upgrade", KEY, "Sec-WebSocket-Version: 13"]);
    head(&lines)
}

/// A good upgrade in which the line that begins with `name` is replaced; nothing removes it.
fn upgrade_but(name: &str, line: &str) -> Vec<u8> {
    let text = String::from_utf8(upgrade_with(&[])).unwrap();
    let lines: Vec<_> = text
        .trim_end()
        .split("\r\n")
        .map(|old| if old.starts_with(name) { line } else { old })
        .filter(|line| !line.is_empty())
        .collect();
    head(&lines)
}

struct Answer {
    status: u16,
    text: String,
    body: String,
}

fn parse_answer(bytes: Vec<u8>) -> Answer {
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a complete head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if status != 101 {
        let length = format!("Content-Length: {}", body.len());
        assert!(head.contains(&length), "{head}");
        assert!(
            head.lines().any(|line| line.starts_with("Connection:") && line.ends_with("close"))
        );
    }
    Answer { status, body: body.into(), text: head.into() }
}

/// The request is refused with this error in every split, with its status and text, and what is glued
/// on behind it is never answered.
fn refused(request: &[u8], error: UpgradeError) -> Answer {
    refused_under(&Limits::default(), request, error)
}

fn refused_under(limits: &Limits, request: &[u8], error: UpgradeError) -> Answer {
    let mut last = None;
    for split in Split::ALL {
        for glued in [&b""[..], REQUEST, &peer_frame(Role::Server, 0x81, b"hi")] {
            let label = format!("{} {split:?}", request.escape_ascii());
            let mut subject = Subject::server(limits.clone(), echo);
            subject.feed_split(&[request, glued].concat(), split);
            assert_eq!(subject.events, [Recorded::Closed(Cause::Upgrade(error))], "{label}");
            let answer = parse_answer(subject.take_output());
            assert_eq!(answer.status, error.status(), "{label}");
            assert_eq!(answer.body, format!("{error}\n"), "{label}");
            assert_eq!(subject.end(), End::ShutdownWrite, "{label}");
            assert_eq!(subject.connection.retained(), 0, "{label}");
            subject.feed(REQUEST);
            subject.eof();
            assert_eq!(subject.take_output(), b"", "{label}");
            assert_eq!(subject.end(), End::Drop, "{label}");
            last = Some(answer);
        }
    }
    last.unwrap()
}

/// The request is accepted in every split.
fn accepted(request: &[u8]) {
    for split in Split::ALL {
        let mut subject = Subject::server(Limits::default(), echo);
        subject.feed_split(request, split);
        assert_eq!(subject.events.last(), Some(&Recorded::Open), "{}", request.escape_ascii());
        assert_eq!(parse_answer(subject.take_output()).status, 101);
    }
}

/// The request is HTTP, but not an upgrade: the application answers it.
fn plain(request: &[u8]) {
    for split in Split::ALL {
        let mut subject = Subject::server(Limits::default(), echo);
        subject.feed_split(request, split);
        let closed = Recorded::Closed(Cause::Answered(200));
        assert_eq!(subject.events.last(), Some(&closed), "{}", request.escape_ascii());
        assert_eq!(parse_answer(subject.take_output()).status, 200);
    }
}

fn malformed(request: &[u8], what: &'static str) {
    refused(request, UpgradeError::Malformed(what));
}

#[test]
fn what_browsers_and_proxies_send_is_accepted() {
    accepted(REQUEST);
    for (name, line) in [
        ("Connection", "Connection: keep-alive, Upgrade"),
        ("Connection", "connection: keep-alive,upgrade"),
        ("Connection", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("Upgrade", "Upgrade: WebSocket"),
        ("Upgrade", "upgrade: WEBSOCKET"),
        ("Upgrade", "Upgrade: h2c , websocket"),
        ("Upgrade", "Upgrade:websocket"),
        ("Upgrade", "Upgrade: \t websocket \t "),
        ("Host", "HOST: [::1]:18790"),
        ("Host", "Host: example.com:443\r\nContent-Length: 0"),
        ("GET", "GET /?a=b%20c&d=? HTTP/1.1"),
        ("GET", "GET //x HTTP/1.1"),
    ] {
        accepted(&upgrade_but(name, line));
    }
    accepted(&upgrade_with(&["Pragma: no-cache", "X-Empty:", "Cookie: a=b; c=\"d\""]));
}

#[test]
fn a_repeated_singleton_is_refused() {
    for (name, line) in [
        ("Host", "host: other"),
        ("Origin", "Origin: http://a\r\norigin: http://a"),
        ("Upgrade", "Upgrade: websocket"),
        ("Authorization", "Authorization: Bearer a\r\nAuthorization: Bearer b"),
        ("Content-Length", "Content-Length: 0\r\nContent-Length: 0"),
        ("Transfer-Encoding", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "SEC-WEBSOCKET-VERSION: 13"),
    ] {
        refused(&upgrade_with(&[line]), UpgradeError::Repeated(name));
    }
}

#[test]
fn lines_that_parsers_disagree_on_are_refused() {
    let text = |from: &str, to: &str| {
        String::from_utf8(upgrade_with(&["X-A: b"])).unwrap().replacen(from, to, 1).into_bytes()
    };
    malformed(&text("X-A: b", "X-A: b\r\n folded"), "folded header line");
    malformed(&text("X-A: b", "X-A: b\r\n\tfolded"), "folded header line");
    malformed(&text("X-A: b\r\n", "X-A: b\n"), "LF without CR");
    malformed(&text("HTTP/1.1\r\n", "HTTP/1.1\n"), "LF without CR");
    malformed(&text("X-A: b", "X-A: b\rc"), "CR without LF");
    malformed(&text("X-A: b", "X-A: b\r\r"), "CR without LF");
    malformed(&text("X-A: b", "X-A : b"), "header name");
    malformed(&text("X-A: b", "X-A\t: b"), "header name");
    malformed(&text("X-A: b", ": b"), "header name");
    malformed(&text("X-A: b", "no colon"), "header name");
    malformed(&text("X-A: b", "X(A): b"), "header name");
    malformed(&text("GET ", "\r\nGET "), "no method at the start");
    malformed(&text("GET ", " GET "), "no method at the start");
    malformed(&text("GET ", "\0GET "), "no method at the start");
}

#[test]
fn request_lines_that_are_not_http_1_1_are_refused() {
    for (line, what) in [
        ("GET http://localhost/ws HTTP/1.1", "the request target must be a path"),
        ("GET * HTTP/1.1", "the request target must be a path"),
        ("CONNECT localhost:80 HTTP/1.1", "the request target must be a path"),
        ("GET ws HTTP/1.1", "the request target must be a path"),
        ("GET /ws HTTP/2.0", "the version must be HTTP/1.1"),
        ("GET /ws HTTP/1.0", "an upgrade needs HTTP/1.1"),
    ] {
        malformed(&upgrade_but("GET", line), what);
    }
    for line in ["GET /ws", "GET  /ws HTTP/1.1", "GET /w s HTTP/1.1", "G@T /ws HTTP/1.1", "GET"] {
        let request = upgrade_but("GET", line);
        let mut subject = Subject::server(Limits::default(), echo);
        subject.feed(&request);
        assert_eq!(parse_answer(subject.take_output()).status, 400, "{line}");
    }
    malformed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the version must be HTTP/1.1");
    refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", UpgradeError::Tls);
}

#[test]
fn the_host_must_be_one() {
    malformed(&upgrade_but("Host", ""), "Host is missing");
    for host in ["", "a/b", "a b", "user@a", "a,b", "a?b", "a#b", "ä", "<a>"] {
        let line = format!("Host: {host}");
        malformed(&upgrade_but("Host", &line), "Host is not a host and port");
    }
}

#[test]
fn a_body_of_an_upgrade_is_refused_by_its_announcement() {
    for line in ["Content-Length: 1", "Transfer-Encoding: chunked", "Content-Length: 007"] {
        refused(&upgrade_with(&[line]), UpgradeError::Body);
        // Elsewhere the application decides.
        plain(&head(&["POST /x HTTP/1.1", "Host: a", line]));
    }
    for line in ["Content-Length: +1", "Content-Length: ", "Content-Length: 1, 1"] {
        malformed(&upgrade_with(&[line]), "Content-Length is not a number");
    }
}

#[test]
fn what_rfc_6455_demands_of_an_upgrade_is_checked() {
    for method in ["POST", "HEAD", "PUT", "get"] {
        let line = format!("{method} /ws HTTP/1.1");
        let answer = refused(&upgrade_but("GET", &line), UpgradeError::Method);
        assert!(answer.text.contains("Allow: GET"));
    }
    for version in ["", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13, 8"] {
        let answer = refused(&upgrade_but("Sec-WebSocket-V", version), UpgradeError::Version);
        assert!(answer.text.contains("Sec-WebSocket-Version: 13"));
        assert!(answer.text.contains("Upgrade: websocket"));
    }
    for key in [
        "",
        "Sec-WebSocket-Key:",
        "Sec-WebSocket-Key: short",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWE=",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, x",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ-_",
        "Sec-WebSocket-Key: \u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}",
    ] {
        refused(&upgrade_but("Sec-WebSocket-K", key), UpgradeError::Key);
    }
    let what = "Sec-WebSocket-Protocol is not a list of tokens";
    for list in ["a b", "chat;v=2", "caf\u{e9}", "\"quoted", "a,,b c"] {
        malformed(&upgrade_with(&[&format!("Sec-WebSocket-Protocol: {list}")]), what);
    }
}

#[test]
fn without_both_tokens_it_is_a_plain_request_and_says_what_is_missing() {
    fn explain(event: &Event<'_>, outbox: &mut Outbox) {
        if let Event::Request(head) = event {
            let missing: Vec<_> = head.missing_for_upgrade().collect();
            outbox.respond(&Response::text(426, &missing.join("; "))).unwrap();
        }
    }
    for (request, missing) in [
        (upgrade_but("Upgrade", ""), "Upgrade: websocket"),
        (upgrade_but("Upgrade", "Upgrade: h2c"), "Upgrade: websocket"),
        (upgrade_but("Connection", "Connection: keep-alive"), "Connection: Upgrade"),
        (
            head(&["GET / HTTP/1.1", "Host: a"]),
            "Upgrade: websocket; Connection: Upgrade; Sec-WebSocket-Version: 13; \
             Sec-WebSocket-Key: (16 bytes in base64)",
        ),
    ] {
        plain(&request);
        let mut subject = Subject::server(Limits::default(), explain);
        subject.feed(&request);
        let answer = parse_answer(subject.take_output());
        assert_eq!((answer.status, answer.body.as_str()), (426, missing));
        assert!(answer.text.contains("Connection: Upgrade, close"));
    }
    fn none_missing(event: &Event<'_>, _: &mut Outbox) {
        if let Event::Request(head) = event {
            assert_eq!(head.missing_for_upgrade().count(), 0);
        }
    }
    Subject::server(Limits::default(), none_missing).feed(REQUEST);
    plain(b"GET /health HTTP/1.0\r\n\r\n");
}

#[test]
fn sixty_four_headers_are_enough() {
    // Four of the five that are needed come last.
    for (count, fine) in [(63, true), (64, true), (65, false), (2000, false)] {
        let lines: Vec<_> = (0..count - 5).map(|n| format!("A{n}: b")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let request = upgrade_with(&lines);
        if fine {
            accepted(&request);
        } else if request.len() < 16 * 1024 {
            refused(&request, UpgradeError::HeadCount);
        } else {
            refused(&request, UpgradeError::HeadSize);
        }
    }
    let lines = vec!["A:"; 2000];
    refused(&upgrade_with(&lines), UpgradeError::HeadCount);
}

#[test]
fn heads_and_targets_have_limits() {
    let request = upgrade_with(&[]);
    let limit = |head, target| Limits { head, target, ..Limits::default() };
    let len = request.len() as u32;
    for split in Split::ALL {
        for (limits, fine) in [
            (limit(len, 3), true),
            (limit(len + 1, 4), true),
            (limit(len - 1, 3), false),
            (limit(len, 2), false),
        ] {
            let mut subject = Subject::server(limits.clone(), echo);
            subject.feed_split(&request, split);
            assert_eq!(subject.connection.outbox(subject.now).is_open(), fine, "{limits:?}");
        }
    }
    refused_under(&limit(len - 1, 3), &request, UpgradeError::HeadSize);
    refused_under(&limit(len, 2), &request, UpgradeError::Target);
    refused_under(&limit(10, 20), &request, UpgradeError::Target);
    let long = [b"GET /".to_vec(), vec![b'a'; 20_000]].concat();
    refused(&long, UpgradeError::Target);
    let long = upgrade_but("GET", &format!("GET /{} HTTP/1.1", "a".repeat(8192)));
    refused(&long, UpgradeError::Target);
    refused(&upgrade_with(&[&format!("A: {}", "a".repeat(17_000))]), UpgradeError::HeadSize);
}

#[test]
fn every_byte_in_every_header_is_answered_and_never_panics() {
    for byte in 0..=255u8 {
        for name in [
            "Host",
            "Upgrade",
            "Connection",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Protocol",
            "Origin",
            "Authorization",
            "Content-Length",
            "Cookie",
        ] {
            let mut request = upgrade_with(&["Sec-WebSocket-Protocol: a, b", "Origin: c"]);
            let at = request.windows(name.len() + 1).position(|line| {
                line[..name.len()] == *name.as_bytes() && line[name.len()] == b':'
            });
            let at = match at {
                Some(at) => at + name.len() + 3,
                None => 5,
            };
            request.insert(at, byte);
            let mut subject = Subject::server(Limits::default(), echo);
            subject.feed(&request);
            subject.wake();
            // Bytes that end the line early leave a head that may go on.
            if subject.events.is_empty() {
                continue;
            }
            let status = parse_answer(subject.take_output()).status;
            assert!(matches!(status, 101 | 200 | 400 | 405 | 413 | 426), "{name} {byte}: {status}");
        }
    }
}

#[test]
fn a_long_list_of_subprotocols_is_read_in_the_order_of_the_client() {
    fn choose(event: &Event<'_>, outbox: &mut Outbox) {
        if let Event::Request(head) = event {
            let chosen = head.subprotocols().find(|name| name.starts_with("wanted"));
            outbox
                .accept(&Accept { subprotocol: chosen, headers: &[], ..Accept::default() })
                .unwrap();
        }
    }
    let list: Vec<_> = (0..1500).map(|n| format!("p{n}")).collect();
    let lists = [
        ("Sec-WebSocket-Protocol: a, wanted-1 ,wanted-2".to_owned(), Some("wanted-1")),
        ("Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: wanted-2".into(), Some("wanted-2")),
        (format!("Sec-WebSocket-Protocol: {}, wanted-3", list.join(",")), Some("wanted-3")),
        (format!("Sec-WebSocket-Protocol: {}", ",".repeat(9000)), None),
        (format!("Sec-WebSocket-Protocol: a{}", " ".repeat(9000)), None),
    ];
    for (line, chosen) in lists {
        for split in Split::ALL {
            let mut subject = Subject::server(Limits::default(), choose);
            subject.feed_split(&upgrade_with(&[&line]), split);
            let answer = parse_answer(subject.take_output());
            assert_eq!(answer.status, 101);
            let expected = chosen.map(|name| format!("Sec-WebSocket-Protocol: {name}"));
            let found = answer.text.lines().find(|line| line.starts_with("Sec-WebSocket-Protocol"));
            assert_eq!(found, expected.as_deref());
        }
    }
}

#[test]
fn a_wrong_answer_is_refused_locally_and_the_request_still_waits() {
    let mut subject = Subject::server(Limits::default(), silent);
    let now = subject.now;
    let accept =
        |subject: &mut Subject, answer: &Accept<'_>| subject.connection.accept(now, answer);
    assert_eq!(
        accept(&mut subject, &Accept::default()),
        Err(AnswerError::NothingToAnswer),
        "nothing was asked yet"
    );
    subject.feed(&upgrade_with(&["Sec-WebSocket-Protocol: a, b"]));
    for chosen in ["c", "A", "a, b", ""] {
        let answer = Accept { subprotocol: Some(chosen), headers: &[], ..Accept::default() };
        assert_eq!(accept(&mut subject, &answer), Err(AnswerError::Subprotocol), "{chosen}");
    }
    for header in [
        ("X Y", "a"),
        ("", "a"),
        ("X", "a\r\nSet-Cookie: b"),
        ("X", "\0"),
        ("Connection", "close"),
        ("upgrade", "x"),
        ("Content-Length", "1"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ] {
        let headers = [header];
        let answer = Accept { subprotocol: None, headers: &headers, ..Accept::default() };
        assert_eq!(accept(&mut subject, &answer), Err(AnswerError::Header), "{header:?}");
        let answer = Response { status: 200, headers: &headers, body: b"" };
        assert_eq!(subject.connection.respond(now, &answer), Err(AnswerError::Header));
    }
    assert_eq!(subject.take_output(), b"");
    let headers = [("Set-Cookie", "a=b")];
    let answer = Accept { subprotocol: Some("b"), headers: &headers, ..Accept::default() };
    assert_eq!(accept(&mut subject, &answer), Ok(()));
    assert_eq!(accept(&mut subject, &answer), Err(AnswerError::NothingToAnswer));
    let text = parse_answer(subject.take_output()).text;
    assert!(text.contains("Sec-WebSocket-Protocol: b\r\nSet-Cookie: a=b"), "{text}");

    let mut subject = Subject::server(Limits::default(), silent);
    subject.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(accept(&mut subject, &Accept::default()), Err(AnswerError::NotAnUpgrade));
    assert_eq!(subject.connection.respond(now, &Response::json(404, "{}")), Ok(()));
    assert_eq!(parse_answer(subject.take_output()).body, "{}");
}

#[test]
fn the_answer_to_head_has_no_body() {
    let mut subject = Subject::server(Limits::default(), echo);
    subject.feed(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = String::from_utf8(subject.take_output()).unwrap();
    assert!(text.contains("Content-Length: 6\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn bytes_before_the_acceptance_are_refused_and_after_it_are_frames() {
    let frame = peer_frame(Role::Server, 0x81, b"early");
    let glued = [REQUEST, &frame].concat();
    let mut subject = Subject::server(Limits::default(), echo);
    subject.feed(&glued);
    assert_eq!(subject.events.last(), Some(&Recorded::Text("early".into())));

    for split in [Split::Whole, Split::Chops(1)] {
        let mut subject = Subject::server(Limits::default(), silent);
        subject.feed_split(&glued, split);
        let cause = Cause::Upgrade(UpgradeError::EarlyData);
        assert_eq!(subject.closed(), Some(&Recorded::Closed(cause)));
        assert_eq!(parse_answer(subject.take_output()).status, 400);
    }
    let mut subject = Subject::server(Limits::default(), silent);
    subject.feed(REQUEST);
    assert!(!subject.connection.wants().read, "nothing may come before the answer");
    subject.connection.accept(subject.now, &Accept::default()).unwrap();
    assert!(subject.connection.wants().read);
    subject.feed(&frame);
    assert_eq!(subject.events[1..], [Recorded::Open, Recorded::Text("early".into())]);
}
