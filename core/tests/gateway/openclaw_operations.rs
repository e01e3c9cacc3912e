//! What operators ask in the dialect of OpenClaw: whether all is well, who is connected, how it is
//! configured; and what reaches an agent without a person.

use crate::openclaw;
use crate::world;
use openclaw::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const TALKS: [&str; 2] = ["operator.read", "operator.write"];

fn second() -> Duration {
    Duration::from_secs(1)
}

/// A terminal, of the mode that people sit in front of.
fn terminal(scopes: &[&str]) -> Value {
    let mut connect = cli("secret", 4, scopes);
    connect["client"] = json!({
        "id": "openclaw-tui", "displayName": "my desk", "version": "2", "platform": "linux",
        "deviceFamily": "Linux", "mode": "ui", "instanceId": "i-1",
    });
    connect
}

#[test]
fn health_and_status_count_the_sessions_that_the_caller_may_see() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let bob = join(&mut world, 0, "bound", &TALKS);
        let at = admin(&mut world, 0);
        ok(world.call_slow(bob, "chat.send", said("main", "k1", "hello")));
        ok(world.call_slow(at, "chat.send", said("main", "k2", "hello")));
        ok(world.call_slow(at, "chat.send", said("agent:broken:x", "k3", "hello")));
        let health = ok(world.call(at, "health", json!({})));
        assert_eq!((&health["ok"], &health["sessions"]["count"]), (&json!(true), &json!(3)));
        assert_eq!(health["sessions"]["recent"][0]["key"], "agent:broken:x");
        let agents = health["agents"].as_array().expect("agents");
        let counts: Vec<_> = agents
            .iter()
            .map(|agent| (agent["agentId"].clone(), agent["sessions"]["count"].clone()))
            .collect();
        let counted = |id: &str, n: u64| (json!(id), json!(n));
        assert_eq!(counts, [counted("main", 2), counted("stuck", 0), counted("broken", 1)]);
        assert_eq!(agents[0]["isDefault"], true);
        for name in
            ["ts", "durationMs", "channels", "channelOrder", "channelLabels", "heartbeatSeconds"]
        {
            assert!(!health[name].is_null(), "{name}");
        }
        let status = ok(world.call(at, "status", json!({})));
        let sessions = &status["sessions"];
        assert_eq!(
            (&sessions["count"], sessions["recent"].as_array().map(Vec::len)),
            (&json!(3), Some(3))
        );
        assert_eq!(sessions["byAgent"][2]["recent"][0]["key"], "agent:broken:x");
        assert_eq!(
            (&status["channelSummary"], &status["queuedSystemEvents"]),
            (&json!([]), &json!([]))
        );
        let own = ok(world.call(bob, "status", json!({})));
        assert_eq!(
            (&own["sessions"]["count"], &own["sessions"]["byAgent"][0]["count"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(own["sessions"]["recent"][0]["key"], "agent:main:user:bob");
        let blind = join(&mut world, 0, "secret", &[]);
        let health = ok(world.call(blind, "health", json!({})));
        assert_eq!(health["sessions"]["recent"], json!([]), "without reading, numbers only");
        world.store_mode = StoreMode::Fails;
        assert_eq!(world.call(at, "health", json!({}))["error"]["code"], "UNAVAILABLE");
    }
}

#[test]
fn health_is_told_a_second_after_a_client_has_come_and_every_minute() {
    let mut world = World::new(3);
    let bob = join(&mut world, 0, "bound", &TALKS);
    let base = world.login(0, "secret", "default");
    ok(world.call(bob, "chat.send", said("main", "k1", "hello")));
    assert!(world.events(bob, "health").is_empty());
    world.advance(second());
    let told = world.events(bob, "health");
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["sessions"]["count"], &told[0]["sessions"]["recent"]),
        (&json!(1), &json!([]))
    );
    world.advance(second() * 58);
    assert!(world.events(bob, "health").is_empty());
    let at = admin(&mut world, 0);
    world.advance(second());
    // It is the time of everybody, and of who has just come.
    assert_eq!((world.events(bob, "health").len(), world.events(at, "health").len()), (1, 1));
    world.advance(second() * 60);
    let version = |world: &mut World, at: usize| {
        let messages = &world.clients[at].messages;
        let health: Vec<_> = messages.iter().filter(|m| m["event"] == "health").collect();
        assert_eq!(health.len(), 1);
        health[0]["stateVersion"]["health"].as_u64().expect("a number")
    };
    let before = version(&mut world, at);
    world.events(at, "health");
    world.advance(second() * 60);
    assert!(version(&mut world, at) > before);
    assert!(world.events(base, "health").is_empty(), "it is of the other dialect");
    world.events(bob, "health");
    world.store_mode = StoreMode::Fails;
    world.advance(second() * 60);
    assert_eq!(world.events(bob, "health")[0]["ok"], false);
}

