//! Pairing: devices without a credential that an admin lets in.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::ClientRequest;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn pairing() -> GatewayConfig {
    let mut config = config();
    config.pairing = true;
    config
}

/// A connection that waits to be let in.
struct Waiting {
    at: usize,
    code: String,
    sender_id: String,
}

fn connect(world: &mut World, node: usize, peer: &str, params: &Value) -> (usize, Value) {
    let at = world.open_from(node, peer);
    let answer = world.call(at, "connect", params.clone());
    (at, answer)
}

fn waiting(at: usize, answer: &Value) -> Waiting {
    let payload = &answer["payload"];
    assert_eq!(payload["status"], "pending_pairing", "{answer}");
    let text = |name: &str| payload[name].as_str().expect(name).to_string();
    Waiting { at, code: text("pairing_code"), sender_id: text("sender_id") }
}

/// Ann asks to be let in.
fn ask(world: &mut World, node: usize) -> Waiting {
    let (at, answer) = connect(world, node, "127.0.0.1", &json!({"user_id": "ann"}));
    waiting(at, &answer)
}

fn approve(world: &mut World, node: usize, code: &str) -> Value {
    let admin = world.login(node, "secret", "adm");
    let answer = world.call(admin, "device.pair.approve", json!({"code": code}));
    world.cut(admin);
    answer
}

fn status(world: &mut World, at: usize, sender_id: &str) -> String {
    let answer = world.call(at, "browser.pairing.status", json!({"sender_id": sender_id}));
    answer["payload"]["status"].as_str().unwrap_or_else(|| code(&answer)).into()
}

fn closed(world: &World, at: usize) -> Option<(u16, &str)> {
    world.clients[at].closed.as_ref().map(|(code, reason)| (*code, &**reason))
}

fn actions(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["action"].as_str().expect("an action")).collect()
}

#[test]
fn a_device_waits_is_approved_and_logs_in_on_the_same_socket() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, pairing());
        let last = usize::from(nodes) - 1;
        let admins = [world.login(0, "secret", "root"), world.login(last, "secret", "adm")];
        let others = [world.login(0, "operator", "ann"), world.login(last, "viewer", "eve")];
        let stranger = world.open(last);
        let Waiting { at, code, sender_id } = ask(&mut world, last);
        assert_eq!(code.len(), 8);
        assert_eq!(status(&mut world, at, &sender_id), "pending");
        let list = world.call(admins[0], "device.pair.list", json!({}));
        let pending = &list["payload"]["pending"][0];
        assert_eq!((&pending["code"], &pending["userId"]), (&json!(code), &json!("ann")));
        assert_eq!(pending["expiresAt"], UNIX_MS + 3_600_000);
        let name = pending["senderId"].as_str().expect("a name").to_string();
        for admin in admins {
            let told = world.events(admin, "device.pair.requested");
            assert_eq!((told.len(), &told[0]["code"]), (1, &json!(code)));
        }
        let answer = world.call(admins[0], "device.pair.approve", json!({"code": code}));
        assert_eq!(answer["payload"]["paired"]["senderId"], name);
        assert_eq!(answer["payload"]["paired"]["pairedBy"], "root");
        let told = world.events(at, "device.pair.resolved");
        assert_eq!(told, [json!({"action": "approved", "senderId": name, "channel": "browser"})]);
        assert_eq!(status(&mut world, at, &sender_id), "approved");
        for admin in admins {
            assert_eq!(actions(&world.events(admin, "device.pair.resolved")), ["approved"]);
        }
        for other in others.into_iter().chain([stranger]) {
            assert!(world.events(other, "device.pair.requested").is_empty());
            assert!(world.events(other, "device.pair.resolved").is_empty());
        }
        for node in 0..=last {
            let at = if node == last { at } else { world.open(node) };
            let params = json!({"sender_id": sender_id, "user_id": "root"});
            let hello = world.call(at, "connect", params);
            assert_eq!(hello["payload"]["role"], "operator", "{hello}");
            assert_eq!(hello["payload"]["user_id"], "ann", "as it was approved");
            assert_eq!(status(&mut world, at, &sender_id), "approved");
        }
        let stored = format!("{:?}", world.store.execute(StoreWork::Load { at: UNIX_MS }));
        let facts = format!("{:?}", world.facts);
        let told: Vec<_> = admins.map(|at| world.clients[at].messages.clone()).into();
        for text in [stored, facts, format!("{told:?}")] {
            assert!(!text.contains(&sender_id), "it is a secret: {text}");
        }
        assert_eq!(approve(&mut world, 0, &code)["error"]["code"], "NOT_FOUND", "once");
    }
}

