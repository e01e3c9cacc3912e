//! What clients can make the gateway keep in memory: bounded for each user over all they do, and for all
//! users together.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::ClientRequest;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

fn bounded(user: usize, all: usize) -> GatewayConfig {
    let mut config = config();
    (config.bounds.user_bytes, config.bounds.held_bytes) = (user, all);
    config
}

fn say(text: &str, agent: &str) -> Value {
    json!({"message": text, "agentId": agent, "ack": true})
}

fn set_user_bytes(world: &mut World, user: usize) {
    let config = bounded(user, 512 << 20);
    world.nodes[0].reconfigure(world.now, config).expect("a configuration");
    world.settle();
}

#[test]
fn a_request_without_an_answer_counts_at_under_and_over_the_bound() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    world.advance(SECOND);
    let params = json!({"sessionKey": "agent:echo:ws:direct:x", "message": "x".repeat(1000)});
    let cost = 512 + params.to_string().len();
    let base = world.nodes[0].retained();
    for (room, fits) in [(cost - 1, false), (cost, true), (cost + 1, true)] {
        world.store_mode = StoreMode::Hangs;
        set_user_bytes(&mut world, base + room);
        let id = world.request(at, "chat.send", params.clone());
        let answer = world.answer(at, &id);
        assert_eq!(answer.is_none(), fits, "{room}: {answer:?}");
        if fits {
            assert_eq!(world.nodes[0].retained(), base + cost);
            world.advance(config().bounds.store_within);
            assert_eq!(code(&world.answer(at, &id).expect("an answer")), "UNAVAILABLE");
        } else {
            let answer = answer.expect("a refusal");
            assert_eq!(code(&answer), "RESOURCE_EXHAUSTED");
            assert_eq!(answer["error"]["retryAfterMs"], 1000, "{answer}");
            assert!(message(&answer).contains("this user's"), "{answer}");
        }
        assert_eq!(world.nodes[0].retained(), base, "nothing is left over");
    }
}

#[test]
fn a_user_has_one_budget_over_all_connections_and_others_have_their_own() {
    let mut world = World::with(1, bounded(100_000, 1 << 30));
    let (first, second) = (world.login(0, "operator", "ann"), world.login(0, "operator", "ann"));
    let other = world.login(0, "operator", "bob");
    world.store_mode = StoreMode::Hangs;
    let params = json!({"sessionKey": "agent:echo:ws:direct:x", "message": "x".repeat(40_000)});
    for at in [first, second] {
        let id = world.request(at, "chat.send", params.clone());
        assert_eq!(world.answer(at, &id), None);
    }
    for at in [first, second] {
        assert_eq!(code(&world.call(at, "chat.send", params.clone())), "RESOURCE_EXHAUSTED");
    }
    let id = world.request(other, "chat.send", params.clone());
    assert_eq!(world.answer(other, &id), None, "it is nobody else's budget");
    // What is free ends things, so it is never refused for this.
    let abort = json!({"sessionKey": "agent:echo:ws:direct:x"});
    let id = world.request(first, "chat.abort", abort);
    assert_eq!(world.answer(first, &id), None);
    world.advance(config().bounds.store_within);
    world.store_mode = StoreMode::Works;
    assert_eq!(code(&world.call(first, "chat.send", params)), "NOT_FOUND");
}

#[test]
fn turns_that_run_or_wait_in_any_session_count_until_they_are_over() {
    let mut world = World::with(1, bounded(200_000, 1 << 30));
    let at = world.login(0, "operator", "ann");
    let text = "x".repeat(25_000);
    let mut sessions = Vec::new();
    let refused = loop {
        let answer = world.call(at, "chat.send", say(&text, "stuck"));
        match code(&answer) {
            "ok" => sessions.push(answer["payload"]["sessionKey"].clone()),
            _ => break answer,
        }
    };
    assert_eq!(code(&refused), "RESOURCE_EXHAUSTED", "{refused}");
    // Their events take some of it, too, at most half.
    assert!((4..=7).contains(&sessions.len()), "{}", sessions.len());
    let queued = json!({"message": text, "sessionKey": sessions[0], "agentId": "stuck"});
    assert_eq!(code(&world.call(at, "chat.send", queued)), "RESOURCE_EXHAUSTED");
    for session in &sessions {
        assert_eq!(code(&world.call(at, "chat.abort", json!({"sessionKey": session}))), "ok");
    }
    assert_eq!(code(&world.call(at, "chat.send", say(&text, "stuck"))), "ok");
}

