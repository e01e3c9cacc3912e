//! Devices of the second dialect: asking, being let in, coming back by a token, being thrown out.
#![allow(clippy::disallowed_methods)]

use crate::device;
use crate::gateway;
use device::*;
use gateway::*;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;

const FAR: &str = "10.0.0.9";
const READ: &[&str] = &["operator.read"];
const CHAT: &[&str] = &["operator.read", "operator.write"];
const ADMIN: &[&str] = &["operator.admin"];
const PAIRING: &[&str] = &["operator.pairing"];

/// A client on the gateway's own host that may do all of this, and has no device.
fn operator(world: &mut World, node: usize, scopes: &[&'static str]) -> usize {
    let (at, _) = knock(world, node, "127.0.0.1", &[]);
    let hello = world.call(at, "connect", Hello::cli("secret", scopes).params());
    assert_eq!(code(&hello), "ok", "{hello}");
    at
}

fn request_id(answer: &Value) -> String {
    let details = &answer["error"]["details"];
    assert_eq!(details["code"], "PAIRING_REQUIRED", "{answer}");
    details["requestId"].as_str().expect("an id").into()
}

fn reason(answer: &Value) -> &str {
    answer["error"]["details"]["reason"].as_str().unwrap_or_default()
}

/// A device from elsewhere asks.
fn ask(world: &mut World, node: usize, device: &TestDevice, scopes: &[&'static str]) -> String {
    let hello = Hello::cli("secret", scopes);
    let (_, answer) = device.connect_from(world, node, FAR, &hello);
    request_id(&answer)
}

fn approve(world: &mut World, node: usize, id: &str) -> Value {
    let admin = operator(world, node, ADMIN);
    let answer = world.call(admin, "device.pair.approve", json!({"requestId": id}));
    world.cut(admin);
    answer
}

fn list(world: &mut World, node: usize) -> Value {
    let at = operator(world, node, PAIRING);
    let answer = world.call(at, "device.pair.list", json!({}));
    world.cut(at);
    answer["payload"].clone()
}

/// A device that was let in, with its token.
fn paired(world: &mut World, device: &TestDevice, scopes: &[&'static str]) -> String {
    let (at, hello) = device.connect(world, 0, &Hello::cli("secret", scopes));
    world.cut(at);
    token(&hello)
}

fn closed(world: &World, at: usize) -> Option<(u16, &str)> {
    world.clients[at].closed.as_ref().map(|(code, reason)| (*code, &**reason))
}

const REMOVED: Option<(u16, &str)> = Some((4001, "device removed"));

#[test]
fn a_device_of_this_host_with_the_secret_is_let_in_silently_and_gets_a_token() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let watch = operator(&mut world, last, PAIRING);
        let device = TestDevice::new(1);
        let (_, hello) = device.connect(&mut world, 0, &Hello::cli("secret", CHAT));
        let auth = &hello["payload"]["auth"];
        assert_eq!((&auth["role"], &auth["scopes"]), (&json!("operator"), &json!(CHAT)));
        assert_eq!(auth["issuedAtMs"], UNIX_MS);
        assert_eq!(token(&hello).len(), 43);
        let changed = world.events(watch, "device.pair.changed");
        assert_eq!(changed, [json!({"deviceId": device.id, "reason": "approved", "ts": UNIX_MS})]);
        // Nodes tell each other who is connected once in a second.
        world.advance(Duration::from_secs(1));
        let list = list(&mut world, last);
        let known = &list["paired"][0];
        assert_eq!(
            (&known["deviceId"], &known["publicKey"]),
            (&json!(device.id), &json!(device.key))
        );
        assert_eq!((&known["approvedVia"], &known["connected"]), (&json!("silent"), &json!(true)));
        assert_eq!((&known["tokens"][0]["scopes"], &list["pending"]), (&json!(CHAT), &json!([])));
        assert_eq!(known["lastSeenReason"], "connect");
    }
}

#[test]
fn a_token_alone_brings_its_device_back_at_every_node_and_is_told_back() {
    for (nodes, protocol) in [(1, 3), (3, 4)] {
        let mut world = World::new(nodes);
        let device = TestDevice::new(1);
        let first = paired(&mut world, &device, CHAT);
        for node in 0..usize::from(nodes) {
            let hello = Hello { protocols: (3, protocol), ..Hello::by_token(&first, READ) };
            for (hello, peer) in [
                (hello.clone(), FAR),
                // Old clients send it where the secret would be.
                (Hello { auth: json!({"token": first}), ..hello.clone() }, FAR),
                (Hello { version: "v2", ..hello }, "127.0.0.1"),
            ] {
                let (at, answer) = device.connect_from(&mut world, node, peer, &hello);
                assert_eq!(code(&answer), "ok", "{answer}");
                let auth = &answer["payload"]["auth"];
                assert_eq!((token(&answer), &auth["scopes"]), (first.clone(), &json!(READ)));
                assert_eq!(
                    (&auth["role"], &auth["issuedAtMs"]),
                    (&json!("operator"), &json!(UNIX_MS))
                );
                let answer = world.call(at, "system-presence", json!({}));
                assert_eq!(code(&answer), "ok");
                let answer = world.call(at, "device.pair.list", json!({}));
                assert_eq!(code(&answer), "FORBIDDEN");
            }
        }
        let list = list(&mut world, 0);
        assert_eq!(list["paired"][0]["tokens"][0]["lastUsedAtMs"], UNIX_MS);
    }
}

#[test]
fn who_comes_with_the_secret_keeps_the_token_that_it_shows_and_else_gets_another() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let first = paired(&mut world, &device, READ);
    let auth = json!({"token": "secret", "deviceToken": first});
    let both = Hello { auth, ..Hello::cli("", READ) };
    assert_eq!(token(&device.connect(&mut world, 0, &both).1), first);
    let second = paired(&mut world, &device, READ);
    assert_ne!(second, first);
    // Both are valid: another program of the same machine has the first.
    for token in [&first, &second] {
        assert_eq!(code(&device.connect(&mut world, 0, &Hello::by_token(token, READ)).1), "ok");
    }
    // When the scopes grow, so does the token.
    let wide = Hello { scopes: CHAT.into(), ..both };
    let third = token(&device.connect(&mut world, 0, &wide).1);
    assert_ne!(third, first);
    assert_eq!(code(&device.connect(&mut world, 0, &Hello::by_token(&third, CHAT)).1), "ok");
}

