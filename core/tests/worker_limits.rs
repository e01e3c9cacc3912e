//! What workers may cost: bytes, messages, and what is kept for runs.
#![cfg(feature = "gateway")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "support/gateway.rs"]
mod world;

#[path = "support/workers.rs"]
mod workers;

use moorline_core::gateway::*;
use serde_json::json;
use std::time::Duration;
use workers::*;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

fn pair(nodes: u16, config: GatewayConfig, concurrency: u64) -> (World, usize, usize) {
    let mut world = World::with(nodes, config);
    let ann = world.login(0, "operator", "ann");
    let at = worker(&mut world, usize::from(nodes) - 1, concurrency);
    (world, ann, at)
}

fn retained(world: &World) -> Vec<usize> {
    world.nodes.iter().map(Gateway::retained).collect()
}

#[test]
fn an_answer_may_have_as_many_bytes_as_any_agents() {
    for nodes in [1, 3] {
        for (bytes, fits) in [(9_999, true), (10_000, true), (10_001, false)] {
            for pieces in [true, false] {
                let mut config = worker_config();
                config.bounds.answer_bytes = 10_000;
                let (mut world, ann, at) = pair(nodes, config, 1);
                let run = begin(&mut world, ann);
                let text = "x".repeat(bytes);
                let (first, rest) = text.split_at(5_000);
                if pieces {
                    delta(&mut world, at, &run, first);
                    delta(&mut world, at, &run, rest);
                    world.call(at, "run.complete", json!({"runId": run}));
                } else {
                    world.call(at, "run.complete", json!({"runId": run, "content": text}));
                }
                let events = seen(&mut world, ann, &run);
                let (kind, payload) = events.last().expect("an end");
                let case = format!("{nodes} {bytes} {pieces}: {kind}");
                assert_eq!(kind == "run.completed", fits, "{case}");
                if fits {
                    assert_eq!(payload["content"].as_str().map(str::len), Some(bytes));
                } else if pieces {
                    let cancelled = world.events(at, "run.cancel");
                    assert_eq!(cancelled, [json!({"runId": run, "reason": "refused"})], "{case}");
                }
                assert_quiet(&world);
            }
        }
    }
}

#[test]
fn a_worker_that_is_faster_than_the_bus_has_its_pieces_merged() {
    let (mut world, ann, at) = pair(2, worker_config(), 1);
    let run = begin(&mut world, ann);
    world.make_late(1, 0);
    let before = world.published;
    let mut text = String::new();
    for n in 0..5_000 {
        let piece = format!("{n} ");
        assert_eq!(code(&delta(&mut world, at, &run, &piece)), "ok");
        text.push_str(&piece);
    }
    let on_the_way = world.published - before;
    assert_eq!(on_the_way, 64, "messages that the other loop has not seen");
    world.bring();
    world.call(at, "run.complete", json!({"runId": run}));
    let events = seen(&mut world, ann, &run);
    assert_eq!(events.last().expect("an end").1["content"], text);
    let said: String = events
        .iter()
        .filter(|(kind, _)| kind == "chunk")
        .map(|(_, payload)| payload["content"].as_str().expect("a text"))
        .collect();
    assert_eq!(said, text);
}

#[test]
fn what_cannot_be_merged_is_bounded_and_ends_the_run() {
    let (mut world, ann, at) = pair(2, worker_config(), 2);
    let run = begin(&mut world, ann);
    world.make_late(1, 0);
    let call = json!({"runId": run, "phase": "call", "id": "1", "name": "x"});
    for n in 0..256 {
        assert_eq!(code(&world.call(at, "run.tool", call.clone())), "ok", "{n}");
    }
    let refused = world.call(at, "run.tool", call.clone());
    assert_eq!(code(&refused), "RESOURCE_EXHAUSTED", "{refused}");
    assert_eq!(code(&world.call(at, "run.tool", call)), "FAILED_PRECONDITION");
    world.bring();
    let events = seen(&mut world, ann, &run);
    assert_eq!(events.last().expect("an end").0, "run.failed");
    assert_eq!(events.len(), 258);
    assert_eq!(link(&mut world, ann)["workers"]["active"], 0);
}

