//! Another configuration while clients are connected.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::ClientRequest;
use moorline_core::gateway::*;
use serde_json::json;
use std::time::Duration;
use world::*;

/// All nodes take it, or none does.
fn reconfigure(world: &mut World, config: &GatewayConfig) -> Result<(), ConfigError> {
    let now = world.now;
    let done: Vec<_> =
        world.nodes.iter_mut().map(|node| node.reconfigure(now, config.clone())).collect();
    assert!(done.windows(2).all(|pair| pair[0] == pair[1]));
    world.settle();
    done.into_iter().next().expect("a node")
}

fn admin(secret: &str) -> Token {
    Token::admin(Secret::new(secret))
}

#[test]
fn who_logged_in_by_a_token_that_is_gone_is_closed_and_nobody_else() {
    let mut world = World::new(2);
    let mut config = config();
    let gone = [world.login(0, "rotated", "a"), world.login(1, "rotated", "b")];
    let stay = [
        world.login(0, "secret", "a"),
        world.login(1, "viewer", "c"),
        world.login(0, "bound", "whoever"),
    ];
    let waiting = world.open(0);
    config.tokens.remove(1);
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    for at in gone {
        assert_eq!(world.clients[at].closed, Some((1008, "revoked".into())));
        let Some(Fact::Closed { reason, user, .. }) = world.closed_fact(at) else {
            panic!("it ended")
        };
        assert_eq!((&**reason, user.is_some()), ("revoked", true));
    }
    for at in stay {
        assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
    }
    let refused = world.call(waiting, "connect", json!({"token": "rotated"}));
    assert_eq!(code(&refused), "UNAUTHORIZED");
    assert_eq!(code(&world.call(waiting, "connect", json!({"token": "secret"}))), "ok");
}

#[test]
fn a_rotation_in_three_steps_closes_only_who_never_changed_over() {
    let mut config = config();
    config.tokens = vec![admin("old")];
    let mut world = World::with(1, config.clone());
    let (idle, mover) = (world.login(0, "old", "idle"), world.login(0, "old", "mover"));
    config.tokens = vec![admin("new"), admin("old")];
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    assert_eq!(code(&world.call(idle, "health", json!({}))), "ok");
    assert_eq!(code(&world.call(mover, "connect", json!({"token": "new"}))), "ok");
    config.tokens = vec![admin("new")];
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    assert_eq!(world.clients[idle].closed, Some((1008, "revoked".into())));
    assert_eq!(code(&world.call(mover, "health", json!({}))), "ok");
    // The old token again is another one: nobody has logged in by it yet.
    config.tokens = vec![admin("old")];
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    assert_eq!(world.clients[mover].closed, Some((1008, "revoked".into())));
}

#[test]
fn a_token_with_another_role_or_user_is_another_token() {
    let mut world = World::new(1);
    let mut config = config();
    let (viewer, bound) = (world.login(0, "viewer", "a"), world.login(0, "bound", "b"));
    config.tokens[3].role = Role::Operator;
    config.tokens[4].user = Some("eve".into());
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    for at in [viewer, bound] {
        assert_eq!(world.clients[at].closed, Some((1008, "revoked".into())));
    }
}

#[test]
fn who_needed_no_token_is_closed_when_one_is_needed() {
    let mut config = config();
    config.tokens.clear();
    let mut world = World::with(1, config.clone());
    let at = world.open(0);
    assert_eq!(code(&world.call(at, "connect", json!({}))), "ok");
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
    config.tokens = vec![admin("secret")];
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    assert_eq!(world.clients[at].closed, Some((1008, "revoked".into())));
}

