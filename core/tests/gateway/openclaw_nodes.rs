//! Nodes in the dialect of OpenClaw: who is there, what of each was approved and by whom, and what they say.

use crate::nodes;
use crate::openclaw;
use crate::world;
use nodes::*;
use openclaw::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::{StoreMode, World, config};

#[test]
fn a_node_is_listed_with_what_it_says_and_what_of_that_was_approved() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let node = come(&mut world, loops as usize - 1, 1, &["b", "a"]);
        assert_eq!(world.events(node.at, "voicewake.changed"), [json!({"triggers": []})]);
        let at = admin(&mut world, 0);
        let entry = listed(&mut world, at, &node.id).expect("it is there");
        for (name, value) in [
            ("displayName", json!("node 1")),
            ("platform", json!("linux")),
            ("version", json!("1")),
            ("clientId", json!("node-host")),
            ("clientMode", json!("node")),
            ("caps", json!([])),
            ("commands", json!([])),
            ("permissions", json!({})),
            ("approvalState", json!("pending-approval")),
            ("pendingDeclaredCaps", json!(["canvas"])),
            ("pendingDeclaredCommands", json!(["a", "b"])),
            ("pendingDeclaredPermissions", json!({"camera": true})),
            ("paired", json!(false)),
            ("connected", json!(true)),
        ] {
            assert_eq!(entry[name], value, "{name} of {entry}");
        }
        assert!(entry["connectedAtMs"].is_u64() && entry["lastSeenAtMs"].is_u64());
        let approved = approve(&mut world, at, &node.id);
        assert_eq!(approved["node"]["commands"], json!(["a", "b"]));
        let mut described = ok(world.call(at, "node.describe", json!({"nodeId": node.id})));
        assert!(described["ts"].is_u64());
        for name in ["caps", "commands", "permissions", "approvalState", "paired"] {
            assert_eq!(described[name].take(), approved["node"][name], "{name}");
        }
        assert!(approved["node"].get("pendingRequestId").is_none());
        assert_eq!(approved["node"]["approvalState"], "approved");
        let seen = world.now;
        world.cut(node.at);
        world.advance(Duration::from_secs(100));
        let gone = listed(&mut world, at, &node.id).expect("it is known");
        assert_eq!((&gone["connected"], &gone["paired"]), (&json!(false), &json!(true)));
        assert_eq!(gone["commands"], json!(["a", "b"]));
        let ms = world::UNIX_MS + (seen - world.start).as_millis() as u64;
        assert_eq!(gone["lastSeenAtMs"], ms);
        let nobody = world.call(at, "node.describe", json!({"nodeId": "nobody"}));
        assert_eq!(invalid(&nobody), "unknown nodeId");
    }
}

#[test]
fn who_decides_is_told_what_is_asked_and_what_was_decided_and_so_is_the_node() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let deciders: Vec<_> = (0..loops as usize).map(|n| admin(&mut world, n)).collect();
        let reader = join(&mut world, 0, "secret", &["operator.read"]);
        let node = come(&mut world, loops as usize - 1, 1, &["a"]);
        let request = pending(&mut world, deciders[0], &node.id).expect("it asks");
        for at in &deciders {
            let asked = world.events(*at, "node.pair.requested");
            assert_eq!(asked.len(), 1, "{asked:?}");
            assert_eq!(asked[0]["requestId"], request.as_str());
            assert_eq!(asked[0]["nodeId"], node.id.as_str());
            let scopes = json!(["operator.write", "operator.pairing"]);
            assert_eq!(asked[0]["requiredApproveScopes"], scopes);
        }
        approve(&mut world, deciders[0], &node.id);
        for at in deciders.iter().chain([&node.at]) {
            let resolved = world.events(*at, "node.pair.resolved");
            assert_eq!(resolved.len(), 1, "{resolved:?}");
            assert_eq!(resolved[0]["requestId"], request.as_str());
            assert_eq!(resolved[0]["nodeId"], node.id.as_str());
            assert_eq!(resolved[0]["decision"], "approved");
            assert!(resolved[0]["ts"].is_u64());
        }
        assert!(world.events(reader, "node.pair.requested").is_empty());
        assert!(world.events(reader, "node.pair.resolved").is_empty());
        let again = world.call(deciders[0], "node.pair.approve", json!({"requestId": request}));
        assert_eq!(invalid(&again), "unknown requestId");
    }
}

