//! `node.invoke` in the dialect of OpenClaw: what a node is told, what the caller gets, and every way in which
//! that ends otherwise. With three loops the node is connected to another one than its caller.

use crate::nodes;
use crate::openclaw;
use crate::world;
use nodes::*;
use openclaw::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::{World, message};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_node_does_what_it_is_told_and_its_caller_gets_the_answer() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["canvas.present"]);
        let params = json!({
            "nodeId": node.id, "command": "canvas.present", "params": {"url": "a\"b"},
            "timeoutMs": 5000, "idempotencyKey": "k1",
        });
        let id = world.request(at, "node.invoke", params);
        let told = told(&mut world, &node);
        let expected = json!({
            "id": told["id"], "nodeId": node.id, "command": "canvas.present",
            "paramsJSON": "{\"url\":\"a\\\"b\"}", "timeoutMs": 5000, "idempotencyKey": "k1",
        });
        assert_eq!(told, expected);
        assert!(world.answer(at, &id).is_none(), "it has not answered");
        assert_eq!(ok(answer(&mut world, &node, &told, &json!({"n": 1}))), json!({"ok": true}));
        let expected = json!({
            "ok": true, "nodeId": node.id, "command": "canvas.present",
            "payload": {"n": 1}, "payloadJSON": "{\"n\":1}",
        });
        assert_eq!(ok(world.answer(at, &id).expect("an answer")), expected);
        world.advance(Duration::from_secs(60));
        assert!(cancelled(&mut world, &node).is_empty());
    }
}

#[test]
fn what_a_node_could_not_do_is_told_with_its_own_words() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["camera.snap"]);
        let id = world.request(at, "node.invoke", command(&node, "camera.snap"));
        let told = told(&mut world, &node);
        assert_eq!(told["paramsJSON"], Value::Null);
        assert_eq!(told["timeoutMs"], 30_000);
        let error = json!({"code": "CAMERA_BUSY", "message": "somebody else films"});
        let result = json!({"id": told["id"], "nodeId": node.id, "ok": false, "error": error});
        ok(world.call(node.at, "node.invoke.result", result));
        let answer = world.answer(at, &id).expect("an answer");
        assert_eq!(failed(&answer), "CAMERA_BUSY");
        assert_eq!(answer["error"]["message"], "somebody else films");
        assert_eq!(answer["error"]["details"]["nodeError"], error);
    }
}

#[test]
fn a_payload_that_is_json_itself_or_none_is_passed_on_as_it_is() {
    let mut world = World::new(1);
    let (at, node) = pair(&mut world, 1, &["a"]);
    for (member, value, payload, text) in [
        ("payload", json!([1]), json!([1]), Value::Null),
        ("payloadJSON", json!("no JSON"), Value::Null, json!("no JSON")),
        ("payloadJSON", Value::Null, Value::Null, Value::Null),
    ] {
        let id = world.request(at, "node.invoke", command(&node, "a"));
        let told = told(&mut world, &node);
        let mut result = json!({"id": told["id"], "nodeId": node.id, "ok": true});
        result[member] = value;
        ok(world.call(node.at, "node.invoke.result", result));
        let answer = ok(world.answer(at, &id).expect("an answer"));
        assert_eq!((&answer["payload"], &answer["payloadJSON"]), (&payload, &text));
    }
}

