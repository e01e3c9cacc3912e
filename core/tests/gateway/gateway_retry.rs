//! Retries with an idempotency key when the gateway has forgotten and only the store remembers: after a
//! restart, a crash, or when there was too much to remember.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

/// The process is gone; another with so many nodes has the same store. Its clock begins anew, so as if
/// no time had passed.
fn restart(old: &mut World, nodes: u16) -> World {
    let mut new = World::new(nodes);
    new.store = std::mem::take(&mut old.store);
    new
}

/// What was said in a session: who, and what.
fn said(world: &mut World, session: &Value) -> Vec<(String, String)> {
    let admin = world.login(0, "secret", "adm");
    let history = world.call(admin, "chat.history", json!({"sessionKey": session}));
    let messages = history["payload"]["messages"].as_array().expect("messages");
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    messages.iter().map(|m| (text(&m["role"]), text(&m["content"]))).collect()
}

fn pair(text: &str) -> [(String, String); 2] {
    ["user", "assistant"].map(|role| (role.to_string(), text.to_string()))
}

#[test]
fn a_retry_after_a_restart_has_the_answer_of_before() {
    for (nodes, later) in [(1, 1), (1, 3), (3, 1), (3, 2)] {
        for named in [false, true] {
            let mut world = World::new(nodes);
            let at = world.login(0, "operator", "ann");
            let mut params = json!({"message": "hello", "idempotencyKey": "k"});
            if named {
                let answer = world.call_slow(at, "chat.send", json!({"message": "zero"}));
                params["sessionKey"] = answer["payload"]["sessionKey"].clone();
            }
            let first = world.call_slow(at, "chat.send", params.clone());
            assert_eq!(first["payload"]["content"], "hello");
            let mut world = restart(&mut world, later);
            let at = world.login(usize::from(later) - 1, "operator", "ann");
            for _ in 0..2 {
                let again = world.call(at, "chat.send", params.clone());
                assert_eq!(again["payload"], first["payload"]);
            }
            let mut with_ack = params.clone();
            with_ack["ack"] = json!(true);
            let mut world = restart(&mut world, later);
            let at = world.login(0, "operator", "ann");
            let again = world.call(at, "chat.send", with_ack);
            assert_eq!(again["payload"]["runId"], first["payload"]["runId"]);
            assert_eq!(again["payload"]["status"], "started");
            assert!(world.runs.is_empty());
            assert_eq!(world.nodes.iter().map(Gateway::pending).sum::<usize>(), 0);
            world.advance(SECOND * 330);
            let at = world.login(0, "operator", "ann");
            world.call_slow(at, "chat.send", params);
            assert_eq!(world.runs.len(), 1, "the key is forgotten in the end");
        }
    }
}

#[test]
fn a_run_that_was_cut_short_is_begun_again_for_the_same_message() {
    for (nodes, later) in [(1, 1), (1, 3), (3, 1), (3, 2)] {
        for named in [false, true] {
            for ack in [false, true] {
                let mut world = World::new(nodes);
                let at = world.login(0, "operator", "ann");
                let mut params = json!({"message": "hello", "idempotencyKey": "k", "ack": ack});
                let mut before = Vec::new();
                if named {
                    let answer = world.call_slow(at, "chat.send", json!({"message": "zero"}));
                    params["sessionKey"] = answer["payload"]["sessionKey"].clone();
                    before.extend(pair("zero"));
                }
                world.request(at, "chat.send", params.clone());
                let run = world.runs.last().expect("it has begun").clone();
                let mut world = restart(&mut world, later);
                let clients: Vec<_> = (0..usize::from(later))
                    .map(|node| world.login(node, "operator", "ann"))
                    .collect();
                let requests: Vec<_> = clients
                    .iter()
                    .map(|at| (*at, world.request(*at, "chat.send", params.clone())))
                    .collect();
                world.advance(SECOND);
                for (at, id) in requests {
                    let answer = world.answer(at, &id).expect("an answer");
                    assert_eq!(answer["payload"]["runId"], *run.run, "{answer}");
                    assert_eq!(answer["payload"]["sessionKey"], *run.session);
                    let (name, value) =
                        if ack { ("status", "started") } else { ("content", "hello") };
                    assert_eq!(answer["payload"][name], value);
                    let events = world.events(at, "agent");
                    assert_eq!(events.last().expect("events")["type"], "run.completed");
                }
                assert_eq!(world.runs.len(), 1, "one run for all who ask");
                before.extend(pair("hello"));
                assert_eq!(said(&mut world, &json!(*run.session)), before);
                assert_eq!(world.nodes.iter().map(Gateway::pending).sum::<usize>(), 0);
            }
        }
    }
}

