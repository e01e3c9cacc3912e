//! Who is connected: with what, since when, at every node, and nobody who is not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use moorline_core::gateway::*;
use moorline_core::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

fn name(world: &World, at: usize) -> String {
    format!("{}-{}", world.clients[at].node, world.clients[at].id)
}

fn list(world: &mut World, at: usize) -> Vec<Value> {
    let answer = world.call(at, "presence.list", json!({}));
    answer["payload"]["presence"].as_array().expect("entries").clone()
}

fn entry(world: &mut World, at: usize, of: usize) -> Value {
    let name = name(world, of);
    let mut list = list(world, at).into_iter();
    list.find(|entry| entry["connId"] == *name).expect("an entry")
}

/// What a client knows that keeps the snapshot of its login up to date with the events.
struct Picture {
    at: usize,
    entries: BTreeSet<String>,
}

impl Picture {
    fn new(world: &mut World, node: usize, user: &str) -> Self {
        let at = world.open(node);
        let hello = world.call(at, "connect", json!({"token": "viewer", "user_id": user}));
        let entries = names(&hello["payload"]["snapshot"]["presence"]);
        Self { at, entries }
    }

    fn update(&mut self, world: &mut World) {
        for event in world.events(self.at, "presence") {
            if event["snapshot"] == true {
                self.entries.clear();
            }
            assert_eq!(event["complete"], true);
            self.entries.extend(names(&event["presence"]));
            for left in event["left"].as_array().expect("names") {
                self.entries.remove(left.as_str().expect("a name"));
            }
            assert_eq!(event["total"], self.entries.len(), "{event}");
        }
    }
}

fn names(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().expect("entries");
    list.iter().map(|entry| entry["connId"].as_str().expect("a name").into()).collect()
}

#[test]
fn an_entry_tells_user_role_client_and_times() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let watcher = world.login(usize::from(nodes) - 1, "viewer", "watcher");
        world.advance(SECOND * 2);
        let request = ClientRequest::new("localhost:18790", "/ws")
            .and_then(|request| request.header("User-Agent", "Browser/1.0 (a desktop)"))
            .expect("a request");
        let at = world.upgrade(0, "192.0.2.1", request);
        world.clients[at].messages.clear();
        world.call(at, "connect", json!({"token": "operator", "user_id": "ann"}));
        world.advance(SECOND * 2);
        let since = UNIX_MS + 2000;
        let expected = json!({
            "connId": name(&world, at), "userId": "ann", "role": "operator", "since": since,
            "idleMs": 2000, "node": 0, "client": {"userAgent": "Browser/1.0 (a desktop)"},
        });
        assert_eq!(entry(&mut world, watcher, at), expected);
        // What it says at its login is better, and others hear of it.
        world.events(watcher, "presence");
        let client = json!({"id": "cli", "version": "1.2.3", "platform": "linux", "mode": "x"});
        let params = json!({"token": "operator", "user_id": "ann", "client": client});
        assert_eq!(code(&world.call(at, "connect", params)), "ok");
        world.advance(SECOND * 2);
        let client = json!({"id": "cli", "version": "1.2.3", "platform": "linux"});
        assert_eq!(entry(&mut world, watcher, at)["client"], client);
        let events = world.events(watcher, "presence");
        let told = events.iter().flat_map(|event| event["presence"].as_array().expect("a list"));
        assert!(told.into_iter().any(|entry| entry["client"] == client), "{events:?}");
        // Who says nothing has nothing to show.
        assert_eq!(entry(&mut world, watcher, watcher).get("client"), None);
    }
}

#[test]
fn what_a_client_says_is_short_and_has_no_control_characters() {
    let mut world = World::new(1);
    for (client, expected) in [
        (json!({"id": "x".repeat(64)}), "ok"),
        (json!({"id": "x".repeat(65)}), "INVALID_REQUEST"),
        (json!({"version": "1\n2"}), "INVALID_REQUEST"),
        (json!({"platform": "\u{1b}[31m"}), "INVALID_REQUEST"),
        (json!({"id": 1}), "INVALID_REQUEST"),
        (json!("cli"), "INVALID_REQUEST"),
        (json!({}), "ok"),
        (json!(null), "ok"),
    ] {
        let at = world.open(0);
        let params = json!({"token": "viewer", "user_id": "ann", "client": client});
        let answer = world.call(at, "connect", params);
        assert_eq!(code(&answer), expected, "{client}: {answer}");
        if expected != "ok" {
            assert!(message(&answer).contains("client"), "{answer}");
        }
    }
    for (header, shown) in [
        ("é".repeat(100), Some("é".repeat(64))),
        ("a\tb".into(), None),
        ("x".repeat(128), Some("x".repeat(128))),
    ] {
        let request = ClientRequest::new("localhost:18790", "/ws")
            .and_then(|request| request.header("User-Agent", &header))
            .expect("a request");
        let at = world.upgrade(0, "127.0.0.1", request);
        world.clients[at].messages.clear();
        world.call(at, "connect", json!({"token": "viewer", "user_id": "ann"}));
        let client = entry(&mut world, at, at).get("client").cloned();
        assert_eq!(client, shown.map(|text| json!({"userAgent": text})));
    }
}

