//! Connections as admins see and end them, and the configuration as they see it.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use moorline_core::gateway::*;
use moorline_core::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

fn name(world: &World, at: usize) -> String {
    format!("{}-{}", world.clients[at].node, world.clients[at].id)
}

fn listed(world: &mut World, admin: usize, params: Value) -> Vec<Value> {
    let list = world.call(admin, "connections.list", params);
    list["payload"]["connections"].as_array().expect("connections").clone()
}

#[test]
fn an_admin_sees_every_connection_of_every_node() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let admin = world.login(0, "secret", "adm");
        let mut all = vec![admin];
        for node in 0..usize::from(nodes) {
            let at = world.open_from(node, &format!("192.0.2.{node}"));
            world.call(at, "connect", json!({"token": "operator", "user_id": "ann"}));
            all.push(at);
        }
        world.advance(SECOND * 10);
        let list = listed(&mut world, admin, json!({}));
        let mut names: Vec<_> = all.iter().map(|at| name(&world, *at)).collect();
        names.sort();
        let seen: Vec<_> = list.iter().map(|c| c["connId"].as_str().expect("a name")).collect();
        assert_eq!(seen, names);
        for connection in &list {
            let own = connection["connId"] == name(&world, admin);
            assert_eq!(connection["current"], own);
            assert_eq!(connection["idleMs"], if own { 0 } else { 10_000 });
            assert_eq!(connection["since"], UNIX_MS);
            let from = match own {
                true => "127.0.0.1:4000".into(),
                false => format!("192.0.2.{}:4000", connection["node"]),
            };
            assert_eq!(connection["remoteAddr"], from);
        }
        assert_eq!(listed(&mut world, admin, json!({"userId": "ann"})).len(), usize::from(nodes));
        let page = world.call(admin, "connections.list", json!({"limit": 1, "offset": 1}));
        assert_eq!(page["payload"]["connections"][0]["connId"], *names[1]);
        assert_eq!(page["payload"]["total"], all.len());
    }
}

#[test]
fn a_connection_is_closed_wherever_it_is_and_cannot_be_resumed() {
    for nodes in [1, 3] {
        for node in 0..usize::from(nodes) {
            let mut world = World::new(nodes);
            let admin = world.login(0, "secret", "adm");
            let ann = world.login(node, "operator", "ann");
            world.advance(SECOND * 2);
            for (reason, told) in
                [(json!(null), "closed by an administrator"), (json!("go home"), "go home")]
            {
                let at = world.login(node, "operator", "ann");
                let params = json!({"connId": name(&world, at), "reason": reason});
                let closed = world.call(admin, "connections.close", params.clone());
                let expected = json!({"ok": true, "connId": name(&world, at)});
                assert_eq!(closed["payload"], expected, "{closed}");
                assert_eq!(world.clients[at].closed, Some((1008, told.into())));
                match world.closed_fact(at) {
                    Some(Fact::Closed { code, reason, initiator, .. }) => {
                        assert_eq!((*code, &**reason), (Some(CloseCode(1008)), told));
                        assert_eq!(*initiator, Initiator::Local);
                    }
                    other => panic!("{other:?}"),
                }
                let by = |fact: &Fact| matches!(fact, Fact::SentAway { by, .. } if **by == *"adm");
                assert!(world.facts.iter().any(by));
                let (_, resume) = world.resume(node, at, "operator", "ann");
                assert_eq!(resume["gap"], true);
                let again = world.call(admin, "connections.close", params);
                assert_eq!(code(&again), "NOT_FOUND", "{again}");
                assert!(message(&again).contains("connections.list"), "{again}");
            }
            assert_eq!(world.clients[ann].closed, None);
            world.advance(SECOND * 2);
            let left = listed(&mut world, admin, json!({}));
            assert_eq!(left.len(), 4, "the admin, ann, and who came back twice");
        }
    }
}

#[test]
fn an_admin_who_closes_the_own_connection_is_answered_first() {
    let mut world = World::new(1);
    let admin = world.login(0, "secret", "adm");
    let params = json!({"connId": name(&world, admin)});
    assert_eq!(code(&world.call(admin, "connections.close", params)), "ok");
    assert_eq!(world.clients[admin].closed, Some((1008, "closed by an administrator".into())));
}

