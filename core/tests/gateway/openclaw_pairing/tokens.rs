//! A device's tokens: what they are good for, and how they change and end.

use super::*;

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
