//! How logins of the second dialect fail: the answer, its details, and the Close.
#![allow(clippy::disallowed_methods)]

use crate::device;
use crate::gateway;
use device::*;
use gateway::*;
use moorline_core::ClientRequest;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;

const FAR: &str = "10.0.0.9";

/// A login that fails: what it is, and what its client is told.
struct Row {
    case: &'static str,
    /// Gives the connection and the answer.
    connect: fn(&mut World) -> (usize, Value),
    error: &'static str,
    message: &'static str,
    /// `details.code`, or `details.reason` where there is no code.
    details: &'static str,
    close: u16,
}

fn changed(world: &mut World, change: impl FnOnce(&mut Value, &Challenge)) -> (usize, Value) {
    let (at, challenge) = knock(world, 0, "127.0.0.1", &[]);
    let mut params =
        Hello::cli("secret", &["operator.read"]).signed(&TestDevice::new(1), &challenge);
    change(&mut params, &challenge);
    let answer = world.call(at, "connect", params);
    (at, answer)
}

/// Without a device.
fn bare(world: &mut World, peer: &str, headers: &[(&str, &str)], hello: &Hello) -> (usize, Value) {
    let (at, _) = knock(world, 0, peer, headers);
    let answer = world.call(at, "connect", hello.params());
    (at, answer)
}

fn page(token: Value) -> Hello {
    Hello { client: ("openclaw-control-ui", "webchat"), auth: token, ..Hello::cli("", &[]) }
}

/// The signature is of another time than the one that was asked at.
fn late(world: &mut World, by: i64) -> (usize, Value) {
    let (at, challenge) = knock(world, 0, "127.0.0.1", &[]);
    let ts = challenge.ts.checked_add_signed(by).expect("a time");
    let hello = Hello::cli("secret", &["operator.read"]);
    let signed = Challenge { ts, ..challenge };
    let params = hello.signed(&TestDevice::new(1), &signed);
    let answer = world.call(at, "connect", params);
    (at, answer)
}

/// With a token that was never given to anybody.
fn guess(world: &mut World, peer: &str, device: u8) -> (usize, Value) {
    let hello = Hello::by_token("0123456789012345678901234567890123456789012", &["operator.read"]);
    TestDevice::new(device).connect_from(world, 0, peer, &hello)
}

const ORIGIN: (&str, &str) = ("Origin", "http://localhost:18790");

