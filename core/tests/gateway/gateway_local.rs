//! Connections of the host itself: they need no credential and no place, and nothing else makes a
//! connection one of them.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use moorline_core::gateway::*;
use moorline_core::{ClientRequest, CloseCode};
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

/// Logged in on a local connection.
fn log_in(world: &mut World, node: usize) -> usize {
    let at = world.open_from(node, LOCAL);
    let hello = world.call(at, "connect", json!({}));
    assert_eq!(hello["ok"], true, "{hello}");
    at
}

#[test]
fn it_is_an_owner_under_a_name_of_its_own_whoever_it_says_it_is() {
    let mut world = World::new(1);
    let at = world.open_from(0, LOCAL);
    let params = json!({"user_id": "ann", "sender_id": "0123456789abcdef"});
    let hello = world.call(at, "connect", params);
    assert_eq!(hello["payload"]["user_id"], "host", "{hello}");
    assert_eq!(hello["payload"]["role"], "owner");
    let logged_in = world.facts.iter().find_map(|fact| match fact {
        Fact::Authenticated { user, role, credential, .. } => Some((user, *role, *credential)),
        _ => None,
    });
    assert_eq!(logged_in, Some((&"host".into(), Role::Owner, Credential::Local)));
}

#[test]
fn a_credential_that_comes_there_nevertheless_is_judged() {
    let mut world = World::new(1);
    let at = world.open_from(0, LOCAL);
    let wrong = world.call(at, "connect", json!({"token": "nonsense"}));
    assert_eq!(code(&wrong), "UNAUTHORIZED", "{wrong}");
    let viewer = world.call(at, "connect", json!({"token": "viewer", "user_id": "ann"}));
    assert_eq!(viewer["payload"]["role"], "viewer", "{viewer}");
    assert_eq!(viewer["payload"]["user_id"], "ann");
}

/// What a client over the network may say of itself.
fn pretenders() -> Vec<(ClientRequest, Value)> {
    let request = || ClientRequest::new("localhost:18790", "/ws").expect("a request");
    let header = |name: &str, value: &str| request().header(name, value).expect("a header");
    vec![
        (request(), json!({})),
        (request(), json!({"user_id": "host"})),
        (request(), json!({"user_id": "host", "local": true, "proof": "local"})),
        (header("X-Forwarded-For", "0.0.0.0"), json!({})),
        (header("X-Forwarded-For", "unix:"), json!({})),
        (header("Forwarded", "for=\"0.0.0.0:0\""), json!({})),
        (header("X-Moorline-Local", "1"), json!({})),
        (header("Authorization", "Bearer local"), json!({})),
        (ClientRequest::new("admin.sock", "/ws").expect("a request"), json!({})),
    ]
}

#[test]
fn nothing_that_a_client_of_the_network_says_makes_it_one() {
    let mut config = config();
    // Even who is believed about others is not believed about that.
    config.trusted_proxies = vec!["127.0.0.0/8".into(), "0.0.0.0".into()];
    config.allowed_hosts = vec!["admin.sock".into()];
    for (at, (request, params)) in pretenders().into_iter().enumerate() {
        let mut world = World::with(1, config.clone());
        let client = world.upgrade(0, "127.0.0.1", request);
        let answer = world.call(client, "connect", params);
        assert_eq!(code(&answer), "UNAUTHORIZED", "{at}: {answer}");
        let answer = world.call(client, "connections.list", json!({}));
        assert_eq!(code(&answer), "UNAUTHORIZED", "{at}: {answer}");
    }
}

#[test]
fn its_link_is_of_no_use_to_anybody_else_and_is_not_kept() {
    let mut world = World::new(1);
    let local = world.open_from(0, LOCAL);
    let hello = world.call(local, "connect", json!({}));
    let token = hello["payload"]["resume"]["token"].clone();
    let other = world.open(0);
    let params =
        json!({"token": "secret", "user_id": "host", "resume": {"token": token, "lastSeq": 0}});
    world.cut(local);
    let hello = world.call(other, "connect", params);
    assert_eq!(hello["payload"]["role"], "admin", "{hello}");
    assert_eq!(hello["payload"]["resume"]["resumed"], false, "{hello}");
    let (links, away, _) = world.nodes[0].links();
    assert_eq!((links, away), (1, 0), "that of the other client");
}

