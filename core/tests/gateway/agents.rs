//! Agents: who they are, and who waits for the end of what they do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

/// Says something to an agent in a session, or in a new one; gives the run and the session.
fn begin(world: &mut World, at: usize, agent: &str, session: &Value) -> (Value, Value) {
    let params = json!({"message": "a b c", "agentId": agent, "sessionKey": session, "ack": true});
    let answer = world.call(at, "chat.send", params);
    let payload = &answer["payload"];
    assert!(payload["runId"].is_string(), "{answer}");
    (payload["runId"].clone(), payload["sessionKey"].clone())
}

fn status(answer: &Value) -> (&str, &str) {
    let text = |name: &str| answer["payload"][name].as_str().unwrap_or_default();
    (text("status"), text("state"))
}

#[test]
fn who_waits_for_a_run_is_told_of_its_end() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let others: Vec<_> =
            (0..nodes).map(|node| world.login(node.into(), "viewer", "ann")).collect();
        for (agent, expected) in [("echo", ("ok", "completed")), ("broken", ("error", "failed"))] {
            world.advance(SECOND);
            let begun = UNIX_MS + (world.now - world.start).as_millis() as u64;
            let (run, _) = begin(&mut world, at, agent, &Value::Null);
            let waits: Vec<_> = others
                .iter()
                .map(|other| (*other, world.request(*other, "agent.wait", json!({"runId": run}))))
                .collect();
            for (other, id) in &waits {
                assert_eq!(world.answer(*other, id), None);
            }
            world.advance(SECOND);
            for (other, id) in &waits {
                let answer = world.answer(*other, id).expect("an answer");
                assert_eq!(status(&answer), expected, "{answer}");
                assert_eq!(answer["payload"]["startedAt"], begun);
                let took = answer["payload"]["endedAt"].as_u64().expect("a time") - begun;
                assert!((20..=100).contains(&took), "{took} ms");
                let error = answer["payload"].get("error").and_then(Value::as_str);
                assert_eq!(error, (agent == "broken").then_some("out of order"));
                // Who asks later is told the same.
                let again = world.call(*other, "agent.wait", json!({"runId": run}));
                assert_eq!(again["payload"], answer["payload"]);
            }
        }
        assert_eq!(world.nodes.iter().map(Gateway::pending).sum::<usize>(), 0);
    }
}

#[test]
fn a_wait_ends_in_time_and_with_a_stop() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let other = world.login(usize::from(nodes) - 1, "operator", "ann");
        let (run, session) = begin(&mut world, at, "stuck", &Value::Null);
        let (queued, _) = begin(&mut world, at, "stuck", &session);
        let now = world.call(other, "agent.wait", json!({"runId": run, "timeoutMs": 0}));
        assert_eq!(now["payload"], json!({"runId": run, "status": "timeout"}));
        // Longer than another node may take for an answer.
        let patient =
            world.request(other, "agent.wait", json!({"runId": run, "timeoutMs": 60_000}));
        let usual = world.request(other, "agent.wait", json!({"runId": run}));
        world.advance(SECOND * 30);
        let answer = world.answer(other, &usual).expect("an answer");
        assert_eq!(answer["payload"], json!({"runId": run, "status": "timeout"}));
        world.advance(SECOND * 29);
        assert_eq!(world.answer(other, &patient), None);
        world.advance(SECOND);
        assert_eq!(status(&world.answer(other, &patient).expect("an answer")), ("timeout", ""));
        let waits =
            [&run, &queued].map(|run| world.request(other, "agent.wait", json!({"runId": run})));
        world.call(at, "chat.abort", json!({"sessionKey": session}));
        let answers = waits.map(|id| world.answer(other, &id).expect("an answer"));
        assert_eq!(answers.each_ref().map(status), [("error", "cancelled"); 2]);
        assert!(answers[0]["payload"]["startedAt"].is_number());
        assert_eq!(answers[1]["payload"].get("startedAt"), None, "it never began");
    }
}

#[test]
fn runs_are_waited_for_by_those_whose_they_are() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let eve = world.login(usize::from(nodes) - 1, "operator", "eve");
        let admin = world.login(usize::from(nodes) - 1, "secret", "adm");
        let (run, _) = begin(&mut world, at, "echo", &Value::Null);
        for _ in 0..2 {
            // While it is under way, and when it has ended.
            let params = json!({"runId": run, "timeoutMs": 0});
            assert_eq!(code(&world.call(eve, "agent.wait", params.clone())), "FORBIDDEN");
            assert_eq!(code(&world.call(admin, "agent.wait", params)), "ok");
            world.advance(SECOND);
        }
        for run in ["run-0-none", "run-1-none", "run-99-none", "none"] {
            let unknown = world.call(at, "agent.wait", json!({"runId": run}));
            assert_eq!(code(&unknown), "NOT_FOUND");
            assert!(message(&unknown).contains("chat.history"), "{unknown}");
        }
        let missing = world.call(at, "agent.wait", json!({}));
        assert!(message(&missing).starts_with("runId is required"), "{missing}");
    }
}

#[test]
fn a_wait_whose_client_has_gone_leaves_nothing() {
    let mut world = World::new(3);
    let at = world.login(0, "operator", "ann");
    let other = world.login(1, "operator", "ann");
    let (run, session) = begin(&mut world, at, "stuck", &Value::Null);
    for at in [at, other] {
        for _ in 0..10 {
            world.request(at, "agent.wait", json!({"runId": run}));
        }
    }
    world.cut(other);
    world.call(at, "chat.abort", json!({"sessionKey": session}));
    world.cut(at);
    world.advance(SECOND * 3600);
    for node in &world.nodes {
        assert_eq!((node.pending(), node.deadline()), (0, None));
    }
}

#[test]
fn an_agent_says_who_it_is() {
    let mut config = config();
    config.agents[0].name = "The Echo".into();
    let mut world = World::with(1, config);
    let at = world.login(0, "viewer", "ann");
    let echo = json!({"agentId": "echo", "name": "The Echo"});
    let stuck = json!({"agentId": "stuck", "name": "stuck"});
    for (params, expected) in [
        (json!({}), &echo),
        (json!({"agentId": "stuck"}), &stuck),
        (json!({"sessionKey": "agent:stuck:ws:direct:x"}), &stuck),
        (json!({"agent": "echo", "key": "agent:stuck:ws:direct:x"}), &echo),
    ] {
        assert_eq!(world.call(at, "agent.identity.get", params)["payload"], *expected);
    }
    for (params, expected) in [
        (json!({"agentId": "nobody"}), "NOT_FOUND"),
        (json!({"sessionKey": "agent:nobody:x"}), "NOT_FOUND"),
        (json!({"sessionKey": "main"}), "INVALID_REQUEST"),
    ] {
        assert_eq!(code(&world.call(at, "agent.identity.get", params)), expected);
    }
    // Nobody is told of models that are not there.
    assert_eq!(world.call(at, "models.list", json!({}))["payload"], json!({"models": []}));
}