#[test]
fn a_device_from_elsewhere_waits_for_a_decision_that_everybody_hears() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let deciders = [operator(&mut world, 0, PAIRING), operator(&mut world, last, ADMIN)];
        let others = [operator(&mut world, 0, CHAT), world.login(last, "secret", "root")];
        let device = TestDevice::new(1);
        let hello = Hello { family: Some("Mac"), ..Hello::cli("secret", CHAT) };
        let (at, answer) = device.connect_from(&mut world, last, FAR, &hello);
        let details = &answer["error"]["details"];
        let id = request_id(&answer);
        let expected = json!({"code": "PAIRING_REQUIRED", "reason": "not-paired", "requestId": id,
            "remediationHint": details["remediationHint"], "deviceId": device.id,
            "requestedRole": "operator", "requestedScopes": CHAT});
        assert_eq!(*details, expected);
        let text = message(&answer);
        assert!(text.ends_with(&format!("(requestId: {id})")) && text.len() <= 120, "{text}");
        assert_eq!(closed(&world, at), Some((1008, text)));
        let pending = json!({"requestId": id, "deviceId": device.id, "userId": "default",
            "publicKey": device.key,
            "platform": "linux", "deviceFamily": "Mac", "clientId": "cli", "clientMode": "cli",
            "role": "operator", "roles": ["operator"], "scopes": CHAT, "silent": false,
            "isRepair": false, "ts": UNIX_MS});
        for at in deciders {
            assert_eq!(world.events(at, "device.pair.requested"), std::slice::from_ref(&pending));
        }
        for node in 0..=last {
            assert_eq!(list(&mut world, node)["pending"], json!([pending]));
        }
        let answer = world.call(deciders[0], "device.pair.approve", json!({"requestId": id}));
        assert_eq!(code(&answer), "FORBIDDEN", "it may not do itself what is asked: {answer}");
        assert_eq!(answer["error"]["details"]["missingScope"], "operator.read");
        let answer = world.call(deciders[1], "device.pair.approve", json!({"requestId": id}));
        assert_eq!(answer["payload"]["requestId"], id, "{answer}");
        assert_eq!(answer["payload"]["device"]["approvedVia"], "owner");
        let resolved =
            json!({"requestId": id, "deviceId": device.id, "decision": "approved", "ts": UNIX_MS});
        for at in deciders {
            assert_eq!(world.events(at, "device.pair.resolved"), std::slice::from_ref(&resolved));
        }
        for at in others {
            assert!(world.clients[at].messages.iter().all(|message| {
                !message["event"].as_str().is_some_and(|name| name.starts_with("device."))
            }));
        }
        let (_, hello) = device.connect_from(&mut world, 0, FAR, &hello);
        assert_eq!(hello["payload"]["auth"]["scopes"], json!(CHAT));
        let again = world.call(deciders[1], "device.pair.approve", json!({"requestId": id}));
        assert_eq!((code(&again), message(&again)), ("INVALID_REQUEST", "unknown requestId"));
    }
}

#[test]
fn a_wish_keeps_its_request_for_five_minutes_and_another_takes_its_place() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let watch = operator(&mut world, last, PAIRING);
        let device = TestDevice::new(1);
        let first = ask(&mut world, 0, &device, READ);
        world.advance(Duration::from_secs(299));
        assert_eq!(ask(&mut world, last, &device, READ), first);
        assert_eq!(world.events(watch, "device.pair.requested").len(), 1);
        world.advance(Duration::from_secs(1));
        assert_eq!(list(&mut world, 0)["pending"], json!([]));
        let answer = approve(&mut world, last, &first);
        assert_eq!(message(&answer), "unknown requestId");
        let second = ask(&mut world, last, &device, READ);
        assert_ne!(second, first);
        let third = ask(&mut world, 0, &device, CHAT);
        let resolved = world.events(watch, "device.pair.resolved");
        assert_eq!(
            (&resolved[0]["requestId"], &resolved[0]["decision"]),
            (&json!(second), &json!("rejected"))
        );
        for node in 0..=last {
            let pending = list(&mut world, node)["pending"].clone();
            assert_eq!(
                (pending.as_array().map(Vec::len), &pending[0]["requestId"]),
                (Some(1), &json!(third))
            );
        }
    }
}

