//! What agents tell besides their answers, how their failures reach users, and whether they can be reached.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::openclaw;
use crate::world;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

fn scripted(nodes: u16, script: Vec<Outcome>) -> World {
    let mut config = config();
    config.agents.push(Agent::new("script", "Script"));
    let mut world = World::with(nodes, config);
    world.script = script;
    world
}

fn say(world: &mut World, at: usize) -> Value {
    world.call_slow(at, "chat.send", json!({"message": "do it", "agentId": "script"}))
}

fn call(arguments: &str) -> Outcome {
    let arguments = arguments.into();
    let call = ToolCall { id: "call-1".into(), name: "weather".into(), arguments };
    Outcome::Progress(Progress::ToolCall(call))
}

fn result(result: String) -> Outcome {
    let (id, name) = ("call-1".into(), "weather".into());
    Outcome::Progress(Progress::ToolResult(ToolResult { id, name, is_error: false, result }))
}

fn thinking(text: &str) -> Outcome {
    Outcome::Progress(Progress::Thinking(text.into()))
}

fn done(content: &str, stop: StopReason) -> Outcome {
    Outcome::Done { content: content.into(), usage: Usage::default(), stop }
}

/// A run that does everything.
fn busy() -> Vec<Outcome> {
    let error = "the agent's model at example.com answered 503".into();
    let after = Duration::from_millis(20);
    vec![
        Outcome::Progress(Progress::Retrying(Retrying { attempt: 2, most: 3, after, error })),
        thinking("hm, "),
        thinking("weather"),
        call(r#"{"city": "Ulm"}"#),
        result("rain".into()),
        Outcome::Chunk("It ".into()),
        Outcome::Chunk("rains.".into()),
        done("It rains.", StopReason::Length),
    ]
}

#[test]
fn thoughts_tools_and_tries_are_events_in_their_order_and_the_end_says_why() {
    for nodes in [1, 3] {
        let mut world = scripted(nodes, busy());
        let at = world.login(usize::from(nodes) - 1, "operator", "ann");
        let answer = say(&mut world, at);
        assert_eq!(answer["payload"]["stopReason"], "length", "{answer}");
        let events = world.events(at, "agent");
        let told: Vec<_> =
            events.iter().map(|e| (e["type"].as_str().expect("a type"), &e["payload"])).collect();
        let expected = [
            (
                "run.retrying",
                json!({"attempt": 2, "maxAttempts": 3, "retryAfterMs": 20,
                "error": "the agent's model at example.com answered 503"}),
            ),
            ("thinking", json!({"content": "hm, ", "offset": 0})),
            ("thinking", json!({"content": "weather", "offset": 4})),
            ("tool.call", json!({"name": "weather", "id": "call-1", "arguments": {"city": "Ulm"}})),
            (
                "tool.result",
                json!({"name": "weather", "id": "call-1", "is_error": false, "result": "rain"}),
            ),
            ("chunk", json!({"content": "It ", "offset": 0})),
            ("chunk", json!({"content": "rains.", "offset": 3})),
        ];
        for ((kind, payload), (expected, content)) in told[1..].iter().zip(&expected) {
            assert_eq!((*kind, *payload), (*expected, content));
        }
        let (kind, end) = told.last().expect("an end");
        assert_eq!((*kind, &end["stopReason"]), ("run.completed", &json!("length")));
        let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64()).collect();
        assert_eq!(seqs, (1..=9).map(Some).collect::<Vec<_>>());
    }
}

#[test]
fn an_answer_that_was_cut_short_says_so_whenever_it_is_read() {
    for nodes in [1, 3] {
        for stop in [StopReason::Length, StopReason::ContentFilter, StopReason::Stop] {
            let mut world = scripted(nodes, vec![done("It ", stop)]);
            let last = usize::from(nodes) - 1;
            let at = world.login(last, "operator", "ann");
            let params = json!({"message": "do it", "agentId": "script", "idempotencyKey": "k"});
            let first = world.call_slow(at, "chat.send", params.clone());
            let session = first["payload"]["sessionKey"].clone();
            // Another process, which has only what was stored.
            let mut config = config();
            config.agents.push(Agent::new("script", "Script"));
            let mut world = World::with_store(nodes, config, std::mem::take(&mut world.store));
            let at = world.login(last, "operator", "ann");
            let expected = (stop != StopReason::Stop).then_some(stop.as_str());
            let again = world.call(at, "chat.send", params);
            assert_eq!(again["payload"], first["payload"]);
            assert_eq!(again["payload"]["stopReason"].as_str(), expected);
            let history = world.call(at, "chat.history", json!({"sessionKey": session}));
            let messages = &history["payload"]["messages"];
            assert_eq!(messages[0].get("stopReason"), None);
            assert_eq!(messages[1]["stopReason"].as_str(), expected, "{history}");
            let admin = openclaw::admin(&mut world, last);
            let history = world.call(admin, "chat.history", json!({"sessionKey": session}));
            let messages = &openclaw::ok(history)["messages"];
            assert_eq!(messages[1]["stopReason"], stop.as_str(), "{messages}");
        }
    }
}

