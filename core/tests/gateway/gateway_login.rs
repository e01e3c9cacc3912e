//! Frames and logins, and how it ends for those who have none.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::gateway::*;
use moorline_core::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

#[test]
fn the_connect_answer_describes_the_gateway() {
    let mut world = World::new(1);
    let at = world.open(0);
    let hello = world.call(at, "connect", json!({"token": "secret", "user_id": "root"}));
    let hello = &hello["payload"];
    assert_eq!(hello["type"], "hello-ok");
    assert_eq!(hello["protocol"], 3);
    assert_eq!(hello["role"], "owner");
    assert_eq!(hello["is_owner"], true);
    assert_eq!(hello["user_id"], "root");
    assert_eq!(hello["server"]["name"], "moorline");
    assert_eq!(hello["server"]["connId"], "0-1");
    assert_eq!(hello["policy"]["maxPayload"], 512 * 1024);
    assert_eq!(hello["policy"]["readTimeoutMs"], 60_000);
    assert_eq!(hello["policy"]["rateLimit"], json!({"rpm": 0, "burst": 5}));
    let clients = methods().iter().filter(|method| method.role != Some(Role::Agent));
    let names: Vec<_> = clients.map(|method| method.name).collect();
    assert_eq!(hello["features"]["methods"], json!(names));
    assert_eq!(hello["snapshot"]["presence"][0]["userId"], "root");
    assert_eq!(hello["snapshot"]["agents"][0]["id"], "echo");
    assert_eq!(hello["snapshot"]["health"]["status"], "ok");
    assert_eq!(hello["resume"]["windowMs"], 120_000);
    assert_eq!(hello["resume"]["resumed"], false);
    assert_eq!(hello["resume"]["gap"], false);
}