#[test]
fn who_waits_may_ask_for_its_own_status_and_nothing_else() {
    let mut world = World::with(1, pairing());
    let fresh = world.open(0);
    let other = ask(&mut world, 0);
    assert_eq!(status(&mut world, fresh, &other.sender_id), "UNAUTHORIZED");
    let mine = ask(&mut world, 0);
    assert_eq!(status(&mut world, mine.at, &mine.sender_id), "pending");
    assert_eq!(status(&mut world, mine.at, &other.sender_id), "expired");
    approve(&mut world, 0, &other.code);
    assert_eq!(status(&mut world, mine.at, &other.sender_id), "expired");
    for method in methods().iter().filter(|method| method.role.is_some()) {
        let at = ask_from(&mut world, method.name);
        let answer = world.call(at, method.name, json!({}));
        assert_eq!(message(&answer), "first request must be 'connect'", "{}", method.name);
    }
}

/// Waits from an address of its own, which is made of this text.
fn ask_from(world: &mut World, text: &str) -> usize {
    let sum: usize = text.bytes().map(usize::from).sum();
    let peer = format!("10.0.{}.{}", sum >> 8 & 0xFF, sum & 0xFF);
    let (at, answer) = connect(world, 0, &peer, &json!({}));
    waiting(at, &answer).at
}

#[test]
fn a_request_outlives_its_socket_and_may_be_approved_while_nobody_waits() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, pairing());
        let last = usize::from(nodes) - 1;
        let first = ask(&mut world, 0);
        world.cut(first.at);
        let params = json!({"sender_id": first.sender_id});
        let (at, answer) = connect(&mut world, last, "192.0.2.1", &params);
        let again = waiting(at, &answer);
        assert_eq!((&again.code, &again.sender_id), (&first.code, &first.sender_id));
        // On the same socket it is the same request, too.
        let answer = world.call(at, "connect", json!({}));
        assert_eq!(waiting(at, &answer).code, first.code);
        world.cut(at);
        assert_eq!(code(&approve(&mut world, 0, &first.code)), "ok");
        let (_, hello) = connect(&mut world, last, "192.0.2.1", &params);
        assert_eq!(hello["payload"]["role"], "operator");
    }
}

#[test]
fn requests_and_devices_outlive_a_restart() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, pairing());
        let (pending, paired, denied) =
            (ask(&mut world, 0), ask(&mut world, 0), ask(&mut world, 0));
        assert_eq!(code(&approve(&mut world, 0, &paired.code)), "ok");
        let admin = world.login(0, "secret", "adm");
        let answer = world.call(admin, "device.pair.deny", json!({"code": denied.code}));
        assert_eq!(answer["payload"], json!({"denied": true}));
        let store = std::mem::take(&mut world.store);
        let mut world = World::with_store(nodes, pairing(), store);
        let last = usize::from(nodes) - 1;
        let admin = world.login(last, "secret", "adm");
        let list = world.call(admin, "device.pair.list", json!({}));
        assert_eq!(list["payload"]["pending"].as_array().map(Vec::len), Some(1), "{list}");
        let params = json!({"sender_id": paired.sender_id});
        let (_, hello) = connect(&mut world, last, "127.0.0.1", &params);
        assert_eq!(hello["payload"]["role"], "operator");
        let params = json!({"sender_id": pending.sender_id});
        let (at, answer) = connect(&mut world, last, "127.0.0.1", &params);
        assert_eq!(waiting(at, &answer).code, pending.code);
        assert_eq!(code(&approve(&mut world, 0, &pending.code.to_lowercase())), "ok");
        assert_eq!(actions(&world.events(at, "device.pair.resolved")), ["approved"]);
    }
}

