//! How often somebody may ask, under whatever name, and what mistakes cost.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use serde_json::json;
use std::time::Duration;
use world::*;

/// Twenty a minute, five at once.
fn limited(nodes: u16) -> World {
    let mut config = config();
    config.rate_limit_rpm = 20;
    World::with(nodes, config)
}

fn login_from(world: &mut World, node: usize, peer: &str, token: &str, user: &str) -> usize {
    let at = world.open_from(node, peer);
    let hello = world.call(at, "connect", json!({"token": token, "user_id": user}));
    assert_eq!(code(&hello), "ok", "{hello}");
    at
}

/// Sends that were let through before the first that was not, at most ten; and what it was told.
fn sends(world: &mut World, at: usize) -> (usize, String) {
    for n in 0..10 {
        let answer = world.call(at, "chat.send", json!({"message": "x", "ack": true}));
        match code(&answer) {
            "ok" => {}
            "RESOURCE_EXHAUSTED" => return (n, message(&answer).into()),
            _ => panic!("{answer}"),
        }
    }
    (10, String::new())
}

#[test]
fn another_name_is_no_other_budget() {
    for nodes in [1, 3] {
        let mut world = limited(nodes);
        let mut passed = 0;
        for n in 0..20 {
            let (node, user) = (n % usize::from(nodes), format!("name-{n}"));
            let at = login_from(&mut world, node, "192.0.2.1", "secret", &user);
            let (sent, told) = sends(&mut world, at);
            passed += sent;
            assert!(told.starts_with("rate limit exceeded for this address"), "{told}");
            // Nor is a new login on the same connection.
            let params = json!({"token": "operator", "user_id": format!("again-{n}")});
            assert_eq!(code(&world.call(at, "connect", params)), "ok");
            passed += sends(&mut world, at).0;
        }
        assert_eq!(passed, 5);
        // Whose token is bound to a user pays for that one only, also from there.
        let bob = login_from(&mut world, 0, "192.0.2.1", "bound", "anybody");
        assert_eq!(sends(&mut world, bob), (5, "rate limit exceeded".into()));
        // Others, from elsewhere, have lost nothing.
        let eve = login_from(&mut world, 0, "192.0.2.2", "operator", "eve");
        assert_eq!(sends(&mut world, eve).0, 5);
    }
}

#[test]
fn another_address_is_no_other_budget_for_the_same_user() {
    for nodes in [1, 3] {
        let mut world = limited(nodes);
        let mut passed = 0;
        for n in 0..10 {
            let peer = format!("192.0.2.{n}");
            let at = login_from(&mut world, n % usize::from(nodes), &peer, "operator", "ann");
            passed += sends(&mut world, at).0;
        }
        assert_eq!(passed, 5);
    }
}

#[test]
fn unknown_methods_cost_as_much_as_a_send() {
    for nodes in [1, 3] {
        let mut world = limited(nodes);
        let at = world.login(0, "operator", "ann");
        let other = world.login(usize::from(nodes) - 1, "operator", "ann");
        for _ in 0..5 {
            assert_eq!(code(&world.call(at, "no.such", json!({}))), "INVALID_REQUEST");
        }
        let refused = world.call(other, "no.such", json!({}));
        assert_eq!(code(&refused), "RESOURCE_EXHAUSTED");
        assert_eq!(refused["error"]["retryAfterMs"], 3000);
        assert_eq!(sends(&mut world, other).0, 0);
        // A stop passes.
        let stop = world.call(other, "chat.abort", json!({"sessionKey": "x"}));
        assert_eq!(code(&stop), "NOT_FOUND");
        world.advance(Duration::from_secs(3));
        assert_eq!(code(&world.call(at, "no.such", json!({}))), "INVALID_REQUEST");
    }
}

#[test]
fn what_is_no_request_costs_and_so_do_wrong_parameters() {
    let mut world = limited(1);
    let at = world.login(0, "operator", "ann");
    for text in ["nonsense", "{}"] {
        world.send_text(at, text);
        let answer = world.answer(at, "").expect("an answer");
        assert_eq!(code(&answer), "INVALID_REQUEST", "{answer}");
    }
    for params in [json!({}), json!({"message": 1}), json!([])] {
        assert_eq!(code(&world.call(at, "chat.send", params)), "INVALID_REQUEST");
    }
    assert_eq!(sends(&mut world, at).0, 0);
    world.send_text(at, "nonsense");
    let answer = world.answer(at, "").expect("an answer");
    assert_eq!(code(&answer), "RESOURCE_EXHAUSTED", "{answer}");
    // And still counts as what it is.
    (0..13).for_each(|_| world.send_text(at, "nonsense"));
    assert_eq!(world.clients[at].closed, Some((1008, "too many invalid frames".into())));
}

#[test]
fn who_is_not_logged_in_spends_nobodys_budget() {
    let mut world = limited(1);
    let nobody = world.open(0);
    for _ in 0..10 {
        assert_eq!(code(&world.call(nobody, "no.such", json!({}))), "UNAUTHORIZED");
    }
    let at = world.login(0, "operator", "ann");
    assert_eq!(sends(&mut world, at).0, 5);
}