#[test]
fn whatever_is_kept_for_runs_is_given_back() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, requeueing(), 2);
        let (first, session) = begin_in(&mut world, ann, &serde_json::Value::Null);
        complete(&mut world, at, &first);
        world.call(at, "agent.drain", json!({}));
        world.advance(SECOND * 600);
        let idle = retained(&world);
        let bytes = 100_000;
        let text = "x".repeat(bytes);
        let params = json!({"message": text, "agentId": "research", "sessionKey": session,
            "ack": true});
        let kept = |world: &World| retained(world).iter().sum::<usize>();
        let answer = world.call(ann, "chat.send", params);
        let run = answer["payload"]["runId"].as_str().expect("a run").to_owned();
        let waiting = kept(&world) - idle.iter().sum::<usize>();
        assert!(waiting >= 2 * bytes, "the turn, and what a worker shall be told: {waiting}");
        let other = worker(&mut world, usize::from(nodes) - 1, 1);
        delta(&mut world, other, &run, "so");
        let said = kept(&world) - idle.iter().sum::<usize>();
        assert!(said < waiting - bytes + 10_000, "nobody else is told: {said} of {waiting}");
        complete(&mut world, other, &run);
        world.cut(other);
        // Events that its client could ask for again.
        world.advance(SECOND * 600);
        assert_eq!(retained(&world), idle, "{nodes}");
    }
}

#[test]
fn a_run_that_there_is_no_memory_for_fails_and_can_be_tried_again() {
    let mut config = worker_config();
    config.bounds.user_bytes = 180_000;
    let mut world = World::with(2, config);
    let ann = world.login(0, "operator", "ann");
    let at = worker(&mut world, 1, 1);
    let params = json!({"message": "x".repeat(120_000), "agentId": "research", "ack": true});
    let answer = world.call(ann, "chat.send", params);
    let run = answer["payload"]["runId"].as_str().expect("a run").to_owned();
    world.advance(Duration::ZERO);
    assert!(given(&mut world, at).is_empty());
    let events = seen(&mut world, ann, &run);
    let (kind, payload) = events.last().expect("an end");
    assert_eq!((kind.as_str(), &payload["code"]), ("run.failed", &json!("RESOURCE_EXHAUSTED")));
    assert_quiet(&world);
}

#[test]
fn what_is_too_large_for_a_message_fails_and_ends_no_worker() {
    for nodes in [1, 3] {
        let mut config = worker_config();
        config.limits.outbox = 200 * 1024;
        let (mut world, ann, at) = pair(nodes, config, 1);
        let mut session = serde_json::Value::Null;
        for turn in 1..=4 {
            // Each run is told of all that was said before.
            let params = json!({"message": "x".repeat(60_000), "agentId": "research",
                "sessionKey": session, "ack": true});
            let answer = world.call(ann, "chat.send", params);
            session = answer["payload"]["sessionKey"].clone();
            let run = answer["payload"]["runId"].as_str().expect("a run").to_owned();
            world.advance(Duration::ZERO);
            assert_eq!(given(&mut world, at).len(), usize::from(turn < 4), "{turn}");
            complete(&mut world, at, &run);
            let last = kinds(&mut world, ann, &run).pop().expect("an end");
            assert_eq!(last, if turn < 4 { "run.completed" } else { "run.failed" });
        }
        assert_eq!(world.clients[at].closed, None);
        let run = begin(&mut world, ann);
        assert_eq!(given(&mut world, at), [run]);
    }
}

#[test]
fn a_worker_that_does_not_read_is_given_no_more_until_it_does() {
    for nodes in [1, 3] {
        let mut config = worker_config();
        config.limits.outbox = 256 * 1024;
        let (mut world, ann, at) = pair(nodes, config, 100);
        world.clients[at].stalled = true;
        for _ in 0..4 {
            let params = json!({"message": "x".repeat(60_000), "agentId": "research", "ack": true});
            world.call(ann, "chat.send", params);
        }
        let state = link(&mut world, ann)["workers"].clone();
        assert_eq!((&state["active"], &state["waiting"]), (&json!(2), &json!(2)), "{state}");
        world.clients[at].stalled = false;
        world.settle();
        assert_eq!(given(&mut world, at).len(), 4);
        assert_eq!(world.clients[at].closed, None);
    }
}