#[test]
fn who_is_denied_or_too_late_is_told_and_has_the_time_of_any_connection_left() {
    for (word, slept) in [("denied", false), ("expired", false), ("expired", true)] {
        let mut world = World::with(3, pairing());
        let admin = world.login(1, "secret", "adm");
        let Waiting { at, code: letters, sender_id } = ask(&mut world, 0);
        if word == "denied" {
            world.advance(Duration::from_secs(60));
            assert_eq!(closed(&world, at), None, "longer than anybody else may wait");
            world.call(admin, "device.pair.deny", json!({"code": letters}));
        } else if slept {
            let now = world.now;
            for node in &mut world.nodes {
                assert!(node.needs_wall_clock());
                node.set_wall_clock(now, UNIX_MS + 3_600_000);
            }
            world.advance(Duration::ZERO);
        } else {
            world.advance(HOUR - Duration::from_millis(1));
            assert_eq!(status(&mut world, at, &sender_id), "pending");
            world.advance(Duration::from_millis(1));
        }
        assert_eq!(actions(&world.events(at, "device.pair.resolved")), [word]);
        assert_eq!(actions(&world.events(admin, "device.pair.resolved")), [word]);
        assert_eq!(status(&mut world, at, &sender_id), "expired");
        let answer = world.call(admin, "device.pair.approve", json!({"code": letters}));
        assert_eq!(code(&answer), "NOT_FOUND");
        world.advance(Duration::from_millis(9_999));
        assert_eq!(closed(&world, at), None);
        world.advance(Duration::from_millis(1));
        assert_eq!(closed(&world, at), Some((1008, "handshake timeout")));
        let StoreOutcome::Loaded(left) = world.store.execute(StoreWork::Load { at: u64::MAX - 1 })
        else {
            panic!("records")
        };
        assert_eq!(left, []);
    }
}

#[test]
fn requests_are_bounded_by_address_and_in_all() {
    let mut config = pairing();
    config.bounds.pairings = 5;
    let mut world = World::with(1, config);
    let from = |world: &mut World, peer: &str| connect(world, 0, peer, &json!({})).1;
    for _ in 0..3 {
        assert_eq!(code(&from(&mut world, "192.0.2.1")), "ok");
    }
    let answer = from(&mut world, "192.0.2.1");
    assert_eq!(code(&answer), "RESOURCE_EXHAUSTED");
    assert!(message(&answer).contains("at this address"), "{answer}");
    assert_eq!(answer["error"]["retryAfterMs"], 3_600_000);
    for _ in 0..2 {
        assert_eq!(code(&from(&mut world, "192.0.2.2")), "ok");
    }
    assert!(message(&from(&mut world, "192.0.2.3")).starts_with("too many devices ask"));
    world.advance(HOUR);
    assert_eq!(code(&from(&mut world, "192.0.2.1")), "ok");
}

/// While the store thinks, too: otherwise a flood gets past every bound at once.
#[test]
fn a_flood_does_not_get_past_the_bound_while_the_store_is_slow() {
    let mut world = World::with(1, pairing());
    world.store_mode = StoreMode::Hangs;
    let at: Vec<_> = (0..20).map(|_| world.open(0)).collect();
    for at in &at {
        for _ in 0..5 {
            world.request(*at, "connect", json!({}));
        }
    }
    let refused = world.clients.iter().flat_map(|client| &client.messages);
    let refused = refused.filter(|answer| code(answer) == "RESOURCE_EXHAUSTED").count();
    assert_eq!(refused, 97);
    world.store_mode = StoreMode::Works;
    world.advance(Duration::from_secs(31));
    let admin = world.login(0, "secret", "adm");
    let list = world.call(admin, "device.pair.list", json!({}));
    assert_eq!(list["payload"]["pending"], json!([]), "what was not durable in time is none");
}

