//! Who may be a worker, of which agents, and until when.
#![cfg(feature = "gateway")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "support/gateway.rs"]
mod world;

#[path = "support/workers.rs"]
mod workers;

use moorline_core::ClientRequest;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use workers::*;
use world::*;

fn connect(world: &mut World, at: usize, params: Value) -> Value {
    world.call(at, "connect", params)
}

#[test]
fn a_worker_is_told_what_it_may_do_and_nothing_of_others() {
    let mut world = World::with(2, worker_config());
    world.login(0, "operator", "ann");
    let at = world.open(1);
    let hello = connect(&mut world, at, json!({"token": "research-token", "role": "agent"}));
    let payload = &hello["payload"];
    assert_eq!(
        (&payload["role"], &payload["user_id"]),
        (&json!("agent"), &json!("agent:research"))
    );
    assert_eq!(payload["agents"], json!(["research"]));
    let methods = json!([
        "agent.register",
        "agent.drain",
        "run.delta",
        "run.thinking",
        "run.tool",
        "run.complete",
        "run.fail"
    ]);
    assert_eq!(payload["features"]["methods"], methods);
    assert!(payload.get("snapshot").is_none() && payload.get("resume").is_none(), "{payload}");
    assert!(!hello.to_string().contains("ann"));
    // It hears of nobody who comes and goes either.
    world.login(0, "operator", "bob");
    world.advance(Duration::from_secs(5));
    assert!(world.clients[at].messages.is_empty(), "{:?}", world.clients[at].messages);
    // Clients are not told of methods that they cannot call.
    let client = world.open(0);
    let hello = connect(&mut world, client, json!({"token": "secret"}));
    let listed = hello["payload"]["features"]["methods"].to_string();
    assert!(listed.contains("chat.send") && !listed.contains("run.delta"), "{listed}");
}

#[test]
fn the_role_must_be_that_of_the_credential() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, worker_config());
        for (params, expected) in [
            (json!({"token": "research-token", "role": "agent"}), "agent"),
            (json!({"token": "research-token"}), "agent"),
            (json!({"token": "secret", "role": "agent"}), "UNAUTHORIZED"),
            (json!({"token": "wrong", "role": "agent"}), "UNAUTHORIZED"),
            (json!({"role": "agent"}), "UNAUTHORIZED"),
            // Other words are another server's.
            (json!({"token": "secret", "role": "user"}), "admin"),
        ] {
            let at = world.open(usize::from(nodes) - 1);
            let answer = connect(&mut world, at, params.clone());
            let is = match code(&answer) {
                "ok" => answer["payload"]["role"].as_str().expect("a role"),
                code => code,
            };
            assert_eq!(is, expected, "{params}: {answer}");
        }
    }
}

#[test]
fn a_gateway_without_tokens_lets_no_worker_in_without_its_own() {
    let mut config = worker_config();
    config.tokens.clear();
    let mut world = World::with(1, config);
    let client = world.open(0);
    assert_eq!(connect(&mut world, client, json!({}))["payload"]["role"], "operator");
    for params in [json!({"role": "agent"}), json!({"role": "agent", "token": "wrong"})] {
        let at = world.open(0);
        assert_eq!(code(&connect(&mut world, at, params)), "UNAUTHORIZED");
    }
    let at = worker(&mut world, 0, 1);
    let run = begin(&mut world, client);
    assert_eq!(given(&mut world, at), [run]);
}

#[test]
fn wrong_tokens_of_workers_are_counted_and_lock_out() {
    let mut world = World::with(1, worker_config());
    for n in 0..12 {
        let at = world.open_from(0, "10.0.0.9");
        let params = json!({"token": format!("wrong-{n}"), "role": "agent"});
        assert_eq!(code(&connect(&mut world, at, params)), "UNAUTHORIZED");
    }
    // The right one is not told from another wrong one.
    let at = world.open_from(0, "10.0.0.9");
    let answer = connect(&mut world, at, json!({"token": "research-token", "role": "agent"}));
    assert!(message(&answer).contains("too many wrong"), "{answer}");
}

