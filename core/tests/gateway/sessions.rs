//! Sessions as a whole: looked at, named, emptied, cut and removed, also while a run is under way.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

/// A session of this connection's user in which these texts were said and echoed.
fn said(world: &mut World, at: usize, texts: &[&str]) -> String {
    let mut params = json!({"message": texts[0]});
    for text in texts {
        params["message"] = json!(text);
        let answer = world.call_slow(at, "chat.send", params.clone());
        params["sessionKey"] = answer["payload"]["sessionKey"].clone();
    }
    params["sessionKey"].as_str().expect("a key").into()
}

/// What the messages of an answer say.
fn contents(answer: &Value) -> Vec<&str> {
    let messages = answer["payload"]["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["content"].as_str().expect("a text")).collect()
}

fn pending(world: &World) -> usize {
    world.nodes.iter().map(Gateway::pending).sum()
}

#[test]
fn a_session_is_looked_at_and_named_under_every_name_of_its_key() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let other = world.login(usize::from(nodes) - 1, "viewer", "ann");
        let [eve, admin] = [("operator", "eve"), ("secret", "adm")]
            .map(|(token, user)| world.login(0, token, user));
        let long = "ä".repeat(300);
        let session = said(&mut world, at, &["one", &long]);
        for name in ["sessionKey", "key", "sessionId"] {
            let preview = world.call(other, "sessions.preview", json!({name: session, "limit": 2}));
            let payload = &preview["payload"];
            assert_eq!(payload["key"], *session);
            assert_eq!((&payload["userId"], &payload["agentId"]), (&json!("ann"), &json!("echo")));
            assert_eq!((&payload["messageCount"], &payload["more"]), (&json!(4), &json!(true)));
            assert_eq!(contents(&preview), ["ä".repeat(120), "ä".repeat(120)]);
            assert_eq!(payload["messages"][0]["cut"], true);
            assert_eq!(payload.get("label"), None);
        }
        for (params, label) in [
            (json!({"key": session, "label": "Träume"}), json!("Träume")),
            (json!({"sessionId": session, "title": "y".repeat(100)}), json!("y".repeat(100))),
            (json!({"sessionKey": session, "label": null}), Value::Null),
            (json!({"sessionKey": session, "label": "last"}), json!("last")),
        ] {
            // An admin may, too; the owner is told.
            let patched = world.call(admin, "sessions.patch", params);
            assert_eq!(patched["payload"], json!({"ok": true, "key": session, "label": label}));
            let expected = json!({
                "sessionKey": session, "agentId": "echo", "userId": "ann", "change": "patched",
                "by": "adm", "label": label,
            });
            for at in [at, other] {
                assert_eq!(world.events(at, "session.updated"), std::slice::from_ref(&expected));
            }
            for at in [eve, admin] {
                assert!(world.events(at, "session.updated").is_empty());
            }
            let list = world.call(at, "sessions.list", json!({}));
            let shown = list["payload"]["sessions"][0].get("label").cloned();
            assert_eq!(shown.unwrap_or(Value::Null), label);
        }
        for label in [json!("y".repeat(101)), json!("a\nb"), json!(1)] {
            let params = json!({"key": session, "label": label});
            let refused = world.call(at, "sessions.patch", params);
            assert_eq!(code(&refused), "INVALID_REQUEST", "{refused}");
        }
        // What is not named is not taken away.
        let refused = world.call(at, "sessions.patch", json!({"key": session, "model": "x"}));
        assert!(message(&refused).contains("label is required"), "{refused}");
        let list = world.call(at, "sessions.list", json!({}));
        assert_eq!(list["payload"]["sessions"][0]["label"], "last");
    }
}