#[test]
fn a_socket_that_is_not_logged_in_can_be_closed_too() {
    let mut world = World::new(1);
    let admin = world.login(0, "secret", "adm");
    let open = world.open(0);
    let params = json!({"connId": name(&world, open), "reason": "bye"});
    assert_eq!(code(&world.call(admin, "connections.close", params)), "ok");
    assert_eq!(world.clients[open].closed, Some((1008, "bye".into())));
}

#[test]
fn a_close_needs_a_name_and_a_reason_that_fits() {
    let mut world = World::new(3);
    let admin = world.login(0, "secret", "adm");
    let long = "x".repeat(124);
    for (params, expected) in [
        (json!({}), "INVALID_REQUEST"),
        (json!({"connId": 1}), "INVALID_REQUEST"),
        (json!({"connId": "0-1", "reason": long}), "INVALID_REQUEST"),
        (json!({"connId": "0-1", "reason": "a\nb"}), "INVALID_REQUEST"),
        (json!({"connId": "0-99"}), "NOT_FOUND"),
        (json!({"connId": "1-99"}), "NOT_FOUND"),
        (json!({"connId": "7-1"}), "NOT_FOUND"),
        (json!({"connId": "nonsense"}), "NOT_FOUND"),
    ] {
        let answer = world.call(admin, "connections.close", params.clone());
        assert_eq!(code(&answer), expected, "{params}: {answer}");
    }
    // As much as a Close can carry.
    let at = world.login(0, "viewer", "ann");
    let params = json!({"connId": name(&world, at), "reason": "x".repeat(123)});
    world.call(admin, "connections.close", params);
    assert_eq!(world.clients[at].closed, Some((1008, "x".repeat(123))));
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let mut config = config();
    config.rate_limit_rpm = 600;
    config.allowed_origins = vec!["https://chat.example.com".into()];
    config.tokens[0].secret = Secret::new("hunter2-gateway");
    config.tokens[1].secret = Secret::new("hunter2-old");
    config.tokens[4].secret = Secret::new("hunter2-bob");
    config.jwt = vec![JwtKey {
        alg: JwtAlg::Hs256,
        key: Secret::new("hunter2-of-at-least-thirty-two-bytes"),
        issuer: "https://id.example".into(),
        audience: "chat".into(),
        role_claim: "role".into(),
        user_claim: "sub".into(),
    }];
    let mut world = World::with(1, config.clone());
    let admin = world.login(0, "hunter2-gateway", "adm");
    let answer = world.call(admin, "config.get", json!({}));
    assert!(!answer.to_string().contains("hunter2"), "{answer}");
    let shown = &answer["payload"]["config"];
    let tokens = shown["gateway"]["tokens"].as_array().expect("tokens");
    assert_eq!(tokens.len(), 5);
    assert_eq!(tokens[0], json!({"secret": "***", "role": "admin"}));
    assert_eq!(tokens[4], json!({"secret": "***", "role": "operator", "user": "bob"}));
    assert_eq!(shown["gateway"]["jwt"][0]["key"], "***");
    assert_eq!(shown["gateway"]["jwt"][0]["iss"], "https://id.example");
    assert_eq!(shown["gateway"]["port"], 18790);
    assert_eq!(shown["gateway"]["allowed_origins"], json!(["https://chat.example.com"]));
    assert_eq!(shown["gateway"]["rate_limit_rpm"], 600);
    assert_eq!(shown["agents"][0], json!({"id": "echo", "name": "Echo"}));
    assert_eq!(shown["limits"]["message_bytes"], 512 * 1024);
    assert_eq!(shown["limits"]["resume_within_ms"], 120_000);
    // What holds now, not at the start.
    config.rate_limit_rpm = 60;
    let now = world.now;
    world.nodes[0].reconfigure(now, config).expect("a configuration");
    let answer = world.call(admin, "config.get", json!({}));
    assert_eq!(answer["payload"]["config"]["gateway"]["rate_limit_rpm"], 60);
}