#[test]
fn who_is_rejected_is_not_let_in() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let device = TestDevice::new(1);
        let id = ask(&mut world, 0, &device, READ);
        let at = operator(&mut world, last, PAIRING);
        let answer = world.call(at, "device.pair.reject", json!({"requestId": id}));
        assert_eq!(answer["payload"], json!({"requestId": id, "deviceId": device.id}));
        assert_eq!(world.events(at, "device.pair.resolved")[0]["decision"], "rejected");
        for node in 0..=last {
            assert_eq!(message(&approve(&mut world, node, &id)), "unknown requestId");
        }
        let again = world.call(at, "device.pair.reject", json!({"requestId": id}));
        assert_eq!(message(&again), "unknown requestId");
        assert_ne!(ask(&mut world, 0, &device, READ), id);
    }
}

#[test]
fn only_who_is_on_this_host_for_sure_is_let_in_silently() {
    let forwarded = [
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("Origin", "http://localhost:18790"),
    ];
    let mut world =
        World::with(1, GatewayConfig { allowed_hosts: vec!["gw.example".into()], ..config() });
    let device = TestDevice::new(1);
    let hello = Hello::cli("secret", READ);
    let ways = forwarded.map(|header| ("localhost:18790", Some(header)));
    for (host, header) in ways.into_iter().chain([("gw.example", None)]) {
        let (at, challenge) = knock_at(&mut world, 0, "127.0.0.1", host, header.as_slice());
        let answer = world.call(at, "connect", hello.signed(&device, &challenge));
        assert_eq!(reason(&answer), "not-paired", "{host} {header:?}: {answer}");
        // Nor has a client without a device the scopes of this host.
        let (at, _) = knock_at(&mut world, 0, "127.0.0.1", host, header.as_slice());
        let answer = world.call(at, "connect", hello.params());
        assert_eq!(answer["payload"]["auth"]["scopes"], json!([]), "{answer}");
    }
    let (_, answer) = device.connect(&mut world, 0, &hello);
    assert_eq!(code(&answer), "ok");
    assert_eq!(list(&mut world, 0)["pending"], json!([]), "what it had asked for is settled");
}

#[test]
fn a_switch_has_everybody_ask_from_one_moment_to_the_next() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let hello = Hello::cli("secret", READ);
    let strict = GatewayConfig { auto_approve_local: false, ..config() };
    world.nodes[0].reconfigure(world.now, strict).expect("a configuration");
    let (_, answer) = device.connect(&mut world, 0, &hello);
    assert_eq!(reason(&answer), "not-paired");
    world.nodes[0].reconfigure(world.now, config()).expect("a configuration");
    assert_eq!(code(&device.connect(&mut world, 0, &hello).1), "ok");
}

#[test]
fn asking_for_more_is_silent_only_with_the_secret() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let first = paired(&mut world, &device, READ);
    let beyond = device.connect(&mut world, 0, &Hello::by_token(&first, ADMIN)).1;
    assert_eq!(beyond["error"]["details"]["code"], "AUTH_SCOPE_MISMATCH");
    let far = device.connect_from(&mut world, 0, FAR, &Hello::cli("secret", ADMIN)).1;
    assert_eq!(reason(&far), "scope-upgrade");
    let details = &far["error"]["details"];
    assert_eq!(
        (&details["approvedRoles"], &details["approvedScopes"]),
        (&json!(["operator"]), &json!(READ))
    );
    let role = device.connect_from(&mut world, 0, FAR, &Hello::node("secret")).1;
    assert_eq!(reason(&role), "role-upgrade");
    assert_eq!(code(&device.connect(&mut world, 0, &Hello::cli("secret", ADMIN)).1), "ok");
    let pending = list(&mut world, 0)["pending"].clone();
    assert_eq!(pending.as_array().map(Vec::len), Some(1), "the node's wish still waits: {pending}");
    // The first token has not grown with it.
    let beyond = device.connect(&mut world, 0, &Hello::by_token(&first, ADMIN)).1;
    assert_eq!(beyond["error"]["details"]["code"], "AUTH_SCOPE_MISMATCH");
}

#[test]
fn a_credential_gives_a_device_no_more_than_it_has_itself() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    paired(&mut world, &device, ADMIN);
    // The device may do all, but not by this.
    let (at, hello) = device.connect(&mut world, 0, &Hello::cli("viewer", ADMIN));
    assert_eq!(
        hello["payload"]["auth"]["scopes"],
        json!(["operator.read", "operator.sessions.read"])
    );
    assert_eq!(code(&world.call(at, "device.pair.list", json!({}))), "FORBIDDEN");
    let narrow = token(&hello);
    let answer = device.connect(&mut world, 0, &Hello::by_token(&narrow, CHAT)).1;
    assert_eq!(answer["error"]["details"]["code"], "AUTH_SCOPE_MISMATCH");
    assert_eq!(code(&device.connect(&mut world, 0, &Hello::by_token(&narrow, READ)).1), "ok");
}