#[test]
fn who_approves_must_be_able_to_tell_the_node_what_it_then_can_do() {
    for (commands, needed) in [
        (&[][..], None),
        (&["canvas.present"], Some("operator.write")),
        (&["system.run"], Some("operator.admin")),
    ] {
        let mut world = World::new(3);
        let node = come(&mut world, 2, 1, commands);
        let pairing = ["operator.pairing"];
        let modest = join(&mut world, 0, "secret", &pairing);
        let request = pending(&mut world, modest, &node.id).expect("it asks");
        let params = json!({"requestId": request});
        let answer = world.call(modest, "node.pair.approve", params.clone());
        let missing = answer["error"]["details"]["missingScope"].as_str();
        assert_eq!(missing, needed, "{answer}");
        if needed.is_some() {
            let scopes: &[&str] = match needed {
                Some("operator.write") => &["operator.pairing", "operator.write"],
                _ => &["operator.admin"],
            };
            let able = join(&mut world, 1, "secret", scopes);
            ok(world.call(able, "node.pair.approve", params));
        }
    }
}

#[test]
fn what_was_rejected_is_of_no_use_and_is_asked_when_the_node_comes_again() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let node = come(&mut world, loops as usize - 1, 1, &["a"]);
        let at = admin(&mut world, 0);
        let request = pending(&mut world, at, &node.id).expect("it asks");
        let answer = ok(world.call(at, "node.pair.reject", json!({"requestId": request})));
        assert_eq!(answer, json!({"requestId": request, "nodeId": node.id}));
        assert_eq!(world.events(at, "node.pair.resolved")[0]["decision"], "rejected");
        assert_eq!(pending(&mut world, at, &node.id), None);
        let entry = listed(&mut world, at, &node.id).expect("it is there");
        assert_eq!(entry["approvalState"], "unapproved");
        invalid(&world.call(at, "node.invoke", command(&node, "a")));
        let again = come(&mut world, 0, 1, &["a"]);
        let anew = pending(&mut world, at, &again.id).expect("it asks again");
        assert_ne!(anew, request);
    }
}

#[test]
fn a_node_that_declares_more_asks_again_and_can_do_what_it_could_meanwhile() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["a", "b"]);
        let same = come(&mut world, 0, 1, &["b"]);
        assert_eq!(pending(&mut world, at, &same.id), None, "less needs nobody");
        let more = come(&mut world, 0, 1, &["b", "c"]);
        let entry = listed(&mut world, at, &node.id).expect("it is there");
        assert_eq!(entry["approvalState"], "pending-reapproval");
        assert_eq!(entry["commands"], json!(["b"]));
        assert_eq!(entry["pendingDeclaredCommands"], json!(["b", "c"]));
        let first = pending(&mut world, at, &node.id);
        let refused = world.call(at, "node.invoke", command(&more, "c"));
        assert_eq!(refused["error"]["details"]["reason"], "command-not-approved");
        world.request(at, "node.invoke", command(&more, "b"));
        told(&mut world, &more);
        // The same once more is the same request; something else takes its place.
        come(&mut world, loops as usize - 1, 1, &["c", "b"]);
        assert_eq!(pending(&mut world, at, &node.id), first);
        world.events(at, "node.pair.resolved");
        come(&mut world, 0, 1, &["d"]);
        assert_ne!(pending(&mut world, at, &node.id), first);
        let over = world.events(at, "node.pair.resolved");
        assert_eq!(over[0]["requestId"].as_str(), first.as_deref());
        assert_eq!(over[0]["decision"], "rejected");
        approve(&mut world, at, &node.id);
        let entry = listed(&mut world, at, &node.id).expect("it is there");
        assert_eq!(entry["commands"], json!(["d"]));
    }
}