#[test]
fn only_what_was_declared_and_approved_can_be_told_and_only_to_who_is_there() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let node = come(&mut world, loops as usize - 1, 1, &["a"]);
        let at = admin(&mut world, 0);
        let call = |world: &mut World, what: Value| world.call(at, "node.invoke", what);
        let refused = call(&mut world, command(&node, "a"));
        assert!(invalid(&refused).starts_with("nobody has approved the command a"));
        assert_eq!(refused["error"]["details"]["reason"], "command-not-approved");
        let request = pending(&mut world, at, &node.id);
        assert_eq!(refused["error"]["details"]["requestId"].as_str(), request.as_deref());
        approve(&mut world, at, &node.id);
        let refused = call(&mut world, command(&node, "b"));
        assert_eq!(refused["error"]["details"]["reason"], "command-not-declared");
        let nobody = json!({"nodeId": "f".repeat(64), "command": "a"});
        assert_eq!(invalid(&call(&mut world, nobody)), "unknown nodeId");
        assert!(world.events(node.at, "node.invoke.request").is_empty());
        world.cut(node.at);
        assert_eq!(failed(&call(&mut world, command(&node, "a"))), "NOT_CONNECTED");
    }
}

#[test]
fn what_runs_programs_needs_an_admin() {
    let mut world = World::new(1);
    let (at, node) = pair(&mut world, 1, &["system.run", "system.notify", "a"]);
    let writer = join(&mut world, 0, "operator", &["operator.write"]);
    let reader = join(&mut world, 0, "operator", &["operator.read"]);
    for (caller, what, lacks) in [
        (writer, "system.run", Some("operator.admin")),
        (writer, "system.execApprovals.set", Some("operator.admin")),
        (writer, "system.notify", None),
        (writer, "a", None),
        (at, "system.run", None),
        (reader, "a", Some("operator.write")),
    ] {
        let id = world.request(caller, "node.invoke", command(&node, what));
        let refused = world.answer(caller, &id);
        let missing = refused.as_ref().map(|answer| &answer["error"]["details"]["missingScope"]);
        assert_eq!(missing.and_then(Value::as_str), lacks, "{what}: {refused:?}");
    }
}

#[test]
fn a_node_that_does_not_answer_in_time_is_told_that_nobody_waits() {
    for (asked, takes) in
        [(json!(2000), 2_000), (Value::Null, 30_000), (json!(1_u64 << 40), 600_000)]
    {
        for loops in [1, 3] {
            let mut world = World::new(loops);
            let (at, node) = pair(&mut world, 1, &["a"]);
            let mut params = command(&node, "a");
            params["timeoutMs"] = asked.clone();
            let id = world.request(at, "node.invoke", params);
            let told = told(&mut world, &node);
            assert_eq!(told["timeoutMs"], takes);
            world.advance(Duration::from_millis(takes) - MS);
            assert!(world.answer(at, &id).is_none());
            world.advance(MS);
            let late = world.answer(at, &id).expect("an answer");
            assert_eq!(failed(&late), "TIMEOUT");
            assert_eq!(cancelled(&mut world, &node), [told["id"].clone()]);
            let ignored = ok(answer(&mut world, &node, &told, &json!(1)));
            assert_eq!(ignored, json!({"ok": true, "ignored": true}));
        }
    }
}

#[test]
fn a_node_is_told_when_its_caller_has_gone() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["a"]);
        world.request(at, "node.invoke", command(&node, "a"));
        let first = told(&mut world, &node);
        world.cut(at);
        assert_eq!(cancelled(&mut world, &node), [first["id"].clone()]);
        world.advance(Duration::from_secs(3600));
        assert!(world.nodes.iter().all(|gateway| gateway.pending() == 0), "nobody waits");
        assert!(cancelled(&mut world, &node).is_empty());
    }
}

#[test]
fn what_a_node_was_told_fails_at_once_when_it_goes() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["a"]);
        let id = world.request(at, "node.invoke", command(&node, "a"));
        world.cut(node.at);
        assert_eq!(failed(&world.answer(at, &id).expect("an answer")), "NOT_CONNECTED");
        assert!(world.nodes.iter().all(|gateway| gateway.pending() == 0));
    }
}