#[test]
fn a_machine_that_has_become_another_asks_again_where_people_look() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let ui = Hello { client: ("openclaw-tui", "ui"), ..Hello::cli("secret", READ) };
    let first = token(&device.connect(&mut world, 0, &ui).1);
    let moved = Hello { platform: "darwin", ..ui.clone() };
    assert_eq!(reason(&device.connect(&mut world, 0, &moved).1), "metadata-upgrade");
    let by_token = Hello { platform: "darwin", ..Hello::by_token(&first, READ) };
    assert_eq!(reason(&device.connect(&mut world, 0, &by_token).1), "metadata-upgrade");
    // Leaving the platform out of what is signed does not help.
    let older = Hello { version: "v2", ..by_token };
    assert_eq!(reason(&device.connect(&mut world, 0, &older).1), "metadata-upgrade");
    assert_eq!(code(&device.connect(&mut world, 0, &ui).1), "ok", "as it was");
    let tool = Hello { platform: "darwin", ..Hello::cli("secret", READ) };
    assert_eq!(code(&device.connect(&mut world, 0, &tool).1), "ok");
}

#[test]
fn a_token_is_of_no_use_to_another_key_or_user_or_role() {
    let mut world = World::new(1);
    let (one, two) = (TestDevice::new(1), TestDevice::new(2));
    let first = paired(&mut world, &one, READ);
    paired(&mut world, &two, READ);
    let wrong = |answer: &Value| {
        assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH", "{answer}");
    };
    wrong(&two.connect(&mut world, 0, &Hello::by_token(&first, READ)).1);
    let node =
        Hello { client: ("node-host", "node"), role: "node", ..Hello::by_token(&first, &[]) };
    wrong(&one.connect(&mut world, 0, &node).1);
    // Without a device it is a wrong secret.
    let (at, _) = knock(&mut world, 0, FAR, &[]);
    let answer = world.call(at, "connect", Hello::cli(&first, READ).params());
    assert_eq!(answer["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
    // Bob's secret lets the same machine in for bob, and then it is not the other user's any more.
    let (at, _) = one.connect(&mut world, 0, &Hello::by_token(&first, READ));
    let far = one.connect_from(&mut world, 0, FAR, &Hello::cli("bound", READ)).1;
    assert_eq!(reason(&far), "not-paired");
    assert_eq!(closed(&world, at), None);
    let (bob, hello) = one.connect(&mut world, 0, &Hello::cli("bound", READ));
    assert_eq!(code(&hello), "ok");
    assert_eq!(closed(&world, at), REMOVED);
    assert_eq!(closed(&world, bob), None);
    wrong(&one.connect(&mut world, 0, &Hello::by_token(&first, READ)).1);
}

#[test]
fn a_removed_device_is_closed_everywhere_and_does_not_come_back() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let device = TestDevice::new(1);
        let first = paired(&mut world, &device, READ);
        let by_token = device.connect(&mut world, last, &Hello::by_token(&first, READ)).0;
        let by_secret = device.connect(&mut world, 0, &Hello::cli("secret", READ)).0;
        let other = TestDevice::new(2).connect(&mut world, 0, &Hello::cli("secret", READ)).0;
        ask(&mut world, last, &device, ADMIN);
        let admin = operator(&mut world, 0, PAIRING);
        let watch = operator(&mut world, last, PAIRING);
        let answer = world.call(admin, "device.pair.remove", json!({"deviceId": device.id}));
        assert_eq!(answer["payload"], json!({"deviceId": device.id}), "{answer}");
        assert_eq!((closed(&world, by_token), closed(&world, by_secret)), (REMOVED, REMOVED));
        assert_eq!((closed(&world, other), closed(&world, admin)), (None, None));
        assert_eq!(
            world.events(watch, "device.pair.changed").last().expect("told")["reason"],
            "removed"
        );
        assert_eq!(world.events(watch, "device.pair.resolved")[0]["decision"], "rejected");
        for node in 0..=last {
            let answer = device.connect(&mut world, node, &Hello::by_token(&first, READ)).1;
            assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
        }
        let again = world.call(admin, "device.pair.remove", json!({"deviceId": device.id}));
        assert_eq!((code(&again), message(&again)), ("INVALID_REQUEST", "unknown deviceId"));
        for node in 0..=last {
            world.restart(node, config());
        }
        let answer = device.connect(&mut world, 0, &Hello::by_token(&first, READ)).1;
        assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
        // Let in again it is another device, to which the old token is nothing.
        paired(&mut world, &device, READ);
        let answer = device.connect(&mut world, 0, &Hello::by_token(&first, READ)).1;
        assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    }
}

