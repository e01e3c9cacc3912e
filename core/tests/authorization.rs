//! Who may call what: every method of the table against every kind of caller, on one node and on three.
#![cfg(feature = "gateway")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "support/gateway.rs"]
mod world;

#[path = "support/workers.rs"]
mod workers;

use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use workers::{worker, worker_config};
use world::*;

/// Somebody who calls, and the token and the user of the login. A new kind of caller is a line
/// here and a column in [`TABLE`].
const CALLERS: [(&str, Login); 8] = [
    ("unauthenticated", Login::No),
    ("pending", Login::Waits),
    ("viewer", Login::By("viewer", "ann")),
    ("operator", Login::By("operator", "ann")),
    ("operator of another user", Login::By("operator", "eve")),
    ("admin", Login::By("secret", "adm")),
    ("owner", Login::By("secret", "root")),
    ("worker", Login::Worker),
];

#[derive(Debug, Copy, Clone)]
enum Login {
    No,
    /// A device that waits to be let in.
    Waits,
    By(&'static str, &'static str),
    /// Answers for an agent.
    Worker,
}

impl Login {
    fn make(self, world: &mut World, node: usize) -> usize {
        match self {
            Self::By(token, user) => world.login(node, token, user),
            Self::No => world.open(node),
            Self::Worker => worker(world, node, 1),
            Self::Waits => {
                let at = world.open(node);
                let answer = world.call(at, "connect", json!({"user_id": "eve"}));
                assert_eq!(answer["payload"]["status"], "pending_pairing", "{answer}");
                at
            }
        }
    }
}

/// What is called upon. Ann owns the session, in which a run is under way.
struct Target {
    session: String,
    run: String,
    /// Another connection of hers.
    connection: String,
    /// The id of an API key.
    key: String,
    /// The code of a device that asks to be let in.
    code: String,
    /// The name of one that was.
    device: String,
}