#[test]
fn a_worker_answers_only_for_agents_of_its_credential() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, worker_config());
        let at = worker_login(&mut world, usize::from(nodes) - 1, "research-token");
        for (params, expected) in [
            (json!({"agents": ["coder"]}), "FORBIDDEN"),
            (json!({"agents": ["research", "coder"]}), "FORBIDDEN"),
            (json!({"agents": ["nobody"]}), "FORBIDDEN"),
            (json!({"agents": ["echo"]}), "FAILED_PRECONDITION"),
            (json!({"agents": "research"}), "INVALID_REQUEST"),
            (json!({"concurrency": 0}), "INVALID_REQUEST"),
            (json!({"concurrency": 1001}), "INVALID_REQUEST"),
            (json!({"concurrency": 1000}), "ok"),
            (json!({"agents": ["research", {"id": "research"}], "concurrency": 1}), "ok"),
        ] {
            let answer = world.call(at, "agent.register", params.clone());
            assert_eq!(code(&answer), expected, "{params}: {answer}");
        }
        let ann = world.login(0, "operator", "ann");
        let params = json!({"message": "hello", "agentId": "coder", "ack": true});
        world.call(ann, "chat.send", params);
        begin(&mut world, ann);
        let events = world.events(at, "run.start");
        let agents: Vec<_> = events.iter().map(|event| &event["agentId"]).collect();
        assert_eq!(agents, ["research"]);
    }
}

#[test]
fn one_token_may_be_that_of_several_agents() {
    let mut config = worker_config();
    config.workers[1].token = Some(Secret::new("research-token"));
    let mut world = World::with(1, config);
    let at = worker_login(&mut world, 0, "research-token");
    let answer = world.call(at, "agent.register", json!({}));
    assert_eq!(answer["payload"]["agents"], json!(["research", "coder"]));
}

#[test]
fn a_key_of_the_role_agent_is_good_for_its_agents_until_it_is_revoked() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, worker_config());
        let admin = world.login(0, "secret", "adm");
        for (params, expected) in [
            (json!({"name": "w", "role": "agent"}), "INVALID_REQUEST"),
            (json!({"name": "w", "role": "agent", "agents": []}), "INVALID_REQUEST"),
            (
                json!({"name": "w", "role": "agent", "agents": ["coder"], "user": "ann"}),
                "INVALID_REQUEST",
            ),
            (json!({"name": "w", "role": "operator", "agents": ["coder"]}), "INVALID_REQUEST"),
            (json!({"name": "w", "role": "agent", "agents": ["echo"]}), "NOT_FOUND"),
            (json!({"name": "w", "role": "agent", "agents": ["none"]}), "NOT_FOUND"),
        ] {
            let answer = world.call(admin, "api_keys.create", params.clone());
            assert_eq!(code(&answer), expected, "{params}");
        }
        let params = json!({"name": "w", "role": "agent", "agents": ["research"]});
        let made = world.call(admin, "api_keys.create", params);
        let key = made["payload"]["key"].as_str().expect("a key").to_owned();
        assert_eq!(made["payload"]["agents"], json!(["research"]));
        let at = worker(&mut world, usize::from(nodes) - 1, 1);
        world.cut(at);
        let at = worker_login(&mut world, usize::from(nodes) - 1, &key);
        let answer = world.call(at, "agent.register", json!({}));
        assert_eq!(answer["payload"]["agents"], json!(["research"]), "{answer}");
        let ann = world.login(0, "operator", "ann");
        let run = begin(&mut world, ann);
        assert_eq!(given(&mut world, at), [run.as_str()]);
        world.call(admin, "api_keys.revoke", json!({"id": made["payload"]["id"]}));
        assert_eq!(world.clients[at].closed, Some((1008, "revoked".into())));
        assert_eq!(kinds(&mut world, ann, &run), ["run.started", "run.failed"]);
        assert_eq!(link(&mut world, ann)["state"], "down");
    }
}

#[test]
fn a_key_survives_a_restart_with_its_agents() {
    let mut world = World::with(1, worker_config());
    let admin = world.login(0, "secret", "adm");
    let params = json!({"name": "w", "role": "agent", "agents": ["coder"]});
    let made = world.call(admin, "api_keys.create", params);
    world.restart(0, worker_config());
    let key = made["payload"]["key"].as_str().expect("a key");
    let at = worker_login(&mut world, 0, key);
    let answer = world.call(at, "agent.register", json!({}));
    assert_eq!(answer["payload"]["agents"], json!(["coder"]));
}