#[test]
fn every_message_gets_the_first_answer_that_applies() {
    let mut world = World::new(1);
    for (text, id, error, start) in [
        ("", "", "INVALID_REQUEST", "invalid frame: "),
        ("nonsense", "", "INVALID_REQUEST", "invalid frame: "),
        ("[]", "", "INVALID_REQUEST", "invalid frame: "),
        ("{}", "", "INVALID_REQUEST", "unexpected frame type: "),
        ("null", "", "INVALID_REQUEST", "unexpected frame type: "),
        (r#"{"type":"event","event":"x"}"#, "", "INVALID_REQUEST", "unexpected frame type: event"),
        (r#"{"type":"req","id":1,"method":"connect"}"#, "", "INVALID_REQUEST", "malformed request"),
        (r#"{"type":"req","id":"a","method":"health"}"#, "a", "UNAUTHORIZED", "first request"),
        (r#"{"type":"req","method":"no.such"}"#, "", "UNAUTHORIZED", "first request"),
        (
            r#"{"type":"req","id":"a","method":"browser.pairing.status"}"#,
            "a",
            "UNAUTHORIZED",
            "first request",
        ),
        (
            r#"{"type":"req","id":"a","method":"connect","params":[]}"#,
            "a",
            "INVALID_REQUEST",
            "invalid params",
        ),
        (
            r#"{"type":"req","id":"a","method":"connect","params":{"protocol":4}}"#,
            "a",
            "INVALID_REQUEST",
            "protocol 4",
        ),
    ] {
        let at = world.open(0);
        world.send_text(at, text);
        let answer = world.clients[at].messages.pop_front().expect(text);
        assert_eq!(answer["type"], "res");
        assert_eq!(answer["id"], id, "{text}");
        assert_eq!(code(&answer), error, "{text}");
        assert!(message(&answer).starts_with(start), "{text}: {answer}");
        assert!(answer["error"].get("retryable").is_some_and(Value::is_boolean));
        let hello = world.call(at, "connect", json!({"token": "secret"}));
        assert_eq!(code(&hello), "ok", "the socket stays open after {text}");
        assert!(hello.get("error").is_none(), "no error: null");
        let answer = world.call(at, "no.such", json!({}));
        assert_eq!(message(&answer), "unknown method: no.such");
    }
}

#[test]
fn binary_messages_are_json_too() {
    let mut world = World::new(1);
    let at = world.open(0);
    let text = br#"{"type":"req","id":"b","method":"connect","params":{"token":"secret"}}"#;
    let now = world.now;
    world.clients[at].client.outbox(now).binary(text).expect("room");
    world.settle();
    let answer = world.answer(at, "b").expect("an answer");
    assert_eq!(code(&answer), "ok");
    world.clients[at].client.outbox(now).binary(b"\xff\xfe").expect("room");
    world.settle();
    let answer = world.answer(at, "").expect("an answer");
    assert_eq!(message(&answer), "invalid frame: not UTF-8");
}

#[test]
fn forged_json_costs_an_answer_and_nothing_else() {
    let mut world = World::new(1);
    let at = world.login(0, "secret", "a");
    for text in [
        "[".repeat(500_000),
        "{\"a\":".repeat(80_000),
        format!("{{\"type\":\"req\",\"id\":\"{}\",\"method\":\"health\"}}", "x".repeat(400_000)),
        format!("{{{}\"type\":\"req\"}}", "\"k\":1,".repeat(70_000)),
        format!("{{\"type\":\"req\",\"method\":\"{}\"}}", "m".repeat(400_000)),
        r#"{"type":"req","method":"health","x":"\ud800"}"#.into(),
    ] {
        world.send_text(at, &text);
        let answer = world.answer(at, "").expect("an answer");
        assert_eq!(code(&answer), "INVALID_REQUEST");
        assert!(answer.to_string().len() < 1000);
    }
    assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
}

#[test]
fn credentials() {
    let mut world = World::new(1);
    let bearer = |token: &str| {
        let request = ClientRequest::new("localhost", "/").expect("a request");
        request.header("Authorization", token).expect("a header")
    };
    for (header, params, expected, source) in [
        (None, json!({"token": "secret"}), "admin", "params"),
        (None, json!({"token": "rotated"}), "admin", "params"),
        (None, json!({"token": "secret", "user_id": "root"}), "owner", "params"),
        (None, json!({"token": "operator", "user_id": "root"}), "operator", "params"),
        (Some("Bearer secret"), json!({}), "admin", "header"),
        (Some("bearer  secret"), json!({"token": ""}), "admin", "header"),
        (Some("Bearer wrong"), json!({"token": "secret"}), "admin", "params"),
        (Some("Bearer secret"), json!({"token": "wrong"}), "UNAUTHORIZED", "params"),
        (Some("Bearer wrong"), json!({}), "UNAUTHORIZED", "header"),
        (Some("Basic secret"), json!({}), "UNAUTHORIZED", "none"),
        (None, json!({"token": "secre"}), "UNAUTHORIZED", "params"),
        (None, json!({"token": "secrets"}), "UNAUTHORIZED", "params"),
        (None, json!({}), "UNAUTHORIZED", "none"),
        (None, json!({"token": 1}), "INVALID_REQUEST", ""),
        (None, json!({"token": "secret", "user_id": "x".repeat(256)}), "INVALID_REQUEST", ""),
        (None, json!({"token": "secret", "user_id": "a\nb"}), "INVALID_REQUEST", ""),
    ] {
        let at = match header {
            Some(header) => {
                let at = world.upgrade(0, "127.0.0.1", bearer(header));
                world.clients[at].messages.clear();
                at
            }
            None => world.open(0),
        };
        let answer = world.call(at, "connect", params.clone());
        let text = answer.to_string();
        let got = answer["payload"]["role"].as_str().unwrap_or_else(|| code(&answer));
        assert_eq!(got, expected, "{params}");
        if expected == "UNAUTHORIZED" {
            assert_eq!(answer["error"]["details"]["source"], source, "{params}");
            assert!(!text.contains("secre") && !text.contains("\"wrong\""), "{text}");
        }
    }
    assert!(!format!("{:?}", world.facts).contains("secret"));
    let at = world.login(0, "bound", "ann");
    let health = world.call(at, "health", json!({}));
    assert_eq!(health["payload"]["clients"][0]["userId"], "bob");
}

#[test]
fn a_loopback_listener_without_tokens_makes_operators() {
    let mut config = config();
    config.tokens.clear();
    let mut world = World::with(1, config.clone());
    let at = world.open(0);
    let hello = world.call(at, "connect", json!({}));
    assert_eq!(hello["payload"]["role"], "operator");
    assert_eq!(hello["payload"]["user_id"], "default");
    config.listen = "0.0.0.0:18790".parse().expect("an address");
    let refused = Gateway::new(config, Node::SINGLE, Box::new(Counter(1)), world.now, 0);
    assert_eq!(refused.err(), Some(ConfigError::NoToken));
}

#[test]
fn guessing_locks_an_address_out_but_never_the_own_machine() {
    let mut world = World::new(1);
    for (peer, locked_out) in [("127.0.0.1", false), ("192.0.2.9", true)] {
        for n in 1..=1000 {
            let at = world.open_from(0, peer);
            let answer = world.call(at, "connect", json!({"token": "guess"}));
            assert_eq!(code(&answer), "UNAUTHORIZED");
            let wait = answer["error"]["retryAfterMs"].as_u64();
            assert_eq!(wait.is_some(), n > 10, "{n}: {answer}");
            world.cut(at);
        }
        let at = world.open_from(0, peer);
        let answer = world.call(at, "connect", json!({"token": "secret"}));
        assert_eq!(code(&answer) == "ok", !locked_out, "{answer}");
    }
    let at = world.open_from(0, "192.0.2.10");
    assert_eq!(code(&world.call(at, "connect", json!({"token": "secret"}))), "ok");
    world.advance(Duration::from_secs(301));
    let at = world.open_from(0, "192.0.2.9");
    assert_eq!(code(&world.call(at, "connect", json!({"token": "secret"}))), "ok");
}

/// A guess of a gateway token from this address: how long it is told to wait, if it is locked out.
fn guess(world: &mut World, node: usize, peer: &str) -> Option<u64> {
    let at = world.open_from(node, peer);
    let answer = world.call(at, "connect", json!({"token": "guess"}));
    assert_eq!(code(&answer), "UNAUTHORIZED");
    world.cut(at);
    answer["error"]["retryAfterMs"].as_u64()
}

#[test]
fn guessing_at_several_nodes_gives_no_more_guesses() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        for n in 0..10 {
            assert_eq!(guess(&mut world, n % usize::from(nodes), "192.0.2.9"), None, "guess {n}");
        }
        for n in 10..20 {
            let node = n % usize::from(nodes);
            assert_eq!(guess(&mut world, node, "192.0.2.9"), Some(300_000), "guess {n}");
            assert_eq!(guess(&mut world, node, &format!("198.51.100.{n}")), None);
        }
        // The nodes have nothing to say of who is locked out.
        let before = world.published;
        guess(&mut world, 0, "192.0.2.9");
        let quiet = world.published - before;
        world.advance(Duration::from_secs(300));
        let before = world.published;
        assert_eq!(guess(&mut world, usize::from(nodes) - 1, "192.0.2.9"), None);
        assert_eq!(world.published - before, quiet + usize::from(nodes > 1));
    }
}

#[test]
fn who_guesses_gets_no_more_guesses_for_a_credential_of_its_own() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        for n in 0..10 {
            let node = n % usize::from(nodes);
            assert_eq!(guess(&mut world, node, "192.0.2.9"), None, "guess {n}");
            let at = world.open_from(node, "192.0.2.9");
            let own = json!({"token": "viewer"});
            assert_eq!(code(&world.call(at, "connect", own)), "ok", "guess {n}");
        }
        assert_eq!(guess(&mut world, 0, "192.0.2.9"), Some(300_000));
    }
}