#[test]
fn a_slow_reader_gets_thoughts_in_one_piece_and_never_past_what_was_said_between() {
    let mut script: Vec<_> = (0..50).map(|_| thinking("a")).collect();
    script.push(Outcome::Chunk("one".into()));
    script.extend((0..50).map(|_| thinking("b")));
    script.push(Outcome::Chunk("two".into()));
    script.push(done("onetwo", StopReason::Stop));
    let mut world = scripted(1, script);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "x".repeat(300_000), "agentId": "script", "ack": true});
    world.clients[at].stalled = true;
    let id = world.request(at, "chat.send", params);
    world.advance(5 * SECOND);
    world.clients[at].stalled = false;
    world.advance(SECOND);
    world.answer(at, &id).expect("an answer");
    let events = world.events(at, "agent");
    let told: Vec<_> = events[1..]
        .iter()
        .map(|e| (e["type"].as_str().expect("a type"), e["payload"]["content"].as_str()))
        .collect();
    let (a, b) = ("a".repeat(50), "b".repeat(50));
    let pieces: Vec<_> = told.iter().map(|(kind, _)| *kind).collect();
    assert!(told.len() < 20, "{pieces:?}");
    let of = |kind: &str| -> String {
        told.iter().filter(|(k, _)| *k == kind).filter_map(|(_, text)| *text).collect()
    };
    assert_eq!((of("thinking"), of("chunk")), (a + &b, "onetwo".into()));
    let one = told.iter().position(|(_, text)| *text == Some("one")).expect("one");
    assert!(told[..one].iter().all(|(_, text)| text.is_some_and(|t| !t.contains('b'))));
}

#[test]
fn what_tools_are_given_and_give_is_cut_and_what_is_no_json_is_a_text() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let long = format!("[{}]", "1,".repeat(MAX_ARGUMENTS));
    let mut script: Vec<_> = ["not json", &deep, &long].map(call).into();
    script.push(result("\u{e9}".repeat(MAX_RESULT)));
    script.push(result("\u{e9}".repeat(MAX_RESULT + 1)));
    script.push(done("", StopReason::Stop));
    let mut world = scripted(1, script);
    let at = world.login(0, "operator", "ann");
    say(&mut world, at);
    let events = world.events(at, "agent");
    let payload = |at: usize| &events[at]["payload"];
    assert_eq!(payload(1)["arguments"], "not json");
    assert_eq!(payload(2)["arguments"], *deep, "no client has to read so many levels");
    assert_eq!(payload(3)["arguments"].as_str().map(str::len), Some(MAX_ARGUMENTS));
    assert_eq!(payload(3)["truncated"], true);
    assert_eq!(payload(4).get("truncated"), None);
    assert_eq!(payload(5)["truncated"], true);
    assert_eq!(payload(4)["result"], payload(5)["result"]);
}

#[test]
fn a_run_may_not_tell_without_end() {
    let mut config = config();
    config.bounds.answer_bytes = 1000;
    config.agents.push(Agent::new("script", "Script"));
    for (thoughts, expected) in [(10, "run.completed"), (11, "run.failed")] {
        let mut world = World::with(1, config.clone());
        world.script = vec![thinking(&"x".repeat(100)); thoughts];
        world.script.push(done("enough", StopReason::Stop));
        let at = world.login(0, "operator", "ann");
        say(&mut world, at);
        let events = world.events(at, "agent");
        assert_eq!(events.last().expect("an end")["type"], expected);
        assert_eq!(world.cancelled, usize::from(thoughts == 11));
    }
}

