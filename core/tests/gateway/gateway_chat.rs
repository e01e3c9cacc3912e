//! Conversations: sessions, runs, events, and what happens when something goes wrong.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use moorline_core::gateway::*;
use moorline_core::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

/// Starts a session of this agent that is at work; gives its key.
fn start(world: &mut World, at: usize, agent: &str) -> String {
    let params = json!({"message": "first", "agentId": agent, "ack": true});
    let answer = world.call(at, "chat.send", params);
    assert_eq!(answer["payload"]["status"], "started", "{answer}");
    answer["payload"]["sessionKey"].as_str().expect("a key").into()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

#[test]
fn a_chat_streams_and_is_remembered() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let other = world.login(usize::from(nodes) - 1, "operator", "ann");
        let eve = world.login(0, "operator", "eve");
        let admin = world.login(0, "secret", "adm");
        let answer = world.call_slow(at, "chat.send", json!({"content": "hello big world"}));
        let payload = &answer["payload"];
        assert_eq!(payload["content"], "hello big world");
        assert_eq!(payload["usage"]["completion_tokens"], 2);
        let session = payload["sessionKey"].as_str().expect("a key").to_owned();
        assert!(session.starts_with("agent:echo:ws:direct:"), "{session}");
        for at in [at, other] {
            let events = world.events(at, "agent");
            let expected = ["run.started", "chunk", "chunk", "chunk", "run.completed"];
            assert_eq!(types(&events), expected);
            let text: String =
                events[1..4].iter().map(|e| e["payload"]["content"].as_str().unwrap()).collect();
            assert_eq!(text, "hello big world");
            for (n, event) in events.iter().enumerate() {
                assert_eq!(event["seq"], n as u64 + 1);
                assert_eq!(event["runId"], payload["runId"]);
                assert_eq!(event["sessionKey"], *session);
                assert_eq!(event["userId"], "ann");
            }
        }
        for at in [eve, admin] {
            assert!(world.events(at, "agent").is_empty());
        }
        let history = world.call(other, "chat.history", json!({"key": session}));
        let messages = history["payload"]["messages"].as_array().expect("messages");
        let said: Vec<_> = messages.iter().map(|m| (&m["role"], &m["content"])).collect();
        let text = json!("hello big world");
        assert_eq!(said, [(&json!("user"), &text), (&json!("assistant"), &text)]);
        assert_eq!(messages[1]["id"], payload["messageId"]);
        let params = json!({"message": "again", "sessionId": session});
        world.call_slow(other, "chat.send", params);
        let past: Vec<_> = world.runs[1].history.iter().map(|message| &*message.text).collect();
        assert_eq!(past, ["hello big world", "hello big world"]);
        let page = json!({"sessionKey": session, "limit": 1, "before": "3"});
        let page = world.call(at, "chat.history", page);
        assert_eq!(page["payload"]["messages"][0]["id"], "2");
        assert_eq!(page["payload"]["more"], true);
        assert_eq!(world.nodes.iter().map(Gateway::pending).sum::<usize>(), 0);
        assert_eq!(world.published > 0, nodes > 1, "one node says nothing over the bus");
    }
}

#[test]
fn texts_queue_while_a_run_is_under_way() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let session = start(&mut world, at, "echo");
        let mut turns = Vec::new();
        for text in ["two", "three"] {
            let params = json!({"message": text, "sessionKey": session});
            let answer = world.call(at, "chat.send", params);
            assert_eq!(answer["payload"]["queued"], true, "{answer}");
            turns.push(answer["payload"]["turnId"].clone());
        }
        world.advance(SECOND);
        let events = world.events(at, "chat.turn");
        let states: Vec<_> = events.iter().map(|e| (e["turnId"].clone(), &e["state"])).collect();
        let (two, three) = (turns[0].clone(), turns[1].clone());
        assert_eq!(
            states,
            [
                (two.clone(), &json!("queued")),
                (three.clone(), &json!("queued")),
                (two.clone(), &json!("running")),
                (two, &json!("completed")),
                (three.clone(), &json!("running")),
                (three, &json!("completed")),
            ]
        );
        let completed = world.events(at, "agent");
        let answers: Vec<_> = completed
            .iter()
            .filter(|event| event["type"] == "run.completed")
            .map(|event| event["payload"]["content"].as_str().expect("text"))
            .collect();
        assert_eq!(answers, ["first", "two", "three"]);
    }
}

