//! Sessions in the dialect of OpenClaw: found, shown, changed, and told of.

use crate::openclaw;
use crate::world;
use openclaw::*;
use serde_json::{Value, json};
use world::World;

fn keys(list: &Value) -> Vec<&str> {
    let rows = list["sessions"].as_array().expect("rows");
    rows.iter().map(|row| row["key"].as_str().expect("a key")).collect()
}

fn talk(world: &mut World, at: usize, session: &str, key: &str, text: &str) {
    ok(world.call_slow(at, "chat.send", said(session, key, text)));
}

#[test]
fn a_list_shows_what_was_said_first_and_last() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        talk(&mut world, at, "main", "k1", "hello  out\nthere");
        talk(&mut world, at, "second", "k2", "another one");
        let list = ok(world.call(
            at,
            "sessions.list",
            json!({
                "includeDerivedTitles": true, "includeLastMessage": true, "limit": 50,
            }),
        ));
        assert_eq!(keys(&list), ["agent:main:second", "agent:main:main"]);
        assert_eq!((&list["count"], &list["totalCount"]), (&json!(2), &json!(2)));
        assert_eq!((&list["hasMore"], &list["nextOffset"]), (&json!(false), &Value::Null));
        assert_eq!(list["limitApplied"], 50);
        let row = &list["sessions"][1];
        assert_eq!(row["derivedTitle"], "hello out there");
        assert_eq!(row["lastMessagePreview"], "hello  out\nthere");
        assert_eq!((&row["kind"], &row["agentId"]), (&json!("direct"), &json!("main")));
        assert_eq!((&row["isMain"], &list["sessions"][0]["isMain"]), (&json!(true), &json!(false)));
        assert_eq!((&row["status"], &row["activeRunIds"]), (&json!("done"), &json!([])));
        for name in ["sessionId", "createdAt", "updatedAt", "snapshotAt", "model", "modelProvider"]
        {
            assert!(!row[name].is_null(), "{name}: {row}");
        }
        let plain = ok(world.call(at, "sessions.list", json!({})));
        assert!(plain["sessions"][0].get("derivedTitle").is_none(), "nobody asked for it");
        assert!(plain["sessions"][0].get("lastMessagePreview").is_none());
    }
}

#[test]
fn a_list_comes_in_pages_and_can_be_searched() {
    let mut world = World::new(1);
    let at = admin(&mut world, 0);
    for n in ["one", "Two", "three"] {
        talk(&mut world, at, n, n, "hello");
    }
    let page = ok(world.call(at, "sessions.list", json!({"limit": 2})));
    assert_eq!((&page["hasMore"], &page["nextOffset"]), (&json!(true), &json!(2)));
    let page = ok(world.call(at, "sessions.list", json!({"limit": 2, "offset": 2})));
    assert_eq!((keys(&page), &page["hasMore"]), (vec!["agent:main:one"], &json!(false)));
    let found = ok(world.call(at, "sessions.list", json!({"search": " tWO "})));
    assert_eq!((keys(&found), &found["totalCount"]), (vec!["agent:main:Two"], &json!(1)));
    for none in [
        json!({"archived": true, "search": "two"}),
        json!({"pinned": true}),
        json!({"spawnedBy": "agent:main:two"}),
        json!({"label": "two"}),
    ] {
        assert_eq!(ok(world.call(at, "sessions.list", none))["sessions"], json!([]));
    }
    for all in [json!({"archived": "all"}), json!({"archived": false, "pinned": false})] {
        assert_eq!(ok(world.call(at, "sessions.list", all))["count"], 3);
    }
    world.advance(std::time::Duration::from_secs(120));
    talk(&mut world, at, "three", "again", "hello");
    for (minutes, count) in [(1, 1), (60, 3)] {
        let active = json!({"activeMinutes": minutes});
        assert_eq!(ok(world.call(at, "sessions.list", active))["count"], count);
    }
    let of = |agent: &str| json!({"agentId": agent});
    assert_eq!(ok(world.call(at, "sessions.list", of("main")))["count"], 3);
    assert_eq!(ok(world.call(at, "sessions.list", of("stuck")))["count"], 0);
    let error = invalid(&world.call(at, "sessions.list", json!({"limit": 0})));
    assert!(error.starts_with("invalid sessions.list params: at /limit: "), "{error}");
}