#[test]
fn a_revoked_token_sends_its_workers_away_and_lets_none_in() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, worker_config());
        let at = worker(&mut world, usize::from(nodes) - 1, 1);
        let admin = world.login(0, "secret", "adm");
        // The SHA-256 of `research-token`.
        let print = "3f09f03b";
        let answer = world.call(admin, "tokens.revoke", json!({"token": print}));
        assert_eq!(code(&answer), "ok", "{answer}");
        assert_eq!(world.clients[at].closed, Some((1008, "revoked".into())));
        let at = world.open(0);
        let answer = connect(&mut world, at, json!({"token": "research-token", "role": "agent"}));
        assert_eq!(answer["error"]["details"]["why"], "revoked", "{answer}");
    }
}

#[test]
fn another_configuration_sends_workers_away_that_answer_for_more_than_it_allows() {
    for nodes in [1, 3] {
        let mut config = worker_config();
        config.workers[1].token = Some(Secret::new("research-token"));
        let mut world = World::with(nodes, config.clone());
        let last = usize::from(nodes) - 1;
        let both = worker_login(&mut world, last, "research-token");
        world.call(both, "agent.register", json!({}));
        let one = worker_login(&mut world, last, "research-token");
        world.call(one, "agent.register", json!({"agents": ["research"]}));
        config.workers[1].token = Some(Secret::new("another-token"));
        let now = world.now;
        for node in &mut world.nodes {
            node.reconfigure(now, config.clone()).expect("a configuration");
        }
        world.settle();
        assert_eq!(world.clients[both].closed, Some((1008, "revoked".into())));
        assert_eq!(world.clients[one].closed, None);
        config.workers.remove(0);
        for node in &mut world.nodes {
            node.reconfigure(now, config.clone()).expect("a configuration");
        }
        world.settle();
        assert_eq!(world.clients[one].closed, Some((1008, "revoked".into())));
    }
}

#[test]
fn a_worker_that_logs_in_as_somebody_else_is_a_worker_no_more() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, worker_config());
        let ann = world.login(0, "operator", "ann");
        let at = worker(&mut world, usize::from(nodes) - 1, 1);
        let run = begin(&mut world, ann);
        given(&mut world, at);
        connect(&mut world, at, json!({"token": "operator", "user_id": "bob"}));
        assert_eq!(kinds(&mut world, ann, &run), ["run.started", "run.failed"]);
        assert_eq!(code(&delta(&mut world, at, &run, "a")), "UNAUTHORIZED");
        assert_eq!(link(&mut world, ann)["state"], "down");
    }
}

#[test]
fn what_cannot_be_is_refused_as_a_configuration() {
    let worker = |agent: &str, token: &str| WorkerBackend::new(agent, Some(Secret::new(token)));
    let with = |workers: Vec<WorkerBackend>| GatewayConfig { workers, ..worker_config() }.check();
    let wrong = |agent: &str| Err(ConfigError::Worker(agent.into()));
    assert_eq!(with(vec![worker("research", "a"), worker("coder", "a")]), Ok(()));
    assert_eq!(with(vec![WorkerBackend::new("research", None)]), Ok(()));
    assert_eq!(with(vec![worker("nobody", "a")]), wrong("nobody"));
    assert_eq!(with(vec![worker("research", "a"), worker("research", "b")]), wrong("research"));
    assert_eq!(with(vec![worker("research", "")]), wrong("research"));
    assert_eq!(with(vec![worker("research", "secret")]), wrong("research"));
    let mut config = worker_config();
    config.tokens[0].role = Role::Agent;
    assert_eq!(config.check(), Err(ConfigError::WorkerToken));
}

#[test]
fn a_workers_credential_is_good_for_nothing_else() {
    let mut world = World::with(1, worker_config());
    let request = ClientRequest::new("localhost:18790", "/ws").expect("a request");
    let at = world.upgrade(0, "127.0.0.1", request);
    world.clients[at].messages.clear();
    let params = json!({"minProtocol": 3, "maxProtocol": 3, "role": "operator",
        "scopes": ["operator.admin"], "auth": {"token": "research-token"},
        "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}});
    let answer = world.call(at, "connect", params);
    assert_eq!(answer["ok"], false, "{answer}");
    // Nor by a JSON Web Token, whose issuer knows no agents.
    assert_eq!(Role::parse("agent"), None);
}