#[test]
fn the_queue_is_bounded() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let session = start(&mut world, at, "stuck");
    let send = |world: &mut World, text: &str| {
        world.call(at, "chat.send", json!({"message": text, "sessionKey": session}))
    };
    for _ in 0..16 {
        assert_eq!(code(&send(&mut world, "more")), "ok");
    }
    let refused = send(&mut world, "too many");
    assert_eq!(code(&refused), "RESOURCE_EXHAUSTED");
    assert_eq!(refused["error"]["retryable"], true);
    assert_eq!(refused["error"]["retryAfterMs"], 1000);
    let stopped = world.call(at, "chat.abort", json!({"sessionKey": session}));
    assert_eq!(stopped["payload"]["runIds"].as_array().map(Vec::len), Some(17));
    let session = start(&mut world, at, "stuck");
    let big = "x".repeat(500 * 1024);
    for expected in ["ok", "ok", "RESOURCE_EXHAUSTED"] {
        let params = json!({"message": big, "sessionKey": session});
        assert_eq!(code(&world.call(at, "chat.send", params)), expected);
    }
}

#[test]
fn a_run_can_be_stopped() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let created = world.call_slow(at, "chat.send", json!({"message": "hello"}));
        let session = created["payload"]["sessionKey"].as_str().expect("a key").to_owned();
        let elsewhere = world.login(usize::from(nodes) - 1, "operator", "ann");
        let params = json!({"message": "go", "sessionKey": session, "agentId": "stuck"});
        let waiting = world.request(elsewhere, "chat.send", params);
        world.advance(SECOND * 60);
        let status = world.call(at, "chat.session.status", json!({"sessionKey": session}));
        assert_eq!(status["payload"]["isRunning"], true);
        assert_eq!(status["payload"]["activity"]["phase"], "thinking");
        let run = status["payload"]["runId"].as_str().expect("a run").to_owned();
        assert_eq!(world.answer(elsewhere, &waiting), None);
        let nothing = json!({"sessionKey": session, "runId": "other"});
        let nothing = world.call(at, "chat.abort", nothing);
        assert_eq!(nothing["payload"]["notFound"], true);
        let stopped = world.call(at, "chat.abort", json!({"sessionKey": session}));
        let expected = json!({
            "ok": true, "aborted": true, "stopped": true, "forced": false,
            "alreadyAborting": false, "notFound": false, "unauthorized": false, "runIds": [run],
            "runs": [{"runId": run}],
        });
        assert_eq!(stopped["payload"], expected);
        assert_eq!(world.cancelled, 1);
        let answer = world.answer(elsewhere, &waiting).expect("an answer");
        assert_eq!(answer["payload"]["cancelled"], true);
        let events = world.events(elsewhere, "agent");
        assert_eq!(types(&events), ["run.started", "run.cancelled"]);
        let status = world.call(at, "chat.session.status", json!({"sessionKey": session}));
        assert_eq!(status["payload"], json!({"isRunning": false, "runId": null, "activity": null}));
        // By the run alone: an admin, from anywhere.
        let params =
            json!({"message": "go", "sessionKey": session, "agentId": "stuck", "ack": true});
        let run = world.call(at, "chat.send", params)["payload"]["runId"].clone();
        let refused = world.call(elsewhere, "chat.abort", json!({"runId": run}));
        assert_eq!(message(&refused), "sessionKey is required");
        let admin = world.login(usize::from(nodes) - 1, "secret", "adm");
        let stopped = world.call(admin, "chat.abort", json!({"runId": run}));
        assert_eq!(stopped["payload"]["runIds"], json!([run]));
        assert_eq!(world.nodes.iter().map(Gateway::pending).sum::<usize>(), 0);
    }
}