#[test]
fn an_answer_that_outgrows_its_users_budget_fails_its_run_and_may_be_asked_for_again() {
    let mut world = World::with(1, bounded(1_000_000, 1 << 30));
    let ann = world.login(0, "operator", "ann");
    let bob = world.login(0, "operator", "bob");
    world.advance(SECOND);
    // The echo says as much again as it was told, and events repeat both.
    set_user_bytes(&mut world, 60_000);
    let text = "word ".repeat(5_000);
    let ask = json!({"message": text, "idempotencyKey": "k"});
    let id = world.request(ann, "chat.send", ask.clone());
    let other = world.request(bob, "chat.send", json!({"message": "hello"}));
    world.advance(300 * SECOND);
    let answer = world.answer(ann, &id).expect("an answer");
    assert_eq!(code(&answer), "RESOURCE_EXHAUSTED", "{answer}");
    assert!(message(&answer).starts_with("run failed: "), "{answer}");
    assert_eq!(code(&world.answer(bob, &other).expect("an answer")), "ok");
    assert!(world.cancelled > 0, "its agent was told to stop");
    set_user_bytes(&mut world, 1_000_000);
    let id = world.request(ann, "chat.send", ask);
    world.advance(300 * SECOND);
    let answer = world.answer(ann, &id).expect("an answer");
    assert_eq!((code(&answer), &answer["payload"]["content"]), ("ok", &json!(text)));
}

#[test]
fn answers_that_nobody_reads_count_on_all_connections_of_a_user() {
    let mut world = World::with(1, bounded(255_500, 1 << 30));
    let at = world.login(0, "operator", "ann");
    let text = "y".repeat(40_000);
    let sent = world.call_slow(at, "chat.send", say(&text, "broken"));
    let session = json!({"sessionKey": sent["payload"]["sessionKey"]});
    let more = json!({"sessionKey": sent["payload"]["sessionKey"], "message": text});
    assert_eq!(code(&world.call_slow(at, "chat.inject", more)), "ok");
    let readers: Vec<_> = (0..4).map(|_| world.login(0, "operator", "ann")).collect();
    for reader in &readers {
        world.clients[*reader].stalled = true;
        world.request(*reader, "chat.history", session.clone());
    }
    let refused = world.call(at, "chat.history", session.clone());
    assert_eq!(code(&refused), "RESOURCE_EXHAUSTED", "{refused}");
    // Another login would be told much, too.
    let late = world.open(0);
    let hello = world.call(late, "connect", json!({"token": "operator", "user_id": "ann"}));
    assert_eq!(code(&hello), "RESOURCE_EXHAUSTED", "{hello}");
    let other = world.login(0, "operator", "bob");
    assert_eq!(code(&world.call(other, "sessions.list", json!({}))), "ok");
    for reader in readers {
        world.cut(reader);
    }
    assert_eq!(code(&world.call(at, "chat.history", session)), "ok");
    let hello = world.call(late, "connect", json!({"token": "operator", "user_id": "ann"}));
    assert_eq!(code(&hello), "ok", "it may be tried again on the same connection");
}

#[test]
fn pages_that_were_asked_for_all_at_once_are_refused_where_they_are_too_many() {
    for nodes in [1, 2] {
        let mut world = World::with(nodes, bounded(400_000, 1 << 30));
        let at = world.login(0, "operator", "ann");
        let text = "y".repeat(40_000);
        let sent = world.call_slow(at, "chat.send", say(&text, "broken"));
        let session = json!({"sessionKey": sent["payload"]["sessionKey"]});
        // The store has all of them before it has answered one.
        let readers: Vec<_> =
            (0..10).map(|_| world.login(nodes as usize - 1, "operator", "ann")).collect();
        world.advance(SECOND);
        world.make_slow(0);
        for reader in &readers {
            for _ in 0..4 {
                world.request(*reader, "chat.history", session.clone());
            }
            world.clients[*reader].stalled = true;
        }
        world.advance(5 * SECOND);
        let most = world.nodes[nodes as usize - 1].retained();
        assert!((300_000..=420_000).contains(&most), "{most}: 40 pages are 1.6 MB");
        for reader in &readers {
            world.clients[*reader].stalled = false;
        }
        world.settle();
        let mut codes = Vec::new();
        for reader in readers {
            let messages = world.clients[reader].messages.drain(..);
            let answers = messages.filter(|message| message["type"] == "res");
            codes.extend(answers.map(|answer| code(&answer).to_string()));
        }
        let of = |wanted: &str| codes.iter().filter(|code| *code == wanted).count();
        assert_eq!(of("ok") + of("RESOURCE_EXHAUSTED"), 40, "every one is answered: {codes:?}");
        assert!((5..=10).contains(&of("ok")), "{codes:?}");
    }
}