#[test]
fn what_was_approved_outlives_the_gateway_and_can_be_taken_back() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (_, node) = pair(&mut world, 1, &["a"]);
        for gateway in 0..loops as usize {
            world.restart(gateway, config());
        }
        let at = admin(&mut world, 0);
        let known = listed(&mut world, at, &node.id).expect("it is known");
        assert_eq!((&known["commands"], &known["connected"]), (&json!(["a"]), &json!(false)));
        let named = json!({"nodeId": node.id, "displayName": " the lamp "});
        let answer = ok(world.call(at, "node.rename", named));
        assert_eq!(answer, json!({"nodeId": node.id, "displayName": "the lamp"}));
        let back = come(&mut world, loops as usize - 1, 1, &["a"]);
        let entry = listed(&mut world, at, &node.id).expect("it is there");
        assert_eq!(
            (&entry["displayName"], &entry["connected"]),
            (&json!("the lamp"), &json!(true))
        );
        let list = ok(world.call(at, "node.pair.list", json!({})));
        assert_eq!(list["pending"], json!([]));
        assert_eq!(list["paired"][0]["displayName"], "the lamp");
        assert_eq!(list["paired"][0]["connected"], true);
        let params = json!({"nodeId": node.id});
        assert_eq!(ok(world.call(at, "node.pair.remove", params.clone())), params);
        let closed = world.clients[back.at].closed.clone().expect("it has to come again");
        assert_eq!(closed, (1012, "node capabilities changed".into()));
        assert_eq!(listed(&mut world, at, &node.id), None);
        assert_eq!(invalid(&world.call(at, "node.pair.remove", params)), "unknown nodeId");
        for gateway in 0..loops as usize {
            world.restart(gateway, config());
        }
        let at = admin(&mut world, 0);
        assert_eq!(listed(&mut world, at, &node.id), None, "nor after a restart");
    }
}

#[test]
fn what_the_store_does_not_keep_is_not_approved() {
    let mut world = World::new(3);
    let node = come(&mut world, 2, 1, &["a"]);
    let at = admin(&mut world, 0);
    let request = pending(&mut world, at, &node.id).expect("it asks");
    world.store_mode = StoreMode::Fails;
    let refused = world.call(at, "node.pair.approve", json!({"requestId": request}));
    assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
    invalid(&world.call(at, "node.invoke", command(&node, "a")));
    world.store_mode = StoreMode::Works;
    ok(world.call(at, "node.pair.approve", json!({"requestId": request})));
    world.request(at, "node.invoke", command(&node, "a"));
    told(&mut world, &node);
}

#[test]
fn a_device_that_is_thrown_out_has_to_ask_for_everything_again() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["a"]);
        ok(world.call(at, "device.pair.remove", json!({"deviceId": node.id})));
        assert_eq!(world.clients[node.at].closed.as_ref().expect("closed").0, 4001);
        assert_eq!(listed(&mut world, at, &node.id), None);
        let back = come(&mut world, 0, 1, &["a"]);
        invalid(&world.call(at, "node.invoke", command(&back, "a")));
        assert!(pending(&mut world, at, &back.id).is_some());
    }
}