#[test]
fn the_same_key_is_the_same_run() {
    for nodes in [1, 3] {
        for session in [false, true] {
            let mut world = World::new(nodes);
            let at = world.login(0, "operator", "ann");
            let mut params = json!({"message": "hello", "idempotencyKey": "k"});
            if session {
                let answer = world.call_slow(at, "chat.send", json!({"message": "zero"}));
                params["sessionKey"] = answer["payload"]["sessionKey"].clone();
                world.runs.clear();
            }
            let first = world.request(at, "chat.send", params.clone());
            // The connection is lost; the retry comes elsewhere, while the run is under way.
            world.cut(at);
            let again = world.login(usize::from(nodes) - 1, "operator", "ann");
            let second = world.request(again, "chat.send", params.clone());
            let other = world.login(0, "operator", "eve");
            world.advance(SECOND);
            assert_eq!(world.answer(at, &first), None);
            let second = world.answer(again, &second).expect("an answer");
            assert_eq!(second["payload"]["content"], "hello");
            let third = world.call(again, "chat.send", params.clone());
            assert_eq!(third["payload"], second["payload"]);
            assert_eq!(world.runs.len(), 1);
            // Somebody else's key is another key.
            let eve = json!({"message": "mine", "idempotencyKey": "k"});
            let eve = world.call_slow(other, "chat.send", eve);
            assert_eq!(eve["payload"]["content"], "mine");
            world.advance(SECOND * 300);
            world.call_slow(again, "chat.send", params);
            assert_eq!(world.runs.len(), 3);
        }
    }
}

#[test]
fn an_acknowledged_key_and_a_failed_one() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "hello", "idempotencyKey": "k", "ack": true});
    let first = world.call(at, "chat.send", params.clone());
    assert_eq!(first["payload"]["status"], "started");
    assert_eq!(world.call(at, "chat.send", params.clone())["payload"], first["payload"]);
    world.advance(SECOND);
    assert_eq!(world.call(at, "chat.send", params)["payload"], first["payload"]);
    world.store_mode = StoreMode::Fails;
    let params = json!({"message": "hello", "idempotencyKey": "l"});
    assert_eq!(code(&world.call(at, "chat.send", params.clone())), "UNAVAILABLE");
    world.store_mode = StoreMode::Works;
    assert_eq!(code(&world.call_slow(at, "chat.send", params)), "ok", "it never ran: it may");
    assert_eq!(world.runs.len(), 2);
}

#[test]
fn nothing_is_acknowledged_before_it_is_stored() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    world.store_mode = StoreMode::Hangs;
    let id = world.request(at, "chat.send", json!({"message": "hello", "ack": true}));
    world.advance(SECOND * 29);
    assert_eq!(world.answer(at, &id), None);
    assert!(world.events(at, "agent").is_empty());
    world.advance(SECOND);
    assert_eq!(code(&world.answer(at, &id).expect("an answer")), "UNAVAILABLE");
    assert_eq!(world.nodes[0].pending(), 0);
    world.store_mode = StoreMode::Works;
    let id = world.request(at, "chat.send", json!({"message": "hello"}));
    world.store_mode = StoreMode::Fails;
    world.advance(SECOND);
    let answer = world.answer(at, &id).expect("an answer");
    assert_eq!(code(&answer), "UNAVAILABLE");
    assert!(message(&answer).contains("could not be stored"), "{answer}");
    assert_eq!(types(&world.events(at, "agent")).last(), Some(&"run.failed"));
}

#[test]
fn a_full_store_says_when_to_come_back() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    world.store_mode = StoreMode::Full;
    let refused = world.call(at, "chat.send", json!({"message": "x"}));
    assert_eq!(code(&refused), "RESOURCE_EXHAUSTED");
    assert_eq!(refused["error"]["retryAfterMs"], 60_000);
}

#[test]
fn agents_fail_and_hang() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "x", "agent": "broken"});
    let answer = world.call_slow(at, "chat.send", params);
    assert_eq!((code(&answer), message(&answer)), ("INTERNAL", "run failed: out of order"));
    let events = world.events(at, "agent");
    assert_eq!(types(&events), ["run.started", "run.failed"]);
    assert_eq!(events[1]["payload"]["error"], "out of order");
    let id = world.request(at, "chat.send", json!({"message": "x", "agentId": "stuck"}));
    world.advance(SECOND * 1800);
    assert_eq!(code(&world.answer(at, &id).expect("an answer")), "AGENT_TIMEOUT");
    assert_eq!(world.cancelled, 1);
    assert_eq!(world.clients[at].closed, None);
    for (params, expected) in [
        (json!({"message": "x", "agentId": "nobody"}), "NOT_FOUND"),
        (json!({"message": ""}), "INVALID_REQUEST"),
        (json!({}), "INVALID_REQUEST"),
        (json!({"message": 1}), "INVALID_REQUEST"),
        (json!({"message": "a", "content": "b"}), "INVALID_REQUEST"),
        (json!({"message": "a", "media": ["x"]}), "NOT_FOUND"),
        (json!({"message": "a", "media": "x"}), "INVALID_REQUEST"),
        (json!({"message": "a", "media": [1]}), "INVALID_REQUEST"),
        (json!({"message": "a", "media": [{"filename": "x"}]}), "INVALID_REQUEST"),
        (json!({"message": "a", "media": vec!["x"; 17]}), "INVALID_REQUEST"),
        (json!({"message": "a", "sessionKey": "x".repeat(257)}), "INVALID_REQUEST"),
        (json!({"message": "a", "sessionKey": "agent:echo:ws:direct:mine"}), "NOT_FOUND"),
    ] {
        assert_eq!(code(&world.call(at, "chat.send", params.clone())), expected, "{params}");
    }
}

