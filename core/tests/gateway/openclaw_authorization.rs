//! Who may call what in the dialect of OpenClaw: every method of the table against every kind of caller.

use crate::nodes;
use crate::openclaw;
use crate::world;
use moorline_core::gateway::openclaw_methods;
use openclaw::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use world::World;

/// The scope that each method needs; of none, there is none.
const TABLE: &[(&str, &[&str])] = &[
    ("", &["health"]),
    (
        "operator.read",
        &[
            "status",
            "system-presence",
            "last-heartbeat",
            "models.list",
            "agents.list",
            "agent.identity.get",
            "config.get",
            "logs.tail",
            "commands.list",
            "chat.history",
            "chat.startup",
            "chat.metadata",
            "sessions.list",
            "sessions.describe",
            "sessions.resolve",
            "sessions.subscribe",
            "sessions.unsubscribe",
            "sessions.messages.subscribe",
            "sessions.messages.unsubscribe",
            "channels.status",
            "cron.list",
            "cron.status",
            "tasks.list",
            "taskSuggestions.list",
            "sessions.groups.list",
            "progressCard.get",
            "users.prefs.get",
            "node.list",
            "node.describe",
        ],
    ),
    (
        "operator.write",
        &[
            "chat.send",
            "chat.abort",
            "agent",
            "agent.wait",
            "wake",
            "sessions.patch",
            "sessions.create",
            "sessions.delete",
            "send",
            "message.action",
            "node.invoke",
        ],
    ),
    (
        "operator.admin",
        &["chat.inject", "sessions.reset", "sessions.compact", "update.status", "system-event"],
    ),
    (
        "operator.pairing",
        &[
            "device.pair.list",
            "device.pair.approve",
            "device.pair.reject",
            "device.pair.remove",
            "device.token.rotate",
            "device.token.revoke",
            "node.pair.list",
            "node.pair.approve",
            "node.pair.reject",
            "node.pair.remove",
            "node.rename",
        ],
    ),
    ("operator.questions", &["question.list"]),
    (
        "operator.approvals",
        &["exec.approval.list", "plugin.approval.list", "openclaw.approval.list"],
    ),
];

/// A caller, and the scopes of the table that it may use.
const CALLERS: [(&str, &[&str], &[&str]); 7] = [
    ("none", &[], &[""]),
    ("read", &["operator.read"], &["", "operator.read"]),
    ("write", &["operator.write"], &["", "operator.read", "operator.write"]),
    ("approvals", &["operator.approvals"], &["", "operator.approvals"]),
    ("questions", &["operator.questions"], &["", "operator.questions"]),
    ("pairing", &["operator.pairing"], &["", "operator.pairing"]),
    (
        "admin",
        &["operator.admin"],
        &[
            "",
            "operator.read",
            "operator.write",
            "operator.admin",
            "operator.questions",
            "operator.approvals",
            "operator.pairing",
        ],
    ),
];

#[test]
fn every_method_has_its_row_and_every_row_its_method() {
    let rows =
        TABLE.iter().flat_map(|(scope, names)| names.iter().map(move |name| (*name, *scope)));
    let rows: BTreeMap<_, _> = rows.collect();
    let methods = openclaw_methods().into_iter().filter(|method| method.role == "operator");
    let methods: BTreeMap<_, _> = methods
        .map(|method| (method.name, method.scopes.first().copied().unwrap_or_default()))
        .collect();
    assert_eq!(methods, rows);
}

#[test]
fn each_caller_may_do_what_the_table_says_and_nothing_else() {
    for (scope, names) in TABLE {
        for name in *names {
            for (caller, asked, may) in CALLERS {
                let mut world = World::new(1);
                let at = join(&mut world, 0, "secret", asked);
                let answer = world.call(at, name, json!({}));
                let missing = answer["error"]["details"]["code"] == "MISSING_SCOPE";
                assert_eq!(missing, !may.contains(scope), "{name} by {caller}: {answer}");
                if missing {
                    assert_eq!(answer["error"]["code"], "FORBIDDEN");
                    assert_eq!(answer["error"]["message"], format!("missing scope: {scope}"));
                    assert_eq!(answer["error"]["details"]["missingScope"], *scope);
                    assert_eq!(answer["error"]["details"]["requiredScopes"], json!([scope]));
                } else {
                    assert_ne!(answer["error"]["code"], "FORBIDDEN", "{name} by {caller}");
                }
            }
            let mut world = World::new(1);
            let at = nodes::come(&mut world, 0, 1, &[]).at;
            let answer = world.call(at, name, json!({}));
            assert_eq!(answer["error"]["code"], "FORBIDDEN", "{name} by a node: {answer}");
            let text = answer["error"]["message"].as_str().expect("a message");
            assert!(text.starts_with("unauthorized role: "), "{text}");
        }
    }
}

