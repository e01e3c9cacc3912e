//! JSON Web Tokens of another service as credentials: what they grant, until when, and how they end.
#![allow(clippy::disallowed_methods)]

use crate::world;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use moorline_core::ClientRequest;
use moorline_core::gateway::*;
use ring::hmac;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub const NOW: u64 = UNIX_MS / 1000;

pub fn with_jwt() -> GatewayConfig {
    let mut config = config();
    config.jwt = vec![JwtKey {
        alg: JwtAlg::Hs256,
        key: Secret::new(SECRET),
        issuer: "https://id.example.com".into(),
        audience: "moorline".into(),
        role_claim: "role".into(),
        user_claim: "sub".into(),
    }];
    config
}

/// A token of ann, an operator, for an hour; with these claims added.
pub fn token(more: &Value) -> String {
    let mut claims = json!({
        "iss": "https://id.example.com", "aud": "moorline", "sub": "ann", "role": "operator",
        "exp": NOW + 3600, "iat": NOW,
    });
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(&claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{tag}")
}

fn connect(world: &mut World, node: usize, token: &str) -> Value {
    let at = world.open(node);
    world.call(at, "connect", json!({"token": token, "user_id": "root"}))
}

fn closed(world: &World, at: usize) -> Option<(u16, &str)> {
    world.clients[at].closed.as_ref().map(|(code, reason)| (*code, &**reason))
}

#[test]
fn a_token_says_who_it_is_and_what_they_may_do() {
    let mut world = World::with(3, with_jwt());
    for (role, node) in [("viewer", 0), ("operator", 1), ("admin", 2)] {
        let hello = connect(&mut world, node, &token(&json!({"role": role})));
        assert_eq!(hello["payload"]["role"], role);
        assert_eq!(hello["payload"]["user_id"], "ann", "not whom the client says");
    }
    let request = ClientRequest::new("localhost", "/").expect("a request");
    let bearer = format!("Bearer {}", token(&json!({})));
    let at = world.upgrade(0, "127.0.0.1", request.header("Authorization", &bearer).expect("fine"));
    assert_eq!(world.call(at, "connect", json!({}))["payload"]["user_id"], "ann");
    let facts = format!("{:?}", world.facts);
    assert!(facts.contains("credential: Jwt") && !facts.contains(&token(&json!({}))));
}

#[test]
fn a_refusal_says_which_kind_from_where_and_why_and_never_the_value() {
    let mut world = World::with(1, with_jwt());
    for (more, why, text) in [
        (json!({"exp": NOW - 31}), "expired", "expired JWT in the connect params"),
        (json!({"nbf": NOW + 31}), "not-yet", "not yet valid JWT in the connect params"),
        (json!({"aud": "x"}), "audience", "another audience's JWT in the connect params"),
        (json!({"iss": "x"}), "issuer", "another issuer's JWT in the connect params"),
        (json!({"role": "owner"}), "claims", "incomplete JWT in the connect params"),
    ] {
        let token = token(&more);
        let answer = connect(&mut world, 0, &token);
        assert_eq!(message(&answer), text);
        let details = json!({"credential": "jwt", "source": "params", "why": why});
        assert_eq!(answer["error"]["details"], details);
        assert!(!answer.to_string().contains(&token));
    }
    let forged = format!("{}A", token(&json!({})));
    assert_eq!(connect(&mut world, 0, &forged)["error"]["details"]["why"], "signature");
    let answer = connect(&mut world, 0, "a.b.c");
    assert_eq!(message(&answer), "malformed JWT in the connect params");
}

#[test]
fn only_where_a_key_is_configured_is_anything_a_jwt() {
    let mut world = World::new(1);
    let answer = connect(&mut world, 0, &token(&json!({})));
    assert_eq!(message(&answer), "wrong gateway token in the connect params");
    // A gateway token comes first, whatever it looks like.
    let mut config = with_jwt();
    config.tokens = vec![Token::admin(Secret::new("to.k.en"))];
    let mut world = World::with(1, config);
    assert_eq!(connect(&mut world, 0, "to.k.en")["payload"]["role"], "owner");
    assert_eq!(
        message(&connect(&mut world, 0, "to.ken")),
        "wrong gateway token in the connect params"
    );
}

#[test]
fn a_key_for_jwts_is_a_credential_like_a_token() {
    let mut config = with_jwt();
    config.tokens.clear();
    let mut world = World::with(1, config.clone());
    assert_eq!(code(&connect(&mut world, 0, "")), "UNAUTHORIZED", "nobody is let in without");
    assert_eq!(code(&connect(&mut world, 0, &token(&json!({})))), "ok");
    config.listen = "0.0.0.0:18790".parse().expect("an address");
    assert_eq!(config.check(), Ok(()));
    config.jwt[0].key = Secret::new("short");
    assert_eq!(config.check(), Err(ConfigError::Jwt(0, JwtKeyError::ShortSecret)));
    config.jwt.clear();
    assert_eq!(config.check(), Err(ConfigError::NoToken));
}

#[test]
fn a_connection_ends_with_its_token_and_loses_nothing_by_that() {
    let mut world = World::with(3, with_jwt());
    let at = world.login(0, &token(&json!({"exp": NOW + 60})), "");
    let asked = world.request(at, "chat.send", json!({"message": "hi", "agentId": "stuck"}));
    world.advance(Duration::from_millis(89_999));
    assert_eq!(closed(&world, at), None, "half a minute of leeway");
    world.advance(Duration::from_millis(1));
    assert_eq!(closed(&world, at), Some((1008, "credential expired")));
    assert!(world.answer(at, &asked).is_none());
    let (again, resumed) = world.resume(1, at, &token(&json!({})), "");
    assert_eq!((&resumed["resumed"], &resumed["gap"]), (&json!(true), &json!(false)));
    assert_eq!(code(&world.call(again, "health", json!({}))), "ok");
}

#[test]
fn a_token_that_ends_in_a_thousand_years_needs_no_timer_for_them() {
    let mut world = World::with(1, with_jwt());
    let at = world.login(0, &token(&json!({"exp": 1e30})), "");
    let next = world.nodes[0].deadline().map(|at| at - world.now);
    assert!(next.is_some_and(|next| next <= Duration::from_secs(24 * 60 * 60)));
    world.advance(Duration::from_secs(3 * 24 * 60 * 60));
    assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
}

/// The hosts' wall clocks show this many milliseconds after the start of the world.
fn set_clocks(world: &mut World, ms: i64) {
    let now = world.now;
    for node in &mut world.nodes {
        node.set_wall_clock(now, UNIX_MS.saturating_add_signed(ms));
    }
    world.advance(Duration::ZERO);
}

#[test]
fn a_clock_that_is_set_forward_ends_a_connection_with_its_token_at_once() {
    let mut world = World::with(3, with_jwt());
    let until = |seconds| token(&json!({"exp": NOW + seconds}));
    let [short, long] = [60, 7200].map(|seconds| world.login(2, &until(seconds), ""));
    assert!(world.nodes[2].needs_wall_clock() && !world.nodes[0].needs_wall_clock());
    set_clocks(&mut world, 89_999);
    assert_eq!(closed(&world, short), None);
    // The machine has slept for an hour, and its monotonic clock with it.
    set_clocks(&mut world, 3_600_000);
    assert_eq!(closed(&world, short), Some((1008, "credential expired")));
    assert_eq!(code(&world.call(long, "health", json!({}))), "ok");
    world.advance(Duration::from_millis(3_629_999));
    assert_eq!(closed(&world, long), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(closed(&world, long), Some((1008, "credential expired")));
    assert!(!world.nodes[2].needs_wall_clock());
}

#[test]
fn a_clock_that_is_set_back_revives_nothing() {
    let mut config = with_jwt();
    config.bounds.auth_failures = 1000;
    let mut world = World::with(3, config);
    let ended = token(&json!({"exp": NOW + 60}));
    let at = world.login(0, &ended, "");
    let running = world.login(1, &token(&json!({"exp": NOW + 120})), "");
    world.advance(Duration::from_secs(90));
    assert_eq!(closed(&world, at), Some((1008, "credential expired")));
    for second in 0..300 {
        set_clocks(&mut world, 90_000 - 300_000 + second * 1000);
        let answer = connect(&mut world, second as usize % 3, &ended);
        assert_eq!(answer["error"]["details"]["why"], "expired", "after {second} s");
        world.advance(Duration::from_secs(1));
    }
    // It has caught up: what ends later ends by it.
    assert_eq!(closed(&world, running), None);
    world.advance(Duration::from_secs(58));
    assert_eq!(closed(&world, running), None);
    world.advance(Duration::from_secs(2));
    assert_eq!(closed(&world, running), Some((1008, "credential expired")));
}

#[test]
fn a_clock_that_was_hours_ahead_keeps_nobody_out() {
    let mut world = World::with(1, with_jwt());
    set_clocks(&mut world, 2 * 3_600_000);
    let hello = connect(&mut world, 0, &token(&json!({})));
    assert_eq!(hello["error"]["details"]["why"], "expired");
    set_clocks(&mut world, 0);
    assert_eq!(code(&connect(&mut world, 0, &token(&json!({})))), "ok");
}

#[test]
fn a_new_token_on_the_same_connection_takes_the_place_of_the_old_one() {
    let mut world = World::with(1, with_jwt());
    let at = world.login(0, &token(&json!({"exp": NOW + 60})), "");
    assert_eq!(code(&world.call(at, "connect", json!({"token": token(&json!({}))}))), "ok");
    world.advance(Duration::from_secs(120));
    assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
}

#[test]
fn one_token_is_revoked_by_its_id_on_all_nodes_and_for_good() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, with_jwt());
        let last = usize::from(nodes) - 1;
        let (bad, good) = (token(&json!({"jti": "bad"})), token(&json!({"jti": "good"})));
        let gone = [world.login(0, &bad, ""), world.login(last, &bad, "")];
        let stays = world.login(last, &good, "");
        let admin = world.login(0, "secret", "adm");
        let answer = world.call(admin, "tokens.revoke", json!({"jti": "bad"}));
        assert_eq!(answer["payload"], json!({"status": "revoked"}));
        for at in gone {
            assert_eq!(closed(&world, at), Some((1008, "revoked")));
        }
        assert_eq!(code(&world.call(stays, "health", json!({}))), "ok");
        let store = std::mem::take(&mut world.store);
        for world in [&mut world, &mut World::with_store(nodes, with_jwt(), store)] {
            let answer = connect(world, last, &bad);
            assert_eq!(message(&answer), "revoked JWT in the connect params");
            assert_eq!(code(&connect(world, last, &good)), "ok");
        }
    }
}