#[test]
fn a_later_connection_of_a_node_takes_the_place_of_the_earlier_one() {
    for (loops, second) in [(1, 0), (3, 2), (3, 1), (3, 0)] {
        let mut world = World::new(loops);
        let (at, old) = pair(&mut world, 1, &["a"]);
        let id = world.request(at, "node.invoke", command(&old, "a"));
        let stale = told(&mut world, &old);
        let new = come(&mut world, second, 1, &["a"]);
        let (code, reason) = world.clients[old.at].closed.clone().expect("it is closed");
        assert_eq!((code, &*reason), (1008, "replaced by another connection of this node"));
        assert_eq!(failed(&world.answer(at, &id).expect("an answer")), "NOT_CONNECTED");
        assert_eq!(listed(&mut world, at, &new.id).expect("it is there")["connected"], true);
        let ignored = ok(answer(&mut world, &new, &stale, &json!(1)));
        assert_eq!(ignored["ignored"], true);
        let id = world.request(at, "node.invoke", command(&new, "a"));
        let fresh = told(&mut world, &new);
        ok(answer(&mut world, &new, &fresh, &json!(2)));
        assert_eq!(ok(world.answer(at, &id).expect("an answer"))["payload"], 2);
        assert!(world.clients[new.at].closed.is_none());
    }
}

#[test]
fn nobody_answers_for_another_node() {
    for (loops, where_else) in [(1, 0), (3, 2), (3, 1)] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["a"]);
        let other = come(&mut world, where_else, 2, &["a"]);
        let id = world.request(at, "node.invoke", command(&node, "a"));
        let asked = told(&mut world, &node);
        let refused = answer(&mut world, &other, &asked, &json!("forged"));
        assert_eq!(invalid(&refused), "this was asked of another node");
        let as_other = json!({"id": asked["id"], "nodeId": node.id, "ok": true, "payload": 1});
        let refused = world.call(other.at, "node.invoke.result", as_other);
        assert_eq!(invalid(&refused), "nodeId is not this node's");
        assert!(world.answer(at, &id).is_none());
        ok(answer(&mut world, &node, &asked, &json!("real")));
        assert_eq!(ok(world.answer(at, &id).expect("an answer"))["payload"], "real");
    }
}

#[test]
fn a_repeated_key_is_told_to_the_node_once() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["a"]);
        let again = admin(&mut world, loops as usize - 1);
        let params =
            json!({"nodeId": node.id, "command": "a", "params": [1], "idempotencyKey": "k"});
        let first = world.request(at, "node.invoke", params.clone());
        let second = world.request(again, "node.invoke", params.clone());
        let asked = told(&mut world, &node);
        let mut other = params.clone();
        other["params"] = json!([2]);
        let text = "the idempotencyKey belongs to another request";
        assert_eq!(invalid(&world.call(at, "node.invoke", other.clone())), text);
        // One of two callers goes: the other still waits.
        let third = world.request(at, "node.invoke", params.clone());
        world.cut(again);
        assert!(cancelled(&mut world, &node).is_empty());
        ok(answer(&mut world, &node, &asked, &json!("once")));
        assert!(world.answer(again, &second).is_none());
        for id in [first, third] {
            assert_eq!(ok(world.answer(at, &id).expect("an answer"))["payload"], "once");
        }
        assert_eq!(ok(world.call(at, "node.invoke", params.clone()))["payload"], "once");
        assert_eq!(invalid(&world.call(at, "node.invoke", other)), text);
        assert!(world.events(node.at, "node.invoke.request").is_empty());
        world.advance(Duration::from_secs(300));
        world.request(at, "node.invoke", params);
        told(&mut world, &node);
    }
}