#[test]
fn a_failure_says_its_code_and_when_to_come_back_in_the_event_and_in_the_answer() {
    for (code, wait, retryable) in [
        (Code::Unavailable, Some(1500), true),
        (Code::Unavailable, None, true),
        (Code::ResourceExhausted, Some(7), true),
        (Code::FailedPrecondition, None, false),
    ] {
        let mut failure = RunFailure::new(code, "the agent's model at example.com is away");
        failure.retry_after = wait.map(Duration::from_millis);
        let mut world = scripted(3, vec![Outcome::Failed(failure)]);
        let at = world.login(2, "operator", "ann");
        let answer = say(&mut world, at);
        let events = world.events(at, "agent");
        let event = &events.last().expect("an end")["payload"];
        for (told, text) in [(event, "error"), (&answer["error"], "message")] {
            assert_eq!(told["code"], code.as_str(), "{told}");
            assert_eq!(told["retryable"], retryable);
            assert_eq!(told.get("retryAfterMs"), wait.map(|ms| json!(ms)).as_ref());
            assert!(told[text].as_str().is_some_and(|t| t.contains("example.com is away")));
        }
    }
}

#[test]
fn a_message_whose_run_failed_for_now_is_answered_anew_with_its_key() {
    let failure = RunFailure::new(Code::Unavailable, "away").retry_after(SECOND);
    let mut world = scripted(1, vec![Outcome::Failed(failure)]);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "do it", "agentId": "script", "idempotencyKey": "k"});
    assert_eq!(code(&world.call_slow(at, "chat.send", params.clone())), "UNAVAILABLE");
    world.script = vec![done("here", StopReason::Stop)];
    assert_eq!(world.call_slow(at, "chat.send", params)["payload"]["content"], "here");
    assert_eq!(world.runs.len(), 2);
}

#[test]
fn the_tool_that_a_run_waits_for_is_its_activity() {
    let mut world = scripted(1, vec![call("{}"), result("x".into())]);
    let at = world.login(0, "operator", "ann");
    let params = json!({"message": "do it", "agentId": "script", "ack": true});
    let answer = world.call(at, "chat.send", params);
    let session = json!({"sessionKey": answer["payload"]["sessionKey"]});
    for (phase, tool, iteration) in
        [("thinking", json!(null), 0), ("tool", json!("weather"), 1), ("thinking", json!(null), 1)]
    {
        let status = world.call(at, "chat.session.status", session.clone());
        let expected = json!({"phase": phase, "tool": tool, "iteration": iteration});
        assert_eq!(status["payload"]["activity"], expected);
        world.advance(Duration::from_millis(20));
    }
}

#[test]
fn the_second_dialect_tells_of_tools_those_who_show_them_and_of_the_rest_everybody() {
    for nodes in [1, 3] {
        let mut world = scripted(nodes, busy());
        let last = usize::from(nodes) - 1;
        let plain = openclaw::admin(&mut world, last);
        let mut connect = openclaw::cli("secret", 4, &["operator.admin"]);
        connect["caps"] = json!(["tool-events"]);
        let shows = openclaw::enter(&mut world, last, connect);
        let sent =
            json!({"sessionKey": "agent:script:main", "message": "x", "idempotencyKey": "k"});
        openclaw::ok(world.call_slow(plain, "chat.send", sent));
        let streams = |world: &mut World, at: usize| -> Vec<Value> {
            let events = world.events(at, "agent");
            events.into_iter().filter(|e| e["stream"] != "assistant").collect()
        };
        let (less, all) = (streams(&mut world, plain), streams(&mut world, shows));
        let names = |events: &[Value]| -> Vec<String> {
            events.iter().map(|e| e["stream"].as_str().unwrap_or_default().into()).collect()
        };
        let [life, think, tool] = ["lifecycle", "thinking", "tool"];
        assert_eq!(names(&all), [life, "run_status", think, think, tool, tool, life]);
        assert_eq!(names(&less), [life, "run_status", think, think, life]);
        assert_eq!(all[1]["data"]["phase"], "retrying");
        assert_eq!(all[2]["data"], json!({"text": "hm, ", "delta": "hm, "}));
        assert_eq!(all[3]["data"], json!({"delta": "weather"}));
        let [start, end] = [&all[4]["data"], &all[5]["data"]];
        assert_eq!(
            *start,
            json!({"phase": "start", "name": "weather", "toolCallId": "call-1",
            "args": {"city": "Ulm"}})
        );
        assert_eq!(
            *end,
            json!({"phase": "result", "name": "weather", "toolCallId": "call-1",
            "result": "rain", "isError": false})
        );
        assert_eq!(all[6]["data"]["stopReason"], "length");
        let chat = world.events(plain, "chat");
        assert_eq!(chat.last().expect("an end")["stopReason"], "length");
    }
}