#[test]
fn a_key_stands_for_one_text_in_one_session() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let other = world.call_slow(at, "chat.send", json!({"message": "zero"}));
    let other = other["payload"]["sessionKey"].clone();
    let first = world.call_slow(at, "chat.send", json!({"message": "a", "idempotencyKey": "k"}));
    let session = first["payload"]["sessionKey"].clone();
    let check = |world: &mut World| {
        let at = world.login(0, "operator", "ann");
        let text = json!({"message": "b", "idempotencyKey": "k"});
        let refused = world.call(at, "chat.send", text);
        assert_eq!(code(&refused), "INVALID_REQUEST");
        assert_eq!(message(&refused), "idempotencyKey was used with another message");
        let elsewhere = json!({"message": "a", "idempotencyKey": "k", "sessionKey": other});
        let refused = world.call(at, "chat.send", elsewhere);
        assert_eq!(message(&refused), "idempotencyKey was used in another session");
        let mut same = json!({"message": "a", "idempotencyKey": "k"});
        for _ in 0..2 {
            let answer = world.call(at, "chat.send", same.clone());
            assert_eq!(answer["payload"], first["payload"], "{answer}");
            same["sessionKey"] = session.clone();
        }
    };
    check(&mut world);
    let mut world = restart(&mut world, 1);
    check(&mut world);
    assert_eq!(said(&mut world, &other), pair("zero"));
    assert_eq!(said(&mut world, &session), pair("a"));
}

#[test]
fn how_a_run_ended_without_an_answer_is_remembered() {
    for agent in ["broken", "stuck"] {
        let mut world = World::new(1);
        let at = world.login(0, "operator", "ann");
        let params = json!({"message": "hello", "agentId": agent, "idempotencyKey": "k"});
        let id = world.request(at, "chat.send", params.clone());
        world.advance(SECOND);
        if agent == "stuck" {
            let session = world.runs[0].session.clone();
            world.call(at, "chat.abort", json!({"sessionKey": *session}));
        }
        let first = world.answer(at, &id).expect("an answer");
        let mut world = restart(&mut world, 1);
        let at = world.login(0, "operator", "ann");
        let again = world.call(at, "chat.send", params);
        assert_eq!((&again["payload"], &again["error"]), (&first["payload"], &first["error"]));
        assert!(world.runs.is_empty());
    }
}

#[test]
fn a_run_that_the_gateway_stopped_is_begun_again() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "hello", "idempotencyKey": "k"});
    world.request(at, "chat.send", params.clone());
    let now = world.now;
    world.nodes[0].drain(now, &Drain::stop("restart"));
    world.settle();
    let mut world = restart(&mut world, 1);
    let at = world.login(0, "operator", "ann");
    assert_eq!(world.call_slow(at, "chat.send", params)["payload"]["content"], "hello");
}

#[test]
fn a_run_that_failed_for_good_while_the_gateway_stopped_is_not_begun_again() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "x", "agentId": "broken", "idempotencyKey": "k"});
    let id = world.request(at, "chat.send", params.clone());
    let now = world.now;
    world.nodes[0].drain(now, &Drain::stop("restart"));
    world.advance(SECOND);
    let failed = world.answer(at, &id).expect("an answer");
    assert_eq!(code(&failed), "INTERNAL");
    let mut world = restart(&mut world, 1);
    let at = world.login(0, "operator", "ann");
    let again = world.call_slow(at, "chat.send", params);
    assert_eq!(again["error"], failed["error"]);
    assert!(world.runs.is_empty());
}

#[test]
fn a_turn_that_was_stopped_while_it_waited_stays_so() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "x", "agentId": "stuck", "ack": true});
    let begun = world.call_slow(at, "chat.send", params);
    let session = &begun["payload"]["sessionKey"];
    let waits = json!({"message": "y", "sessionKey": session, "idempotencyKey": "k"});
    assert_eq!(world.call_slow(at, "chat.send", waits.clone())["payload"]["queued"], true);
    world.call_slow(at, "chat.abort", json!({"sessionKey": session}));
    let mut world = restart(&mut world, 1);
    let at = world.login(0, "operator", "ann");
    let again = world.call_slow(at, "chat.send", waits);
    assert_eq!(again["payload"]["cancelled"], true, "{again}");
    assert!(world.runs.is_empty());
}