#[test]
fn who_waits_has_a_place_among_those_who_are_not_logged_in() {
    let mut config = pairing();
    config.bounds.pre_auth_v4 = 2;
    let mut world = World::with(1, config);
    let (first, _) = (ask(&mut world, 0), ask(&mut world, 0));
    let request = || ClientRequest::new("localhost:18790", "/ws").expect("a request");
    let third = world.upgrade(0, "127.0.0.1", request());
    assert_eq!(world.clients[third].answer.as_ref().map(|(status, _)| *status), Some(503));
    world.cut(first.at);
    let third = world.upgrade(0, "127.0.0.1", request());
    assert!(world.clients[third].answer.is_none());
}

#[test]
fn another_connection_with_the_same_request_takes_its_place() {
    let mut world = World::with(1, pairing());
    let first = ask(&mut world, 0);
    let (at, answer) = connect(&mut world, 0, "127.0.0.1", &json!({"sender_id": first.sender_id}));
    assert_eq!(waiting(at, &answer).code, first.code);
    assert_eq!(closed(&world, first.at), Some((1008, "resumed elsewhere")));
    approve(&mut world, 0, &first.code);
    assert_eq!(actions(&world.events(at, "device.pair.resolved")), ["approved"]);
}

#[test]
fn a_revoked_device_is_closed_on_all_nodes_and_must_ask_again() {
    for (nodes, by_name) in [(1, true), (3, true), (3, false)] {
        let mut world = World::with(nodes, pairing());
        let Waiting { at: waits, code: letters, sender_id } = ask(&mut world, 0);
        let paired = approve(&mut world, 0, &letters);
        let params = json!({"sender_id": sender_id});
        assert_eq!(code(&world.call(waits, "connect", params.clone())), "ok");
        let live: Vec<_> = (0..usize::from(nodes))
            .map(|node| connect(&mut world, node, "127.0.0.1", &params).0)
            .collect();
        let away = connect(&mut world, 0, "127.0.0.1", &params).0;
        world.cut(away);
        let admin = world.login(usize::from(nodes) - 1, "secret", "adm");
        let name = paired["payload"]["paired"]["senderId"].as_str().expect("a name");
        let id = if by_name { name } else { &*sender_id };
        let answer = world.call(admin, "device.pair.revoke", json!({"senderId": id}));
        assert_eq!(answer["payload"], json!({"revoked": true}));
        for at in live.into_iter().chain([waits]) {
            assert_eq!(closed(&world, at), Some((1008, "revoked")));
        }
        assert_eq!(actions(&world.events(admin, "device.pair.resolved")), ["revoked"]);
        let detached: usize = world.nodes.iter().map(|node| node.links().1).sum();
        assert_eq!(detached, 1, "that of the admin who let it in");
        let answer = world.call(admin, "device.pair.revoke", json!({"senderId": id}));
        assert_eq!(code(&answer), "NOT_FOUND");
        let (at, answer) = connect(&mut world, 0, "127.0.0.1", &params);
        let again = waiting(at, &answer);
        assert_ne!(again.sender_id, sender_id, "the old one may be known to others");
    }
}

#[test]
fn a_device_is_let_in_for_a_time() {
    let mut world = World::with(1, pairing());
    let Waiting { at, code: letters, sender_id } = ask(&mut world, 0);
    approve(&mut world, 0, &letters);
    assert_eq!(code(&world.call(at, "connect", json!({"sender_id": sender_id}))), "ok");
    world.advance(30 * 24 * HOUR);
    assert_eq!(closed(&world, at), Some((1008, "credential expired")));
    let (at, answer) = connect(&mut world, 0, "127.0.0.1", &json!({"sender_id": sender_id}));
    assert_ne!(waiting(at, &answer).sender_id, sender_id);
}

