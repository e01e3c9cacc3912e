//! Conversations in the dialect of OpenClaw, with the gateway's own clients beside.

use crate::gateway;
use gateway::World;
use moorline_core::gateway::Drain;
use serde_json::{Value, json};
use std::time::Duration;

/// What `connect` says of a command line on the gateway's own host.
fn cli(token: &str, protocols: (u64, u64), scopes: &[&str]) -> Value {
    json!({
        "minProtocol": protocols.0, "maxProtocol": protocols.1,
        "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"},
        "role": "operator", "scopes": scopes, "auth": {"token": token},
    })
}

const TALKS: [&str; 2] = ["operator.read", "operator.write"];

fn join(world: &mut World, node: usize, max: u64) -> usize {
    let at = world.open(node);
    let hello = world.call(at, "connect", cli("secret", (3, max), &TALKS));
    assert_eq!(hello["payload"]["type"], "hello-ok", "{hello}");
    assert_eq!(hello["payload"]["protocol"], max);
    at
}

fn said(key: &str, text: &str) -> Value {
    json!({"sessionKey": "main", "message": text, "idempotencyKey": key})
}

#[test]
fn a_conversation_is_told_in_deltas_and_ends_with_its_text() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = join(&mut world, 0, 4);
        let answer = world.call_slow(at, "chat.send", said("k1", "hello out there"));
        assert_eq!(answer["payload"], json!({"runId": "k1", "status": "started"}), "{answer}");
        assert!(answer.get("error").is_none(), "clients drop answers with error:null");
        let chat = world.events(at, "chat");
        let last = chat.last().expect("an end");
        assert_eq!(last["state"], "final");
        assert_eq!(last["runId"], "k1");
        assert_eq!(last["sessionKey"], "agent:main:main");
        assert_eq!(last["message"]["content"][0]["text"], "hello out there");
        let text: String = chat.iter().filter_map(|event| event["deltaText"].as_str()).collect();
        assert_eq!(text, "hello out there");
        let phases: Vec<_> = world
            .events(at, "agent")
            .into_iter()
            .filter(|event| event["stream"] == "lifecycle")
            .map(|event| event["data"]["phase"].as_str().map(String::from))
            .collect();
        assert_eq!(phases, [Some("start".into()), Some("end".into())]);
        let history = world.call_slow(at, "chat.history", json!({"sessionKey": "agent:main:main"}));
        let messages = history["payload"]["messages"].as_array().expect("messages");
        assert_eq!(messages.len(), 2, "{history}");
        assert_eq!(messages[0]["content"], "hello out there");
        assert_eq!(messages[1]["content"][0]["text"], "hello out there");
        // A page shows what it sends at once, and finds it again by these.
        assert_eq!(messages[0]["idempotencyKey"], "k1:user", "{history}");
        assert_eq!(messages[1]["__openclaw"]["runId"], "k1", "{history}");
    }
}

#[test]
fn a_repeat_runs_once_and_says_how_far_it_is() {
    let mut world = World::new(3);
    let at = join(&mut world, 0, 4);
    let first = world.request(at, "chat.send", said("k1", "one two"));
    let again = world.request(at, "chat.send", said("k1", "one two"));
    world.advance(Duration::from_secs(10));
    assert_eq!(world.answer(at, &first).expect("an answer")["payload"]["status"], "started");
    assert_eq!(world.answer(at, &again).expect("an answer")["payload"]["runId"], "k1");
    let late = world.call_slow(at, "chat.send", said("k1", "one two"));
    assert_eq!(late["payload"], json!({"runId": "k1", "status": "ok"}));
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn an_agent_call_has_two_answers() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = join(&mut world, 0, 4);
        let params = json!({"message": "one two", "agentId": "main", "idempotencyKey": "k"});
        let id = world.request(at, "agent", params);
        world.advance(Duration::from_secs(10));
        let accepted = world.answer(at, &id).expect("the first");
        assert_eq!(accepted["payload"]["status"], "accepted", "{accepted}");
        let done = world.answer(at, &id).expect("the second");
        assert_eq!(done["payload"]["status"], "ok");
        assert_eq!(done["payload"]["result"]["payloads"][0]["text"], "one two");
        let wait = world.call_slow(at, "agent.wait", json!({"runId": "k"}));
        assert_eq!(wait["payload"]["status"], "ok", "{wait}");
    }
}