#[test]
fn a_deleted_session_is_gone_with_its_run_and_its_queue() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let other = world.login(usize::from(nodes) - 1, "operator", "ann");
        let session = said(&mut world, at, &["hello"]);
        let send = json!({"message": "go", "sessionKey": session, "agentId": "stuck"});
        let running = world.request(at, "chat.send", send.clone());
        let queued = world.call(at, "chat.send", send);
        assert_eq!(queued["payload"]["queued"], true);
        world.events(other, "agent");
        world.events(other, "chat.turn");
        let deleted = world.call(other, "sessions.delete", json!({"key": session}));
        assert_eq!(deleted["payload"], json!({"ok": true, "key": session}));
        let answer = world.answer(at, &running).expect("an answer");
        assert_eq!(answer["payload"]["cancelled"], true);
        assert_eq!(world.cancelled, 1);
        let names: Vec<_> =
            world.clients[other].messages.iter().filter_map(|m| m["event"].as_str()).collect();
        let names: Vec<_> = names.into_iter().filter(|name| *name != "presence").collect();
        assert_eq!(names, ["chat.turn", "agent", "session.updated"]);
        assert_eq!(world.events(other, "chat.turn")[0]["state"], "cancelled");
        assert_eq!(world.events(other, "agent")[0]["type"], "run.cancelled");
        assert_eq!(world.events(other, "session.updated")[0]["change"], "deleted");
        for method in ["chat.history", "sessions.delete", "sessions.preview", "chat.session.status"]
        {
            let answer = world.call(at, method, json!({"key": session}));
            assert_eq!(code(&answer), "NOT_FOUND", "{method}");
        }
        let send = json!({"message": "again", "sessionKey": session});
        assert_eq!(code(&world.call(at, "chat.send", send)), "NOT_FOUND");
        let list = world.call(at, "sessions.list", json!({}));
        assert_eq!(list["payload"]["total"], 0);
        assert_eq!((pending(&world), world.store.size().0), (0, 0));
    }
}

#[test]
fn what_was_answered_in_a_deleted_session_is_not_answered_again() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let params = json!({"message": "hello", "idempotencyKey": "k"});
        let first = world.call_slow(at, "chat.send", params.clone());
        assert_eq!(world.call(at, "chat.send", params.clone())["payload"], first["payload"]);
        let session = first["payload"]["sessionKey"].clone();
        let deleted = world.call(at, "sessions.delete", json!({"sessionKey": session}));
        assert_eq!(code(&deleted), "ok");
        let second = world.call_slow(at, "chat.send", params);
        assert_eq!(code(&second), "ok");
        assert_ne!(second["payload"]["sessionKey"], session);
        assert_eq!(world.runs.len(), 2);
    }
}

#[test]
fn a_text_that_is_being_stored_when_its_session_goes_is_not_run() {
    for (method, after) in [("sessions.delete", "NOT_FOUND"), ("sessions.reset", "ok")] {
        let mut world = World::new(1);
        let at = world.login(0, "operator", "ann");
        let session = said(&mut world, at, &["hello"]);
        world.runs.clear();
        // All arrive at once: when the session goes, the first text is on its way to the store, and
        // the last comes after.
        let now = world.now;
        let requests = [
            ("a", "chat.send", json!({"message": "late", "sessionKey": session})),
            ("b", method, json!({"sessionKey": session})),
            ("c", "chat.send", json!({"message": "later", "sessionKey": session})),
        ];
        for (id, method, params) in requests {
            let text = json!({"type": "req", "id": id, "method": method, "params": params});
            world.clients[at].client.outbox(now).text(&text.to_string()).expect("room");
        }
        world.advance(SECOND);
        let answer = world.answer(at, "a").expect("an answer");
        assert_eq!(answer["payload"]["cancelled"], true, "{answer}");
        assert_eq!(code(&world.answer(at, "b").expect("an answer")), "ok");
        let answer = world.answer(at, "c").expect("an answer");
        assert_eq!(code(&answer), after, "{answer}");
        let ran: Vec<_> = world.runs.iter().map(|run| &*run.message).collect();
        assert_eq!(ran, if after == "ok" { vec!["later"] } else { vec![] });
        assert_eq!(pending(&world), 0);
    }
}