#[test]
fn nothing_is_due_when_nobody_is_there_to_be_told() {
    let mut world = World::new(1);
    let at = admin(&mut world, 0);
    world.cut(at);
    world.advance(second() * 120);
    assert_eq!(world.nodes[0].deadline(), None);
}

#[test]
fn presence_shows_what_clients_say_of_themselves_and_who_has_left() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        let desk = enter(&mut world, nodes as usize - 1, terminal(&TALKS));
        world.advance(second());
        let list = |world: &mut World| ok(world.call(at, "system-presence", json!({})));
        let there = list(&mut world);
        let there = there.as_array().expect("a list");
        assert_eq!(there.len(), 2, "a command line is no presence: {there:?}");
        assert_eq!((&there[0]["mode"], &there[0]["reason"]), (&json!("gateway"), &json!("self")));
        let entry = &there[1];
        for (name, value) in [
            ("host", json!("my desk")),
            ("version", json!("2")),
            ("platform", json!("linux")),
            ("deviceFamily", json!("Linux")),
            ("mode", json!("ui")),
            ("instanceId", json!("i-1")),
            ("clientId", json!("openclaw-tui")),
            ("roles", json!(["operator"])),
            ("reason", json!("connect")),
        ] {
            assert_eq!(entry[name], value, "{name}: {entry}");
        }
        let (text, ts) = (&entry["text"], &entry["ts"]);
        assert!(text.is_string() && ts.is_u64() && entry.get("ip").is_none(), "{entry}");
        world.events(at, "presence");
        world.cut(desk);
        world.advance(second() * 2);
        let told = world.events(at, "presence");
        assert_eq!(told.last().expect("an event")["presence"][1]["reason"], "disconnect");
        world.advance(second() * 290);
        assert_eq!(list(&mut world)[1]["reason"], "disconnect");
        world.advance(second() * 10);
        assert_eq!(list(&mut world).as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn a_list_of_those_who_have_left_is_bounded() {
    let mut world = World::new(1);
    let at = admin(&mut world, 0);
    for _ in 0..210 {
        let desk = enter(&mut world, 0, terminal(&TALKS));
        world.cut(desk);
    }
    let list = ok(world.call(at, "system-presence", json!({})));
    assert_eq!(list.as_array().map(Vec::len), Some(200));
}

#[test]
fn what_is_put_in_is_told_as_an_end_and_is_in_the_history() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        let base = world.login(nodes as usize - 1, "secret", "default");
        ok(world.call_slow(at, "chat.send", said("main", "k1", "hello")));
        world.events(at, "chat");
        let params = json!({"sessionKey": "main", "message": "by hand", "label": "note"});
        let answer = ok(world.call(at, "chat.inject", params));
        assert_eq!(answer, json!({"ok": true, "messageId": "3"}));
        let chat = world.events(at, "chat");
        assert_eq!(chat.len(), 1);
        assert_eq!((&chat[0]["runId"], &chat[0]["seq"]), (&json!("inject-3"), &json!(0)));
        assert_eq!(
            (&chat[0]["state"], &chat[0]["sessionKey"]),
            (&json!("final"), &json!("agent:main:main"))
        );
        let text = "[note]\n\nby hand";
        assert_eq!(chat[0]["message"]["content"][0]["text"], text);
        let history = ok(world.call(at, "chat.history", json!({"sessionKey": "main"})));
        assert_eq!(history["messages"][2]["content"][0]["text"], text);
        let updated = world.events(base, "session.updated");
        let told = updated.last().expect("an event");
        assert_eq!((&told["change"], &told["messageId"]), (&json!("injected"), &json!("3")));
        assert_eq!((&told["content"], &told["label"]), (&json!("by hand"), &json!("note")));
        let nowhere = json!({"sessionKey": "nowhere", "message": "x"});
        assert!(invalid(&world.call(at, "chat.inject", nowhere)).contains("not found"));
    }
}