#[test]
fn a_row_names_the_runs_that_are_under_way() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        talk(&mut world, at, "agent:stuck:s", "k9", "hello");
        let late = admin(&mut world, nodes as usize - 1);
        for at in [at, late] {
            let row = ok(world.call(at, "sessions.describe", json!({"key": "agent:stuck:s"})));
            let row = &row["session"];
            assert_eq!((&row["status"], &row["hasActiveRun"]), (&json!("running"), &json!(true)));
            assert_eq!(row["activeRunIds"], json!(["k9"]));
        }
    }
}

#[test]
fn a_session_is_found_by_key_id_and_label() {
    let mut world = World::new(3);
    let at = admin(&mut world, 0);
    talk(&mut world, at, "main", "k1", "hello");
    ok(world.call(at, "sessions.patch", json!({"key": "main", "label": "Plans"})));
    let row = ok(world.call(at, "sessions.describe", json!({"key": "main"})))["session"].take();
    assert_eq!((&row["label"], &row["displayName"]), (&json!("Plans"), &json!("Plans")));
    let expected = json!({"ok": true, "key": "agent:main:main", "agentId": "main"});
    for params in [
        json!({"key": "main"}),
        json!({"key": "agent:main:main"}),
        json!({"sessionId": row["sessionId"]}),
        json!({"label": "Plans"}),
    ] {
        assert_eq!(ok(world.call(at, "sessions.resolve", params)), expected);
    }
    for params in [
        json!({"key": "other"}),
        json!({"sessionId": "x"}),
        json!({"label": "plans"}),
        json!({"label": "Plans", "agentId": "stuck"}),
    ] {
        let error = invalid(&world.call(at, "sessions.resolve", params));
        assert!(error.starts_with("no session found: "), "{error}");
    }
    let optional = json!({"key": "other", "allowMissing": true});
    assert_eq!(ok(world.call(at, "sessions.resolve", optional)), json!({"ok": false}));
    for params in [json!({}), json!({"key": "main", "label": "Plans"})] {
        let error = invalid(&world.call(at, "sessions.resolve", params));
        assert_eq!(error, "one of key, sessionId and label is required");
    }
    talk(&mut world, at, "second", "k2", "hello");
    ok(world.call(at, "sessions.patch", json!({"key": "second", "label": "Plans"})));
    let error = invalid(&world.call(at, "sessions.resolve", json!({"label": "Plans"})));
    assert_eq!(error, "several sessions are called Plans");
    let none = ok(world.call(at, "sessions.describe", json!({"key": "nowhere"})));
    assert_eq!(none, json!({"session": null}));
}

#[test]
fn a_patch_changes_the_label_and_says_that_nothing_else_can_be_changed() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        talk(&mut world, at, "main", "k1", "hello");
        let watcher = admin(&mut world, nodes as usize - 1);
        let answer = ok(world.call(watcher, "sessions.subscribe", json!({})));
        assert_eq!(answer, json!({"subscribed": true}));
        let patched = ok(world.call(at, "sessions.patch", json!({"key": "main", "label": "x"})));
        assert_eq!((&patched["key"], &patched["ok"]), (&json!("agent:main:main"), &json!(true)));
        assert_eq!(patched["entry"]["label"], "x");
        assert!(patched["resolved"]["model"].is_string() && patched["path"].is_string());
        let changed = world.events(watcher, "sessions.changed");
        assert_eq!(changed.last().expect("an event")["reason"], "patched");
        assert!(world.events(at, "sessions.changed").is_empty(), "it did not ask for them");
        let refused = world.call(at, "sessions.patch", json!({"key": "main", "model": "other"}));
        let text = "sessions.patch can change label and nothing else, not model";
        assert_eq!(invalid(&refused), text);
        let same = json!({"key": "main", "model": null, "unread": false});
        assert_eq!(ok(world.call(at, "sessions.patch", same))["entry"]["label"], "x");
        let away = json!({"key": "main", "label": null});
        let patched = ok(world.call(at, "sessions.patch", away));
        assert!(patched["entry"].get("label").is_none());
        let long = json!({"key": "main", "label": "x".repeat(101)});
        assert!(invalid(&world.call(at, "sessions.patch", long)).contains("100 characters"));
        let none = json!({"key": "nowhere", "label": "x"});
        assert!(invalid(&world.call(at, "sessions.patch", none)).contains("not found"));
        let unknown = json!({"key": "main", "colour": "red"});
        assert!(invalid(&world.call(at, "sessions.patch", unknown)).contains("unknown key"));
    }
}

