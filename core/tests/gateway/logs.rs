//! `logs.tail`: pages of the log, and lines as events, for admins only.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

/// Logs lines `n` of this level.
fn log(world: &mut World, level: LogLevel, numbers: std::ops::Range<usize>) {
    let ring = world.log.as_mut().expect("a log");
    for n in numbers {
        ring.push(level, &json!({"level": level.as_str(), "n": n}).to_string());
    }
}

/// The numbers of lines.
fn numbers(lines: &Value) -> Vec<u64> {
    let line = |line: &Value| -> Value {
        serde_json::from_str(line.as_str().expect("a text")).expect("a record")
    };
    let lines = lines.as_array().expect("lines").iter();
    lines.map(|text| line(text)["n"].as_u64().expect("a number")).collect()
}

fn page(world: &mut World, at: usize, params: Value) -> Value {
    let mut answer = world.call(at, "logs.tail", params);
    assert_eq!(code(&answer), "ok", "{answer}");
    answer["payload"].take()
}

fn start(world: &mut World, at: usize, params: Value) {
    let answer = world.call(at, "logs.tail", params);
    assert_eq!(answer["payload"]["status"], "started", "{answer}");
}

#[test]
fn pages_follow_each_other() {
    let mut world = World::new(1);
    let at = world.login(0, "secret", "adm");
    log(&mut world, LogLevel::Info, 0..3);
    let first = page(&mut world, at, json!({}));
    assert_eq!(numbers(&first["lines"]), [0, 1, 2]);
    assert_eq!((&first["file"], &first["size"]), (&json!("log-1"), &first["cursor"]));
    assert!(first.get("truncated").is_none() && first.get("reset").is_none(), "{first}");
    let next = json!({"cursor": first["cursor"]});
    assert_eq!(numbers(&page(&mut world, at, next.clone())["lines"]), [0; 0]);
    log(&mut world, LogLevel::Debug, 3..9);
    let second = page(&mut world, at, next.clone());
    assert_eq!(numbers(&second["lines"]), [3, 4, 5, 6, 7, 8]);
    let cut = page(&mut world, at, json!({"cursor": first["cursor"], "limit": 2}));
    assert_eq!(numbers(&cut["lines"]), [7, 8]);
    assert_eq!((&cut["truncated"], &cut["reset"]), (&json!(true), &json!(true)));
    let cut = page(&mut world, at, json!({"maxBytes": 60}));
    assert_eq!((numbers(&cut["lines"]), &cut["truncated"]), (vec![7, 8], &json!(true)));
    // Another process has another log, which is shorter.
    world.log = Some(LogRing::new("log-2", 1000));
    log(&mut world, LogLevel::Info, 0..1);
    let anew = page(&mut world, at, next);
    assert_eq!((&anew["file"], &anew["reset"]), (&json!("log-2"), &json!(true)));
    assert_eq!(numbers(&anew["lines"]), [0]);
}