#[test]
fn owners_come_and_go_without_a_new_login() {
    let mut world = World::new(2);
    let mut config = config();
    let (root, ann) = (world.login(0, "secret", "root"), world.login(1, "secret", "ann"));
    config.owner_ids = vec!["ann".into()];
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    world.advance(Duration::from_secs(2));
    let list = world.call(root, "presence.list", json!({}));
    let role = |user: &str| {
        let presence = list["payload"]["presence"].as_array().expect("a list");
        let entry = presence.iter().find(|entry| entry["userId"] == user).expect("an entry");
        entry["role"].as_str().expect("a role").to_string()
    };
    assert_eq!((role("root"), role("ann")), ("admin".into(), "owner".into()));
    world.cut(ann);
    let Some(Fact::Closed { role, .. }) = world.closed_fact(ann) else { panic!("it ended") };
    assert_eq!(*role, Some(Role::Owner));
}

#[test]
fn a_configuration_that_cannot_be_changes_nothing() {
    let mut world = World::new(2);
    let at = world.login(0, "secret", "a");
    type Breaks = fn(&mut GatewayConfig);
    let broken: [(Breaks, ConfigError); 6] = [
        (|c| c.agents.clear(), ConfigError::Agents),
        (|c| c.tokens = vec![admin("")], ConfigError::EmptyToken),
        (|c| c.allowed_origins = vec!["*".into()], ConfigError::Origin("*".into())),
        (|c| c.allowed_hosts = vec!["a b".into()], ConfigError::Host("a b".into())),
        (|c| c.trusted_proxies = vec!["::/0".into()], ConfigError::Proxy("::/0".into())),
        (
            |c| {
                c.tokens.clear();
                c.trusted_proxies = vec!["10.0.0.0/8".into()];
            },
            ConfigError::NoTokenBehindProxy,
        ),
    ];
    for (breaks, expected) in broken {
        let mut config = config();
        config.owner_ids.clear();
        config.tokens.remove(0);
        config.bounds.in_flight = 0;
        breaks(&mut config);
        assert_eq!(reconfigure(&mut world, &config), Err(expected));
        assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
    }
    let second = world.login(1, "secret", "root");
    assert_eq!(
        world.call(second, "connect", json!({"token": "secret", "user_id": "root"}))["payload"]["is_owner"],
        true
    );
}

#[test]
fn origins_hosts_agents_and_rates_hold_from_the_next_request_on() {
    let mut world = World::new(1);
    let mut config = config();
    let at = world.login(0, "operator", "a");
    let page = || {
        ClientRequest::new("localhost", "/ws")
            .and_then(|request| request.header("Origin", "https://chat.example.com"))
            .expect("a request")
    };
    let refused = world.upgrade(0, "127.0.0.1", page());
    assert_eq!(world.clients[refused].answer.as_ref().map(|(status, _)| *status), Some(403));
    config.allowed_origins = vec!["https://chat.example.com".into()];
    config.agents = vec![Agent::new("other", "Other")];
    config.rate_limit_rpm = 60;
    config.bounds.burst = 2;
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    let allowed = world.upgrade(0, "127.0.0.1", page());
    assert_eq!(world.clients[allowed].answer, None);
    let agents = world.call(at, "agents.list", json!({}));
    assert_eq!(agents["payload"]["agents"][0]["id"], "other");
    let gone = world.call(at, "chat.send", json!({"message": "hi", "agentId": "echo"}));
    assert_eq!(code(&gone), "NOT_FOUND");
    let id = world.request(at, "chat.send", json!({"message": "hi"}));
    assert!(world.answer(at, &id).is_none_or(|answer| code(&answer) == "RESOURCE_EXHAUSTED"));
    let limited = world.call(at, "chat.send", json!({"message": "hi"}));
    assert_eq!(code(&limited), "RESOURCE_EXHAUSTED");
    config.rate_limit_rpm = 0;
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    assert_eq!(code(&world.call(at, "health", json!({}))), "ok");
}