#[test]
fn a_device_and_its_token_outlive_a_restart_and_no_token_is_in_the_store() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let (here, far) = (TestDevice::new(1), TestDevice::new(2));
        let first = paired(&mut world, &here, CHAT);
        let id = ask(&mut world, 0, &far, READ);
        assert_eq!(code(&approve(&mut world, usize::from(nodes) - 1, &id)), "ok");
        let second = token(&far.connect_from(&mut world, 0, FAR, &Hello::cli("secret", READ)).1);
        let rotated = operator(&mut world, 0, ADMIN);
        let params = json!({"deviceId": here.id, "role": "operator"});
        assert_eq!(code(&world.call(rotated, "device.token.rotate", params)), "ok");
        for node in 0..usize::from(nodes) {
            world.restart(node, config());
        }
        let stored = format!("{:?}", world.store.execute(StoreWork::Load { at: UNIX_MS }));
        assert!(stored.contains(&here.id) && !stored.contains(&first) && !stored.contains(&second));
        let answer = here.connect(&mut world, 0, &Hello::by_token(&first, READ)).1;
        assert_eq!(code(&answer), "INVALID_REQUEST", "it was rotated away: {answer}");
        for node in 0..usize::from(nodes) {
            let hello = Hello::by_token(&second, READ);
            assert_eq!(code(&far.connect_from(&mut world, node, FAR, &hello).1), "ok");
        }
        assert_eq!(list(&mut world, 0)["paired"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_node_that_begins_anew_is_told_who_asks() {
    let mut world = World::new(3);
    let device = TestDevice::new(1);
    let id = ask(&mut world, 0, &device, READ);
    world.restart(2, config());
    assert_eq!(list(&mut world, 2)["pending"][0]["requestId"], id);
    assert_eq!(code(&approve(&mut world, 2, &id)), "ok");
    assert_eq!(code(&device.connect_from(&mut world, 1, FAR, &Hello::cli("secret", READ)).1), "ok");
}

#[test]
fn a_token_is_rotated_in_band_by_its_own_device_only() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let device = TestDevice::new(1);
        let old = paired(&mut world, &device, ADMIN);
        let own = device.connect(&mut world, 0, &Hello::by_token(&old, ADMIN)).0;
        let other = device.connect(&mut world, last, &Hello::by_token(&old, READ)).0;
        let params = json!({"deviceId": device.id, "role": "operator"});
        let answer = world.call(own, "device.token.rotate", params.clone());
        let payload = &answer["payload"];
        assert_eq!(
            (&payload["tokenDelivery"], &payload["scopes"]),
            (&json!("in-band"), &json!(ADMIN))
        );
        let new = payload["token"].as_str().expect("a token").to_string();
        assert_eq!((closed(&world, own), closed(&world, other)), (None, REMOVED));
        assert_eq!(code(&world.call(own, "device.pair.list", json!({}))), "ok", "it goes on");
        for node in 0..=last {
            let answer = device.connect(&mut world, node, &Hello::by_token(&old, READ)).1;
            assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
            assert_eq!(
                code(&device.connect(&mut world, node, &Hello::by_token(&new, READ)).1),
                "ok"
            );
        }
        // Somebody else is not told, and may not make one for more than they may do.
        let admin = operator(&mut world, last, ADMIN);
        let narrow = json!({"deviceId": device.id, "role": "operator", "scopes": READ});
        let answer = world.call(admin, "device.token.rotate", narrow);
        let payload = &answer["payload"];
        assert_eq!(payload["tokenDelivery"], "withheld-cross-device", "{answer}");
        assert!(payload.get("token").is_none() && payload["scopes"] == json!(READ));
        assert_eq!(closed(&world, own), REMOVED, "its token is void");
        let pairing = operator(&mut world, last, PAIRING);
        let wide = json!({"deviceId": device.id, "role": "operator", "scopes": ADMIN});
        let answer = world.call(pairing, "device.token.rotate", wide.clone());
        assert_eq!(answer["error"]["details"]["missingScope"], "operator.admin", "{answer}");
        for (params, text) in [
            (json!({"deviceId": "x", "role": "operator"}), "unknown deviceId"),
            (json!({"deviceId": device.id, "role": "node"}), "unknown device role"),
            (json!({"deviceId": device.id, "role": "king"}), "unknown device role"),
            (
                json!({"deviceId": device.id, "role": "operator", "scopes": ["x"]}),
                "unknown scope: x",
            ),
        ] {
            let answer = world.call(admin, "device.token.rotate", params);
            assert_eq!((code(&answer), message(&answer)), ("INVALID_REQUEST", text));
        }
    }
}

#[test]
fn a_revoked_token_ends_its_sockets_and_the_device_stays() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let device = TestDevice::new(1);
        let old = paired(&mut world, &device, ADMIN);
        let own = device.connect(&mut world, 0, &Hello::by_token(&old, ADMIN)).0;
        let other = device.connect(&mut world, last, &Hello::by_token(&old, READ)).0;
        let by_secret = device.connect(&mut world, last, &Hello::cli("secret", READ)).0;
        let params = json!({"deviceId": device.id, "role": "operator"});
        let answer = world.call(own, "device.token.revoke", params.clone());
        assert_eq!(answer["payload"]["revokedAtMs"], UNIX_MS, "told before it goes: {answer}");
        assert_eq!((closed(&world, own), closed(&world, other)), (REMOVED, REMOVED));
        assert_eq!(closed(&world, by_secret), None);
        for node in 0..=last {
            let answer = device.connect(&mut world, node, &Hello::by_token(&old, READ)).1;
            assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
        }
        let (_, hello) = device.connect_from(&mut world, 0, FAR, &Hello::cli("secret", ADMIN));
        assert_eq!(code(&hello), "ok", "it is still let in");
    }
}