/// A wrong bearer is one guess: neither an upgrade that is refused nor `connect` makes it another.
#[cfg(feature = "deflate")]
#[test]
fn a_wrong_bearer_counts_once_with_compression_and_without() {
    let failures = |world: &World| {
        world.facts.iter().filter(|fact| matches!(fact, Fact::AuthFailed { .. })).count()
    };
    let request = |host: &str, token: &str| {
        let request = ClientRequest::new(host, "/ws").expect("a request");
        request.header("Authorization", &format!("Bearer {token}")).expect("a header")
    };
    for deflate in [None, Some(Deflate::default())] {
        let mut config = config();
        config.limits.deflate = deflate;
        let mut world = World::with(1, config);
        for _ in 0..20 {
            let at = world.upgrade(0, "192.0.2.9", request("evil.example", "wrong"));
            assert!(world.clients[at].answer.is_some());
        }
        assert_eq!(failures(&world), 0, "a refused upgrade tells nothing about its bearer");
        for n in 1..=12 {
            let at = world.upgrade(0, "192.0.2.9", request("localhost", "wrong"));
            let answer = world.call(at, "connect", json!({}));
            assert_eq!(code(&answer), "UNAUTHORIZED");
            assert_eq!(answer["error"]["details"]["source"], "header");
            assert_eq!(answer["error"]["retryAfterMs"].is_u64(), n > 10, "{n}: {answer}");
            assert_eq!(failures(&world), n);
            world.cut(at);
        }
        // On one connection each further try is one more.
        for n in 1..=12 {
            let at = match n {
                1 => world.upgrade(0, "192.0.2.10", request("localhost", "wrong")),
                _ => world.clients.len() - 1,
            };
            let answer = world.call(at, "connect", json!({}));
            assert_eq!(answer["error"]["retryAfterMs"].is_u64(), n > 10, "{n}: {answer}");
        }
        let at = world.upgrade(0, "192.0.2.11", request("localhost", "secret"));
        assert_eq!(code(&world.call(at, "connect", json!({}))), "ok");
    }
}