#[test]
fn so_many_nodes_may_ask_and_so_many_may_be_approved() {
    let mut config = config();
    (config.bounds.pairings, config.bounds.devices) = (2, 3);
    let mut world = World::with(3, config);
    let at = admin(&mut world, 0);
    let nodes: Vec<_> = (1..=3).map(|n| come(&mut world, n % 3, n as u8, &["a"])).collect();
    let asks: Vec<_> = nodes.iter().map(|node| pending(&mut world, at, &node.id)).collect();
    assert_eq!(asks.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
    approve(&mut world, at, &nodes[0].id);
    let third = come(&mut world, 0, 3, &["a"]);
    assert!(pending(&mut world, at, &third.id).is_some(), "there is room");
    // A request stays for five minutes after its node has gone.
    world.cut(third.at);
    world.advance(Duration::from_millis(5 * 60_000 - 1));
    assert!(pending(&mut world, at, &third.id).is_some());
    world.advance(Duration::from_millis(1));
    assert_eq!(pending(&mut world, at, &third.id), None);
    assert!(pending(&mut world, at, &nodes[1].id).is_some(), "its node is there");
}

#[test]
fn what_a_node_says_of_its_machine_is_told_to_who_may_read() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let (at, node) = pair(&mut world, 1, &["a"]);
        let reader = join(&mut world, loops as usize - 1, "viewer", &["operator.read"]);
        let nobody = join(&mut world, 0, "secret", &[]);
        let say = |world: &mut World, said: &str| {
            let params = json!({"event": "node.host.stats", "payloadJSON": said});
            ok(world.call(node.at, "node.event", params))["handled"].take()
        };
        for (said, handled) in
            [("{} {}", false), ("[1]", false), ("{", false), (" {\"load\":[2]} ", true)]
        {
            assert_eq!(say(&mut world, said), handled, "{said}");
        }
        for at in [at, reader] {
            let told = world.events(at, "node.hostStats");
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0]["nodeId"], node.id.as_str());
            assert_eq!(told[0]["hostStats"]["load"], json!([2]));
            assert!(told[0]["hostStats"]["updatedAtMs"].is_u64());
        }
        assert!(world.events(nobody, "node.hostStats").is_empty());
        let entry = listed(&mut world, at, &node.id).expect("it is there");
        assert_eq!(entry["hostStats"]["load"], json!([2]));
        assert_eq!(say(&mut world, "{}"), false, "once a second");
        world.advance(Duration::from_secs(1));
        assert_eq!(say(&mut world, "{}"), true);
        assert_eq!(world.events(reader, "node.hostStats").len(), 1);
        let large = format!("{{\"x\":\"{}\"}}", "y".repeat(16 * 1024));
        world.advance(Duration::from_secs(1));
        assert_eq!(say(&mut world, &large), false);
        ok(world.call(node.at, "node.runnerInventory.update", json!({"runners": []})));
        let told = world.events(reader, "node.runnerInventory.changed");
        assert_eq!(told, [json!({"nodeId": node.id})]);
    }
}

#[test]
fn what_has_no_meaning_here_is_acknowledged() {
    let mut world = World::new(1);
    let node = come(&mut world, 0, 1, &[]);
    for name in ["node.host.stats", "node.skills.update", "node.pluginTools.update"] {
        assert_eq!(ok(world.call(node.at, name, json!({"any": [1]}))), json!({"ok": true}));
    }
    let event = json!({"event": "voice.transcript", "payload": {"text": "hello"}});
    let answer = ok(world.call(node.at, "node.event", event));
    assert_eq!(answer, json!({"ok": true, "event": "voice.transcript", "handled": false}));
    for _ in 0..20 {
        let answer = world.call(node.at, "node.from.the.future", json!({}));
        assert_eq!(invalid(&answer), "unknown method: node.from.the.future");
    }
    assert!(world.clients[node.at].closed.is_none(), "it only asks");
}

#[test]
fn a_node_is_in_the_list_of_who_is_connected_once_and_by_its_device() {
    for loops in [1, 3] {
        let mut world = World::new(loops);
        let node = come(&mut world, loops as usize - 1, 1, &[]);
        let at = admin(&mut world, 0);
        let entries = |world: &mut World| -> Vec<_> {
            world.advance(Duration::from_secs(2));
            let list = ok(world.call(at, "system-presence", json!({})));
            let list = list.as_array().expect("a list").iter();
            let own = list.filter(|entry| entry["deviceId"] == node.id.as_str());
            own.map(|entry| (entry["instanceId"].clone(), entry["reason"].clone())).collect()
        };
        let is = |reason: &str| -> Vec<(Value, Value)> { vec![(json!(node.id), json!(reason))] };
        assert_eq!(entries(&mut world), is("connect"));
        let again = come(&mut world, 0, 1, &[]);
        assert_eq!(entries(&mut world), is("connect"), "not the one that was replaced, too");
        world.cut(again.at);
        assert_eq!(entries(&mut world), is("disconnect"));
    }
}