#[test]
fn an_agent_that_cannot_be_reached_is_seen_everywhere_and_the_gateway_stays_ready() {
    let mut world = World::new(1);
    let at = world.login(0, "viewer", "ann");
    let claw = openclaw::admin(&mut world, 0);
    world.advance(2 * SECOND);
    world.events(claw, "health");
    let model = Model { id: "gpt-x".into(), provider: "example.com".into() };
    let down = AgentState {
        link: AgentLink::Down,
        breaker: Some(BreakerState::Open),
        reason: Some("the agent's model at example.com refused the connection".repeat(10)),
        since: Some(world.now - SECOND),
        retry_at: Some(world.now + SECOND),
        models: vec![model],
    };
    let now = world.now;
    world.nodes[0].set_agent_state("echo", down.clone());
    world.nodes[0].set_agent_state("nobody", down.clone());
    let listed = world.call(at, "agents.list", json!({}))["payload"]["agents"].take();
    assert_eq!(listed[0]["status"], "unavailable");
    let link = &listed[0]["link"];
    assert_eq!((&link["state"], &link["breaker"]), (&json!("down"), &json!("open")));
    assert_eq!(link["retryAtMs"], UNIX_MS + (now - world.start).as_millis() as u64 + 1000);
    assert_eq!(link["sinceMs"], UNIX_MS + (now - world.start).as_millis() as u64 - 1000);
    assert_eq!(link["reason"].as_str().map(str::len), Some(256));
    assert_eq!(listed[1]["link"], json!({"state": "up"}));
    let models = world.call(at, "models.list", json!({}))["payload"]["models"].take();
    assert_eq!(
        models,
        json!([{"id": "gpt-x", "name": "gpt-x", "provider": "example.com", "agentId": "echo",
            "available": false}])
    );
    assert_eq!(world.call(at, "health", json!({}))["payload"]["agentsDown"], 1);
    // The other dialect's schema of health has no room for it, so there is no news either.
    let health = world.call_slow(claw, "health", json!({}))["payload"]["agents"][0].take();
    assert_eq!((&health["name"], &health["link"]), (&json!("Echo"), &Value::Null));
    world.advance(2 * SECOND);
    assert_eq!(world.events(claw, "health"), [Value::Null; 0]);
    let probe = world.socket(0);
    world.feed(probe, b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1:18790\r\n\r\n");
    world.settle();
    let (status, body) = world.clients[probe].answer.clone().expect("an answer");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains(r#"{"name":"agents","ok":true,"value":1,"limit":3}"#), "{body}");
    // One that refuses is told like one that is down, and runs go to it all the same.
    let refused = AgentState {
        link: AgentLink::Refused,
        breaker: Some(BreakerState::Closed),
        reason: Some("it refuses the gateway's key".into()),
        retry_at: None,
        ..down.clone()
    };
    world.nodes[0].set_agent_state("echo", refused);
    let listed = world.call(at, "agents.list", json!({}))["payload"]["agents"].take();
    assert_eq!(listed[0]["status"], "refused");
    let link = &listed[0]["link"];
    assert_eq!(
        (&link["state"], &link["breaker"], &link["reason"]),
        (&json!("refused"), &json!("closed"), &json!("it refuses the gateway's key"))
    );
    let models = world.call(at, "models.list", json!({}))["payload"]["models"].take();
    assert_eq!(models[0]["available"], true);
    assert_eq!(world.call(at, "health", json!({}))["payload"]["agentsDown"], 1);
    let up =
        AgentState { breaker: Some(BreakerState::Closed), reason: None, ..AgentState::default() };
    world.nodes[0].set_agent_state("echo", up);
    let listed = world.call(at, "agents.list", json!({}))["payload"]["agents"].take();
    assert_eq!(listed[0]["status"], "active");
    assert_eq!(world.call(at, "health", json!({}))["payload"]["agentsDown"], 0);
    // What is not configured any more is forgotten.
    world.nodes[0].set_agent_state("stuck", down);
    let mut config = config();
    config.agents.truncate(1);
    world.nodes[0].reconfigure(now, config).expect("a configuration");
    let models = world.call(at, "models.list", json!({}))["payload"]["models"].take();
    assert_eq!(models, json!([]));
}