const ROWS: &[Row] = &[
    Row {
        case: "protocols that are too old",
        connect: |world| {
            let hello = Hello { protocols: (1, 2), ..Hello::cli("secret", &[]) };
            bare(world, FAR, &[], &hello)
        },
        error: "INVALID_REQUEST",
        message: "protocol mismatch",
        details: "PROTOCOL_MISMATCH",
        close: 1002,
    },
    Row {
        case: "protocols that are too new, and a role that is none: the protocol comes first",
        connect: |world| {
            let hello = Hello { protocols: (5, 9), role: "king", ..Hello::cli("secret", &[]) };
            bare(world, FAR, &[], &hello)
        },
        error: "INVALID_REQUEST",
        message: "protocol mismatch",
        details: "PROTOCOL_MISMATCH",
        close: 1002,
    },
    Row {
        case: "a role that is none",
        connect: |world| bare(world, FAR, &[], &Hello { role: "king", ..Hello::cli("x", &[]) }),
        error: "INVALID_REQUEST",
        message: "invalid role",
        details: "",
        close: 1008,
    },
    Row {
        case: "a role that is not served",
        connect: |world| bare(world, FAR, &[], &Hello { role: "worker", ..Hello::cli("x", &[]) }),
        error: "INVALID_REQUEST",
        message: "invalid role",
        details: "",
        close: 1008,
    },
    Row {
        case: "a page without an Origin",
        connect: |world| bare(world, FAR, &[], &page(json!({"token": "secret"}))),
        error: "INVALID_REQUEST",
        message: "origin not allowed",
        details: "CONTROL_UI_ORIGIN_NOT_ALLOWED",
        close: 1008,
    },
    Row {
        case: "neither a device nor a credential",
        connect: |world| bare(world, FAR, &[], &Hello { auth: json!({}), ..Hello::cli("", &[]) }),
        error: "NOT_PAIRED",
        message: "device identity required",
        details: "DEVICE_IDENTITY_REQUIRED",
        close: 1008,
    },
    Row {
        case: "a node without a device",
        connect: |world| bare(world, "127.0.0.1", &[], &Hello::node("secret")),
        error: "NOT_PAIRED",
        message: "device identity required",
        details: "DEVICE_IDENTITY_REQUIRED",
        close: 1008,
    },
    Row {
        case: "a chat page without a device",
        connect: |world| {
            let hello = Hello { client: ("webchat", "webchat"), ..Hello::cli("secret", &[]) };
            bare(world, "127.0.0.1", &[ORIGIN], &hello)
        },
        error: "NOT_PAIRED",
        message: "device identity required",
        details: "DEVICE_IDENTITY_REQUIRED",
        close: 1008,
    },
    Row {
        case: "the administration page without a device",
        connect: |world| bare(world, FAR, &[ORIGIN], &page(json!({"token": "secret"}))),
        error: "INVALID_REQUEST",
        message: "control ui requires device identity",
        details: "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
        close: 1008,
    },
    Row {
        case: "a name that is another key's",
        connect: |world| {
            changed(world, |params, _| params["device"]["id"] = json!(TestDevice::new(2).id))
        },
        error: "INVALID_REQUEST",
        message: "device identity mismatch",
        details: "DEVICE_AUTH_DEVICE_ID_MISMATCH",
        close: 1008,
    },
    Row {
        case: "a signature of long before the challenge",
        connect: |world| late(world, -120_001),
        error: "INVALID_REQUEST",
        message: "device signature expired",
        details: "DEVICE_AUTH_SIGNATURE_EXPIRED",
        close: 1008,
    },
    Row {
        case: "a signature of long after the challenge",
        connect: |world| late(world, 120_001),
        error: "INVALID_REQUEST",
        message: "device signature expired",
        details: "DEVICE_AUTH_SIGNATURE_EXPIRED",
        close: 1008,
    },
    Row {
        case: "no nonce",
        connect: |world| changed(world, |params, _| params["device"]["nonce"] = json!(" ")),
        error: "INVALID_REQUEST",
        message: "device nonce required",
        details: "DEVICE_AUTH_NONCE_REQUIRED",
        close: 1008,
    },
    Row {
        case: "a signature for another connection, sent here again",
        connect: |world| {
            let (_, first) = knock(world, 0, "127.0.0.1", &[]);
            let hello = Hello::cli("secret", &["operator.read"]);
            let params = hello.signed(&TestDevice::new(1), &first);
            let (at, _) = knock(world, 0, "127.0.0.1", &[]);
            let answer = world.call(at, "connect", params);
            (at, answer)
        },
        error: "INVALID_REQUEST",
        message: "device nonce mismatch",
        details: "DEVICE_AUTH_NONCE_MISMATCH",
        close: 1008,
    },
    Row {
        case: "the same with this connection's nonce put in its place",
        connect: |world| {
            let (_, first) = knock(world, 0, "127.0.0.1", &[]);
            changed(world, |params, challenge| {
                let hello = Hello::cli("secret", &["operator.read"]);
                let ts = challenge.ts;
                let other = Challenge { ts, ..first };
                let signed = hello.signed(&TestDevice::new(1), &other);
                params["device"]["signature"] = signed["device"]["signature"].clone();
            })
        },
        error: "INVALID_REQUEST",
        message: "device signature invalid",
        details: "DEVICE_AUTH_SIGNATURE_INVALID",
        close: 1008,
    },
    Row {
        case: "a signature of another device's key",
        connect: |world| {
            changed(world, |params, challenge| {
                let hello = Hello::cli("secret", &["operator.read"]);
                let signed = hello.signed(&TestDevice::new(2), challenge);
                params["device"]["signature"] = signed["device"]["signature"].clone();
            })
        },
        error: "INVALID_REQUEST",
        message: "device signature invalid",
        details: "DEVICE_AUTH_SIGNATURE_INVALID",
        close: 1008,
    },
    Row {
        case: "scopes that were not signed",
        connect: |world| changed(world, |params, _| params["scopes"] = json!(["operator.admin"])),
        error: "INVALID_REQUEST",
        message: "device signature invalid",
        details: "DEVICE_AUTH_SIGNATURE_INVALID",
        close: 1008,
    },
    Row {
        case: "the text without a nonce",
        connect: |world| {
            let (at, challenge) = knock(world, 0, "127.0.0.1", &[]);
            let hello = Hello { version: "v1", ..Hello::cli("secret", &[]) };
            let answer = world.call(at, "connect", hello.signed(&TestDevice::new(1), &challenge));
            (at, answer)
        },
        error: "INVALID_REQUEST",
        message: "device signature invalid",
        details: "DEVICE_AUTH_SIGNATURE_INVALID",
        close: 1008,
    },
    Row {
        case: "a key that is none",
        connect: |world| changed(world, |params, _| params["device"]["publicKey"] = json!("AAAA")),
        error: "INVALID_REQUEST",
        message: "device public key invalid",
        details: "DEVICE_AUTH_PUBLIC_KEY_INVALID",
        close: 1008,
    },
    Row {
        case: "a wrong secret of a device",
        connect: |world| TestDevice::new(1).connect(world, 0, &Hello::cli("wrong", &[])),
        error: "INVALID_REQUEST",
        message: "unauthorized: gateway token mismatch (",
        details: "AUTH_TOKEN_MISMATCH",
        close: 1008,
    },
    Row {
        case: "a wrong secret without a device",
        connect: |world| bare(world, FAR, &[], &Hello::cli("wrong", &[])),
        error: "INVALID_REQUEST",
        message: "unauthorized: gateway token mismatch (",
        details: "AUTH_TOKEN_MISMATCH",
        close: 1008,
    },
    Row {
        case: "a device without a credential",
        connect: |world| {
            let hello = Hello { auth: json!({"token": ""}), ..Hello::cli("", &[]) };
            TestDevice::new(1).connect(world, 0, &hello)
        },
        error: "INVALID_REQUEST",
        message: "unauthorized: gateway token missing",
        details: "AUTH_TOKEN_MISSING",
        close: 1008,
    },
    Row {
        case: "a bootstrap token",
        connect: |world| {
            let hello = Hello { auth: json!({"bootstrapToken": "x"}), ..Hello::cli("", &[]) };
            TestDevice::new(1).connect(world, 0, &hello)
        },
        error: "INVALID_REQUEST",
        message: "unauthorized: bootstrap token invalid",
        details: "AUTH_BOOTSTRAP_TOKEN_INVALID",
        close: 1008,
    },
    Row {
        case: "a wrong device token",
        connect: |world| guess(world, FAR, 1),
        error: "INVALID_REQUEST",
        message: "unauthorized: device token mismatch",
        details: "AUTH_DEVICE_TOKEN_MISMATCH",
        close: 1008,
    },
    Row {
        case: "a device token, for more than it is for",
        connect: |world| {
            let device = TestDevice::new(1);
            let hello = device.connect(world, 0, &Hello::cli("secret", &["operator.read"])).1;
            device.connect(world, 0, &Hello::by_token(&token(&hello), &["operator.write"]))
        },
        error: "INVALID_REQUEST",
        message: "unauthorized",
        details: "AUTH_SCOPE_MISMATCH",
        close: 1008,
    },
    Row {
        case: "too many wrong secrets",
        connect: |world| {
            for _ in 0..11 {
                bare(world, FAR, &[], &Hello::cli("wrong", &[]));
            }
            // Now the right one is not even looked at.
            bare(world, FAR, &[], &Hello::cli("secret", &[]))
        },
        error: "INVALID_REQUEST",
        message: "unauthorized: too many",
        details: "AUTH_RATE_LIMITED",
        close: 1008,
    },
    Row {
        case: "too many wrong device tokens, of whichever device",
        connect: |world| {
            for device in 0..11 {
                guess(world, FAR, device);
            }
            guess(world, FAR, 12)
        },
        error: "INVALID_REQUEST",
        message: "unauthorized: too many",
        details: "AUTH_RATE_LIMITED",
        close: 1008,
    },
    Row {
        case: "a device that nobody has let in",
        connect: |world| {
            TestDevice::new(1).connect_from(
                world,
                0,
                FAR,
                &Hello::cli("secret", &["operator.read"]),
            )
        },
        error: "NOT_PAIRED",
        message: "pairing required: it was not let in yet (requestId: ",
        details: "PAIRING_REQUIRED",
        close: 1008,
    },
    Row {
        case: "parameters that are none",
        connect: |world| changed(world, |params, _| params["client"]["id"] = json!("somebody")),
        error: "INVALID_REQUEST",
        message: "invalid connect params: at /client/id:",
        details: "",
        close: 1008,
    },
];