#[test]
fn connect_again_replaces_and_a_failure_logs_out() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let hello = world.call(at, "connect", json!({"token": "secret", "user_id": "eve"}));
    assert_eq!(hello["payload"]["role"], "admin");
    let list = world.call(at, "presence.list", json!({}));
    assert_eq!(list["payload"]["total"], 1);
    assert_eq!(list["payload"]["presence"][0]["userId"], "eve");
    assert_eq!(code(&world.call(at, "connect", json!({"token": "wrong"}))), "UNAUTHORIZED");
    let answer = world.call(at, "health", json!({}));
    assert_eq!(message(&answer), "first request must be 'connect'");
    world.advance(Duration::from_secs(10));
    let closed = world.clients[at].closed.clone();
    assert_eq!(closed, Some((1008, "handshake timeout".into())));
}

#[test]
fn who_does_not_log_in_is_closed_after_ten_seconds() {
    let mut world = World::new(1);
    let at = world.open(0);
    world.advance(Duration::from_millis(9_999));
    world.send_text(at, "{}");
    assert_eq!(world.clients[at].closed, None);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.clients[at].closed, Some((1008, "handshake timeout".into())));
    match world.closed_fact(at) {
        Some(Fact::Closed { code, reason, cause, deadline, initiator, duration, user, .. }) => {
            assert_eq!((*code, &**reason), (Some(CloseCode(1008)), "handshake timeout"));
            assert_eq!((*cause, *deadline), ("handshake-timeout", Some("handshake-timeout")));
            assert_eq!(*initiator, Initiator::Clock);
            assert_eq!(*duration, Duration::from_secs(10));
            assert_eq!(*user, None);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.nodes[0].connections(), (0, 0));
    assert_eq!(world.nodes[0].deadline(), None);
}

#[test]
fn sixteen_strikes_end_the_connection() {
    let mut world = World::new(1);
    let at = world.login(0, "secret", "a");
    for n in 1..=16 {
        assert_eq!(world.clients[at].closed, None, "before strike {n}");
        world.send_text(at, "nonsense");
        assert!(world.answer(at, "").is_some(), "strike {n} has its answer");
    }
    assert_eq!(world.clients[at].closed, Some((1008, "too many invalid frames".into())));
}

#[test]
fn a_large_message_before_login_closes_with_1009() {
    let mut world = World::new(1);
    let padded = |size: usize| {
        let head = r#"{"type":"req","id":"p","method":"health","params":{"x":""#;
        format!("{head}{}\"}}}}", "x".repeat(size - head.len() - 3))
    };
    let at = world.open(0);
    world.send_text(at, &padded(16 * 1024));
    assert_eq!(code(&world.answer(at, "p").expect("an answer")), "UNAUTHORIZED");
    world.send_text(at, &padded(16 * 1024 + 1));
    let (code, reason) = world.clients[at].closed.clone().expect("closed");
    assert_eq!(code, 1009);
    assert!(reason.contains("16385") && reason.contains("16384"), "{reason}");
    let at = world.login(0, "secret", "a");
    world.send_text(at, &padded(500 * 1024));
    assert!(world.answer(at, "p").is_some());
}

