//! Credentials that come and go while the real binary runs, with two loops and a database.

mod support;
#[path = "support/gateway.rs"]
mod world;

use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use world::{Client, Gateway, folder};

fn connect(address: SocketAddr, token: &str) -> (Client, Value) {
    let mut client = Client::open(address).unwrap();
    let answer = client.ask("connect", json!({"token": token, "user_id": "somebody"})).unwrap();
    (client, answer)
}

/// The kernel spreads connections over the loops: so many reach both, all but surely.
const MANY: usize = 24;

/// How often what needs luck to be seen is tried.
const ROUNDS: usize = 150;

#[test]
fn an_api_key_outlives_a_kill_and_ends_on_all_loops_when_it_is_revoked() {
    let state = folder("api-keys");
    let mut gateway = Gateway::with(&state, &["--loops", "2"]);
    let mut admin = Client::login(gateway.address, "root").unwrap();
    let params = json!({"name": "ci", "role": "operator", "user": "bob"});
    let made = admin.call("api_keys.create", params).unwrap();
    let (id, key) = (made["id"].clone(), made["key"].as_str().unwrap().to_string());
    gateway.kill();
    // The secret itself may have a `_`.
    let secret = key.splitn(3, '_').last().unwrap().as_bytes().to_vec();
    assert_eq!(secret.len(), 43);
    for file in ["moorline.db", "moorline.db-wal"] {
        let bytes = fs::read(state.join(file)).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{file} has the key");
    }

    let mut gateway = Gateway::with(&state, &["--loops", "2"]);
    let mut live: Vec<_> = (0..MANY)
        .map(|_| {
            let (client, hello) = connect(gateway.address, &key);
            assert_eq!(hello["payload"]["user_id"], "bob", "{hello}");
            client
        })
        .collect();
    let mut admin = Client::login(gateway.address, "root").unwrap();
    admin.call("api_keys.revoke", json!({"id": id})).unwrap();
    for client in &mut live {
        assert_eq!(client.closed().unwrap(), (1008, "revoked".to_string()));
    }
    for _ in 0..MANY {
        let (_, answer) = connect(gateway.address, &key);
        assert_eq!(answer["error"]["details"]["credential"], "api_key", "{answer}");
    }
    gateway.kill();
    let gateway = Gateway::with(&state, &["--loops", "2"]);
    assert_eq!(connect(gateway.address, &key).1["ok"], false);
}

/// The loops have no time to hear of it between: whoever has the answer asks all of them at the same moment, on
/// connections that are open already.
#[test]
fn what_was_made_or_revoked_is_known_to_every_loop_when_its_maker_has_the_answer() {
    let gateway = Gateway::with(&folder("at-once"), &["--loops", "4"]);
    let mut admin = Client::login(gateway.address, "root").unwrap();
    let connect = |clients: &mut Vec<Client>, key: &Value| -> Vec<Value> {
        for client in &mut *clients {
            client.request("connect", json!({"token": key})).unwrap();
        }
        clients.iter_mut().map(|client| client.answer().unwrap().1).collect()
    };
    for round in 0..ROUNDS {
        let open = || Client::open(gateway.address).unwrap();
        let mut early: Vec<_> = (0..8).map(|_| open()).collect();
        let mut late: Vec<_> = (0..8).map(|_| open()).collect();
        let params = json!({"name": "ci", "role": "operator", "user": "bob"});
        let made = admin.call("api_keys.create", params).unwrap();
        for answer in connect(&mut early, &made["key"]) {
            assert_eq!(answer["ok"], true, "round {round}: {answer}");
        }
        admin.call("api_keys.revoke", json!({"id": made["id"]})).unwrap();
        for answer in connect(&mut late, &made["key"]) {
            assert_eq!(answer["ok"], false, "round {round}: {answer}");
        }
    }
}

/// Programs on this machine are told that they are locked out, and may go on.
#[test]
fn guesses_are_counted_for_all_loops_together() {
    let gateway = Gateway::with(&folder("guesses"), &["--loops", "4"]);
    let answers = (0..2 * MANY).map(|_| connect(gateway.address, "guess").1);
    let told = answers.filter(|answer| answer["error"]["retryAfterMs"].is_u64()).count();
    // Loops hear of each other a moment later; each alone would let ten pass.
    assert!((2 * MANY - 12..=2 * MANY - 10).contains(&told), "{told}");
}

/// The token was good in 2023. That it has expired is known only after its signature was found to be
/// right, and by the real clock.
#[test]
fn a_configured_public_key_verifies_and_the_clock_decides() {
    let state = folder("jwt");
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/src/gateway/jwt/vectors");
    fs::copy(format!("{vectors}/es256.pem"), state.join("id.pem")).unwrap();
    let config = "{ gateway: { jwt: [{ alg: 'ES256', key: { file: 'id.pem' }, \
                  iss: 'https://id.example.com', aud: 'moorline' }] } }";
    fs::write(state.join("moorline.json5"), config).unwrap();
    let gateway = Gateway::start(&state);
    let token = fs::read_to_string(format!("{vectors}/es256.jwt")).unwrap();
    let (_, answer) = connect(gateway.address, &token);
    let details = json!({"credential": "jwt", "source": "params", "why": "expired"});
    assert_eq!(answer["error"]["details"], details, "{answer}");
    let other = fs::read_to_string(format!("{vectors}/rs256.jwt")).unwrap();
    let (_, answer) = connect(gateway.address, &other);
    assert_eq!(answer["error"]["details"]["why"], "signature", "{answer}");
}

#[test]
fn a_device_that_asks_outlives_a_kill_and_is_let_in_while_it_waits() {
    let state = folder("pairing");
    fs::write(state.join("moorline.json5"), "{ gateway: { pairing: true } }").unwrap();
    let mut gateway = Gateway::with(&state, &["--loops", "2"]);
    let mut device = Client::open(gateway.address).unwrap();
    let asked = device.call("connect", json!({"user_id": "ann"})).unwrap();
    assert_eq!(asked["status"], "pending_pairing");
    let code = asked["pairing_code"].clone();
    gateway.kill();

    let mut gateway = Gateway::with(&state, &["--loops", "2"]);
    let sender = json!({"sender_id": asked["sender_id"]});
    let mut device = Client::open(gateway.address).unwrap();
    let again = device.call("connect", sender.clone()).unwrap();
    assert_eq!(again["pairing_code"], code);
    let mut admin = Client::login(gateway.address, "root").unwrap();
    admin.call("device.pair.approve", json!({"code": code})).unwrap();
    let event = device.event("device.pair.resolved").unwrap();
    assert_eq!(event["action"], "approved");
    let hello = device.call("connect", sender.clone()).unwrap();
    assert_eq!((&hello["role"], &hello["user_id"]), (&json!("operator"), &json!("ann")));
    gateway.kill();

    let gateway = Gateway::with(&state, &["--loops", "2"]);
    let mut devices: Vec<_> = (0..MANY)
        .map(|_| {
            let mut client = Client::open(gateway.address).unwrap();
            assert_eq!(client.call("connect", sender.clone()).unwrap()["role"], "operator");
            client
        })
        .collect();
    let mut admin = Client::login(gateway.address, "root").unwrap();
    admin.call("device.pair.revoke", json!({"senderId": event["senderId"]})).unwrap();
    for client in &mut devices {
        assert_eq!(client.closed().unwrap(), (1008, "revoked".to_string()));
    }
}