#[test]
fn each_failure_is_told_and_closes() {
    for Row { case, connect, error, message, details, close } in ROWS {
        let mut world = World::new(1);
        let (at, answer) = connect(&mut world);
        let given = &answer["error"];
        assert_eq!(
            (&answer["ok"], &given["code"]),
            (&json!(false), &json!(error)),
            "{case}: {answer}"
        );
        let text = given["message"].as_str().expect("a message");
        assert!(text.starts_with(message), "{case}: {text}");
        let code = &given["details"]["code"];
        assert_eq!(code.as_str().unwrap_or_default(), *details, "{case}: {answer}");
        let (code, reason) = world.clients[at].closed.clone().expect("a Close");
        assert_eq!((code, &*reason), (*close, &text[..text.len().min(120)]), "{case}");
    }
}

#[test]
fn details_tell_programs_what_to_do_next() {
    let mut world = World::new(1);
    let details = |answer: &Value| answer["error"]["details"].clone();
    let hello = Hello { protocols: (6, 7), ..Hello::cli("secret", &[]) };
    let answer = bare(&mut world, FAR, &[], &hello).1;
    let expected = json!({"code": "PROTOCOL_MISMATCH", "clientMinProtocol": 6,
        "clientMaxProtocol": 7, "expectedProtocol": 4, "minimumProbeProtocol": 3});
    assert_eq!(details(&answer), expected);
    for (connect, next, can_retry) in [
        (
            ROWS.iter().find(|row| row.case.contains("secret of a device")),
            "retry_with_device_token",
            true,
        ),
        (
            ROWS.iter().find(|row| row.case.contains("secret without")),
            "update_auth_credentials",
            false,
        ),
    ] {
        let answer = (connect.expect("a row").connect)(&mut world).1;
        assert_eq!(details(&answer)["recommendedNextStep"], next);
        assert_eq!(details(&answer)["canRetryWithDeviceToken"], can_retry);
    }
    let answer = changed(&mut world, |params, _| params["device"]["nonce"] = json!("")).1;
    assert_eq!(details(&answer)["reason"], "device-nonce-missing");
    let row = ROWS.iter().find(|row| row.details == "AUTH_RATE_LIMITED").expect("a row");
    let answer = (row.connect)(&mut world).1;
    assert_eq!(details(&answer)["recommendedNextStep"], "wait_then_retry");
    assert_eq!(answer["error"]["retryAfterMs"], 300_000);
    world.advance(Duration::from_secs(300));
    let hello = Hello::cli("secret", &[]);
    assert_eq!(code(&bare(&mut world, FAR, &[], &hello).1), "ok");
}