#[test]
fn the_lowest_limits_end_nothing_that_is_there_and_panic_nowhere() {
    let mut world = World::new(2);
    let mut config = config();
    let there: Vec<_> = (0..6).map(|n| world.login(n % 2, "secret", &format!("u{n}"))).collect();
    let strangers: Vec<_> = (0..4).map(|n| world.open_from(n % 2, "192.0.2.1")).collect();
    let runs: Vec<_> = there
        .iter()
        .map(|at| {
            let params = json!({"message": "wait", "agentId": "stuck", "idempotencyKey": "k"});
            (*at, world.request(*at, "chat.send", params))
        })
        .collect();
    config.bounds = Bounds {
        connections: 0,
        pre_auth: 0,
        pre_auth_v4: 0,
        pre_auth_v6: 0,
        pre_auth_message: 0,
        connect_within: Duration::ZERO,
        strikes: 0,
        in_flight: 0,
        burst: 0,
        remembered: 0,
        auth_failures: 0,
        auth_lock: Duration::ZERO,
        live_sessions: 0,
        queued_turns: 0,
        queued_bytes: 0,
        agent_history: 0,
        page_bytes: 0,
        idempotency_within: Duration::ZERO,
        idempotency_keys: 0,
        idempotency_bytes: 0,
        store_within: Duration::ZERO,
        run_within: Duration::ZERO,
        call_within: Duration::ZERO,
        presence_listed: 0,
        ..Bounds::default()
    };
    config.max_message_chars = 0;
    config.rate_limit_rpm = 1;
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    for at in &there {
        let id = world.request(*at, "chat.send", json!({"message": "x", "idempotencyKey": "k"}));
        world.answer(*at, &id);
        world.request(*at, "presence.list", json!({}));
    }
    for at in &strangers {
        world.send_text(*at, "no request");
    }
    let request = || ClientRequest::new("localhost", "/ws").expect("a request");
    let refused = world.upgrade(0, "127.0.0.1", request());
    assert_eq!(world.clients[refused].answer.as_ref().map(|(status, _)| *status), Some(503));
    world.advance(Duration::from_secs(60));
    for at in &there {
        assert_eq!(world.clients[*at].closed, None);
    }
    // The first bounds again: everything works, and every place was given back.
    config.bounds = self::config().bounds;
    config.max_message_chars = 32_000;
    config.rate_limit_rpm = 0;
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    world.advance(Duration::from_secs(3600));
    for (at, _) in runs {
        assert_eq!(code(&world.call_slow(at, "chat.send", json!({"message": "hello"}))), "ok");
    }
    for at in 0..world.clients.len() {
        world.cut(at);
    }
    for node in &world.nodes {
        assert_eq!(node.connections(), (0, 0));
    }
}

#[test]
fn a_lowered_budget_of_strangers_counts_those_who_are_there() {
    let mut world = World::new(1);
    let mut config = config();
    let there: Vec<_> = (0..5).map(|_| world.open_from(0, "192.0.2.1")).collect();
    config.bounds.pre_auth_v4 = 2;
    config.bounds.pre_auth = 3;
    assert_eq!(reconfigure(&mut world, &config), Ok(()));
    let request = || ClientRequest::new("localhost", "/ws").expect("a request");
    let refused = world.upgrade(0, "192.0.2.1", request());
    assert_eq!(world.clients[refused].answer.as_ref().map(|(status, _)| *status), Some(503));
    // An address has no more than its own bound of the total.
    world.open_from(0, "192.0.2.2");
    for at in there {
        assert_eq!(world.clients[at].closed, None);
        assert_eq!(code(&world.call(at, "connect", json!({"token": "secret"}))), "ok");
    }
    world.open_from(0, "192.0.2.1");
}

#[test]
fn a_message_is_cut_at_the_last_character_that_fits() {
    let mut config = config();
    config.max_message_chars = 5;
    let mut world = World::with(1, config);
    let at = world.login(0, "operator", "a");
    for (sent, kept) in [("äöüßx", "äöüßx"), ("äöüßxy", "äöüßx")] {
        let answer = world.call_slow(at, "chat.send", json!({"message": sent}));
        assert_eq!(answer["payload"]["content"], kept);
    }
    let cut: Vec<_> =
        world.facts.iter().filter(|fact| matches!(fact, Fact::Truncated { .. })).collect();
    assert!(matches!(cut[..], [Fact::Truncated { chars: 6, kept: 5, .. }]), "{cut:?}");
}
