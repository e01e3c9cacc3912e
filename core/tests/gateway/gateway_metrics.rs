//! `/metrics`: who may read it and what they get; and what a gateway counts itself.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::gateway::*;
use serde_json::json;
use std::time::Duration;
use world::*;

/// An address that is nobody's own.
const STRANGER: &str = "203.0.113.9";

fn with(access: MetricsAccess) -> World {
    let mut config = config();
    config.metrics = access;
    config.bounds.auth_failures = 3;
    World::with(1, config)
}

/// Sends a request for the page; gives the socket.
fn begin(world: &mut World, method: &str, peer: &str, headers: &str) -> usize {
    let at = world.socket_from(0, peer);
    let request = format!("{method} /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    world.feed(at, request.as_bytes());
    at
}

fn heard(world: &World, at: usize) -> String {
    String::from_utf8_lossy(&world.clients[at].heard).into_owned()
}

/// The status of the answer, which must come without time passing, and all of it.
fn ask(world: &mut World, method: &str, peer: &str, headers: &str) -> (u16, String) {
    let at = begin(world, method, peer, headers);
    let answer = heard(world, at);
    (answer[9..12].parse().expect("a status"), answer)
}

fn by(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn programs_on_this_host_and_who_has_the_token_or_a_key_may_read_it() {
    use MetricsAccess::{Local, Off, Open, Token};
    let mut world = with(Local);
    let admin = world.login(0, "secret", "root");
    let made = world.call(admin, "api_keys.create", json!({"name": "m", "role": "viewer"}));
    let key = made["payload"]["key"].as_str().expect("a key").to_string();
    let (here, page) = ("127.0.0.1", "Origin: http://localhost\r\n");
    let through = "X-Forwarded-For: 203.0.113.9\r\n";
    for (access, peer, headers, expected) in [
        (Local, here, String::new(), 200),
        (Local, "[::1]", String::new(), 200),
        (Local, STRANGER, String::new(), 401),
        (Local, here, through.into(), 401),
        (Local, here, page.into(), 401),
        (Local, here, "Sec-Fetch-Site: cross-site\r\n".into(), 403),
        (Local, STRANGER, by("secret"), 200),
        (Local, STRANGER, by("viewer"), 200),
        (Local, STRANGER, by(&key), 200),
        (Local, here, page.to_string() + &by("secret"), 200),
        // A worker knows nothing of the gateway.
        (Local, STRANGER, by("worker"), 403),
        // Who offers something is judged by that.
        (Local, here, by("wrong"), 401),
        (Token, here, String::new(), 401),
        (Token, here, by("rotated"), 200),
        (Token, STRANGER, by(&key), 200),
        (Token, STRANGER, by("mlk_00000000_0"), 401),
        (Token, STRANGER, by(&"x".repeat(5000)), 400),
        (Open, STRANGER, String::new(), 200),
        (Open, STRANGER, "Host: example.com\r\n".into(), 400),
        (Off, here, by("secret"), 404),
    ] {
        let mut config = config();
        config.metrics = access;
        config.workers = vec![WorkerBackend::new("echo", Some(Secret::new("worker")))];
        let now = world.now;
        world.nodes[0].reconfigure(now, config).expect("a configuration");
        let (status, answer) = ask(&mut world, "GET", peer, &headers);
        assert_eq!(status, expected, "{access:?} {peer} {headers}: {answer}");
        assert_eq!(answer.contains("some 1\n"), expected == 200, "{answer}");
        assert_eq!(answer.contains("WWW-Authenticate: Bearer\r\n"), expected == 401, "{answer}");
    }
}

#[test]
fn the_answer_is_not_kept_by_anybody_and_a_head_has_none() {
    let mut world = with(MetricsAccess::Local);
    let (_, answer) = ask(&mut world, "GET", "127.0.0.1", "");
    for header in
        ["Content-Type: text/test\r\n", "Cache-Control: no-store\r\n", "Content-Length: 7\r\n"]
    {
        assert!(answer.contains(header), "{answer}");
    }
    assert!(answer.ends_with("\r\n\r\nsome 1\n"), "{answer}");
    let (status, answer) = ask(&mut world, "HEAD", "127.0.0.1", "");
    assert!(
        status == 200 && answer.ends_with("Content-Length: 7\r\nConnection: close\r\n\r\n"),
        "{answer}"
    );
    let (status, answer) = ask(&mut world, "POST", "127.0.0.1", "Content-Length: 0\r\n");
    assert!(status == 405 && answer.contains("Allow: GET, HEAD\r\n"), "{answer}");
}

#[test]
fn a_wrong_credential_is_a_guess_and_a_right_one_no_login() {
    let mut world = with(MetricsAccess::Local);
    world.facts.clear();
    assert_eq!(ask(&mut world, "GET", STRANGER, &by("secret")).0, 200);
    assert!(!world.facts.iter().any(|fact| matches!(fact, Fact::Authenticated { .. })));
    for _ in 0..4 {
        assert_eq!(ask(&mut world, "GET", STRANGER, &by("guess")).0, 401);
    }
    let failed = world.facts.iter().filter(|fact| matches!(fact, Fact::AuthFailed { .. })).count();
    assert_eq!(failed, 4);
    let now = world.now;
    assert_eq!(world.nodes[0].stats(now).tally.lock_outs, 1);
    // Nothing tells whether this one was right.
    assert_eq!(ask(&mut world, "GET", STRANGER, &by("secret")).0, 401);
    // Who offers none has guessed nothing.
    world.facts.clear();
    assert_eq!(ask(&mut world, "GET", "203.0.113.10", "").0, 401);
    assert!(!world.facts.iter().any(|fact| matches!(fact, Fact::AuthFailed { .. })));
}

#[test]
fn a_host_that_does_not_write_it_is_not_waited_for_and_few_may_wait() {
    let mut world = with(MetricsAccess::Local);
    world.metrics = None;
    let waiting: Vec<_> = (0..8).map(|_| begin(&mut world, "GET", "127.0.0.1", "")).collect();
    assert_eq!(ask(&mut world, "GET", "127.0.0.1", "").0, 503, "the ninth at once");
    assert!(waiting.iter().all(|at| heard(&world, *at).is_empty()));
    world.advance(Duration::from_secs(5));
    for at in waiting {
        assert!(heard(&world, at).starts_with("HTTP/1.1 503 "), "{}", heard(&world, at));
    }
    world.metrics = Some(Exposition { content_type: "text/test", body: "some 1\n".into() });
    assert_eq!(ask(&mut world, "GET", "127.0.0.1", "").0, 200, "the places are free again");
}

#[test]
fn it_is_answered_while_the_gateway_drains() {
    let mut world = with(MetricsAccess::Local);
    let now = world.now;
    let drain = Drain { restart: false, reason: "test".into(), restart_expected: None };
    world.nodes[0].drain(now, &drain);
    world.settle();
    assert_eq!(ask(&mut world, "GET", "127.0.0.1", "").0, 200);
    assert!(!world.nodes[0].stats(now).ready);
}

#[test]
fn a_gateway_counts_sockets_by_how_far_they_are_and_what_they_say() {
    let mut world = with(MetricsAccess::Off);
    let now = world.now;
    let before = world.nodes[0].stats(now);
    assert_eq!((before.phases, before.ready), (Phases::default(), true));
    world.socket(0);
    world.open(0);
    let ann = world.login(0, "secret", "ann");
    let Phases { head, connect, open, closing, .. } = world.nodes[0].stats(now).phases;
    assert_eq!((head, connect, open, closing), (1, 1, 1, 0));
    let before = world.nodes[0].stats(now).tally;
    world.call(ann, "health", json!({}));
    for odd in ["weather.get", "canary"] {
        assert_eq!(code(&world.call(ann, odd, json!({}))), "INVALID_REQUEST");
    }
    let stats = world.nodes[0].stats(now);
    let after = stats.tally;
    assert_eq!(after.messages_in - before.messages_in, 3);
    assert_eq!(after.messages_out - before.messages_out, 3);
    assert_eq!(after.unknown_methods - before.unknown_methods, 2);
    assert_eq!((stats.links, stats.detached_links), (1, 0));
    world.cut(ann);
    let stats = world.nodes[0].stats(now);
    assert_eq!((stats.links, stats.detached_links, stats.phases.open), (1, 1, 0));
}

#[test]
fn pieces_that_wait_for_a_slow_reader_are_counted_as_merged() {
    let mut world = with(MetricsAccess::Off);
    let ann = world.login(0, "secret", "ann");
    let text = "word ".repeat(20_000);
    let made = world.call_slow(ann, "sessions.list", json!({}));
    assert_eq!(code(&made), "ok");
    world.clients[ann].stalled = true;
    world.request(ann, "chat.send", json!({"message": text}));
    world.advance(Duration::from_secs(5));
    let now = world.now;
    let tally = world.nodes[0].stats(now).tally;
    assert!(tally.events_merged > 0 && tally.events_lost == 0, "{tally:?}");
}