#[test]
fn a_subject_is_revoked_up_to_now_and_may_come_back_with_a_newer_token() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, with_jwt());
        let last = usize::from(nodes) - 1;
        let old = token(&json!({}));
        let ann = world.login(last, &old, "");
        let dateless = world.login(0, &token(&json!({"iat": 0})), "");
        let bob = world.login(last, &token(&json!({"sub": "bob"})), "");
        // The user's other credentials are not that service's.
        let by_token = world.login(last, "operator", "ann");
        let admin = world.login(0, "secret", "adm");
        world.advance(Duration::from_secs(10));
        let answer = world.call(admin, "tokens.revoke", json!({"subject": "ann"}));
        assert_eq!(code(&answer), "ok");
        for at in [ann, dateless] {
            assert_eq!(closed(&world, at), Some((1008, "revoked")));
        }
        for at in [bob, by_token] {
            assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
        }
        assert_eq!(connect(&mut world, 0, &old)["error"]["details"]["why"], "revoked");
        world.advance(Duration::from_secs(1));
        let new = token(&json!({"iat": NOW + 11}));
        assert_eq!(code(&connect(&mut world, last, &new)), "ok");
        for wrong in [json!({}), json!({"jti": "a", "subject": "b"}), json!({"subject": "a\nb"})] {
            let answer = world.call(admin, "tokens.revoke", wrong);
            assert_eq!(code(&answer), "INVALID_REQUEST");
        }
    }
}

#[test]
fn a_configuration_without_the_key_ends_the_logins_by_it() {
    let mut world = World::with(3, with_jwt());
    let live = world.login(2, &token(&json!({})), "");
    let away = world.login(1, &token(&json!({})), "");
    world.cut(away);
    let now = world.now;
    for node in &mut world.nodes {
        node.reconfigure(now, config()).expect("a configuration");
    }
    world.settle();
    assert_eq!(closed(&world, live), Some((1008, "revoked")));
    assert!(world.nodes.iter().all(|node| node.links().0 == 0));
}

#[test]
fn wrong_jwts_lock_out_jwts_only() {
    let mut world = World::with(1, with_jwt());
    let connect = |world: &mut World, token: &str| {
        let at = world.open_from(0, "192.0.2.9");
        world.call(at, "connect", json!({"token": token}))
    };
    for n in 1..=12 {
        let answer = connect(&mut world, "a.b.c");
        assert_eq!(answer["error"]["retryAfterMs"].is_u64(), n > 10, "{n}: {answer}");
    }
    let answer = connect(&mut world, &token(&json!({})));
    assert_eq!(message(&answer), "too many wrong JWTs from this address");
    assert_eq!(code(&connect(&mut world, "operator")), "ok");
}
