//! API keys, revocations, and how wrong credentials are counted.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::ClientRequest;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

/// Makes a key as an admin; gives its id and the key.
fn create(world: &mut World, node: usize, params: Value) -> (String, String) {
    let admin = world.login(node, "secret", "adm");
    let made = world.call(admin, "api_keys.create", params);
    assert_eq!(code(&made), "ok", "{made}");
    let text = |name: &str| made["payload"][name].as_str().expect(name).to_string();
    world.cut(admin);
    (text("id"), text("key"))
}

fn operator(name: &str) -> Value {
    json!({"name": name, "role": "operator"})
}

/// All that the store holds, as text.
fn stored(world: &mut World) -> String {
    format!("{:?}", world.store.execute(StoreWork::Load { at: UNIX_MS }))
}

fn closed(world: &World, at: usize) -> Option<(u16, &str)> {
    world.clients[at].closed.as_ref().map(|(code, reason)| (*code, &**reason))
}

#[test]
fn a_key_is_told_once_and_known_to_all_nodes_at_once() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let (id, key) = create(
            &mut world,
            0,
            json!({"name": "ci", "role": "operator", "user": "bob", "expiresInMs": 60_000}),
        );
        assert!(key.starts_with(&format!("mlk_{id}_")) && key.len() > 60, "{key}");
        assert!(!stored(&mut world).contains(&key));
        assert!(!format!("{:?}", world.facts).contains(&key));
        let at = world.open(last);
        let hello = world.call(at, "connect", json!({"token": key, "user_id": "root"}));
        assert_eq!(hello["payload"]["role"], "operator");
        assert_eq!(hello["payload"]["user_id"], "bob", "the key's user, not the one that was said");
        let admin = world.login(last, "rotated", "other");
        let list = world.call(admin, "api_keys.list", json!({}));
        let wanted = json!({"keys": [{
            "id": id, "name": "ci", "role": "operator", "user": "bob", "createdAt": UNIX_MS,
            "createdBy": "adm", "expiresAt": UNIX_MS + 60_000,
        }]});
        assert_eq!(list["payload"], wanted, "neither the key nor its hash");
        // The header is as good as the parameter.
        let request = ClientRequest::new("localhost", "/").expect("a request");
        let request = request.header("Authorization", &format!("Bearer {key}")).expect("a header");
        let at = world.upgrade(last, "127.0.0.1", request);
        assert_eq!(world.call(at, "connect", json!({}))["payload"]["user_id"], "bob");
    }
}

#[test]
fn two_keys_have_nothing_in_common() {
    let mut world = World::new(1);
    let (id, key) = create(&mut world, 0, operator("a"));
    let (other_id, other) = create(&mut world, 0, operator("a"));
    assert_ne!(id, other_id);
    let secret = |key: &str| key.splitn(3, '_').nth(2).expect("a secret").to_string();
    assert_ne!(secret(&key), secret(&other));
    let mixed = format!("mlk_{id}_{}", secret(&other));
    let at = world.open(0);
    let answer = world.call(at, "connect", json!({"token": mixed}));
    assert_eq!(message(&answer), "wrong API key in the connect params");
    assert_eq!(answer["error"]["details"]["credential"], "api_key");
}

#[test]
fn what_cannot_be_a_key_is_refused() {
    let mut world = World::new(1);
    let admin = world.login(0, "secret", "root");
    for (params, wanted) in [
        (json!({"role": "viewer"}), "name is required"),
        (json!({"name": "x"}), "role is required"),
        (json!({"name": "x", "role": "owner"}), "role must be"),
        (json!({"name": "x", "role": "king"}), "role must be"),
        (json!({"name": "x".repeat(101), "role": "viewer"}), "name must have"),
        (json!({"name": "a\nb", "role": "viewer"}), "name must have"),
        (json!({"name": "x", "role": "viewer", "user": "a\nb"}), "user must have"),
        (json!({"name": "x", "role": "viewer", "expiresInMs": 0}), "expiresInMs must be"),
        (json!({"name": "x", "role": "viewer", "expiresInMs": u64::MAX}), "expiresInMs must be"),
    ] {
        let answer = world.call(admin, "api_keys.create", params.clone());
        assert_eq!(code(&answer), "INVALID_REQUEST", "{params}");
        assert!(message(&answer).starts_with(wanted), "{params}: {answer}");
    }
    // An admin key makes no owner, whatever user its bearer names.
    let (_, key) = create(&mut world, 0, json!({"name": "x", "role": "admin"}));
    let at = world.open(0);
    let hello = world.call(at, "connect", json!({"token": key, "user_id": "root"}));
    assert_eq!(hello["payload"]["role"], "admin");
}