#[test]
fn a_signature_counts_by_the_challenges_own_time_however_late_it_comes() {
    let mut world = World::new(1);
    world.advance(Duration::from_secs(100_000));
    for (by, is_fine) in [(-120_000, true), (120_000, true), (-120_001, false)] {
        let (at, answer) = late(&mut world, by);
        assert_eq!(code(&answer) == "ok", is_fine, "{by}: {answer}");
        world.cut(at);
    }
    let (at, challenge) = knock(&mut world, 0, "127.0.0.1", &[]);
    assert_eq!(challenge.ts, UNIX_MS + 100_000_000);
    world.advance(Duration::from_secs(9));
    let params = Hello::cli("secret", &["operator.read"]).signed(&TestDevice::new(1), &challenge);
    assert_eq!(code(&world.call(at, "connect", params)), "ok");
}

#[test]
fn a_gateway_that_begins_or_ends_says_so_before_a_socket_is_open() {
    let mut world = World::with_slow(1, config(), MemoryStore::default(), Some(0));
    let upgrade = |world: &mut World| {
        let at = world.upgrade(0, FAR, ClientRequest::new("localhost:18790", "/").expect("fine"));
        world.clients[at].answer.clone().map(|(status, _)| status)
    };
    assert_eq!(upgrade(&mut world), Some(503));
    world.advance(Duration::from_secs(2));
    let (at, _) = knock(&mut world, 0, FAR, &[]);
    let restart = Drain { restart: true, ..Drain::stop("update") };
    world.nodes[0].drain(world.now, &restart);
    world.settle();
    assert_eq!(world.clients[at].closed, Some((1012, "service restart".into())));
    assert_eq!(upgrade(&mut world), Some(503));
}