#[test]
fn a_silent_client_lives_for_ten_minutes_and_a_dead_one_does_not() {
    let mut world = World::new(1);
    let alive = world.login(0, "secret", "a");
    let dead = world.login(0, "secret", "b");
    world.clients[dead].mute = true;
    // A Ping after 25 s of silence, less up to a tenth, and 35 s for its Pong.
    world.advance(Duration::from_millis(57_400));
    assert_eq!(world.clients[dead].closed, None);
    world.advance(Duration::from_millis(2_600));
    assert_eq!(world.clients[dead].closed, Some((1008, "keepalive timeout".into())));
    world.advance(Duration::from_secs(5));
    match world.closed_fact(dead) {
        Some(Fact::Closed { code, reason, cause, deadline, initiator, user, .. }) => {
            assert_eq!((*code, &**reason), (Some(CloseCode(1008)), "keepalive timeout"));
            assert_eq!((*cause, *deadline), ("keepalive-timeout", Some("keepalive-timeout")));
            assert_eq!((*initiator, user.as_deref()), (Initiator::Clock, Some("b")));
        }
        other => panic!("{other:?}"),
    }
    world.advance(Duration::from_secs(535));
    assert_eq!(world.clients[alive].closed, None);
    assert_eq!(code(&world.call(alive, "health", json!({}))), "ok");
    let list = world.call(alive, "presence.list", json!({}));
    assert_eq!(list["payload"]["presence"][0]["idleMs"], 0);
}