#[test]
fn there_are_no_more_keys_than_the_bound() {
    let mut config = config();
    config.bounds.api_keys = 2;
    let mut world = World::with(1, config);
    create(&mut world, 0, operator("a"));
    create(&mut world, 0, json!({"name": "b", "role": "viewer", "expiresInMs": 1000}));
    let admin = world.login(0, "secret", "adm");
    assert_eq!(code(&world.call(admin, "api_keys.create", operator("c"))), "RESOURCE_EXHAUSTED");
    world.advance(Duration::from_secs(1));
    // Nor when they are asked for at the same moment.
    world.make_slow(0);
    let asked = ["c", "d", "e"].map(|name| world.request(admin, "api_keys.create", operator(name)));
    world.advance(Duration::from_secs(5));
    let made = asked.map(|id| world.answer(admin, &id).expect("an answer"));
    let made = made.each_ref().map(code);
    assert_eq!(made, ["ok", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]);
}

#[test]
fn a_revoked_key_closes_its_sockets_and_drops_its_links_on_all_nodes() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let (id, key) = create(&mut world, 0, operator("gone"));
        let (_, kept) = create(&mut world, 0, operator("kept"));
        let live: Vec<_> =
            (0..300).map(|n| world.login(n % usize::from(nodes), &key, "ann")).collect();
        let away = world.login(0, &key, "ann");
        world.cut(away);
        let other = world.login(last, &kept, "ann");
        // A link of the first node whose socket is at the last one, when there are two.
        let moved = world.login(0, &key, "ann");
        let (moved, resumed) = world.resume(last, moved, &key, "ann");
        assert_eq!(resumed["resumed"], true);
        let admin = world.login(last, "secret", "adm");
        let answer = world.call(admin, "api_keys.revoke", json!({"id": id}));
        assert_eq!(answer["payload"], json!({"status": "revoked"}));
        for at in live.into_iter().chain([moved]) {
            assert_eq!(closed(&world, at), Some((1008, "revoked")));
        }
        assert_eq!(code(&world.call(other, "health", json!({}))), "ok");
        // The admin's and the other key's: none waits for anybody.
        let (links, detached) = world.nodes.iter().fold((0, 0), |sum, node| {
            let (links, detached, _) = node.links();
            (sum.0 + links, sum.1 + detached)
        });
        assert_eq!((links - detached, detached), (2, 2), "the cut admins' links wait, no other");
        let at = world.open(0);
        let answer = world.call(at, "connect", json!({"token": key}));
        assert_eq!(code(&answer), "UNAUTHORIZED");
        let (_, resumed) = world.resume(0, away, &kept, "ann");
        assert_eq!(resumed["gap"], true, "the link is gone for everybody");
        let answer = world.call(admin, "api_keys.revoke", json!({"id": id}));
        assert_eq!(code(&answer), "NOT_FOUND");
    }
}