#[test]
fn idle_times_are_right_here_and_within_half_a_minute_elsewhere() {
    let mut world = World::new(3);
    let at = world.login(0, "operator", "ann");
    let watchers = [world.login(0, "viewer", "w"), world.login(2, "viewer", "w")];
    for _ in 0..10 {
        world.advance(SECOND * 10);
        world.call(at, "health", json!({}));
        world.advance(SECOND * 3);
        assert_eq!(entry(&mut world, watchers[0], at)["idleMs"], 3000);
        let idle = entry(&mut world, watchers[1], at)["idleMs"].as_u64().expect("a time");
        assert!((3000..=36_000).contains(&idle), "{idle}");
    }
    world.advance(SECOND * 40);
    assert_eq!(entry(&mut world, watchers[0], at)["idleMs"], 43_000);
}

/// However a connection ends, nobody sees it any more a moment later, at any node.
#[test]
fn whoever_is_gone_is_gone_from_every_list() {
    type End = fn(&mut World, usize, usize);
    let endings: [(&str, End); 8] = [
        ("cut", |world, at, _| world.cut(at)),
        ("closed by the client", |world, at, _| {
            let now = world.now;
            world.clients[at].client.close(now, CloseCode::NORMAL, "bye");
            world.settle();
        }),
        ("a login that fails", |world, at, _| {
            world.call(at, "connect", json!({"token": "wrong"}));
        }),
        ("invalid frames", |world, at, _| (0..16).for_each(|_| world.send_text(at, "nonsense"))),
        ("silence", |world, at, _| {
            world.clients[at].mute = true;
            world.advance(SECOND * 61);
        }),
        ("sent away", |world, at, admin| {
            let params = json!({"connId": name(world, at)});
            assert_eq!(code(&world.call(admin, "connections.close", params)), "ok");
        }),
        ("resumed elsewhere", |world, at, _| {
            let (new, _) = world.resume(1, at, "operator", "ann");
            world.cut(new);
        }),
        ("its token is gone", |world, at, _| {
            let mut config = config();
            config.tokens.retain(|token| token.role != Role::Operator);
            let now = world.now;
            let node = world.clients[at].node;
            world.nodes[node].reconfigure(now, config).expect("a configuration");
            world.settle();
        }),
    ];
    for (what, end) in endings {
        for node in 0..3 {
            let mut world = World::new(3);
            let mut pictures: Vec<_> =
                (0..3).map(|node| Picture::new(&mut world, node, "watcher")).collect();
            let admin = world.login(0, "secret", "adm");
            let at = world.login(node, "operator", "ann");
            world.advance(SECOND * 2);
            let gone = name(&world, at);
            for picture in &mut pictures {
                picture.update(&mut world);
                assert!(picture.entries.contains(&gone), "{what}");
            }
            end(&mut world, at, admin);
            world.advance(SECOND * 2);
            let stay: BTreeSet<_> = pictures
                .iter()
                .map(|picture| picture.at)
                .chain([admin])
                .map(|at| name(&world, at))
                .collect();
            for picture in &mut pictures {
                picture.update(&mut world);
                assert_eq!(picture.entries, stay, "{what} at node {node}");
                let list = Value::from(list(&mut world, picture.at));
                assert_eq!(names(&list), stay, "{what} at node {node}");
            }
        }
    }
}

#[test]
fn after_a_nodes_restart_every_node_knows_who_is_there() {
    for node in 0..3 {
        let mut world = World::new(3);
        let mut pictures: Vec<_> =
            (0..3).map(|at| Picture::new(&mut world, at, "watcher")).collect();
        for n in 0..6 {
            world.login(n % 3, "operator", &format!("u{n}"));
        }
        world.advance(SECOND * 2);
        world.restart(node, config());
        // Somebody comes at once, before the others have been told anything.
        let new = world.login(node, "operator", "new");
        let gone: Vec<_> = (0..9).filter(|at| world.clients[*at].node == node).collect();
        assert_eq!(gone.len(), 3);
        pictures.retain(|picture| world.clients[picture.at].node != node);
        pictures.push(Picture::new(&mut world, node, "watcher"));
        world.advance(SECOND * 2);
        let there: BTreeSet<_> = (0..world.clients.len())
            .filter(|at| !gone.contains(at))
            .map(|at| name(&world, at))
            .collect();
        assert_eq!(there.len(), 8);
        for picture in &mut pictures {
            picture.update(&mut world);
            assert_eq!(picture.entries, there, "after a restart of node {node}");
            let list = Value::from(list(&mut world, picture.at));
            assert_eq!(names(&list), there, "after a restart of node {node}");
        }
        assert_eq!(list(&mut world, new).len(), 8);
    }
}

#[test]
fn a_new_role_is_told_at_every_node() {
    let mut world = World::new(3);
    let watcher = world.login(2, "viewer", "watcher");
    let admin = world.login(0, "secret", "adm");
    world.advance(SECOND * 2);
    assert_eq!(entry(&mut world, watcher, admin)["role"], "admin");
    world.events(watcher, "presence");
    let mut config = config();
    config.owner_ids = vec!["adm".into()];
    let now = world.now;
    world.nodes[0].reconfigure(now, config).expect("a configuration");
    world.settle();
    world.advance(SECOND * 2);
    assert_eq!(entry(&mut world, watcher, admin)["role"], "owner");
    let events = world.events(watcher, "presence");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["presence"][0]["role"], "owner");
}