#[test]
fn what_is_asked_for_is_bounded_whatever_is_asked() {
    let mut world = World::new(1);
    let at = world.login(0, "secret", "adm");
    log(&mut world, LogLevel::Info, 0..20_000);
    let most = json!({"limit": u64::MAX, "maxBytes": u64::MAX});
    let whole = page(&mut world, at, most);
    let bytes: usize = whole["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line.as_str().expect("a text").len() + 1)
        .sum();
    assert!(numbers(&whole["lines"]).len() == 5000 || bytes <= LogRing::LIMIT, "{bytes}");
    assert_eq!(numbers(&page(&mut world, at, json!({"limit": 0}))["lines"]), [19_999]);
    for wrong in [
        json!({"limit": -1}),
        json!({"cursor": "x"}),
        json!({"action": "go"}),
        json!({"action": "start", "level": "loud"}),
    ] {
        assert_eq!(code(&world.call(at, "logs.tail", wrong.clone())), "INVALID_REQUEST", "{wrong}");
    }
    world.log = None;
    let id = world.request(at, "logs.tail", json!({}));
    world.advance(config().bounds.store_within);
    assert_eq!(code(&world.answer(at, &id).expect("an answer")), "UNAVAILABLE");
}

#[test]
fn a_tail_begins_with_the_newest_lines_and_goes_on_at_any_loop_until_it_is_stopped() {
    let mut world = World::new(2);
    log(&mut world, LogLevel::Info, 0..150);
    for node in 0..2 {
        let at = world.login(node, "secret", "adm");
        let seq = world.clients[at].seq;
        start(&mut world, at, json!({"action": "start"}));
        let events = world.events(at, "log");
        assert_eq!(numbers(&events[0]["lines"]), (50..150).collect::<Vec<_>>());
        assert!(events.len() == 1 && events[0].get("dropped").is_none());
        world.advance(10 * SECOND);
        assert!(world.events(at, "log").is_empty(), "nothing new, nothing said");
        log(&mut world, LogLevel::Warn, 150..152);
        log(&mut world, LogLevel::Debug, 152..153);
        log(&mut world, LogLevel::Error, 153..154);
        world.advance(SECOND);
        let events = world.events(at, "log");
        assert_eq!(numbers(&events[0]["lines"]), [150, 151, 153], "debug was not asked for");
        start(&mut world, at, json!({"action": "start", "level": "error"}));
        assert!(numbers(&world.events(at, "log")[0]["lines"]).contains(&153));
        log(&mut world, LogLevel::Info, 200..201);
        world.advance(SECOND);
        assert!(world.events(at, "log").is_empty());
        // No number of the link was used.
        world.events(at, "presence");
        assert!(world.clients[at].seq <= seq + 2, "{}", world.clients[at].seq);
        let stopped = world.call(at, "logs.tail", json!({"action": "stop"}));
        assert_eq!(stopped["payload"]["status"], "stopped");
        log(&mut world, LogLevel::Error, 201..202);
        world.advance(2 * SECOND);
        assert!(world.events(at, "log").is_empty());
        assert!(world.nodes[node].deadline().is_none_or(|due| due > world.now + 5 * SECOND));
        world.log = Some(LogRing::new("log", LogRing::LIMIT));
        log(&mut world, LogLevel::Info, 0..150);
    }
}

#[test]
fn who_reads_slowly_is_told_how_much_was_dropped_and_costs_nothing_meanwhile() {
    let mut world = World::new(1);
    world.log = Some(LogRing::new("log", 1000));
    let at = world.login(0, "secret", "adm");
    let other = world.login(0, "secret", "adm");
    start(&mut world, at, json!({"action": "start"}));
    world.advance(SECOND);
    world.clients[at].stalled = true;
    log(&mut world, LogLevel::Info, 0..1);
    world.advance(SECOND);
    let queued = world.clients[at].server.outbox(world.now).queued();
    assert!(queued > 0);
    log(&mut world, LogLevel::Info, 1..501);
    world.advance(20 * SECOND);
    assert_eq!(world.clients[at].server.outbox(world.now).queued(), queued, "nothing more");
    world.clients[at].stalled = false;
    world.advance(SECOND);
    let events = world.events(at, "log");
    let (first, second) = (&events[0], &events[1]);
    assert_eq!((events.len(), numbers(&first["lines"])), (2, vec![0]));
    let rest = numbers(&second["lines"]);
    assert_eq!(second["dropped"], 500 - rest.len() as u64);
    assert_eq!(rest.last(), Some(&500));
    assert!(world.clients[at].closed.is_none());
    assert_eq!(code(&world.call(other, "health", json!({}))), "ok");
}

#[test]
fn a_tail_ends_with_its_login_and_with_the_role() {
    let mut world = World::new(1);
    let at = world.login(0, "secret", "adm");
    start(&mut world, at, json!({"action": "start"}));
    let again = world.call(at, "connect", json!({"token": "operator", "user_id": "adm"}));
    assert_eq!(code(&again), "ok");
    log(&mut world, LogLevel::Info, 0..5);
    world.advance(5 * SECOND);
    assert!(world.events(at, "log").is_empty(), "an operator is told nothing");
    let at = world.login(0, "rotated", "adm");
    start(&mut world, at, json!({"action": "start"}));
    world.events(at, "log");
    let mut less = config();
    for token in &mut less.tokens {
        token.role = Role::Operator;
    }
    world.nodes[0].reconfigure(world.now, less).expect("a configuration");
    log(&mut world, LogLevel::Info, 5..9);
    world.advance(5 * SECOND);
    assert!(world.events(at, "log").is_empty());
}

#[test]
fn tails_are_bounded_in_number() {
    let mut world = World::new(1);
    let admins: Vec<_> = (0..17).map(|_| world.login(0, "secret", "adm")).collect();
    for at in &admins[..16] {
        start(&mut world, *at, json!({"action": "start"}));
    }
    let refused = world.call(admins[16], "logs.tail", json!({"action": "start"}));
    assert_eq!(code(&refused), "RESOURCE_EXHAUSTED");
    start(&mut world, admins[0], json!({"action": "start", "level": "debug"}));
    world.cut(admins[0]);
    start(&mut world, admins[16], json!({"action": "start"}));
}

/// A command line of OpenClaw, which asks for no more than it needs.
fn openclaw(world: &mut World, token: &str) -> usize {
    let at = world.open(0);
    let params = json!({
        "minProtocol": 3, "maxProtocol": 4,
        "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"},
        "scopes": ["operator.read"], "auth": {"token": token},
    });
    let hello = world.call(at, "connect", params);
    assert_eq!(hello["ok"], true, "{hello}");
    at
}

#[test]
fn admins_read_the_log_in_the_dialect_of_openclaw_with_the_scope_of_reading() {
    let mut world = World::new(1);
    let at = openclaw(&mut world, "secret");
    log(&mut world, LogLevel::Info, 0..3);
    let first = page(&mut world, at, json!({"limit": 2, "maxBytes": 250_000}));
    assert_eq!((numbers(&first["lines"]), &first["truncated"]), (vec![1, 2], &json!(true)));
    log(&mut world, LogLevel::Info, 3..4);
    let next = page(&mut world, at, json!({"cursor": first["cursor"]}));
    assert_eq!(numbers(&next["lines"]), [3]);
    for token in ["viewer", "operator"] {
        let at = openclaw(&mut world, token);
        let answer = world.call(at, "logs.tail", json!({}));
        assert_eq!(answer["error"]["message"], "the log is for admins", "{answer}");
        assert_eq!(answer["error"]["code"], "FORBIDDEN");
    }
}