#[test]
fn without_pairing_nobody_waits_and_guesses_are_counted() {
    let mut world = World::new(1);
    let (_, answer) = connect(&mut world, 0, "127.0.0.1", &json!({}));
    assert_eq!(answer["error"]["details"]["credential"], "none");
    let guess = json!({"sender_id": "0123456789abcdef"});
    for n in 1..=12 {
        let (_, answer) = connect(&mut world, 0, "192.0.2.9", &guess);
        assert_eq!(code(&answer), "UNAUTHORIZED");
        assert_eq!(answer["error"]["details"]["credential"], "device");
        assert_eq!(answer["error"]["retryAfterMs"].is_u64(), n > 10, "{n}: {answer}");
    }
    let (_, answer) = connect(&mut world, 0, "192.0.2.9", &json!({"token": "operator"}));
    assert_eq!(code(&answer), "ok");
}

#[test]
fn a_wrong_token_is_refused_and_does_not_lead_to_pairing() {
    let mut world = World::with(1, pairing());
    let first = ask(&mut world, 0);
    approve(&mut world, 0, &first.code);
    for params in
        [json!({"token": "wrong"}), json!({"token": "wrong", "sender_id": first.sender_id})]
    {
        let (_, answer) = connect(&mut world, 0, "127.0.0.1", &params);
        assert_eq!(message(&answer), "wrong gateway token in the connect params");
    }
}

#[test]
fn an_operator_asks_for_another_device_of_theirs() {
    let mut world = World::with(3, pairing());
    let at = world.login(0, "operator", "bob");
    let asked = world.call(at, "device.pair.request", json!({}));
    let text = |name: &str| asked["payload"][name].as_str().expect(name).to_string();
    let (letters, sender_id) = (text("code"), text("senderId"));
    assert_eq!(code(&approve(&mut world, 1, &letters)), "ok");
    let (_, hello) = connect(&mut world, 2, "192.0.2.1", &json!({"sender_id": sender_id}));
    assert_eq!(hello["payload"]["user_id"], "bob");
    let own = json!({"senderId": "my-own-secret-of-some-length", "channel": "browser"});
    assert_eq!(code(&world.call(at, "device.pair.request", own.clone())), "ok");
    for wrong in [own, json!({"senderId": "short"}), json!({"channel": "telegram"})] {
        assert_eq!(code(&world.call(at, "device.pair.request", wrong)), "INVALID_REQUEST");
    }
}

#[test]
fn what_the_store_does_not_take_is_not_asked_and_not_let_in() {
    let mut world = World::with(1, pairing());
    let admin = world.login(0, "secret", "adm");
    let first = ask(&mut world, 0);
    world.store_mode = StoreMode::Fails;
    let (_, answer) = connect(&mut world, 0, "127.0.0.1", &json!({}));
    assert_eq!(code(&answer), "UNAVAILABLE");
    let answer = world.call(admin, "device.pair.approve", json!({"code": first.code}));
    assert_eq!(code(&answer), "UNAVAILABLE");
    assert_eq!(status(&mut world, first.at, &first.sender_id), "pending");
    world.store_mode = StoreMode::Works;
    let list = world.call(admin, "device.pair.list", json!({}));
    assert_eq!(list["payload"]["pending"].as_array().map(Vec::len), Some(1));
    assert_eq!(code(&approve(&mut world, 0, &first.code)), "ok");
}

#[test]
fn a_device_that_is_revoked_while_it_is_let_in_stays_out() {
    let mut world = World::with_slow(1, pairing(), MemoryStore::default(), Some(0));
    world.advance(Duration::from_secs(2));
    let at = world.open(0);
    let asked = world.call_slow(at, "connect", json!({"user_id": "ann"}));
    let asked = waiting(at, &asked);
    let admin = world.login(0, "secret", "adm");
    let list = world.call(admin, "device.pair.list", json!({}));
    let name = list["payload"]["pending"][0]["senderId"].clone();
    // Both before the store has done the first.
    let approved = world.request(admin, "device.pair.approve", json!({"code": asked.code}));
    let revoked = world.request(admin, "device.pair.revoke", json!({"senderId": name}));
    world.advance(Duration::from_secs(5));
    assert_eq!(code(&world.answer(admin, &approved).expect("an answer")), "ok");
    assert_eq!(code(&world.answer(admin, &revoked).expect("an answer")), "ok");
    let list = world.call(admin, "device.pair.list", json!({}));
    assert_eq!(list["payload"]["paired"], json!([]));
}

