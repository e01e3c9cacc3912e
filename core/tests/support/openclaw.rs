//! Clients of OpenClaw in the small world.
#![allow(dead_code)]

use super::world::World;
use serde_json::{Value, json};

/// What `connect` says of a command line on the gateway's own host.
pub fn cli(token: &str, max: u64, scopes: &[&str]) -> Value {
    json!({
        "minProtocol": 3, "maxProtocol": max,
        "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"},
        "role": "operator", "scopes": scopes, "auth": {"token": token},
    })
}

/// A command line that is logged in.
pub fn join(world: &mut World, node: usize, token: &str, scopes: &[&str]) -> usize {
    enter(world, node, cli(token, 4, scopes))
}

/// A client that is logged in.
pub fn enter(world: &mut World, node: usize, connect: Value) -> usize {
    let at = world.open(node);
    let hello = world.call(at, "connect", connect);
    assert_eq!(hello["payload"]["type"], "hello-ok", "{hello}");
    at
}

pub fn admin(world: &mut World, node: usize) -> usize {
    join(world, node, "secret", &["operator.admin"])
}

pub fn said(session: &str, key: &str, text: &str) -> Value {
    json!({"sessionKey": session, "message": text, "idempotencyKey": key})
}

/// The payload of a success.
#[track_caller]
pub fn ok(mut answer: Value) -> Value {
    assert_eq!(answer["ok"], true, "{answer}");
    answer["payload"].take()
}

/// The message of an `INVALID_REQUEST`.
#[track_caller]
pub fn invalid(answer: &Value) -> String {
    assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{answer}");
    answer["error"]["message"].as_str().unwrap_or_default().to_owned()
}