#[test]
fn own_keys_are_taken_where_that_is_configured() {
    let mut config = config();
    config.create_sessions_on_send = true;
    let mut world = World::with(1, config);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "x", "sessionKey": "agent:echo:ws:direct:mine"});
    assert_eq!(code(&world.call_slow(at, "chat.send", params.clone())), "ok");
    let eve = world.login(0, "operator", "eve");
    assert_eq!(code(&world.call_slow(eve, "chat.send", params)), "FORBIDDEN");
}

#[test]
fn a_key_that_two_take_at_once_is_the_firsts() {
    let mut config = config();
    config.create_sessions_on_send = true;
    let mut world = World::with(1, config);
    let [ann, eve] = ["ann", "eve"].map(|user| world.login(0, "operator", user));
    let params = json!({"message": "mine", "sessionKey": "agent:echo:ws:direct:same"});
    let text = json!({"type": "req", "id": "x", "method": "chat.send", "params": params});
    // Both are looked up before either is there.
    for at in [ann, eve] {
        let now = world.now;
        world.clients[at].client.outbox(now).text(&text.to_string()).expect("room");
    }
    world.advance(SECOND);
    assert_eq!(code(&world.answer(ann, "x").expect("an answer")), "ok");
    let refused = world.answer(eve, "x").expect("an answer");
    assert_eq!(
        (code(&refused), message(&refused)),
        ("FORBIDDEN", "session does not belong to user")
    );
    assert!(world.events(eve, "agent").is_empty());
    let history = world.call(ann, "chat.history", json!({"sessionKey": params["sessionKey"]}));
    assert_eq!(history["payload"]["messages"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.nodes[0].pending(), 0);
}

#[test]
fn injected_messages_and_lists() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let session = start(&mut world, at, "echo");
    world.advance(SECOND);
    let params = json!({"sessionKey": session, "content": "note", "label": "by hand"});
    let injected = world.call(at, "chat.inject", params);
    assert_eq!(injected["payload"], json!({"ok": true, "messageId": "3"}));
    let history = world.call(at, "chat.history", json!({"sessionKey": session}));
    assert_eq!(history["payload"]["messages"][2]["label"], "by hand");
    for _ in 0..3 {
        start(&mut world, at, "echo");
    }
    let eve = world.login(0, "operator", "eve");
    start(&mut world, eve, "echo");
    world.advance(SECOND);
    let list = world.call(at, "sessions.list", json!({"limit": 2, "offset": 1}));
    let payload = &list["payload"];
    assert_eq!((&payload["total"], &payload["limit"]), (&json!(4), &json!(2)));
    assert_eq!(payload["sessions"].as_array().map(Vec::len), Some(2));
    let admin = world.login(0, "secret", "adm");
    let all = world.call(admin, "sessions.list", json!({}));
    let users: BTreeSet<_> = all["payload"]["sessions"]
        .as_array()
        .expect("sessions")
        .iter()
        .map(|session| session["userId"].as_str().expect("a user"))
        .collect();
    assert_eq!(users, BTreeSet::from(["ann", "eve"]));
    let status = world.call(at, "status", json!({}));
    assert_eq!(status["payload"]["sessions"], 4);
    assert_eq!(status["payload"]["clients"], 3);
    let health = world.call(at, "health", json!({}));
    let text = health["payload"].to_string();
    assert!(!text.contains("eve") && !text.contains("remoteAddr"), "{text}");
    let health = world.call(admin, "health", json!({}));
    assert_eq!(health["payload"]["clients"].as_array().map(Vec::len), Some(3));
    assert_eq!(health["payload"]["clients"][0]["remoteAddr"], "127.0.0.1:4000");
}