#[test]
fn it_does_not_count_and_is_let_in_where_nobody_else_is() {
    let mut config = config();
    config.bounds.connections = 1;
    config.bounds.pre_auth = 1;
    config.bounds.pre_auth_v4 = 1;
    config.rate_limit_rpm = 1;
    let mut world = World::with(1, config);
    world.login(0, "secret", "adm");
    let request = ClientRequest::new("localhost:18790", "/ws").expect("a request");
    let refused = world.upgrade(0, "127.0.0.1", request);
    assert!(world.clients[refused].messages.is_empty(), "there is no place for it");
    let locals: Vec<_> = (0..20).map(|_| log_in(&mut world, 0)).collect();
    for _ in 0..20 {
        for at in &locals {
            let answer = world.call(*at, "connections.list", json!({}));
            assert_eq!(answer["payload"]["total"], 1, "the other one only: {answer}");
        }
    }
    assert_eq!(world.nodes[0].connections().1, 1);
}

#[test]
fn lists_of_who_is_connected_do_not_have_it_and_nobody_is_told_of_it() {
    let mut world = World::new(2);
    let ann = world.login(1, "operator", "ann");
    world.advance(Duration::from_secs(5));
    world.events(ann, "presence");
    let local = log_in(&mut world, 0);
    world.advance(Duration::from_secs(5));
    assert!(world.events(ann, "presence").is_empty());
    let list = world.call(ann, "presence.list", json!({}));
    assert!(!list.to_string().contains("host"), "{list}");
    world.cut(local);
    world.advance(Duration::from_secs(5));
    assert!(world.events(ann, "presence").is_empty());
}

#[test]
fn it_may_come_and_stay_while_the_gateway_ends_and_is_done_when_all_others_are_gone() {
    let mut world = World::new(1);
    let ann = world.login(0, "operator", "ann");
    let before = log_in(&mut world, 0);
    let params = json!({"message": "hello", "agentId": "stuck", "ack": true});
    assert_eq!(world.call(ann, "chat.send", params)["ok"], true);
    let now = world.now;
    world.nodes[0].drain(now, &Drain::stop("enough"));
    world.settle();
    assert!(!world.events(before, "shutdown").is_empty());
    let during = log_in(&mut world, 0);
    let answer = world.call(during, "connections.list", json!({}));
    assert_eq!(code(&answer), "UNAVAILABLE", "nothing is begun any more: {answer}");
    let log = world.call(during, "logs.tail", json!({}));
    assert_eq!(log["ok"], true, "the log can be watched to the end: {log}");
    assert!(!world.nodes[0].is_drained(), "a run is under way");
    world.advance(Duration::from_secs(120));
    assert!(world.nodes[0].is_drained());
    assert_eq!(
        world.clients[ann].closed.as_ref().map(|closed| closed.0),
        Some(CloseCode::GOING_AWAY.0)
    );
    for local in [before, during] {
        assert!(world.clients[local].closed.is_none(), "the host closes it");
    }
}

#[test]
fn a_client_of_the_second_dialect_needs_neither_a_secret_nor_a_device_there() {
    let connect = json!({
        "minProtocol": 3, "maxProtocol": 4, "role": "operator",
        "scopes": ["operator.admin", "operator.pairing"],
        "client": {"id": "cli", "mode": "cli", "version": "1", "platform": "linux"},
    });
    let mut world = World::new(1);
    let at = world.open_from(0, LOCAL);
    let hello = world.call(at, "connect", connect.clone());
    assert_eq!(hello["ok"], true, "{hello}");
    let scopes = &hello["payload"]["auth"]["scopes"];
    assert_eq!(*scopes, json!(["operator.admin", "operator.pairing"]), "{hello}");
    let list = world.call(at, "device.pair.list", json!({}));
    assert_eq!(list["payload"]["pending"], json!([]), "{list}");
    let at = world.open(0);
    let refused = world.call(at, "connect", connect);
    assert_eq!(refused["ok"], false, "{refused}");
}