#[test]
fn an_answer_that_could_not_be_stored_can_be_asked_for_again() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "hello", "idempotencyKey": "k"});
    let id = world.request(at, "chat.send", params.clone());
    world.store_mode = StoreMode::Fails;
    world.advance(SECOND);
    assert_eq!(code(&world.answer(at, &id).expect("an answer")), "UNAVAILABLE");
    world.store_mode = StoreMode::Works;
    let again = world.call_slow(at, "chat.send", params);
    assert_eq!(again["payload"]["content"], "hello");
    assert_eq!(world.runs[0].run, world.runs[1].run);
    assert_eq!(said(&mut world, &again["payload"]["sessionKey"]), pair("hello"));
}

#[test]
fn a_turn_that_waits_is_not_begun_twice_however_little_is_remembered() {
    let mut config = config();
    config.bounds.idempotency_keys = 1;
    let mut world = World::with(1, config);
    let at = world.login(0, "operator", "ann");
    let first = json!({"message": "one", "agentId": "stuck", "ack": true});
    let session = world.call(at, "chat.send", first)["payload"]["sessionKey"].clone();
    let send = |key: &str| json!({"message": key, "agentId": "echo", "sessionKey": session, "idempotencyKey": key});
    let queued = world.call(at, "chat.send", send("k"));
    world.call(at, "chat.send", send("l"));
    let again = world.call(at, "chat.send", send("k"));
    assert_eq!(again["payload"], queued["payload"], "it waits still");
    world.call(at, "chat.send", send("l"));
    let run = world.runs[0].run.clone();
    world.call(at, "chat.abort", json!({"sessionKey": session, "runId": *run}));
    assert_eq!(world.runs[1].run, queued["payload"]["runId"].as_str().expect("a run").into());
    let again = world.request(at, "chat.send", send("k"));
    world.advance(SECOND);
    let answer = world.answer(at, &again).expect("an answer");
    assert_eq!(answer["payload"]["content"], "k", "it ran by then");
    assert_eq!(world.runs.len(), 3);
    let mut expected = vec![("user".to_string(), "one".to_string())];
    for (role, text) in [("user", "k"), ("user", "l"), ("assistant", "k"), ("assistant", "l")] {
        expected.push((role.into(), text.into()));
    }
    assert_eq!(said(&mut world, &session), expected);
}

#[test]
fn a_turn_that_waited_and_failed_for_now_is_begun_again() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let first = json!({"message": "one", "agentId": "stuck", "ack": true});
    let session = world.call(at, "chat.send", first)["payload"]["sessionKey"].clone();
    let params =
        json!({"message": "two", "agentId": "echo", "sessionKey": session, "idempotencyKey": "k"});
    let queued = world.call(at, "chat.send", params.clone());
    assert_eq!(queued["payload"]["queued"], true);
    let run = world.runs[0].run.clone();
    world.call(at, "chat.abort", json!({"sessionKey": session, "runId": *run}));
    // Its answer cannot be stored.
    world.store_mode = StoreMode::Fails;
    world.advance(SECOND);
    world.store_mode = StoreMode::Works;
    let again = world.call_slow(at, "chat.send", params);
    assert_eq!(again["payload"]["content"], "two");
    assert_eq!(again["payload"]["runId"], queued["payload"]["runId"]);
}

#[test]
fn a_key_opens_nobody_elses_session_any_more() {
    let mut world = World::new(1);
    let ann = world.login(0, "operator", "ann");
    let hers = world.call_slow(ann, "chat.send", json!({"message": "mine"}));
    let hers = hers["payload"]["sessionKey"].clone();
    let admin = world.login(0, "secret", "eve");
    let params = json!({"message": "hello", "idempotencyKey": "k", "sessionKey": hers});
    assert_eq!(code(&world.call_slow(admin, "chat.send", params.clone())), "ok");
    let mut world = restart(&mut world, 1);
    let eve = world.login(0, "operator", "eve");
    for named in [true, false] {
        let mut params = params.clone();
        if !named {
            params.as_object_mut().expect("an object").remove("sessionKey");
        }
        assert_eq!(code(&world.call(eve, "chat.send", params)), "FORBIDDEN");
    }
}

#[test]
fn whoever_asks_whether_it_is_ready_has_the_store_tried_again() {
    let mut world = World::new(1);
    world.store_mode = StoreMode::Fails;
    let at = world.login(0, "operator", "ann");
    assert_eq!(code(&world.call(at, "chat.send", json!({"message": "x"}))), "UNAVAILABLE");
    let get = |world: &mut World| {
        let at = world.socket(0);
        world.feed(at, b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        world.clients[at].answer.take().expect("an answer").0
    };
    assert_eq!((get(&mut world), get(&mut world)), (503, 503));
    world.store_mode = StoreMode::Works;
    assert_eq!((get(&mut world), get(&mut world)), (503, 200));
}