#[test]
fn events_kept_for_one_user_take_no_room_from_anothers_link() {
    let mut config = bounded(200_000, 1 << 30);
    config.bounds.links_bytes = 200_000;
    let mut world = World::with(1, config);
    let bob = world.login(0, "operator", "bob");
    world.advance(SECOND);
    world.cut(bob);
    // All of hers are connected and read what they are sent: it is kept only for a resume.
    let ann: Vec<_> = (0..3).map(|_| world.login(0, "operator", "ann")).collect();
    for _ in 0..5 {
        let answer = world.call_slow(ann[0], "chat.send", say(&"x".repeat(15_000), "broken"));
        assert_eq!(code(&answer), "ok", "{answer}");
    }
    let (links, detached, bytes) = world.nodes[0].links();
    assert_eq!((links, detached), (4, 1));
    assert!(bytes <= 100_000 + 3 * 20_000, "{bytes}");
    assert!(ann.iter().all(|at| world.clients[*at].closed.is_none()));
    let (_, resumed) = world.resume(0, bob, "operator", "bob");
    assert_eq!(resumed["resumed"], true, "{resumed}");
}

#[test]
fn all_users_together_are_bounded_and_who_comes_is_told_when_to_come_back() {
    let mut world = World::with(1, bounded(1 << 20, 100_000));
    let ann = world.login(0, "operator", "ann");
    let bob = world.login(0, "operator", "bob");
    world.store_mode = StoreMode::Hangs;
    let params = |len| json!({"sessionKey": "agent:echo:ws:direct:x", "message": "x".repeat(len)});
    let id = world.request(ann, "chat.send", params(90_000));
    assert_eq!(world.answer(ann, &id), None);
    let refused = world.call(bob, "chat.send", params(20_000));
    assert_eq!(code(&refused), "RESOURCE_EXHAUSTED");
    assert!(message(&refused).contains("all users"), "{refused}");
    let ready = |world: &mut World| {
        let at = world.socket(0);
        world.feed(at, b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (_, body) = world.clients[at].answer.clone().expect("an answer");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let checks = body["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["name"] == "memory").expect("a check")
    };
    let check = ready(&mut world);
    assert_eq!((&check["ok"], &check["limit"]), (&json!(true), &json!(100_000)), "{check}");
    let mut less = bounded(1 << 20, 90_000);
    less.bounds.held_bytes = 80_000;
    world.nodes[0].reconfigure(world.now, less).expect("a configuration");
    assert_eq!(ready(&mut world)["ok"], false);
    let request = ClientRequest::new("localhost:18790", "/ws").expect("a request");
    let at = world.upgrade(0, "127.0.0.1", request.clone());
    let (status, body) = world.clients[at].answer.clone().expect("an answer");
    assert!(status == 503 && body.contains("memory"), "{status} {body}");
    assert!(world.clients[at].headers.iter().any(|(name, _)| name == "Retry-After"));
    world.advance(config().bounds.store_within);
    world.store_mode = StoreMode::Works;
    assert_eq!(ready(&mut world)["ok"], true);
    assert_eq!(code(&world.call(bob, "sessions.list", json!({}))), "ok");
    let at = world.upgrade(0, "127.0.0.1", request);
    assert_eq!(world.clients[at].answer, None);
}

#[test]
fn nothing_is_counted_any_more_once_everybody_has_gone() {
    let mut world = World::new(2);
    let mut clients = Vec::new();
    for n in 0..20 {
        let at = world.login(n % 2, "operator", &format!("user{}", n % 5));
        let agent = ["echo", "stuck", "broken"][n % 3];
        world.request(at, "chat.send", json!({"message": "hello ".repeat(n), "agentId": agent}));
        world.request(at, "sessions.list", json!({}));
        clients.push(at);
    }
    world.advance(SECOND);
    assert!(world.nodes.iter().all(|node| node.retained() > 0));
    for at in clients {
        world.cut(at);
    }
    world.advance(config().bounds.run_within + config().bounds.resume_within);
    assert_eq!(world.nodes.iter().map(Gateway::retained).sum::<usize>(), 0);
}