#[test]
fn a_device_may_remove_itself_and_is_told_before_it_goes() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let (at, _) = device.connect(&mut world, 0, &Hello::cli("secret", ADMIN));
    let answer = world.call(at, "device.pair.remove", json!({"deviceId": device.id}));
    assert_eq!(answer["payload"], json!({"deviceId": device.id}));
    assert_eq!(closed(&world, at), REMOVED);
}

#[test]
fn what_a_gateway_token_has_let_in_goes_on_without_it_but_not_its_own_sockets() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let (by_secret, hello) = device.connect(&mut world, 0, &Hello::cli("secret", READ));
    let by_token = device.connect(&mut world, 0, &Hello::by_token(&token(&hello), READ)).0;
    let mut rotated = config();
    rotated.tokens.remove(0);
    world.nodes[0].reconfigure(world.now, rotated).expect("a configuration");
    world.settle();
    assert_eq!(closed(&world, by_secret), Some((4001, "gateway auth changed")));
    assert_eq!(closed(&world, by_token), None);
}

#[test]
fn a_device_keeps_its_scopes_and_no_others_when_logins_are_judged_anew() {
    let approvals = &["operator.approvals"][..];
    for (scopes, reads, pairs) in [
        (READ, true, false),
        (CHAT, true, false),
        (PAIRING, false, true),
        (approvals, false, false),
        (ADMIN, true, true),
    ] {
        let mut world = World::new(1);
        let device = TestDevice::new(1);
        let token = paired(&mut world, &device, scopes);
        let (at, hello) = device.connect(&mut world, 0, &Hello::by_token(&token, scopes));
        assert_eq!(hello["payload"]["auth"]["scopes"], json!(scopes));
        for _ in 0..2 {
            let status = world.call(at, "status", json!({}));
            let list = world.call(at, "device.pair.list", json!({}));
            assert_eq!((code(&status) == "ok", code(&list) == "ok"), (reads, pairs), "{scopes:?}");
            world.nodes[0].reconfigure(world.now, config()).expect("a configuration");
        }
    }
}

#[test]
fn a_node_is_let_in_like_an_operator_and_has_no_scopes() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let far = device.connect_from(&mut world, 0, FAR, &Hello::node("secret")).1;
    let at = operator(&mut world, 0, PAIRING);
    let approved = world.call(at, "device.pair.approve", json!({"requestId": request_id(&far)}));
    assert_eq!(approved["payload"]["device"]["roles"], json!(["node"]), "{approved}");
    let asks = Hello { scopes: ADMIN.into(), ..Hello::node("secret") };
    let (at, hello) = device.connect_from(&mut world, 0, FAR, &asks);
    let auth = &hello["payload"]["auth"];
    assert_eq!((&auth["role"], &auth["scopes"]), (&json!("node"), &json!([])));
    assert_eq!(code(&world.call(at, "health", json!({}))), "FORBIDDEN");
    let by_token = Hello { auth: json!({"deviceToken": token(&hello)}), ..Hello::node("") };
    assert_eq!(token(&device.connect_from(&mut world, 0, FAR, &by_token).1), token(&hello));
    let operator = Hello::by_token(&token(&hello), &[]);
    let answer = device.connect_from(&mut world, 0, FAR, &operator).1;
    assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
}

#[test]
fn nobody_is_let_in_whom_the_store_has_not_kept() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    world.store_mode = StoreMode::Fails;
    let (at, answer) = device.connect(&mut world, 0, &Hello::cli("secret", READ));
    assert_eq!(
        (code(&answer), answer["error"]["retryable"].as_bool()),
        ("UNAVAILABLE", Some(true))
    );
    assert_eq!(closed(&world, at).map(|(code, _)| code), Some(1013));
    let id = ask(&mut world, 0, &device, READ);
    let admin = operator(&mut world, 0, ADMIN);
    let answer = world.call(admin, "device.pair.approve", json!({"requestId": id}));
    assert_eq!(code(&answer), "UNAVAILABLE");
    assert_eq!(list(&mut world, 0)["paired"], json!([]));
    world.store_mode = StoreMode::Works;
    let answer = world.call(admin, "device.pair.approve", json!({"requestId": id}));
    assert_eq!(code(&answer), "ok", "it still waits: {answer}");
    // Who was let in before comes in without a new token.
    world.store_mode = StoreMode::Fails;
    let (_, hello) = device.connect_from(&mut world, 0, FAR, &Hello::cli("secret", READ));
    assert_eq!(code(&hello), "ok");
    assert!(hello["payload"]["auth"].get("deviceToken").is_none());
    world.store_mode = StoreMode::Works;
    let first = token(&device.connect_from(&mut world, 0, FAR, &Hello::cli("secret", READ)).1);
    // What is taken back is so at once, and until the next start at least.
    world.store_mode = StoreMode::Fails;
    for method in ["device.token.revoke", "device.pair.remove"] {
        let params = json!({"deviceId": device.id, "role": "operator"});
        let params =
            if method.ends_with("remove") { json!({"deviceId": device.id}) } else { params };
        assert_eq!(code(&world.call(admin, method, params)), "UNAVAILABLE");
        let answer = device.connect(&mut world, 0, &Hello::by_token(&first, READ)).1;
        assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    }
    world.store_mode = StoreMode::Works;
    let answer = world.call(admin, "device.pair.remove", json!({"deviceId": device.id}));
    assert_eq!(code(&answer), "ok", "a second try reaches the store: {answer}");
    world.restart(0, config());
    assert_eq!(list(&mut world, 0)["paired"], json!([]));
}