/// A way to end a connection: what happens, and the record of it.
type Ending = (&'static str, fn(&mut World) -> usize, u16, &'static str, &'static str, Initiator);

/// No close code: there was no WebSocket.
const NONE: u16 = 0;

/// All of them, but that of a host that does not drain its turns.
const ENDINGS: &[Ending] = {
    use Initiator::{Clock, Local, Peer};
    &[
        // Before there is a WebSocket.
        ("refused host", |w| http(w, "/ws", "evil.example"), NONE, "HTTP 403", "http", Local),
        ("page", |w| http(w, "/health", "localhost"), NONE, "HTTP 200", "http", Local),
        ("no page", |w| http(w, "/no", "localhost"), NONE, "HTTP 404", "http", Local),
        (
            "bad request",
            |w| said(w, b"\r\nnonsense\r\n\r\n"),
            NONE,
            "malformed request",
            "upgrade",
            Peer,
        ),
        ("no request", |w| w.socket(0), NONE, "handshake timeout", "handshake-timeout", Clock),
        ("half a request", |w| cut(w, b"GET / HT"), NONE, "without a Close", "eof", Peer),
        ("crowd", crowd, 1013, "try again later", "local", Local),
        // Before login.
        ("no connect", |w| w.open(0), 1008, "handshake timeout", "handshake-timeout", Clock),
        ("large before login", |w| large(w, false), 1009, "exceeds 16384", "limit", Peer),
        // After it.
        ("guesses", guesses, 1008, "too many refused logins", "local", Local),
        ("no requests", strikes, 1008, "too many invalid frames", "local", Local),
        ("large message", |w| large(w, true), 1009, "exceeds 524288", "limit", Peer),
        ("fragments", fragments, 1008, "1024 fragments", "limit", Peer),
        ("unmasked frame", |w| fed(w, b"\x81\x00"), 1002, "mask", "protocol", Peer),
        ("not UTF-8", |w| fed(w, b"\x81\x81\0\0\0\0\xff"), 1007, "UTF-8", "protocol", Peer),
        ("unfinished", unfinished, 1008, "message timeout", "message-timeout", Clock),
        ("no Pongs", |w| fed(w, b""), 1008, "keepalive timeout", "keepalive-timeout", Clock),
        ("full outbox", full_outbox, 1008, "slow consumer", "overflow", Local),
        ("no reading", no_reading, 1008, "slow consumer", "slow-reader", Clock),
        ("shutdown", |w| shutdown(w, false), 1001, "going away", "local", Local),
        ("shutdown unanswered", |w| shutdown(w, true), 1001, "going away", "local", Local),
        ("peer's Close", |w| fed(w, b"\x88\x85\0\0\0\0\x03\xe8bye"), 1000, "bye", "peer", Peer),
        ("empty Close", |w| fed(w, b"\x88\x80\0\0\0\0"), 1005, "", "peer", Peer),
        ("cut", |w| cut(w, b""), 1006, "without a Close", "eof", Peer),
    ]
};

#[test]
fn every_ending_has_one_record() {
    for (name, end, code, reason, cause, initiator) in ENDINGS {
        let mut world = World::new(1);
        let at = end(&mut world);
        world.advance(Duration::from_secs(70));
        for client in &mut world.clients {
            client.stalled = false;
        }
        world.advance(Duration::from_secs(10));
        let Some(Fact::Closed {
            code: sent,
            reason: text,
            cause: word,
            initiator: who,
            deadline,
            ..
        }) = world.closed_fact(at)
        else {
            panic!("{name}: no record")
        };
        let sent = sent.map_or(NONE, |code| code.0);
        assert_eq!((sent, *word, *who), (*code, *cause, *initiator), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
        let expected = (*initiator == Initiator::Clock).then_some(*cause);
        assert_eq!(*deadline, expected, "{name}");
        for other in 0..world.clients.len() {
            if world.closed_fact(other).is_none() {
                world.cut(other);
            }
        }
        let connected = world.facts.iter().filter(|f| matches!(f, Fact::Connected { .. })).count();
        let closed = world.facts.iter().filter(|f| matches!(f, Fact::Closed { .. })).count();
        assert_eq!(connected, closed, "{name}");
        assert_eq!(world.nodes[0].connections(), (0, 0), "{name}");
    }
}

fn said(world: &mut World, bytes: &[u8]) -> usize {
    let at = world.socket(0);
    world.feed(at, bytes);
    at
}

fn http(world: &mut World, path: &str, host: &str) -> usize {
    said(world, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

/// Says this before the transport is cut; nothing is a login.
fn cut(world: &mut World, bytes: &[u8]) -> usize {
    let at = if bytes.is_empty() { world.login(0, "secret", "a") } else { said(world, bytes) };
    world.cut(at);
    at
}

fn fed(world: &mut World, bytes: &[u8]) -> usize {
    let at = world.login(0, "secret", "a");
    world.feed(at, bytes);
    at
}

fn crowd(world: &mut World) -> usize {
    let mut config = config();
    (config.bounds.connections, config.bounds.pre_auth) = (1, 1);
    *world = World::with(1, config);
    (0..4).map(|_| world.socket(0)).last().expect("the fourth")
}

fn large(world: &mut World, login: bool) -> usize {
    let at = if login { world.login(0, "secret", "a") } else { world.open(0) };
    world.send_text(at, &"x".repeat(if login { 600 * 1024 } else { 20 * 1024 }));
    at
}

fn strikes(world: &mut World) -> usize {
    let at = world.login(0, "secret", "a");
    for _ in 0..16 {
        world.send_text(at, "nonsense");
    }
    at
}

fn guesses(world: &mut World) -> usize {
    let at = world.open(0);
    for round in 0..16 {
        assert_eq!(world.clients[at].closed, None, "after {round} of them");
        let guess = json!({ "token": format!("guess {round}") });
        let answer = world.call(at, "connect", guess);
        assert_eq!(code(&answer), "UNAUTHORIZED", "each is answered, the last one, too");
    }
    at
}

fn fragments(world: &mut World) -> usize {
    let mut bytes = b"\x01\x81\0\0\0\0x".to_vec();
    bytes.extend(b"\x00\x81\0\0\0\0x".repeat(1024));
    fed(world, &bytes)
}

fn unfinished(world: &mut World) -> usize {
    fed(world, b"\x01\x81\0\0\0\0x")
}

fn full_outbox(world: &mut World) -> usize {
    let slow = world.login(0, "operator", "ann");
    let fast = world.login(0, "operator", "ann");
    world.clients[slow].stalled = true;
    for _ in 0..4 {
        world.request(fast, "chat.send", json!({"message": "x".repeat(300 * 1024)}));
        world.advance(Duration::from_secs(1));
    }
    world.clients[slow].stalled = false;
    slow
}

fn no_reading(world: &mut World) -> usize {
    let at = world.login(0, "secret", "a");
    world.clients[at].stalled = true;
    world.request(at, "health", json!({}));
    // It lives: its Pings arrive.
    for _ in 0..6 {
        world.feed(at, b"\x89\x80\0\0\0\0");
        world.advance(Duration::from_secs(10));
    }
    at
}

fn shutdown(world: &mut World, mute: bool) -> usize {
    let at = world.login(0, "secret", "a");
    world.clients[at].mute = mute;
    world.nodes[0].drain(world.now, &Drain::stop("test"));
    world.settle();
    at
}