#[test]
fn a_flood_is_answered_and_a_stop_passes() {
    for nodes in [1, 3] {
        let mut config = config();
        config.rate_limit_rpm = 20;
        let mut world = World::with(nodes, config);
        let conns: Vec<_> = (0..nodes).map(|n| world.login(n.into(), "operator", "ann")).collect();
        for n in 0..5 {
            let at = conns[n % conns.len()];
            let params = json!({"message": "x", "ack": true});
            assert_eq!(code(&world.call(at, "chat.send", params)), "ok", "{n}");
        }
        for at in &conns {
            let params = json!({"message": "x", "ack": true});
            let refused = world.call(*at, "chat.send", params);
            assert_eq!(code(&refused), "RESOURCE_EXHAUSTED");
            assert_eq!(refused["error"]["retryAfterMs"], 3000);
            let stop = json!({"sessionKey": "agent:echo:ws:direct:x"});
            assert_eq!(code(&world.call(*at, "chat.abort", stop)), "NOT_FOUND");
        }
        let eve = world.open_from(0, "192.0.2.1");
        world.call(eve, "connect", json!({"token": "operator", "user_id": "eve"}));
        assert_eq!(code(&world.call(eve, "health", json!({}))), "ok");
        world.advance(SECOND * 3);
        let params = json!({"message": "x", "ack": true});
        assert_eq!(code(&world.call(conns[0], "chat.send", params)), "ok");
        let limited = |fact: &&Fact| matches!(fact, Fact::RateLimited { .. });
        assert_eq!(world.facts.iter().filter(limited).count(), usize::from(nodes));
    }
}

#[test]
fn requests_without_an_answer_are_bounded() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let ids: Vec<_> = (0..33)
        .map(|_| world.request(at, "chat.send", json!({"message": "x", "agentId": "stuck"})))
        .collect();
    let refused = world.answer(at, &ids[32]).expect("an answer");
    assert_eq!(code(&refused), "RESOURCE_EXHAUSTED");
    assert_eq!(refused["error"]["retryAfterMs"], 1000);
    assert!(ids[..32].iter().all(|id| world.answer(at, id).is_none()));
}

#[test]
fn presence_is_told_once_per_second() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let watcher = world.login(0, "viewer", "watcher");
        world.advance(SECOND * 5);
        world.events(watcher, "presence");
        let mut others = Vec::new();
        for n in 0..40 {
            let user = format!("u{n}");
            others.push(world.login(n % usize::from(nodes), "operator", &user));
            world.advance(Duration::from_millis(100));
        }
        let events = world.events(watcher, "presence");
        assert!((4..=6).contains(&events.len()), "{} events in four seconds", events.len());
        world.advance(SECOND);
        for at in others {
            world.cut(at);
        }
        world.advance(SECOND * 3);
        let events = world.events(watcher, "presence");
        let last = events.last().expect("an event");
        assert_eq!(last["total"], 1);
        let left: usize =
            events.iter().map(|event| event["left"].as_array().map_or(0, Vec::len)).sum();
        assert_eq!(left, 40);
        let list = world.call(watcher, "presence.list", json!({}));
        assert_eq!(list["payload"]["total"], 1);
        assert_eq!(list["payload"]["complete"], true);
        assert!(list["payload"]["presence"][0].get("peer").is_none());
    }
}