#[test]
fn a_device_stays_in_the_store_when_an_earlier_try_fails_behind_it() {
    let mut world = World::new(1);
    let device = TestDevice::new(9);
    let hello = Hello::cli("secret", &["operator.write"]);
    let within = config().bounds.store_within;
    let (first, challenge) = knock(&mut world, 0, "127.0.0.1", &[]);
    world.store_mode = StoreMode::Hangs;
    world.request(first, "connect", hello.signed(&device, &challenge));
    world.advance(within - Duration::from_millis(500));
    // This one is in the store, which is about to say so, when the first one is given up.
    world.store_mode = StoreMode::Works;
    world.make_slow(0);
    let (at, challenge) = knock(&mut world, 0, "127.0.0.1", &[]);
    let id = world.request(at, "connect", hello.signed(&device, &challenge));
    world.advance(Duration::from_secs(3));
    let token = token(&world.answer(at, &id).expect("an answer"));
    world.restart(0, config());
    world.advance(Duration::from_secs(3));
    let (_, answer) = device.connect(&mut world, 0, &Hello::by_token(&token, &["operator.write"]));
    assert_eq!(answer["payload"]["type"], "hello-ok", "{answer}");
}

#[test]
fn what_follows_a_connect_that_waits_for_the_store_is_answered_after_it() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    world.make_slow(0);
    let (at, challenge) = knock(&mut world, 0, "127.0.0.1", &[]);
    let connect =
        world.request(at, "connect", Hello::cli("secret", READ).signed(&device, &challenge));
    let health = world.request(at, "health", json!({}));
    let again = world.request(at, "connect", json!({}));
    assert!(world.clients[at].messages.is_empty(), "nothing is told before it is durable");
    world.advance(Duration::from_secs(1));
    let ids: Vec<_> =
        world.clients[at].messages.iter().filter_map(|message| message["id"].as_str()).collect();
    assert_eq!(ids, [&connect, &again], "the store is asked for the health, too");
    world.advance(Duration::from_secs(5));
    assert_eq!(code(&world.answer(at, &connect).expect("an answer")), "ok");
    assert_eq!(code(&world.answer(at, &health).expect("an answer")), "ok");
    let crowd = knock(&mut world, 0, "127.0.0.1", &[]);
    let params = Hello::cli("secret", READ).signed(&TestDevice::new(2), &crowd.1);
    world.request(crowd.0, "connect", params);
    for _ in 0..15 {
        world.request(crowd.0, "health", json!({}));
    }
    assert_eq!(closed(&world, crowd.0), None);
    world.request(crowd.0, "health", json!({}));
    assert_eq!(closed(&world, crowd.0), Some((1008, "too many pending handshake frames")));
}

#[test]
fn a_device_thrown_out_while_it_comes_in_stays_out() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let last = usize::from(nodes) - 1;
        let device = TestDevice::new(1);
        let first = paired(&mut world, &device, READ);
        let admin = operator(&mut world, 0, PAIRING);
        world.make_slow(last);
        let (at, challenge) = knock(&mut world, last, "127.0.0.1", &[]);
        let params = Hello::cli("secret", READ).signed(&device, &challenge);
        let connect = world.request(at, "connect", params);
        // The store has put the device in by now; that is not told yet.
        world.request(admin, "device.pair.remove", json!({"deviceId": device.id}));
        world.advance(Duration::from_secs(5));
        let answer = world.answer(at, &connect).expect("an answer");
        assert_eq!(code(&answer), "UNAVAILABLE", "{answer}");
        for node in 0..=last {
            world.restart(node, config());
        }
        world.advance(Duration::from_secs(5));
        assert_eq!(list(&mut world, 0)["paired"], json!([]));
        let answer = device.connect_from(&mut world, 0, FAR, &Hello::by_token(&first, READ)).1;
        assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    }
}

#[test]
fn two_programs_that_come_at_once_keep_their_tokens() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    paired(&mut world, &device, READ);
    world.make_slow(0);
    let hello = Hello::cli("secret", READ);
    let both: Vec<_> = (0..2)
        .map(|_| {
            let (at, challenge) = knock(&mut world, 0, "127.0.0.1", &[]);
            (at, world.request(at, "connect", hello.signed(&device, &challenge)))
        })
        .collect();
    world.advance(Duration::from_secs(5));
    let tokens: Vec<_> =
        both.iter().map(|(at, id)| token(&world.answer(*at, id).expect("an answer"))).collect();
    world.restart(0, config());
    world.advance(Duration::from_secs(5));
    for token in tokens {
        let answer = device.connect(&mut world, 0, &Hello::by_token(&token, READ)).1;
        assert_eq!(code(&answer), "ok", "{answer}");
    }
}

