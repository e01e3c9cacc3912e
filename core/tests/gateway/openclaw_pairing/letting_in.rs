//! Who is let in at once, who waits for a decision, and who is thrown out again.

use super::*;

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
fn a_device_may_remove_itself_and_is_told_before_it_goes() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let (at, _) = device.connect(&mut world, 0, &Hello::cli("secret", ADMIN));
    let answer = world.call(at, "device.pair.remove", json!({"deviceId": device.id}));
    assert_eq!(answer["payload"], json!({"deviceId": device.id}));
    assert_eq!(closed(&world, at), REMOVED);
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