#[test]
fn a_session_can_begin_empty_or_with_a_message() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        ok(world.call(at, "sessions.subscribe", json!({})));
        let params = json!({"key": "plans", "label": "Plans"});
        let made = ok(world.call(at, "sessions.create", params.clone()));
        assert_eq!(made["key"], "agent:main:plans");
        assert_eq!(
            (&made["entry"]["label"], &made["entry"]["messageCount"]),
            (&json!("Plans"), &json!(0))
        );
        assert_eq!(made["sessionId"], made["entry"]["sessionId"]);
        assert!(made.get("runId").is_none());
        let reasons: Vec<_> = world.events(at, "sessions.changed");
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert_eq!(reasons[0]["reason"], "created");
        assert_eq!(ok(world.call(at, "sessions.create", params))["key"], "agent:main:plans");
        assert!(world.events(at, "sessions.changed").is_empty(), "it was there");
        let params = json!({"agentId": "main", "message": "hello"});
        let made = ok(world.call_slow(at, "sessions.create", params));
        assert_eq!(made["runStarted"], true);
        let chat = world.events(at, "chat");
        let end = chat.last().expect("an end");
        assert_eq!((&end["state"], &end["runId"]), (&json!("final"), &made["runId"]));
        assert_eq!(end["sessionKey"], made["key"]);
        assert!(made["key"].as_str().is_some_and(|key| key.starts_with("agent:main:")));
        let other = json!({"key": "plans", "agentId": "broken"});
        let made = ok(world.call(at, "sessions.create", other));
        assert_eq!(
            (&made["key"], &made["entry"]["agentId"]),
            (&json!("agent:broken:plans"), &json!("broken"))
        );
        for params in [json!({"fork": true}), json!({"attachments": [{}], "message": "x"})] {
            invalid(&world.call(at, "sessions.create", params));
        }
        let refused = world.call(at, "sessions.create", json!({"agentId": "nobody"}));
        assert_eq!(refused["error"]["details"]["code"], "UNKNOWN_AGENT_ID");
    }
}

#[test]
fn what_was_said_can_be_forgotten() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        for n in 0..4 {
            talk(&mut world, at, "main", &n.to_string(), "hello");
        }
        let compact = ok(world.call(at, "sessions.compact", json!({"key": "main", "maxLines": 3})));
        assert_eq!((&compact["compacted"], &compact["kept"]), (&json!(true), &json!(3)));
        let reset = ok(world.call(at, "sessions.reset", json!({"key": "main", "reason": "new"})));
        assert_eq!((&reset["ok"], &reset["entry"]["messageCount"]), (&json!(true), &json!(0)));
        let fresh = ok(world.call(at, "sessions.reset", json!({"key": "new"})));
        assert_eq!(fresh["entry"]["key"], "agent:main:new", "nothing was said there either");
        let keep = json!({"key": "main", "deleteTranscript": false});
        assert!(invalid(&world.call(at, "sessions.delete", keep)).contains("cannot be false"));
        let another = json!({"key": "main", "expectedSessionId": fresh["sessionId"]});
        assert!(invalid(&world.call(at, "sessions.delete", another)).contains("another session"));
        let archived = json!({"key": "main", "archivedOnly": true});
        assert_eq!(ok(world.call(at, "sessions.delete", archived))["deleted"], false);
        for deleted in [true, false] {
            let answer = ok(world.call(at, "sessions.delete", json!({"key": "main"})));
            assert_eq!((&answer["ok"], &answer["deleted"]), (&json!(true), &json!(deleted)));
        }
        let none = ok(world.call(at, "sessions.describe", json!({"key": "main"})));
        assert_eq!(none["session"], Value::Null);
    }
}

