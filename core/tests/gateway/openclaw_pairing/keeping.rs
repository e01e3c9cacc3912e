//! What is kept of devices: by the store, over restarts, and alike at all nodes.

use super::*;

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