#[test]
fn a_drain_says_goodbye_and_lets_runs_end() {
    for (restart, code, reason) in [(false, 1001, "going away"), (true, 1012, "service restart")] {
        let mut world = World::new(3);
        let clients: Vec<_> = (0..3).map(|node| world.login(node, "operator", "ann")).collect();
        let chat = |agent: &str| json!({"message": "one two three", "agentId": agent});
        let ends = world.request(clients[0], "chat.send", chat("echo"));
        let stuck = world.request(clients[1], "chat.send", chat("stuck"));
        let params = json!({"message": "x", "agentId": "stuck", "ack": true});
        let begun = world.call_slow(clients[2], "chat.send", params);
        let session = begun["payload"]["sessionKey"].clone();
        let waits = json!({"message": "y", "sessionKey": session});
        assert_eq!(world.call_slow(clients[2], "chat.send", waits)["payload"]["queued"], true);
        let pending = world.open(0);
        let restart_expected = restart.then_some(SECOND * 2);
        let drain = Drain { restart, reason: "update".into(), restart_expected };
        for node in 0..3 {
            let now = world.now;
            world.nodes[node].drain(now, &drain);
        }
        world.settle();
        for at in clients.iter().copied().chain([pending]) {
            let shutdown = world.events(at, "shutdown");
            assert_eq!(shutdown[0]["reason"], "update");
            let expected = shutdown[0]["restartExpectedMs"].as_u64();
            assert_eq!(expected.is_some_and(|ms| (2_000..4_000).contains(&ms)), restart);
            assert_eq!(shutdown.len(), 1);
        }
        // Nothing new is begun, and nobody is let in.
        assert_eq!(world.clients[pending].closed, Some((code, reason.into())));
        for method in ["chat.send", "connect"] {
            let params = json!({"message": "x", "token": "operator"});
            let answer = world.call(clients[2], method, params);
            assert_eq!(world::code(&answer), "UNAVAILABLE");
        }
        world.advance(SECOND * 9);
        assert_eq!(
            world.answer(clients[0], &ends).expect("an answer")["payload"]["content"],
            "one two three"
        );
        assert!(clients.iter().all(|at| world.clients[*at].closed.is_none()));
        assert!(world.nodes.iter().all(|node| !node.is_drained()));
        world.advance(SECOND * 2);
        let answer = world.answer(clients[1], &stuck).expect("an answer");
        // It is not its user who stopped it.
        assert_eq!(
            (world::code(&answer), &answer["error"]["retryable"]),
            ("UNAVAILABLE", &true.into())
        );
        let text = "run failed: the gateway stopped before the agent had answered";
        assert_eq!(answer["error"]["message"], text);
        let ended = world.events(clients[1], "agent").pop().expect("an end");
        assert_eq!(
            (&ended["type"], &ended["payload"]["code"]),
            (&"run.failed".into(), &"UNAVAILABLE".into())
        );
        assert_eq!(world.cancelled, 2);
        let turns = world.events(clients[2], "chat.turn");
        let waited = turns.last().expect("an end");
        assert_eq!((&waited["state"], &waited["started"]), (&"failed".into(), &false.into()));
        assert_eq!((&waited["code"], &waited["retryable"]), (&"UNAVAILABLE".into(), &true.into()));
        world.advance(SECOND);
        for at in clients.iter().copied().chain([pending]) {
            assert_eq!(world.clients[at].closed, Some((code, reason.into())));
            match world.closed_fact(at) {
                Some(Fact::Closed { cause, initiator, .. }) => {
                    assert_eq!((*cause, *initiator), ("local", Initiator::Local));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(world.nodes.iter().all(Gateway::is_drained));
        // Links may be wanted back for a while.
        world.advance(SECOND * 121);
        for node in &world.nodes {
            assert_eq!((node.connections(), node.pending(), node.links()), ((0, 0), 0, (0, 0, 0)));
            assert_eq!(node.deadline(), None);
        }
    }
}

#[test]
fn a_reader_that_stops_is_closed_and_others_go_on() {
    let mut world = World::new(1);
    let slow = world.login(0, "operator", "ann");
    let fast = world.login(0, "operator", "ann");
    let session = start(&mut world, fast, "echo");
    world.advance(SECOND);
    world.clients[slow].stalled = true;
    let text = "x".repeat(300 * 1024);
    for _ in 0..4 {
        let id = world.request(fast, "chat.send", json!({"message": text, "sessionKey": session}));
        world.advance(SECOND);
        assert_eq!(code(&world.answer(fast, &id).expect("an answer")), "ok");
    }
    assert!(world.clients[slow].server.retained() < 4 * 1024 * 1024);
    world.clients[slow].stalled = false;
    world.advance(SECOND * 10);
    assert_eq!(world.clients[slow].closed, Some((1008, "slow consumer".into())));
    match world.closed_fact(slow) {
        Some(Fact::Closed { code, reason, .. }) => {
            assert_eq!((*code, &**reason), (Some(CloseCode(1008)), "slow consumer"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(code(&world.call(fast, "health", json!({}))), "ok");
}

#[test]
fn a_node_that_is_gone_is_told_to_the_client() {
    let mut world = World::new(3);
    let here = world.login(0, "operator", "ann");
    let there = world.login(1, "operator", "ann");
    let session = start(&mut world, there, "echo");
    world.advance(SECOND);
    world.cut_off = vec![1];
    let id = world.request(here, "chat.history", json!({"sessionKey": session}));
    world.advance(Duration::from_millis(9_999));
    assert_eq!(world.answer(here, &id), None);
    world.advance(SECOND);
    let answer = world.answer(here, &id).expect("an answer");
    assert_eq!(code(&answer), "UNAVAILABLE");
    assert_eq!(answer["error"]["retryable"], true);
    world.cut_off.clear();
    let history = world.call(here, "chat.history", json!({"sessionKey": session}));
    assert_eq!(code(&history), "ok");
    assert_eq!(world.nodes[0].pending(), 0);
    let pair = world.login(2, "viewer", "ann");
    let list = world.call(pair, "presence.list", json!({}));
    let nodes: BTreeSet<_> = list["payload"]["presence"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["node"].as_u64().expect("a node"))
        .collect();
    assert_eq!(nodes, BTreeSet::from([0, 1, 2]));
}

/// Many clients that come, talk, stop, send nonsense and vanish, on three nodes.
#[test]
fn churn_leaves_nothing_behind() {
    let seeds = std::env::var("GATEWAY_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seeds.map_or(1..=20, |seed: u64| seed..=seed) {
        println!("replay with GATEWAY_SEED={seed}");
        let mut world = World::new(3);
        let mut state = seed;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            (state >> 33) as usize % below
        };
        let mut alive: Vec<usize> = Vec::new();
        let mut users = std::collections::BTreeMap::new();
        let mut sessions = vec![String::from("agent:echo:ws:direct:none")];
        for _ in 0..300 {
            let pick = random(alive.len().max(1));
            let session = sessions[random(sessions.len())].clone();
            match (random(10), alive.get(pick).copied()) {
                (0 | 1, _) | (_, None) => {
                    let user = ["ann", "eve"][random(2)];
                    alive.push(world.login(random(3), "operator", user));
                    users.insert(world.clients.len() - 1, user.to_string());
                }
                (2, Some(at)) => {
                    world.cut(at);
                    alive.retain(|other| *other != at);
                    if random(2) == 0 {
                        let user = users[&at].clone();
                        alive.push(world.resume(random(3), at, "operator", &user).0);
                        users.insert(world.clients.len() - 1, user);
                    }
                }
                (3 | 4, Some(at)) => {
                    let agent = ["echo", "stuck", "broken"][random(3)];
                    let key = random(5).to_string();
                    let params = json!({"message": "a b c", "agentId": agent, "ack": true,
                        "idempotencyKey": key});
                    let answer = world.call(at, "chat.send", params);
                    let key = answer["payload"]["sessionKey"].as_str().map(String::from);
                    sessions.extend(key);
                }
                (5, Some(at)) => {
                    world.request(at, "chat.send", json!({"message": "x", "sessionKey": session}));
                }
                (6, Some(at)) => {
                    world.call(at, "chat.abort", json!({"sessionKey": session}));
                }
                (7, Some(at)) => {
                    let history = world.call(at, "chat.history", json!({"sessionKey": session}));
                    assert_ne!(code(&history), "UNAVAILABLE");
                }
                (8, Some(at)) => {
                    world.call(at, "no.such.method", json!({"a": [1, 2, {"b": null}]}));
                }
                _ => world.advance(Duration::from_millis(random(500) as u64)),
            }
        }
        for at in alive {
            assert_eq!(world.clients[at].closed, None);
            world.cut(at);
        }
        world.advance(SECOND * 40 * 1800);
        for node in &world.nodes {
            assert_eq!((node.connections(), node.pending()), ((0, 0), 0), "seed {seed}");
            assert_eq!(node.links(), (0, 0, 0), "seed {seed}");
            assert_eq!(node.deadline(), None, "seed {seed}");
        }
        for at in 0..world.clients.len() {
            assert!(world.closed_fact(at).is_some());
        }
    }
}