#[test]
fn late_news_of_a_change_mend_what_was_written_without_it() {
    for method in ["device.pair.remove", "device.token.revoke"] {
        let mut world = World::new(3);
        let device = TestDevice::new(1);
        let first = paired(&mut world, &device, READ);
        let admin = operator(&mut world, 0, ADMIN);
        // Node 1 has not heard of it yet, and writes the device as it knows it.
        world.cut_off = vec![1];
        let is_removal = method == "device.pair.remove";
        let mut params = json!({"deviceId": device.id});
        if !is_removal {
            params["role"] = json!("operator");
        }
        assert_eq!(code(&world.call(admin, method, params)), "ok");
        let second = device.connect(&mut world, 1, &Hello::cli("secret", READ)).0;
        assert_eq!(closed(&world, second), None);
        world.cut_off.clear();
        let news = if is_removal {
            DeviceNews::Removed(device.id.as_str().into(), UNIX_MS)
        } else {
            // As another node would tell it again.
            let other = operator(&mut world, 0, ADMIN);
            let params = json!({"deviceId": device.id, "role": "operator"});
            world.call(other, "device.token.revoke", params);
            DeviceNews::Rejected("nothing".into())
        };
        world.nodes[1].handle_message(world.now, BusMessage::Devices { news });
        world.settle();
        for node in 0..3 {
            world.restart(node, config());
        }
        let left = list(&mut world, 1)["paired"].as_array().map(Vec::len);
        assert_eq!(left, Some(usize::from(!is_removal)), "{method}");
        let answer = device.connect(&mut world, 0, &Hello::by_token(&first, READ)).1;
        assert_eq!(answer["error"]["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    }
}

#[test]
fn of_two_decisions_at_two_nodes_all_nodes_keep_one() {
    for (first, second) in [("approve", "approve"), ("approve", "reject"), ("reject", "approve")] {
        let mut world = World::new(3);
        let device = TestDevice::new(1);
        let id = ask(&mut world, 1, &device, READ);
        let admins = [operator(&mut world, 0, ADMIN), operator(&mut world, 2, ADMIN)];
        world.make_slow(0);
        let params = json!({"requestId": id});
        world.request(admins[0], &format!("device.pair.{first}"), params.clone());
        let answer = world.call(admins[1], &format!("device.pair.{second}"), params);
        world.advance(Duration::from_secs(5));
        let expected = if first == "reject" { "INVALID_REQUEST" } else { "ok" };
        assert_eq!(code(&answer), expected, "{first} {second}: {answer}");
        let is_in = first == "approve" && second == "approve";
        for node in 0..3 {
            let list = list(&mut world, node);
            assert_eq!(
                list["paired"].as_array().map(Vec::len),
                Some(usize::from(is_in)),
                "{first} {second}"
            );
            assert_eq!(list["pending"], json!([]));
        }
        for node in 0..3 {
            world.restart(node, config());
        }
        world.advance(Duration::from_secs(5));
        let paired = list(&mut world, 1)["paired"].clone();
        assert_eq!(paired.as_array().map(Vec::len), Some(usize::from(is_in)), "{first} {second}");
    }
}

#[test]
fn requests_and_devices_are_bounded() {
    let mut small = config();
    small.bounds.pairings = 3;
    small.bounds.pairings_per_address = 2;
    small.bounds.devices = 2;
    let mut world = World::with(1, small);
    let hello = Hello::cli("secret", READ);
    let outcome = |world: &mut World, device: u8, peer: &str| {
        let answer = TestDevice::new(device).connect_from(world, 0, peer, &hello).1;
        code(&answer).to_string()
    };
    for device in 1..=2 {
        assert_eq!(outcome(&mut world, device, FAR), "NOT_PAIRED");
    }
    assert_eq!(outcome(&mut world, 3, FAR), "UNAVAILABLE");
    assert_eq!(outcome(&mut world, 3, "10.0.0.2"), "NOT_PAIRED");
    assert_eq!(outcome(&mut world, 4, "10.0.0.3"), "UNAVAILABLE");
    world.advance(Duration::from_secs(300));
    assert_eq!(outcome(&mut world, 4, FAR), "NOT_PAIRED");
    for (device, expected) in [(5, "ok"), (6, "ok"), (7, "UNAVAILABLE"), (5, "ok")] {
        assert_eq!(outcome(&mut world, device, "127.0.0.1"), expected, "{device}");
    }
    let pending = list(&mut world, 0)["pending"][0]["requestId"].clone();
    let answer = approve(&mut world, 0, pending.as_str().expect("an id"));
    assert_eq!(code(&answer), "UNAVAILABLE");
}

#[test]
fn a_gateway_without_credentials_lets_devices_in_and_keeps_none() {
    let mut open = config();
    open.tokens.clear();
    let mut world = World::with(1, open);
    let device = TestDevice::new(1);
    let (at, hello) =
        device.connect(&mut world, 0, &Hello { auth: json!({}), ..Hello::cli("", CHAT) });
    let auth = &hello["payload"]["auth"];
    assert_eq!((&auth["scopes"], auth.get("deviceToken")), (&json!(CHAT), None), "{hello}");
    world.nodes[0].reconfigure(world.now, config()).expect("a configuration");
    world.settle();
    assert_eq!(closed(&world, at), Some((4001, "gateway auth changed")));
    assert_eq!(list(&mut world, 0)["paired"], json!([]));
}