#[test]
fn a_key_whose_time_is_over_is_told_so_and_its_link_waits_for_the_next_key() {
    let mut world = World::new(1);
    let short = json!({"name": "a", "role": "operator", "expiresInMs": 60_000});
    let (_, key) = create(&mut world, 0, short);
    let (_, next) = create(&mut world, 0, operator("b"));
    let at = world.login(0, &key, "ann");
    world.advance(Duration::from_millis(59_999));
    assert_eq!(closed(&world, at), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(closed(&world, at), Some((1008, "credential expired")));
    let late = world.open(0);
    let answer = world.call(late, "connect", json!({"token": key}));
    assert_eq!(message(&answer), "expired API key in the connect params");
    let (_, resumed) = world.resume(0, at, &next, "ann");
    assert_eq!((&resumed["resumed"], &resumed["gap"]), (&json!(true), &json!(false)));
}

#[test]
fn another_login_on_the_connection_has_its_own_end() {
    let mut world = World::new(1);
    let short = json!({"name": "a", "role": "operator", "expiresInMs": 60_000});
    let (_, key) = create(&mut world, 0, short);
    let at = world.login(0, &key, "ann");
    assert_eq!(code(&world.call(at, "connect", json!({"token": "operator"}))), "ok");
    world.advance(Duration::from_secs(61));
    assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
}

#[test]
fn keys_and_revocations_outlive_a_restart() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let (_, key) = create(&mut world, 0, operator("kept"));
        let (id, gone) = create(&mut world, 0, operator("gone"));
        let admin = world.login(0, "secret", "adm");
        assert_eq!(code(&world.call(admin, "api_keys.revoke", json!({"id": id}))), "ok");
        let revoke = json!({"token": "sha256:f42546d5"});
        assert_eq!(code(&world.call(admin, "tokens.revoke", revoke)), "ok");
        let mut world = World::with_store(nodes, config(), std::mem::take(&mut world.store));
        for node in 0..usize::from(nodes) {
            world.login(node, &key, "ann");
            for (token, text) in [(&*gone, "wrong API key"), ("rotated", "revoked gateway token")] {
                let at = world.open(node);
                let answer = world.call(at, "connect", json!({"token": token}));
                assert_eq!(message(&answer), format!("{text} in the connect params"));
            }
        }
    }
}

#[test]
fn a_revoked_gateway_token_ends_its_logins_whatever_the_configuration_says() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let gone: Vec<_> =
            (0..usize::from(nodes)).map(|node| world.login(node, "rotated", "a")).collect();
        let stays = world.login(0, "operator", "ann");
        let admin = world.login(0, "secret", "adm");
        for wrong in ["sha256:00000000", "rotated", ""] {
            let answer = world.call(admin, "tokens.revoke", json!({"token": wrong}));
            assert_ne!(code(&answer), "ok", "{wrong}");
        }
        let answer = world.call(admin, "tokens.revoke", json!({"token": "f42546d5"}));
        assert_eq!(answer["payload"], json!({"status": "revoked"}));
        for at in gone {
            assert_eq!(closed(&world, at), Some((1008, "revoked")));
        }
        assert_eq!(code(&world.call(stays, "health", json!({}))), "ok");
        let now = world.now;
        for node in &mut world.nodes {
            node.reconfigure(now, config()).expect("a configuration");
        }
        let at = world.open(0);
        let answer = world.call(at, "connect", json!({"token": "rotated"}));
        assert_eq!(message(&answer), "revoked gateway token in the connect params");
    }
}

#[test]
fn a_store_that_fails_makes_no_key_and_a_revocation_holds_nevertheless() {
    let mut world = World::new(1);
    let (id, key) = create(&mut world, 0, operator("a"));
    let at = world.login(0, &key, "ann");
    let admin = world.login(0, "secret", "adm");
    world.store_mode = StoreMode::Fails;
    assert_eq!(code(&world.call(admin, "api_keys.create", operator("b"))), "UNAVAILABLE");
    assert_eq!(code(&world.call(admin, "api_keys.revoke", json!({"id": id}))), "UNAVAILABLE");
    assert_eq!(closed(&world, at), Some((1008, "revoked")));
    let revoke = json!({"token": "f42546d5"});
    assert_eq!(code(&world.call(admin, "tokens.revoke", revoke.clone())), "UNAVAILABLE");
    world.store_mode = StoreMode::Works;
    let list = world.call(admin, "api_keys.list", json!({}));
    assert_eq!(list["payload"]["keys"], json!([]));
    // Once more, because it would be back after a restart.
    assert_eq!(code(&world.call(admin, "api_keys.revoke", json!({"id": id}))), "ok");
    assert_eq!(code(&world.call(admin, "tokens.revoke", revoke)), "ok");
    let mut world = World::with_store(1, config(), std::mem::take(&mut world.store));
    for token in [&*key, "rotated"] {
        let at = world.open(0);
        assert_eq!(code(&world.call(at, "connect", json!({"token": token}))), "UNAUTHORIZED");
    }
}

