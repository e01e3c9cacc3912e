//! Devices of the second dialect: asking, being let in, coming back by a token, being thrown out.
#![allow(clippy::disallowed_methods)]

mod keeping;
mod letting_in;
mod tokens;

use crate::device;
use crate::gateway;
use device::*;
use gateway::*;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;

const FAR: &str = "10.0.0.9";
const READ: &[&str] = &["operator.read"];
const CHAT: &[&str] = &["operator.read", "operator.write"];
const ADMIN: &[&str] = &["operator.admin"];
const PAIRING: &[&str] = &["operator.pairing"];

/// A client on the gateway's own host that may do all of this, and has no device.
fn operator(world: &mut World, node: usize, scopes: &[&'static str]) -> usize {
    let (at, _) = knock(world, node, "127.0.0.1", &[]);
    let hello = world.call(at, "connect", Hello::cli("secret", scopes).params());
    assert_eq!(code(&hello), "ok", "{hello}");
    at
}

fn request_id(answer: &Value) -> String {
    let details = &answer["error"]["details"];
    assert_eq!(details["code"], "PAIRING_REQUIRED", "{answer}");
    details["requestId"].as_str().expect("an id").into()
}

fn reason(answer: &Value) -> &str {
    answer["error"]["details"]["reason"].as_str().unwrap_or_default()
}

/// A device from elsewhere asks.
fn ask(world: &mut World, node: usize, device: &TestDevice, scopes: &[&'static str]) -> String {
    let hello = Hello::cli("secret", scopes);
    let (_, answer) = device.connect_from(world, node, FAR, &hello);
    request_id(&answer)
}

fn approve(world: &mut World, node: usize, id: &str) -> Value {
    let admin = operator(world, node, ADMIN);
    let answer = world.call(admin, "device.pair.approve", json!({"requestId": id}));
    world.cut(admin);
    answer
}

fn list(world: &mut World, node: usize) -> Value {
    let at = operator(world, node, PAIRING);
    let answer = world.call(at, "device.pair.list", json!({}));
    world.cut(at);
    answer["payload"].clone()
}

/// A device that was let in, with its token.
fn paired(world: &mut World, device: &TestDevice, scopes: &[&'static str]) -> String {
    let (at, hello) = device.connect(world, 0, &Hello::cli("secret", scopes));
    world.cut(at);
    token(&hello)
}

fn closed(world: &World, at: usize) -> Option<(u16, &str)> {
    world.clients[at].closed.as_ref().map(|(code, reason)| (*code, &**reason))
}

const REMOVED: Option<(u16, &str)> = Some((4001, "device removed"));