#[test]
fn sessions_of_others_are_not_there_for_who_is_no_admin() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let talks = ["operator.read", "operator.write"];
        let bob = join(&mut world, 0, "bound", &talks);
        talk(&mut world, bob, "main", "k1", "a secret");
        let key = "agent:main:user:bob";
        let eve = join(&mut world, nodes as usize - 1, "operator", &talks);
        assert_eq!(ok(world.call(eve, "sessions.list", json!({})))["count"], 0);
        assert_eq!(
            ok(world.call(eve, "sessions.describe", json!({"key": key})))["session"],
            Value::Null
        );
        invalid(&world.call(eve, "sessions.resolve", json!({"key": key})));
        for (method, params) in [
            ("sessions.patch", json!({"key": key, "label": "mine"})),
            ("sessions.patch", json!({"key": key})),
            ("sessions.create", json!({"key": key})),
            ("sessions.delete", json!({"key": key})),
        ] {
            let answer = world.call(eve, method, params);
            assert_eq!(answer["error"]["code"], "FORBIDDEN", "{method}: {answer}");
        }
        assert_eq!(ok(world.call(bob, "sessions.list", json!({})))["count"], 1);
        let all = admin(&mut world, 0);
        let seen = ok(world.call(all, "sessions.list", json!({})));
        assert_eq!(keys(&seen), [key]);
        // Who asks for less than the token allows gets less.
        let modest = join(&mut world, 0, "secret", &talks);
        assert_eq!(ok(world.call(modest, "sessions.list", json!({})))["count"], 0);
    }
}

#[test]
fn what_is_said_is_told_to_who_listens_to_the_session() {
    let mut world = World::new(3);
    let at = admin(&mut world, 0);
    let listener = admin(&mut world, 1);
    let params = json!({"key": "main"});
    let answer = ok(world.call(listener, "sessions.messages.subscribe", params.clone()));
    assert_eq!(answer, json!({"subscribed": true, "key": "agent:main:main"}));
    talk(&mut world, at, "main", "k1", "hello");
    talk(&mut world, at, "other", "k2", "not for you");
    let told = world.events(listener, "session.message");
    let roles: Vec<_> = told.iter().map(|event| event["message"]["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant"]);
    assert_eq!((&told[1]["messageId"], &told[1]["messageSeq"]), (&json!("2"), &json!(2)));
    assert_eq!((&told[0]["messageId"], &told[0]["messageSeq"]), (&json!("1"), &json!(1)));
    assert_eq!(told[0]["message"]["idempotencyKey"], "k1:user", "{}", told[0]);
    assert_eq!(told[0]["message"]["__openclaw"], json!({"id": "1", "seq": 1}));
    assert_eq!(told[1]["message"]["__openclaw"], json!({"id": "2", "seq": 2, "runId": "k1"}));
    assert!(world.events(at, "session.message").is_empty());
    let answer = ok(world.call(listener, "sessions.messages.unsubscribe", params));
    assert_eq!(answer["subscribed"], false);
    talk(&mut world, at, "main", "k3", "again");
    assert!(world.events(listener, "session.message").is_empty());
    for n in 0..64 {
        ok(world.call(listener, "sessions.messages.subscribe", json!({"key": n.to_string()})));
    }
    ok(world.call(listener, "sessions.messages.subscribe", json!({"key": "0"})));
    let one_more = world.call(listener, "sessions.messages.subscribe", json!({"key": "64"}));
    assert!(invalid(&one_more).contains("64 sessions"));
    let list = json!({"limit": 1, "includeLastMessage": true});
    let answer = ok(world.call(at, "sessions.subscribe", list));
    assert_eq!((&answer["subscribed"], &answer["count"]), (&json!(true), &json!(1)));
    ok(world.call(at, "sessions.unsubscribe", json!({})));
    talk(&mut world, at, "main", "k4", "unseen");
    assert!(world.events(at, "sessions.changed").is_empty());
}