struct Row {
    method: &'static str,
    params: fn(&Target) -> Value,
    /// The code of the answer for each of [`CALLERS`].
    codes: [&'static str; CALLERS.len()],
}

const OK: &str = "ok";
const NO: &str = "UNAUTHORIZED";
const BUSY: &str = "FAILED_PRECONDITION";
const HERS: &str = "FORBIDDEN";
/// A worker may say something of runs; this one is none of its own.
const GONE: &str = "NOT_FOUND";

const fn row(
    method: &'static str,
    params: fn(&Target) -> Value,
    codes: [&'static str; CALLERS.len()],
) -> Row {
    Row { method, params, codes }
}

fn nothing(_: &Target) -> Value {
    json!({})
}

fn session(target: &Target) -> Value {
    json!({"sessionKey": target.session})
}

fn wait(target: &Target) -> Value {
    json!({"runId": target.run, "timeoutMs": 0})
}

fn connection(target: &Target) -> Value {
    json!({"connId": target.connection})
}

fn label(target: &Target) -> Value {
    json!({"sessionKey": target.session, "label": "mine now"})
}

fn message(target: &Target) -> Value {
    json!({"sessionKey": target.session, "message": "hello"})
}

fn said(target: &Target) -> Value {
    json!({"runId": target.run, "text": "mine", "phase": "call", "id": "1", "name": "x"})
}

fn key_params(_: &Target) -> Value {
    json!({"name": "ci", "role": "viewer"})
}

fn key_id(target: &Target) -> Value {
    json!({"id": target.key})
}

fn code_of(target: &Target) -> Value {
    json!({"code": target.code})
}

fn device(target: &Target) -> Value {
    json!({"senderId": target.device})
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    //                                     nobody pending viewer operator other admin owner worker
    row("connect", |_| json!({"token": "viewer"}), [OK, OK, OK, OK, OK, OK, OK, OK]),
    row("health", nothing,                [NO, NO, OK, OK, OK, OK, OK, NO]),
    row("status", nothing,                [NO, NO, OK, OK, OK, OK, OK, NO]),
    row("presence.list", nothing,         [NO, NO, OK, OK, OK, OK, OK, NO]),
    row("agents.list", nothing,           [NO, NO, OK, OK, OK, OK, OK, NO]),
    row("chat.send", message,             [NO, NO, NO, OK, HERS, OK, OK, NO]),
    row("chat.history", session,          [NO, NO, OK, OK, HERS, OK, OK, NO]),
    row("chat.abort", session,            [NO, NO, NO, OK, HERS, OK, OK, NO]),
    row("chat.inject", message,           [NO, NO, NO, OK, HERS, OK, OK, NO]),
    row("chat.session.status", session,   [NO, NO, OK, OK, HERS, OK, OK, NO]),
    row("sessions.list", nothing,         [NO, NO, OK, OK, OK, OK, OK, NO]),
    row("agent.identity.get", nothing,    [NO, NO, OK, OK, OK, OK, OK, NO]),
    row("agent.wait", wait,               [NO, NO, OK, OK, HERS, OK, OK, NO]),
    row("models.list", nothing,           [NO, NO, OK, OK, OK, OK, OK, NO]),
    row("sessions.preview", session,      [NO, NO, OK, OK, HERS, OK, OK, NO]),
    row("sessions.patch", label,          [NO, NO, NO, OK, HERS, OK, OK, NO]),
    row("sessions.delete", session,       [NO, NO, NO, OK, HERS, OK, OK, NO]),
    row("sessions.reset", session,        [NO, NO, NO, OK, HERS, OK, OK, NO]),
    // It must not be done while a run is under way: whoever may ask is told so.
    row("sessions.compact", session,      [NO, NO, NO, BUSY, HERS, BUSY, BUSY, NO]),
    row("connections.list", nothing,      [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("connections.close", connection,  [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("config.get", nothing,            [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("logs.tail", nothing,              [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("api_keys.create", key_params,    [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("api_keys.list", nothing,         [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("api_keys.revoke", key_id,        [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("tokens.revoke", |_| json!({"jti": "a"}), [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("browser.pairing.status", |_| json!({"sender_id": "0123456789abcdef"}), [NO, OK, OK, OK, OK, OK, OK, OK]),
    row("device.pair.request", nothing,   [NO, NO, NO, OK, OK, OK, OK, NO]),
    row("device.pair.list", nothing,      [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("device.pair.approve", code_of,   [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("device.pair.deny", code_of,      [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("device.pair.revoke", device,     [NO, NO, NO, NO, NO, OK, OK, NO]),
    row("agent.register", nothing,    [NO, NO, NO, NO, NO, NO, NO, OK]),
    row("agent.drain", nothing,       [NO, NO, NO, NO, NO, NO, NO, OK]),
    row("run.delta", said,            [NO, NO, NO, NO, NO, NO, NO, GONE]),
    row("run.thinking", said,         [NO, NO, NO, NO, NO, NO, NO, GONE]),
    row("run.tool", said,             [NO, NO, NO, NO, NO, NO, NO, GONE]),
    row("run.complete", said,         [NO, NO, NO, NO, NO, NO, NO, GONE]),
    row("run.fail", said,             [NO, NO, NO, NO, NO, NO, NO, GONE]),
];

#[test]
fn every_method_has_its_row_and_every_row_its_method() {
    let methods: BTreeSet<_> = methods().iter().map(|method| method.name).collect();
    let rows: BTreeSet<_> = TABLE.iter().map(|row| row.method).collect();
    assert_eq!(rows.len(), TABLE.len(), "a method has two rows");
    assert_eq!(methods, rows);
}

#[test]
fn everybody_may_do_what_the_table_says_and_nothing_else() {
    for nodes in [1, 3] {
        for row in TABLE {
            for (at, (caller, login)) in CALLERS.iter().enumerate() {
                for node in 0..usize::from(nodes) {
                    let case = format!("{} by {caller} at node {node} of {nodes}", row.method);
                    check(nodes, node, row, *login, row.codes[at], &case);
                }
            }
        }
    }
}

fn world_that_pairs(nodes: u16) -> World {
    let mut config = worker_config();
    config.pairing = true;
    World::with(nodes, config)
}

fn check(nodes: u16, node: usize, row: &Row, login: Login, expected: &str, case: &str) {
    let mut world = world_that_pairs(nodes);
    let ann = world.login(usize::from(nodes) - 1, "operator", "ann");
    let target = target(&mut world, ann);
    let caller = login.make(&mut world, node);
    let before = state(&mut world, ann, &target);
    let answer = world.call(caller, row.method, (row.params)(&target));
    assert_eq!(code(&answer), expected, "{case}: {answer}");
    let text = world::message(&answer);
    match expected {
        OK | BUSY => return,
        GONE => assert!(text.starts_with("this worker was not given a run"), "{case}: {text}"),
        NO if matches!(login, Login::No | Login::Waits) => {
            assert_eq!(text, "first request must be 'connect'", "{case}");
        }
        NO => {
            let role = find(row.method).role.expect("a role");
            let wanted = format!("permission denied: {} requires {role} role", row.method);
            assert_eq!(text, wanted, "{case}");
        }
        _ => assert!(text.contains("does not belong to user"), "{case}: {text}"),
    }
    assert!(!answer.to_string().contains("first words"), "{case}: {answer}");
    assert_eq!(state(&mut world, ann, &target), before, "{case}: what is refused is not done");
}

/// Whoever it is: what is not there is not found, and nobody learns more.
#[test]
fn a_session_that_is_not_there_is_not_found_by_any_method_that_needs_one() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let callers = [("operator", "ann"), ("secret", "adm"), ("secret", "root")];
        let callers = callers.map(|(token, user)| world.login(0, token, user));
        let needs_session = |row: &&Row| {
            let mut params = find(row.method).params.iter();
            params.any(|param| param.name == "sessionKey" && row.method != "agent.identity.get")
        };
        let rows: Vec<_> = TABLE.iter().filter(needs_session).collect();
        assert!(rows.len() >= 5);
        for row in rows {
            for n in 0..4 {
                let session = format!("agent:echo:ws:direct:none-{n}");
                let params = (row.params)(&Target {
                    session,
                    run: "run-0-none".into(),
                    connection: "0-0".into(),
                    key: String::new(),
                    code: String::new(),
                    device: String::new(),
                });
                for caller in callers {
                    if find(row.method).role > Some(Role::Operator) && caller == callers[0] {
                        continue;
                    }
                    let answer = world.call(caller, row.method, params.clone());
                    assert_eq!(code(&answer), "NOT_FOUND", "{}: {answer}", row.method);
                }
            }
        }
    }
}

#[test]
fn a_wrong_token_helps_nobody_and_logs_out() {
    for (caller, login) in CALLERS {
        let mut world = world_that_pairs(1);
        let at = login.make(&mut world, 0);
        let answer = world.call(at, "connect", json!({"token": "nonsense", "user_id": "root"}));
        assert_eq!(code(&answer), NO, "{caller}: {answer}");
        assert!(world::message(&answer).starts_with("wrong gateway token"), "{caller}: {answer}");
        let answer = world.call(at, "health", json!({}));
        assert_eq!(world::message(&answer), "first request must be 'connect'", "{caller}");
    }
}

fn target(world: &mut World, ann: usize) -> Target {
    let params = json!({"message": "first words", "agentId": "stuck", "ack": true});
    let answer = world.call(ann, "chat.send", params);
    let text = |name: &str| answer["payload"][name].as_str().expect("a text").to_owned();
    let (session, run) = (text("sessionKey"), text("runId"));
    let (node, other) =
        (world.clients[ann].node, world.login(world.clients[ann].node, "viewer", "ann"));
    let connection = format!("{node}-{}", world.clients[other].id);
    let admin = world.login(node, "secret", "adm");
    let mut ask = |method: &str, params: Value| world.call(admin, method, params)["payload"].take();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let key = text(&ask("api_keys.create", json!({"name": "ci", "role": "viewer"}))["id"]);
    let code = text(&ask("device.pair.request", json!({}))["code"]);
    let other = text(&ask("device.pair.request", json!({}))["code"]);
    let paired = ask("device.pair.approve", json!({"code": other}));
    let device = text(&paired["paired"]["senderId"]);
    world.cut(admin);
    Target { session, run, connection, key, code, device }
}

/// What can be seen of the session, and of who is connected.
fn state(world: &mut World, ann: usize, target: &Target) -> [Value; 4] {
    let history = world.call(ann, "chat.history", session(target));
    let status = world.call(ann, "chat.session.status", session(target));
    assert_eq!(status["payload"]["runId"], *target.run);
    let list = world.call(ann, "sessions.list", json!({}));
    let connected = world.call(ann, "presence.list", json!({}));
    [history, status, list, connected].map(|mut answer| answer["payload"].take())
}

fn find(name: &str) -> &'static Method {
    methods().iter().find(|method| method.name == name).expect("a row's method")
}