#[test]
fn the_default_agent_is_woken_with_a_text() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let bob = join(&mut world, 0, "bound", &TALKS);
        let answer = ok(world.call_slow(bob, "wake", json!({"mode": "now", "text": "it rains"})));
        assert_eq!(answer, json!({"ok": true}));
        let run = world.runs.last().expect("a run");
        assert_eq!((&*run.session, &*run.message), ("agent:main:user:bob", "System: it rains"));
        let params = json!({"mode": "now", "text": "x", "sessionKey": "s", "agentId": "broken"});
        ok(world.call_slow(bob, "wake", params));
        assert_eq!(&*world.runs.pop().expect("a run").session, "agent:broken:s");
        let nobody = json!({"mode": "now", "text": "x", "agentId": "nobody"});
        assert!(invalid(&world.call(bob, "wake", nobody)).contains("unknown agent"));
        let later = world.call(bob, "wake", json!({"mode": "next-heartbeat", "text": "x"}));
        assert_eq!(later["error"]["code"], "UNAVAILABLE");
        invalid(&world.call(bob, "wake", json!({"mode": "now", "text": "  "})));
        invalid(&world.call(bob, "wake", json!({"mode": "some day", "text": "x"})));
        assert_eq!(world.runs.len(), 1);
        let at = admin(&mut world, 0);
        for (method, params) in [
            ("system-event", json!({"text": "x"})),
            ("send", json!({"to": "x", "message": "y"})),
            ("message.action", json!({"channel": "telegram", "action": "send", "params": {}})),
        ] {
            let error = world.call(at, method, params)["error"].take();
            assert_eq!(error["code"], "UNAVAILABLE", "{method}");
            assert_eq!(error["retryable"], false, "it will not be otherwise in a while");
        }
    }
}

#[test]
fn the_configuration_is_shown_without_secrets_and_to_others_than_admins_without_the_rest() {
    let mut world = World::new(1);
    let at = admin(&mut world, 0);
    let shown = ok(world.call(at, "config.get", json!({})));
    let tokens = shown["config"]["gateway"]["tokens"].as_array().expect("tokens");
    assert!(tokens.iter().all(|token| token["secret"] == "__OPENCLAW_REDACTED__"), "{tokens:?}");
    let text = shown.to_string();
    assert!(!text.contains("\"secret\":\"secret\"") && !text.contains("rotated"));
    assert_eq!((&shown["exists"], &shown["valid"]), (&json!(true), &json!(true)));
    assert_eq!((&shown["parsed"], &shown["issues"]), (&shown["config"], &json!([])));
    assert_eq!(shown["hash"].as_str().map(str::len), Some(64));
    let modest = join(&mut world, 0, "secret", &["operator.read"]);
    let shown = ok(world.call(modest, "config.get", json!({})));
    assert!(shown["config"]["agents"].is_array() && shown["config"].get("gateway").is_none());
}

#[test]
fn what_there_is_not_is_an_empty_list() {
    let mut world = World::new(1);
    let at = admin(&mut world, 0);
    for (method, answer) in [
        ("last-heartbeat", Value::Null),
        ("question.list", json!({"questions": []})),
        ("exec.approval.list", json!([])),
        ("plugin.approval.list", json!([])),
        ("openclaw.approval.list", json!([])),
        ("taskSuggestions.list", json!({"suggestions": []})),
        ("sessions.groups.list", json!({"groups": [], "sectionOrder": []})),
        ("progressCard.get", json!({"card": null})),
        ("users.prefs.get", json!({"status": "ok", "entries": {}})),
        ("tasks.list", json!({"tasks": []})),
        ("cron.list", json!({"jobs": []})),
        ("cron.status", json!({"enabled": false, "jobs": 0, "nextWakeAtMs": null})),
    ] {
        assert_eq!(ok(world.call(at, method, json!({"any": 1}))), answer, "{method}");
    }
    let channels = ok(world.call(at, "channels.status", json!({"probe": true, "timeoutMs": 10})));
    assert_eq!((&channels["channels"], &channels["channelOrder"]), (&json!({}), &json!([])));
    let update = ok(world.call(at, "update.status", json!({})));
    assert_eq!((&update["updateAvailable"], &update["sentinel"]), (&Value::Null, &Value::Null));
    let commands = ok(world.call(at, "commands.list", json!({"agentId": "main"})));
    assert_eq!(commands["commands"][0]["textAliases"], json!(["/stop"]));
    let metadata = ok(world.call(at, "chat.metadata", json!({"sessionKey": "main"})));
    assert_eq!(metadata["commands"], commands["commands"]);
    assert_eq!(metadata["models"], ok(world.call(at, "models.list", json!({})))["models"]);
}
