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

/// A worker at the second loop with a run of the first one, which does nothing from now on.
fn behind_a_busy_loop(config: GatewayConfig) -> (World, usize, usize, String) {
    let (mut world, ann, at) = pair(2, config, 8);
    let run = begin(&mut world, ann);
    world.make_late(1, 0);
    (world, ann, at, run)
}

/// Ways in which a worker says this much of a run.
fn pieces(run: &str, text: &str) -> [(&'static str, serde_json::Value); 4] {
    let params = json!({"runId": run, "text": text});
    // What there is of it is its name, its id and its text.
    let result = json!({"runId": run, "phase": "result", "id": "i", "name": "n",
        "result": text.get(2..)});
    [
        ("run.delta", params.clone()),
        ("run.thinking", params),
        ("run.tool", result),
        ("run.complete", json!({"runId": run, "content": text})),
    ]
}

#[test]
fn what_a_busy_loop_has_not_taken_counts_until_it_has() {
    for which in 0..4 {
        for ends in ["stays", "ends", "goes"] {
            let (mut world, _, at, run) = behind_a_busy_loop(worker_config());
            let before = retained(&world)[1];
            let (method, params) = pieces(&run, &"x".repeat(20_000))[which].clone();
            let times = if method == "run.complete" { 1 } else { 10 };
            for _ in 0..times {
                assert_eq!(code(&world.call(at, method, params.clone())), "ok");
            }
            match ends {
                "ends" => drop(complete(&mut world, at, &run)),
                "goes" => world.cut(at),
                _ => {}
            }
            let counted = retained(&world)[1] - before;
            let case = format!("{method}, the worker {ends}: {counted}");
            assert!(counted >= times * 20_000, "{case}");
            assert!(counted < times * 20_000 + 13 * 1024, "{case}");
            world.bring();
            let left = retained(&world)[1].saturating_sub(before);
            assert!(left == 0, "{case}, {left} left");
        }
    }
}

#[test]
fn what_is_on_the_way_between_loops_never_passes_a_bound_of_memory() {
    // The last one: pieces of the answer that wait, merged.
    for (of_user, which) in [true, false].into_iter().flat_map(|of| (0..5).map(move |n| (of, n))) {
        for (more, fits) in [(-1, true), (0, true), (1, false)] {
            let most = 300_000;
            let mut config = worker_config();
            match of_user {
                true => config.bounds.user_bytes = most,
                false => config.bounds.held_bytes = most,
            }
            // The links of clients have none of it.
            let (mut world, ann, at, run) = behind_a_busy_loop(config);
            let before = retained(&world)[1];
            thought(&mut world, at, &run, 1_000);
            let entry = retained(&world)[1] - before - 1_000;
            thought(&mut world, at, &run, 100_000);
            let is_merged = which == 4;
            for _ in 0..if is_merged { 65 } else { 0 } {
                assert_eq!(code(&delta(&mut world, at, &run, "so")), "ok");
            }
            let entry = if is_merged { 0 } else { entry };
            let room = most - retained(&world)[1] - entry;
            let text = "x".repeat(room.checked_add_signed(more).expect("a size"));
            let (method, params) = pieces(&run, &text)[which % 4].clone();
            let answer = world.call(at, method, params);
            let case = format!("{of_user} {method} {more}: {answer}");
            let counted = retained(&world)[1];
            assert!(counted <= most, "{counted}: {case}");
            if fits {
                assert_eq!(code(&answer), "ok", "{case}");
                // Where that is its end the worker has it no more.
                let given = if method == "run.complete" { 512 } else { 0 };
                assert_eq!(counted.checked_sub_signed(more), Some(most - given), "{case}");
            } else {
                assert_eq!(code(&answer), "RESOURCE_EXHAUSTED", "{case}");
                assert!(message(&answer).contains("take too much memory"), "{case}");
            }
            world.bring();
            let events = seen(&mut world, ann, &run);
            let (kind, payload) = events.last().expect("an event");
            if !fits {
                assert_eq!(
                    (kind.as_str(), &payload["code"]),
                    ("run.failed", &json!("RESOURCE_EXHAUSTED")),
                    "{case}"
                );
                assert!(payload["retryAfterMs"].is_u64(), "{case}: {payload}");
                assert_quiet(&world);
            }
        }
    }
}

fn thought(world: &mut World, at: usize, run: &str, bytes: usize) {
    let params = json!({"runId": run, "text": "x".repeat(bytes)});
    assert_eq!(code(&world.call(at, "run.thinking", params)), "ok");
}

#[test]
fn a_flood_of_many_runs_to_a_busy_loop_stays_in_the_memory_of_all() {
    let most = 2_000_000;
    let mut config = worker_config();
    config.bounds.held_bytes = most;
    let (mut world, ann, at) = pair(2, config, 8);
    let runs: Vec<_> = (0..8).map(|_| begin(&mut world, ann)).collect();
    world.make_late(1, 0);
    let mut said = 0;
    for n in 0..400 {
        // Small pieces among them, which are merged, and as the last ones: they fill the last of it.
        let bytes = if n % 3 == 0 || said > most * 9 / 10 { 10 } else { 30_000 };
        for (of, run) in runs.iter().enumerate() {
            let (method, params) = pieces(run, &"x".repeat(bytes))[(n + of) % 3].clone();
            let answer = world.call(at, method, params);
            said += if code(&answer) == "ok" { bytes } else { 0 };
            let counted = retained(&world)[1];
            assert!(said <= counted && counted <= most, "{said} {counted}");
        }
    }
    assert!(said > most / 2, "{said}");
    for run in &runs {
        assert_eq!(code(&complete(&mut world, at, run)), "FAILED_PRECONDITION");
    }
    world.bring();
    assert_quiet(&world);
    let bob = world.login(0, "operator", "bob");
    let run = begin(&mut world, bob);
    assert_eq!(code(&complete(&mut world, at, &run)), "ok");
    assert_eq!(kinds(&mut world, bob, &run), ["run.started", "run.completed"]);
}

#[test]
fn a_run_has_no_more_on_the_way_than_an_answer_may_have() {
    // Which of two kinds of pieces come; how the run ends when they are too many.
    for (kinds, ends) in
        [([0, 0], "INTERNAL"), ([1, 1], "INTERNAL"), ([0, 1], "RESOURCE_EXHAUSTED")]
    {
        for times in 4..=7 {
            let mut config = worker_config();
            config.bounds.answer_bytes = 100_000;
            let (mut world, ann, at, run) = behind_a_busy_loop(config);
            let pieces = pieces(&run, &"x".repeat(20_000));
            for n in 0..times {
                let (method, params) = pieces[kinds[n % 2]].clone();
                let answer = world.call(at, method, params);
                // One is let through over it: it may be that which makes the answer too long.
                let expected = if n < 6 { "ok" } else { "RESOURCE_EXHAUSTED" };
                assert_eq!(code(&answer), expected, "{kinds:?} {n}: {answer}");
            }
            world.bring();
            let (kind, payload) = seen(&mut world, ann, &run).pop().expect("an event");
            let has_failed = times > 6 || times > 5 && ends == "INTERNAL";
            assert_eq!(kind == "run.failed", has_failed, "{kinds:?} {times}: {kind}");
            if has_failed {
                assert_eq!(payload["code"], ends, "{kinds:?} {times}: {payload}");
            }
        }
    }
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