#[test]
fn a_caller_and_a_node_have_so_many_at_once() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (first, node) = pair(&mut world, 1, &["a"]);
        let mut callers = vec![first];
        callers.extend((0..4).map(|n| admin(&mut world, n % loops as usize)));
        let wait = |world: &mut World, caller: usize| {
            let id = world.request(caller, "node.invoke", command(&node, "a"));
            world.answer(caller, &id)
        };
        for caller in &callers[..4] {
            for n in 0..16 {
                assert_eq!(wait(&mut world, *caller), None, "{n} of {caller}");
            }
        }
        let refused = wait(&mut world, callers[0]).expect("one too many");
        assert_eq!(message(&refused), "this connection waits for too many answers of nodes");
        let refused = wait(&mut world, callers[4]).expect("one too many");
        assert_eq!(message(&refused), "the node has too much to do");
        let asked = world.events(node.at, "node.invoke.request");
        assert_eq!(asked.len(), 64);
        ok(answer(&mut world, &node, &asked[0], &json!(1)));
        assert_eq!(wait(&mut world, callers[4]), None, "there is room again");
        world.cut(node.at);
        assert_eq!(world.nodes.iter().map(|gateway| gateway.pending()).sum::<usize>(), 0);
    }
}

#[test]
fn what_goes_to_a_node_and_comes_back_has_a_size() {
    let mut world = World::new(1);
    let (at, node) = pair(&mut world, 1, &["a"]);
    let most = 128 * 1024;
    let mut params = command(&node, "a");
    params["params"] = json!("x".repeat(most - 1));
    let text = format!("params are longer than {most} bytes");
    assert_eq!(invalid(&world.call(at, "node.invoke", params.clone())), text);
    params["params"] = json!("x".repeat(most - 2));
    let id = world.request(at, "node.invoke", params);
    let asked = told(&mut world, &node);
    assert_eq!(asked["paramsJSON"].as_str().map(str::len), Some(most));
    ok(answer(&mut world, &node, &asked, &json!("y".repeat(most - 2))));
    let whole = ok(world.answer(at, &id).expect("an answer"));
    assert_eq!(whole["payload"].as_str().map(str::len), Some(most - 2));
    let id = world.request(at, "node.invoke", command(&node, "a"));
    let asked = told(&mut world, &node);
    ok(answer(&mut world, &node, &asked, &json!("\"".repeat(most / 2 - 1))));
    let escaped = ok(world.answer(at, &id).expect("an answer"));
    assert_eq!(escaped["payloadJSON"].as_str().map(str::len), Some(most));
    let id = world.request(at, "node.invoke", command(&node, "a"));
    let asked = told(&mut world, &node);
    let refused = answer(&mut world, &node, &asked, &json!("y".repeat(most - 1)));
    assert_eq!(invalid(&refused), format!("the payload is longer than {most} bytes"));
    assert_eq!(failed(&world.answer(at, &id).expect("an answer")), "TOO_LARGE");
    assert!(world.clients[at].closed.is_none() && world.clients[node.at].closed.is_none());
}

#[test]
fn what_callers_and_answers_hold_is_given_back() {
    let mut world = World::new(3);
    let (at, node) = pair(&mut world, 1, &["a"]);
    let held = |world: &World| world.nodes.iter().map(|gateway| gateway.retained()).sum::<usize>();
    let before = held(&world);
    let params = json!({
        "nodeId": node.id, "command": "a", "params": "x".repeat(50_000), "idempotencyKey": "k",
    });
    world.request(at, "node.invoke", params);
    assert!(held(&world) > before + 50_000, "the request is counted");
    let asked = told(&mut world, &node);
    ok(answer(&mut world, &node, &asked, &json!("y".repeat(20_000))));
    let kept = held(&world) - before;
    assert!((40_000..50_000).contains(&kept), "what is told again is counted: {kept}");
    world.advance(Duration::from_secs(301));
    assert!(held(&world) <= before, "nobody had to come for that: {}", held(&world));
    world.request(at, "node.invoke", json!({"nodeId": node.id, "command": "a"}));
    world.cut(at);
    let params = json!({"nodeId": node.id, "command": "a", "idempotencyKey": "other"});
    let again = admin(&mut world, 0);
    world.request(again, "node.invoke", params);
    world.cut(again);
    assert!(held(&world) <= before + 4096, "{} of {before}", held(&world));
}
