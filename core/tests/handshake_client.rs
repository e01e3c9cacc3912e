//! The opening handshake as a client sees it: every check of an answer, and refusals.

mod support;
use moorline_core::*;
use support::*;

/// Feeds a client the answer to its request, with a change.
fn client_hears(change: impl Fn(&str) -> String) -> Vec<Recorded> {
    let mut all: Option<Vec<Recorded>> = None;
    for split in Split::ALL {
        let request = ClientRequest::new("localhost:1", "/ws").unwrap();
        let request = request.subprotocol("chat").unwrap().subprotocol("v2").unwrap();
        let mut client = Subject::client_for(request, Limits::default(), Box::new(Rng(3)), quiet);
        let answer = String::from_utf8(answer_to(&client.take_output())).unwrap();
        client.feed_split(change(&answer).as_bytes(), split);
        client.eof();
        assert_eq!(*all.get_or_insert_with(|| client.events.clone()), client.events, "{split:?}");
    }
    all.unwrap()
}

#[test]
fn a_client_checks_everything_in_a_101() {
    let replace = |from: &'static str, to: &'static str| {
        client_hears(move |answer| {
            assert!(answer.contains(from), "{answer}");
            answer.replacen(from, to, 1)
        })
    };
    let fails = |what| vec![Recorded::Closed(Cause::Upgrade(UpgradeError::Answer(what)))];
    let opens = vec![Recorded::Open, Recorded::Closed(Cause::Eof)];
    let end = "\r\n\r\n";
    assert_eq!(replace("HTTP", "HTTP"), opens);
    assert_eq!(replace("Upgrade: websocket", "UPGRADE: WebSocket"), opens);
    assert_eq!(replace(end, "\r\nSec-WebSocket-Protocol: v2\r\n\r\n"), opens);
    assert_eq!(replace(end, "\r\nSec-WebSocket-Extensions:\r\n\r\n"), opens);
    for (from, to, what) in [
        ("Upgrade: websocket\r\n", "", "Upgrade is not websocket"),
        ("Upgrade: websocket", "Upgrade: h2c", "Upgrade is not websocket"),
        ("Connection: Upgrade\r\n", "", "Connection does not name Upgrade"),
        ("Connection: Upgrade", "Connection: close", "Connection does not name Upgrade"),
        ("Accept: ", "Accept: x", "Sec-WebSocket-Accept does not match the key"),
        ("Sec-WebSocket-Accept", "X", "Sec-WebSocket-Accept does not match the key"),
        (end, "\r\nSec-WebSocket-Accept: a\r\n\r\n", "Sec-WebSocket-Accept came more than once"),
        (end, "\r\nSec-WebSocket-Protocol: v3\r\n\r\n", "a subprotocol that was not offered"),
        (end, "\r\nSec-WebSocket-Protocol: chat, v2\r\n\r\n", "a subprotocol that was not offered"),
        (
            end,
            "\r\nSec-WebSocket-Protocol: v2\r\nSec-WebSocket-Protocol: v2\r\n\r\n",
            "Sec-WebSocket-Protocol came more than once",
        ),
        (
            end,
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "an extension that was not offered",
        ),
        ("HTTP/1.1 101", "SSH-2.0 101", "not an HTTP response"),
        ("HTTP/1.1 101", "HTTP/1.1 1O1", "not an HTTP response"),
        ("\r\nUpgrade", "\nUpgrade", "not an HTTP response"),
        ("\r\nUpgrade", "\r\n Upgrade", "not an HTTP response"),
    ] {
        assert_eq!(replace(from, to), fails(what), "{to}");
    }
    let many = client_hears(|answer| answer.replacen("\r\n\r\n", &"\r\nA: b".repeat(65), 1) + end);
    assert_eq!(many, [Recorded::Closed(Cause::Upgrade(UpgradeError::HeadCount))]);
    let long = client_hears(|answer| answer.replacen("Upgrade", &"A".repeat(17_000), 1));
    assert_eq!(long, [Recorded::Closed(Cause::Upgrade(UpgradeError::HeadSize))]);
}

#[test]
fn a_client_hands_out_the_refusal_and_its_body() {
    let refusal = |head: &str, body: &str| {
        let text = format!("HTTP/1.1 {head}\r\n\r\n{body}");
        client_hears(move |_| text.clone())
    };
    let events = |status, body: &str| {
        let closed = Recorded::Closed(Cause::Upgrade(UpgradeError::Status(status)));
        vec![Recorded::Response { status, body: body.into() }, closed]
    };
    assert_eq!(refusal("403 No\r\nContent-Length: 4", "nope"), events(403, "nope"));
    assert_eq!(refusal("403 No\r\nContent-Length: 4", "nope and more"), events(403, "nope"));
    assert_eq!(refusal("401 No\r\nContent-Length: 0", ""), events(401, ""));
    assert_eq!(refusal("503 No\r\nContent-Length: 40", "cut short"), events(503, "cut short"));
    assert_eq!(refusal("302 Found\r\nLocation: /", "until eof"), events(302, "until eof"));
    let long = "x".repeat(20_000);
    let cut = refusal("500 Oops", &long);
    let Recorded::Response { body, .. } = &cut[0] else { panic!("{cut:?}") };
    assert_eq!(body.len(), 16 * 1024 - "HTTP/1.1 500 Oops\r\n\r\n".len());
}

#[test]
fn a_clients_request_is_built_from_what_can_stand_in_one() {
    for (host, target) in [("", "/"), ("a b", "/"), ("a", "ws"), ("a", "/ x"), ("a\r\nb", "/")] {
        assert!(ClientRequest::new(host, target).is_err(), "{host} {target}");
    }
    let request = || ClientRequest::new("a", "/").unwrap();
    assert!(request().header("Host", "b").is_err());
    assert!(request().header("X", "a\nb").is_err());
    assert!(request().subprotocol("a b").is_err());
    assert!(request().subprotocol("a").unwrap().subprotocol("a").is_err());
    let request = request().header("Origin", "http://a").unwrap();
    let request = request.subprotocol("x").unwrap().subprotocol("y").unwrap();
    let mut client = Subject::client_for(request, Limits::default(), Box::new(NoEntropy), quiet);
    assert_eq!(
        String::from_utf8(client.take_output()).unwrap(),
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: x, y\r\nOrigin: http://a\r\n\r\n"
    );
}

#[test]
fn a_client_knows_which_of_its_subprotocols_was_chosen() {
    for (answer, chosen) in [("new", Some(1)), ("old", Some(0)), ("", None)] {
        let request = ClientRequest::new("localhost", "/").unwrap();
        let request = request.subprotocol("old").unwrap().subprotocol("new").unwrap();
        let mut client = Subject::client_for(request, Limits::default(), Box::new(Rng(7)), quiet);
        let mut response = answer_to(&client.take_output());
        if !answer.is_empty() {
            let end = response.len() - 2;
            let line = format!("Sec-WebSocket-Protocol: {answer}\r\n");
            response.splice(end..end, line.into_bytes());
        }
        client.feed(&response);
        assert_eq!(client.events, [Recorded::Open]);
        assert_eq!(client.connection.subprotocol(), chosen);
    }
}