/// The link of a token that is not there any more waits for nobody, nor does it come back.
#[test]
fn a_configuration_without_a_token_drops_its_links_too() {
    let mut world = World::new(3);
    let away = world.login(1, "rotated", "ann");
    world.cut(away);
    let mut config = config();
    config.tokens.remove(1);
    let now = world.now;
    for node in &mut world.nodes {
        node.reconfigure(now, config.clone()).expect("a configuration");
    }
    world.settle();
    assert!(world.nodes.iter().all(|node| node.links().0 == 0));
    let (_, resumed) = world.resume(0, away, "secret", "ann");
    assert_eq!(resumed["gap"], true);
}

// --- guessing ------------------------------------------------------------------------------------

#[test]
fn each_kind_of_credential_is_counted_by_itself() {
    let mut world = World::new(1);
    let (_, key) = create(&mut world, 0, operator("a"));
    let connect = |world: &mut World, token: &str| {
        let at = world.open_from(0, "192.0.2.9");
        let answer = world.call(at, "connect", json!({"token": token}));
        world.cut(at);
        answer
    };
    for n in 1..=12 {
        let answer = connect(&mut world, "mlk_0000000000000000_guess");
        assert_eq!(answer["error"]["details"]["credential"], "api_key");
        assert_eq!(answer["error"]["retryAfterMs"].is_u64(), n > 10, "{n}: {answer}");
    }
    let answer = connect(&mut world, &key);
    assert_eq!(message(&answer), "too many wrong API keys from this address");
    assert_eq!(code(&connect(&mut world, "secret")), "ok", "tokens are another kind");
}

/// Any page that the user has open can try a gateway on the same machine.
#[test]
fn a_page_in_a_browser_is_locked_out_on_loopback_and_other_programs_are_not() {
    let page = || {
        let request = ClientRequest::new("localhost:18790", "/ws").expect("a request");
        request.header("Origin", "http://localhost:18790").expect("a header")
    };
    for bearer in [false, true] {
        let mut world = World::new(1);
        for n in 1..=12 {
            let (request, params) = match bearer {
                true => {
                    (page().header("Authorization", "Bearer guess").expect("a header"), json!({}))
                }
                false => (page(), json!({"token": "guess"})),
            };
            let at = world.upgrade(0, "127.0.0.1", request);
            let answer = world.call(at, "connect", params);
            assert_eq!(code(&answer), "UNAUTHORIZED");
            assert_eq!(answer["error"]["retryAfterMs"].is_u64(), n > 10, "{n}: {answer}");
        }
        let at = world.upgrade(0, "127.0.0.1", page());
        let answer = world.call(at, "connect", json!({"token": "secret"}));
        assert_eq!(message(&answer), "too many wrong gateway tokens from this address");
        world.login(0, "secret", "adm");
        world.advance(Duration::from_secs(301));
        let at = world.upgrade(0, "127.0.0.1", page());
        assert_eq!(code(&world.call(at, "connect", json!({"token": "secret"}))), "ok");
    }
}

#[test]
fn a_script_that_goes_round_in_circles_does_not_lock_the_page_of_its_machine_out() {
    let mut world = World::new(1);
    for _ in 0..100 {
        let at = world.open(0);
        assert_eq!(code(&world.call(at, "connect", json!({"token": "guess"}))), "UNAUTHORIZED");
        world.cut(at);
    }
    let request = ClientRequest::new("localhost:18790", "/ws").expect("a request");
    let request = request.header("Origin", "http://localhost:18790").expect("a header");
    let at = world.upgrade(0, "127.0.0.1", request);
    assert_eq!(code(&world.call(at, "connect", json!({"token": "secret"}))), "ok");
}