#[test]
fn a_wrong_origin_does_not_come_as_far_as_this() {
    let mut world = World::new(1);
    let request = ClientRequest::new("localhost:18790", "/").expect("a request");
    let request = request.header("Origin", "https://evil.example").expect("a header");
    let at = world.upgrade(0, FAR, request);
    assert_eq!(world.clients[at].answer.as_ref().map(|(status, _)| *status), Some(403));
}

#[test]
fn the_secret_does_as_a_token_and_as_a_password_and_two_guesses_count_as_two() {
    let mut world = World::new(1);
    for auth in [
        json!({"token": "secret"}),
        json!({"password": "secret"}),
        json!({"token": "secret", "password": "secret"}),
        json!({"token": "wrong", "password": "secret"}),
    ] {
        let hello = Hello { auth, ..Hello::cli("", &["operator.read"]) };
        let (_, answer) = TestDevice::new(1).connect(&mut world, 0, &hello);
        assert_eq!(code(&answer), "ok", "{answer}");
    }
    let hello = Hello { auth: json!({"token": "w1", "password": "w2"}), ..Hello::cli("", &[]) };
    for _ in 0..5 {
        bare(&mut world, FAR, &[], &hello);
    }
    let answer = bare(&mut world, FAR, &[], &Hello::cli("w3", &[])).1;
    assert_eq!(answer["error"]["details"]["code"], "AUTH_RATE_LIMITED");
}

#[test]
fn a_right_credential_beside_another_one_is_no_wrong_one() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let first = device.connect(&mut world, 0, &Hello::cli("secret", &["operator.read"])).1;
    for token in [token(&first).as_str(), "rotated"] {
        let auth = json!({"token": token, "password": "secret"});
        let hello = Hello { auth, ..Hello::cli("", &["operator.read"]) };
        assert_eq!(code(&device.connect_from(&mut world, 0, FAR, &hello).1), "ok");
    }
    assert!(!world.facts.iter().any(|fact| matches!(fact, Fact::AuthFailed { .. })));
}

#[test]
fn a_device_token_buys_no_guesses_at_the_secret() {
    let mut world = World::new(1);
    let device = TestDevice::new(1);
    let first = device.connect(&mut world, 0, &Hello::cli("secret", &["operator.read"])).1;
    let auth = json!({"token": "guess", "deviceToken": token(&first)});
    let both = Hello { auth, ..Hello::cli("", &["operator.read"]) };
    let more = Hello { scopes: vec!["operator.admin"], ..both.clone() };
    for hello in [&both, &more].into_iter().cycle().take(11) {
        device.connect_from(&mut world, 0, FAR, hello);
    }
    let answer = bare(&mut world, FAR, &[], &Hello::cli("secret", &[])).1;
    assert_eq!(answer["error"]["details"]["code"], "AUTH_RATE_LIMITED");
    let answer = device.connect_from(&mut world, 0, FAR, &both).1;
    assert_eq!(code(&answer), "ok", "the device itself still comes in: {answer}");
    // With the right secret nothing is another way: nobody can tell that it is right.
    let auth = json!({"token": "secret", "deviceToken": token(&first)});
    let answer = device.connect_from(&mut world, 0, FAR, &Hello { auth, ..more }).1;
    assert_eq!(answer["error"]["details"]["code"], "AUTH_SCOPE_MISMATCH");
}