#[test]
fn an_old_client_gets_the_whole_text_and_no_unknown_members() {
    let mut world = World::new(1);
    let at = join(&mut world, 0, 3);
    world.call_slow(at, "chat.send", said("k1", "hello out there"));
    for event in world.events(at, "chat") {
        assert!(event.get("deltaText").is_none() && event.get("replace").is_none(), "{event}");
        assert!(event["message"]["content"][0]["text"].is_string());
    }
}

#[test]
fn a_run_is_stopped_by_the_name_that_its_client_gave_it() {
    let mut world = World::new(3);
    let at = join(&mut world, 1, 4);
    let stuck = json!({"sessionKey": "agent:stuck:s", "message": "m", "idempotencyKey": "k9"});
    let answer = world.call_slow(at, "chat.send", stuck);
    assert_eq!(answer["payload"]["status"], "started");
    let answer =
        world.call_slow(at, "chat.abort", json!({"sessionKey": "agent:stuck:s", "runId": "k9"}));
    assert_eq!(answer["payload"], json!({"ok": true, "aborted": true, "runIds": ["k9"]}));
    let chat = world.events(at, "chat");
    assert_eq!(chat.last().expect("an end")["state"], "aborted");
}

#[test]
fn what_a_client_may_not_do_is_refused_by_scope_and_repeating_it_ends() {
    let mut world = World::new(1);
    let at = world.open(0);
    world.call(at, "connect", cli("secret", (4, 4), &["operator.read"]));
    let answer = world.call(at, "chat.send", said("k", "x"));
    assert_eq!(answer["error"]["code"], "FORBIDDEN");
    assert_eq!(answer["error"]["message"], "missing scope: operator.write");
    assert_eq!(answer["error"]["details"]["code"], "MISSING_SCOPE");
    for _ in 0..20 {
        world.call(at, "what.newer.gateways.know", json!({}));
    }
    for _ in 0..9 {
        world.call(at, "chat.send", said("k", "x"));
    }
    assert!(world.clients[at].closed.is_none());
    world.call(at, "chat.send", said("k", "x"));
    assert_eq!(world.clients[at].closed, Some((1008, "repeated unauthorized calls".into())));
}

#[test]
fn both_dialects_see_the_same_conversation() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let base = world.login(nodes as usize - 1, "secret", "default");
        let at = join(&mut world, 0, 4);
        world.call_slow(at, "chat.send", said("k1", "hello"));
        let base_events = world.events(base, "agent");
        assert_eq!(base_events.last().expect("an end")["type"], "run.completed");
        let params = json!({"sessionKey": "agent:main:main", "message": "again"});
        let answer = world.call_slow(base, "chat.send", params);
        assert_eq!(answer["payload"]["content"], "again", "{answer}");
        let chat = world.events(at, "chat");
        assert_eq!(chat.last().expect("an end")["message"]["content"][0]["text"], "again");
    }
}