#[test]
fn a_reset_session_stays_and_forgets() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let session = said(&mut world, at, &["one", "two"]);
        world.call(at, "sessions.patch", json!({"key": session, "label": "kept"}));
        let send = json!({"message": "go", "sessionKey": session, "agentId": "stuck", "ack": true});
        world.call(at, "chat.send", send);
        world.events(at, "session.updated");
        let reset = world.call(at, "sessions.reset", json!({"key": session}));
        let expected = json!({"ok": true, "key": session, "removed": 5, "messageCount": 0});
        assert_eq!(reset["payload"], expected);
        let event = &world.events(at, "session.updated")[0];
        assert_eq!((&event["change"], &event["removed"]), (&json!("reset"), &json!(5)));
        assert_eq!(world.cancelled, 1);
        let list = world.call(at, "sessions.list", json!({}));
        assert_eq!(list["payload"]["sessions"][0]["label"], "kept");
        assert_eq!(list["payload"]["sessions"][0]["messageCount"], 0);
        world.runs.clear();
        world.call_slow(at, "chat.send", json!({"message": "new", "sessionKey": session}));
        assert!(world.runs[0].history.is_empty(), "the agent knows nothing of what was said");
        let history = world.call(at, "chat.history", json!({"key": session}));
        assert_eq!(contents(&history), ["new", "new"]);
        assert_eq!(history["payload"]["messages"][0]["id"], "6", "ids go on");
    }
}

#[test]
fn a_compacted_session_keeps_the_last_messages() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "operator", "ann");
        let session = said(&mut world, at, &["one", "two", "three"]);
        let compacted = world.call(at, "sessions.compact", json!({"key": session}));
        let expected = json!({"ok": true, "key": session, "removed": 2, "messageCount": 4});
        assert_eq!(compacted["payload"], expected);
        let params = json!({"key": session, "keepLast": 1});
        world.call(at, "sessions.compact", params.clone());
        let history = world.call(at, "chat.history", json!({"key": session}));
        assert_eq!(contents(&history), ["three"]);
        let nothing = world.call(at, "sessions.compact", json!({"key": session, "keepLast": 0}));
        assert!(message(&nothing).contains("sessions.reset"), "{nothing}");
        let send = json!({"message": "go", "sessionKey": session, "agentId": "stuck", "ack": true});
        world.call(at, "chat.send", send);
        let busy = world.call(at, "sessions.compact", params.clone());
        assert_eq!(code(&busy), "FAILED_PRECONDITION");
        assert!(message(&busy).contains("chat.abort"), "{busy}");
        world.call(at, "chat.abort", json!({"key": session}));
        assert_eq!(code(&world.call(at, "sessions.compact", params)), "ok");
        let changes = world.events(at, "session.updated");
        assert_eq!(changes.iter().filter(|event| event["change"] == "compacted").count(), 3);
    }
}

#[test]
fn a_change_that_is_not_stored_is_told_to_nobody_but_who_asked() {
    let mut world = World::new(1);
    let at = world.login(0, "operator", "ann");
    let session = said(&mut world, at, &["hello"]);
    for mode in [StoreMode::Fails, StoreMode::Hangs] {
        world.store_mode = mode;
        for method in ["sessions.delete", "sessions.reset", "sessions.compact", "sessions.preview"]
        {
            let id = world.request(at, method, json!({"key": session}));
            world.advance(SECOND * 31);
            let answer = world.answer(at, &id).expect("an answer");
            assert_eq!(code(&answer), "UNAVAILABLE", "{method}");
            assert_eq!(answer["error"]["retryable"], true);
        }
    }
    assert!(world.events(at, "session.updated").is_empty());
    world.store_mode = StoreMode::Works;
    let history = world.call(at, "chat.history", json!({"key": session}));
    assert_eq!(contents(&history), ["hello", "hello"]);
    assert_eq!(pending(&world), 0);
}