#[test]
fn who_was_not_let_in_because_the_store_was_late_is_not_let_in_by_the_next_start_either() {
    let mut config = pairing();
    config.bounds.store_within = Duration::from_millis(500);
    let mut world = World::with_slow(1, config, MemoryStore::default(), None);
    let asked = ask(&mut world, 0);
    world.make_slow(0);
    let admin = world.login(0, "secret", "adm");
    let approved = world.call_slow(admin, "device.pair.approve", json!({"code": asked.code}));
    assert_eq!(code(&approved), "UNAVAILABLE");
    world.advance(Duration::from_secs(5));
    let mut world = World::with_store(1, pairing(), std::mem::take(&mut world.store));
    let (_, answer) = connect(&mut world, 0, "127.0.0.1", &json!({"sender_id": asked.sender_id}));
    assert_eq!(answer["payload"]["status"], "pending_pairing", "{answer}");
}

#[test]
fn a_login_that_comes_before_the_request_to_be_let_in_is_kept_is_not_undone_by_it() {
    let mut world = World::with_slow(1, pairing(), MemoryStore::default(), Some(0));
    world.advance(Duration::from_secs(2));
    let at = world.open(0);
    let asked = world.request(at, "connect", json!({"user_id": "ann"}));
    let hello = world.call(at, "connect", json!({"token": "operator", "user_id": "ann"}));
    assert_eq!(code(&hello), "ok");
    world.advance(HOUR * 2);
    assert_eq!(code(&world.answer(at, &asked).expect("an answer")), "UNAVAILABLE");
    assert_eq!(closed(&world, at), None);
    assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
}

/// However late one node hears of another.
#[test]
fn all_nodes_agree_whether_a_device_is_in() {
    for late in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))) {
        let mut world = World::with(3, pairing());
        let asked = ask(&mut world, 0);
        let admins = [0, 1, 2].map(|node| world.login(node, "secret", "adm"));
        let list = world.call(admins[0], "device.pair.list", json!({}));
        let name = list["payload"]["pending"][0]["senderId"].clone();
        world.make_late(late.0, late.1);
        let approved = world.request(admins[1], "device.pair.approve", json!({"code": asked.code}));
        let revoked = world.request(admins[2], "device.pair.revoke", json!({"senderId": name}));
        world.bring();
        let [approved, revoked] = [(admins[1], approved), (admins[2], revoked)]
            .map(|(at, id)| code(&world.answer(at, &id).expect("an answer")) == "ok");
        let paired = admins.map(|at| {
            let list = world.call(at, "device.pair.list", json!({}));
            list["payload"]["paired"].as_array().map_or(0, Vec::len)
        });
        assert_eq!(paired, [usize::from(approved && !revoked); 3], "{late:?}");
    }
}

#[test]
fn devices_that_are_let_in_at_the_same_moment_stay_within_the_bound() {
    let mut config = pairing();
    config.bounds.devices = 2;
    let mut world = World::with(1, config);
    let asked = [0; 3].map(|node| ask(&mut world, node));
    let admin = world.login(0, "secret", "adm");
    world.make_slow(0);
    let approved =
        asked.map(|asked| world.request(admin, "device.pair.approve", json!({"code": asked.code})));
    world.advance(Duration::from_secs(5));
    let approved = approved.map(|id| world.answer(admin, &id).expect("an answer"));
    assert_eq!(approved.each_ref().map(code), ["ok", "ok", "RESOURCE_EXHAUSTED"]);
}