#[test]
fn what_nodes_say_nobody_else_may_say() {
    let mut world = World::new(1);
    let (at, node) = (admin(&mut world, 0), nodes::come(&mut world, 0, 1, &[]).at);
    let methods = openclaw_methods().into_iter().filter(|method| method.role == "node");
    let names: Vec<_> = methods.map(|method| method.name).collect();
    let expected = [
        "node.invoke.result",
        "node.event",
        "node.host.stats",
        "node.runnerInventory.update",
        "node.skills.update",
        "node.pluginTools.update",
    ];
    assert_eq!(names, expected);
    for name in names {
        let answer = world.call(at, name, json!({}));
        assert_eq!(answer["error"]["code"], "FORBIDDEN", "{name} by an admin: {answer}");
        let answer = world.call(node, name, json!({}));
        assert_ne!(answer["error"]["code"], "FORBIDDEN", "{name} by a node: {answer}");
    }
}

#[test]
fn a_parameter_that_is_required_is_asked_for() {
    let mut world = World::new(1);
    let at = admin(&mut world, 0);
    let mut asked = 0;
    for method in openclaw_methods().iter().filter(|method| method.role == "operator") {
        let answer = world.call(at, method.name, json!({}));
        let Some(first) = method.required.first() else {
            let text = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(!text.contains(": required"), "{}: {answer}", method.name);
            continue;
        };
        asked += 1;
        let text = format!("invalid {} params: at /{first}: required", method.name);
        assert_eq!(invalid(&answer), text);
    }
    assert!(asked > 15, "{asked}");
}

#[test]
fn clients_are_told_of_what_has_a_meaning() {
    let mut world = World::new(1);
    let at = world.open(0);
    let hello = world.call(at, "connect", cli("secret", 4, &[]));
    let listed: Vec<_> =
        hello["payload"]["features"]["methods"].as_array().expect("a list").clone();
    for method in openclaw_methods().iter().filter(|method| method.role == "operator") {
        assert_eq!(listed.contains(&Value::from(method.name)), method.listed, "{}", method.name);
    }
    for name in ["chat.startup", "sessions.list", "agents.list", "commands.list"] {
        assert!(listed.contains(&Value::from(name)), "{name}");
    }
    for name in ["send", "message.action", "cron.list", "system-event"] {
        assert!(!listed.contains(&Value::from(name)), "{name}");
    }
}

#[test]
fn frames_that_clients_would_drop_are_noticed() {
    let good = json!({"type": "res", "id": "1", "ok": true, "payload": {"any": null}});
    world::envelope::check(&good).expect("fine");
    let error =
        json!({"code": "UNAVAILABLE", "message": "m", "retryable": true, "retryAfterMs": 5});
    world::envelope::check(&json!({"type": "res", "id": "1", "ok": false, "error": error}))
        .expect("fine");
    for bad in [
        json!({"type": "res", "id": "1", "ok": true, "error": null}),
        json!({"type": "res", "id": "", "ok": true}),
        json!({"type": "res", "id": "1", "ok": false}),
        json!({"type": "res", "id": "1", "ok": true, "more": 1}),
        json!({"type": "res", "id": "1", "ok": false, "error": {"code": "NOT_FOUND", "message": "m"}}),
        json!({"type": "event", "event": "tick", "seq": -1}),
        json!({"type": "event", "event": "tick", "recipientProfileId": "x"}),
        json!({"type": "event", "event": "health", "stateVersion": {"presence": 1}}),
    ] {
        assert!(world::envelope::check(&bad).is_err(), "{bad}");
    }
}
