//! The opening handshake: what is answered, how it is refused, and bytes that come with it.

use super::under_test::{Role, UnderTest, echo_server};
use crate::support::{Peer, request};
use crate::support::{Runtime as _, Server as _, Subject, echo};
use moorline_core::{Event, Limits, Outbox};
use std::net::Shutdown;

/// An echo that neither side has spoken to.
fn fresh(role: Role) -> UnderTest {
    UnderTest::new(role, &Limits::default(), echo)
}

#[test]
fn a_plain_request_is_answered_and_the_transport_ends() {
    for half_closed in [false, true] {
        let mut it = fresh(Role::Server);
        it.peer.send_raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if half_closed {
            it.peer.stream.shutdown(Shutdown::Write).unwrap();
        }
        let answer = String::from_utf8(it.peer.read_rest()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
        assert_eq!(it.ended().0, "http");
    }
}

#[test]
fn a_bad_handshake_is_refused_with_its_status_and_is_the_last_thing_read() {
    let with = |headers: &str| request(headers);
    let without = |line: &str| {
        let request = String::from_utf8(request("")).unwrap();
        let rest = request.replace(&format!("{line}\r\n"), "");
        assert_ne!(rest, request);
        rest.into_bytes()
    };
    let instead = |old: &str, new: &str| {
        let request = String::from_utf8(request("")).unwrap();
        assert!(request.contains(old));
        request.replace(old, new).into_bytes()
    };
    let long = format!("X: {}\r\n", "x".repeat(16 * 1024));
    let many = "X: x\r\n".repeat(65);
    for (name, bytes, status) in [
        ("not HTTP", b"hello there\r\n\r\n".to_vec(), 400),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        ("no host", without("Host: localhost"), 400),
        ("two hosts", with("Host: b\r\n"), 400),
        ("no key", without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        ("a short key", instead("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
        ("a space before the colon", with("X : y\r\n"), 400),
        ("another method", instead("GET ", "POST "), 405),
        ("a body", with("Content-Length: 5\r\n"), 413),
        ("a long target", instead("GET / ", &format!("GET /{} ", "a".repeat(9000))), 414),
        ("another version", instead("Version: 13", "Version: 12"), 426),
        ("a long head", with(&long), 431),
        ("many headers", with(&many), 431),
    ] {
        let mut it = fresh(Role::Server);
        // A second request behind it must never be answered.
        let bytes = [&bytes[..], b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        it.peer.send_raw(&bytes);
        let head = it.peer.read_head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {head}");
        let _ = it.peer.stream.shutdown(Shutdown::Write);
        let body = String::from_utf8(it.peer.read_rest()).unwrap();
        assert!(!body.contains("HTTP/1.1"), "{name}: {body}");
        assert_eq!(it.ended().0, "upgrade", "{name}");
    }
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let mut server = fresh(Role::Server);
    for byte in request("") {
        server.peer.send_raw(&[byte]);
    }
    assert!(server.peer.read_head().starts_with("HTTP/1.1 101 "));
    let mut client = fresh(Role::Client);
    for byte in client.answer(&Limits::default()) {
        client.peer.send_raw(&[byte]);
    }
    for mut it in [server, client] {
        it.peer.send(1, b"open");
        assert_eq!(it.peer.read_message(), b"open");
    }
}

#[test]
fn frames_in_the_same_segment_as_the_handshake_are_read() {
    let mut server = fresh(Role::Server);
    let glued = [request(""), server.peer.frame(0x81, b"early")].concat();
    server.peer.send_raw(&glued);
    assert!(server.peer.read_head().starts_with("HTTP/1.1 101 "));
    let mut client = fresh(Role::Client);
    let glued = [client.answer(&Limits::default()), client.peer.frame(0x81, b"early")].concat();
    client.peer.send_raw(&glued);
    for mut it in [server, client] {
        assert_eq!(it.peer.read_message(), b"early");
    }
}

#[test]
fn bytes_before_a_late_answer_are_refused() {
    // Nobody answers the request; the frame behind it may then not be there.
    let mut it =
        UnderTest::new(Role::Server, &Limits::default(), |_: Event<'_>, _: &mut Outbox| {});
    let glued = [request(""), it.peer.frame(0x81, b"early")].concat();
    it.peer.send_raw(&glued);
    assert!(it.peer.read_head().starts_with("HTTP/1.1 400 "));
    assert_eq!(it.ended().0, "upgrade");
}

#[test]
fn a_client_that_is_refused_is_told_the_status_and_the_body() {
    let (told, heard) = std::sync::mpsc::channel();
    let mut it = UnderTest::new(
        Role::Client,
        &Limits::default(),
        move |event: Event<'_>, _: &mut Outbox| {
            if let Event::Response(head) = event {
                told.send((head.status(), head.body().to_vec())).unwrap();
            }
        },
    );
    it.peer.read_head();
    it.peer.send_raw(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater");
    assert_eq!(heard.recv(), Ok((503, b"later".to_vec())));
    assert_eq!(it.ended().0, "upgrade");
    assert_eq!(it.peer.read_rest(), b"");
}

#[test]
fn a_client_leaves_a_server_whose_101_is_wrong() {
    for wrong in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        let mut it = fresh(Role::Client);
        it.peer.read_head();
        it.peer.send_raw(wrong.as_bytes());
        assert_eq!(it.ended().0, "upgrade", "{wrong}");
        assert_eq!(it.peer.read_rest(), b"");
    }
}

#[test]
fn the_adapter_speaks_to_itself() {
    use moorline_core::CloseCode;
    let server = echo_server(Limits::default());
    let (told, heard) = std::sync::mpsc::channel();
    let app = super::under_test::telling(
        |event: Event<'_>, outbox: &mut Outbox| match event {
            Event::Open => outbox.text("from the client").unwrap(),
            Event::Text(text) => {
                assert_eq!(text, "from the client");
                outbox.close(CloseCode::NORMAL, "done");
            }
            _ => {}
        },
        told,
    );
    Subject::run_client(server.address(), Limits::default(), app);
    let (name, code, _) = heard.recv().unwrap();
    assert_eq!((name, code), ("local", CloseCode::NORMAL));
    // The server goes on.
    let mut peer = Peer::connect(server.address());
    peer.send(1, b"next");
    assert_eq!(peer.read_message(), b"next");
}
