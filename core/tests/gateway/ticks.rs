//! `tick`: for who asks for it, from one timer, and never two for a client that does not read.
#![allow(clippy::disallowed_methods)]

use crate::world;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

/// A client that asks for ticks; gives what it is told of them, too.
fn ticking(world: &mut World, node: usize, more: &Value) -> (usize, Value) {
    let at = world.open(node);
    let mut params = json!({"token": "operator", "user_id": "ann"});
    for (name, value) in more.as_object().expect("an object") {
        params[name] = value.clone();
    }
    let hello = world.call(at, "connect", params);
    assert_eq!(code(&hello), "ok", "{hello}");
    (at, hello["payload"]["policy"]["tickIntervalMs"].clone())
}

fn ticks(world: &mut World, at: usize) -> Vec<u64> {
    let events = world.events(at, "tick");
    events.iter().map(|tick| tick["ts"].as_u64().expect("a time")).collect()
}

#[test]
fn who_asks_gets_one_each_thirty_seconds_and_nobody_else_does() {
    let mut world = World::new(1);
    let (at, told) = ticking(&mut world, 0, &json!({"tick": true}));
    assert_eq!(told, 30_000);
    for more in [json!({}), json!({"tick": false}), json!({"tick": null})] {
        let (other, told) = ticking(&mut world, 0, &more);
        assert_eq!(told, 0, "there are none");
        world.advance(90 * SECOND);
        assert!(ticks(&mut world, other).is_empty());
        world.cut(other);
    }
    assert_eq!(ticks(&mut world, at).len(), 9);
    world.advance(29 * SECOND);
    assert!(ticks(&mut world, at).is_empty());
    world.advance(SECOND);
    assert_eq!(ticks(&mut world, at), [UNIX_MS + 300_000]);
    let wrong = world.open(0);
    let answer = world.call(wrong, "connect", json!({"token": "operator", "tick": 1}));
    assert_eq!(code(&answer), "INVALID_REQUEST");
}

#[test]
fn a_tick_takes_no_number_and_nothing_of_a_link() {
    let mut world = World::new(1);
    let (at, _) = ticking(&mut world, 0, &json!({"tick": true}));
    world.advance(2 * SECOND);
    let (seq, links) = (world.clients[at].seq, world.nodes[0].links());
    world.advance(118 * SECOND);
    assert_eq!(ticks(&mut world, at).len(), 4);
    assert_eq!(world.clients[at].seq, seq);
    assert!(world.nodes[0].links().2 <= links.2);
}

#[test]
fn there_is_one_timer_and_none_while_nobody_wants_ticks() {
    let mut world = World::new(1);
    let (first, _) = ticking(&mut world, 0, &json!({"tick": true}));
    world.advance(10 * SECOND);
    let (second, _) = ticking(&mut world, 0, &json!({"tick": true}));
    world.advance(20 * SECOND);
    assert_eq!(ticks(&mut world, first), ticks(&mut world, second));
    world.cut(first);
    // Who logs in anew without asking has them no more.
    let again = world.call(second, "connect", json!({"token": "operator", "user_id": "ann"}));
    assert_eq!(again["payload"]["policy"]["tickIntervalMs"], 0);
    world.advance(5 * SECOND);
    let due = world.nodes[0].deadline().map(|due| due - world.now);
    assert_ne!(due, Some(25 * SECOND), "nobody waits for a tick");
    world.advance(120 * SECOND);
    assert!(ticks(&mut world, second).is_empty());
}

#[test]
fn one_at_most_waits_for_a_client_that_does_not_read_and_then_comes_the_newest() {
    let mut config = config();
    // It is not given up meanwhile.
    (config.limits.ping_every, config.limits.drain_within) = (3600 * SECOND, 3600 * SECOND);
    let mut world = World::with(1, config);
    let (at, _) = ticking(&mut world, 0, &json!({"tick": true}));
    world.advance(2 * SECOND);
    world.clients[at].stalled = true;
    world.advance(28 * SECOND);
    let queued = world.clients[at].server.outbox(world.now).queued();
    assert!(queued > 0);
    world.advance(30 * SECOND);
    assert_eq!(world.clients[at].server.outbox(world.now).queued(), queued);
    world.advance(10 * SECOND);
    world.clients[at].stalled = false;
    world.settle();
    assert_eq!(ticks(&mut world, at), [UNIX_MS + 30_000, UNIX_MS + 70_000]);
    world.advance(20 * SECOND);
    assert_eq!(ticks(&mut world, at), [UNIX_MS + 90_000], "and the pace is kept");
}

#[test]
fn a_client_that_comes_back_asks_again() {
    let mut world = World::new(2);
    let (old, _) = ticking(&mut world, 0, &json!({"tick": true}));
    world.cut(old);
    let (at, told) = ticking(&mut world, 1, &json!({"tick": true}));
    assert_eq!(told, 30_000);
    world.advance(30 * SECOND);
    assert_eq!(ticks(&mut world, at).len(), 1);
}