#[test]
fn users_have_main_sessions_of_their_own() {
    let mut world = World::new(1);
    let at = world.open(0);
    let hello = world.call(at, "connect", cli("bound", (4, 4), &TALKS));
    let defaults = &hello["payload"]["snapshot"]["sessionDefaults"];
    assert_eq!(defaults["mainSessionKey"], "agent:main:user:bob", "{hello}");
    world.call_slow(at, "chat.send", said("k", "mine"));
    let other = join(&mut world, 0, 4);
    let history = world.call_slow(other, "chat.history", json!({"sessionKey": "main"}));
    assert_eq!(history["payload"]["messages"], json!([]));
    let history = world.call_slow(at, "chat.history", json!({"sessionKey": "main"}));
    assert_eq!(history["payload"]["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn nobody_begins_the_main_session_of_another_user() {
    let mut world = World::new(1);
    let bob = world.open(0);
    world.call(bob, "connect", cli("bound", (4, 4), &TALKS));
    for key in ["agent:main:main", "agent:main:user:ann", "user:ann"] {
        let params = json!({"sessionKey": key, "message": "x", "idempotencyKey": key});
        let answer = world.call_slow(bob, "chat.send", params);
        let main = key == "agent:main:main";
        // `main` is everybody's own; what is written out as another's is refused.
        assert_eq!(answer["ok"], main, "{key}: {answer}");
    }
    assert_eq!(world.runs.len(), 1);
    assert_eq!(&*world.runs[0].session, "agent:main:user:bob");
}

#[test]
fn a_long_conversation_is_read_page_by_page_to_its_beginning() {
    let mut world = World::new(3);
    let at = join(&mut world, 0, 4);
    for turn in 0..10 {
        let text = format!("{turn} {}", "x".repeat(40_000));
        let id = world.request(at, "chat.send", said(&format!("k{turn}"), &text));
        world.advance(Duration::from_secs(20));
        assert_eq!(world.answer(at, &id).expect("an answer")["ok"], true);
    }
    let (mut offset, mut seen) = (0, Vec::new());
    for _ in 0..50 {
        let params = json!({"sessionKey": "main", "limit": 4, "offset": offset});
        let page = world.call_slow(at, "chat.history", params);
        let page = &page["payload"];
        let messages = page["messages"].as_array().expect("messages");
        assert!(!messages.is_empty(), "no page is empty before the beginning");
        seen.splice(0..0, messages.iter().map(|message| message["__openclaw"]["id"].to_string()));
        match page["hasMore"].as_bool() {
            Some(true) => offset = page["nextOffset"].as_u64().expect("an offset"),
            _ => break,
        }
    }
    assert_eq!(seen.len(), 20);
    seen.dedup();
    assert_eq!(seen.len(), 20, "each once");
}

#[test]
fn an_answer_larger_than_an_outbox_reaches_its_readers() {
    let mut world = World::new(1);
    let readers: Vec<_> = (0..2).map(|_| join(&mut world, 0, 4)).collect();
    world.call(readers[1], "sessions.subscribe", json!({}));
    // An echo of many words in few pieces.
    let text = "y".repeat(523_900);
    for turn in 0..2 {
        let id = world.request(readers[0], "chat.send", said(&format!("k{turn}"), &text));
        world.advance(Duration::from_secs(60));
        assert_eq!(world.answer(readers[0], &id).expect("an answer")["ok"], true);
    }
    for reader in readers {
        assert!(world.clients[reader].closed.is_none(), "{:?}", world.clients[reader].closed);
        let chat = world.events(reader, "chat");
        let ends = chat.iter().filter(|event| event["state"] == "final");
        let texts: Vec<_> = ends.map(|end| end["message"]["content"][0]["text"].clone()).collect();
        assert_eq!(texts, [json!(text), json!(text)]);
    }
}

#[test]
fn runs_that_the_end_of_the_gateway_stops_have_failed_for_now() {
    let mut world = World::new(1);
    let at = join(&mut world, 0, 4);
    for key in ["began", "waits"] {
        let params = json!({"sessionKey": "agent:stuck:s", "message": key, "idempotencyKey": key});
        world.call_slow(at, "chat.send", params);
    }
    let now = world.now;
    world.nodes[0].drain(now, &Drain::stop("test"));
    world.advance(Duration::from_secs(11));
    let chat = world.events(at, "chat");
    for key in ["began", "waits"] {
        let of_key: Vec<_> = chat.iter().filter(|event| event["runId"] == key).collect();
        let [end] = of_key[..] else { panic!("{of_key:?}") };
        assert_eq!(end["state"], "error");
        assert_eq!(end["errorMessage"], "the gateway stopped before the agent had answered");
    }
}

#[test]
fn a_run_that_waited_and_is_stopped_ends_once() {
    let mut world = World::new(1);
    let at = join(&mut world, 0, 4);
    let stuck =
        |key: &str| json!({"sessionKey": "agent:stuck:s", "message": key, "idempotencyKey": key});
    for key in ["a", "b", "c"] {
        world.call_slow(at, "chat.send", stuck(key));
    }
    // The first makes room for the second, which had to wait; the third never begins.
    for key in ["a", "b", "c"] {
        let params = json!({"sessionKey": "agent:stuck:s", "runId": key});
        world.call_slow(at, "chat.abort", params);
    }
    let chat = world.events(at, "chat");
    for key in ["a", "b", "c"] {
        let ends = chat.iter().filter(|event| event["runId"] == key && event["state"] == "aborted");
        assert_eq!(ends.count(), 1, "{key}");
    }
}
