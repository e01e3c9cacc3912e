//! Nodes of the second dialect in the small world, and those who tell them what to do.
#![allow(dead_code)]

use super::device::{Hello, TestDevice, knock};
use super::openclaw::{admin, ok};
use super::world::World;
use serde_json::{Value, json};

pub struct TestNode {
    pub at: usize,
    pub id: String,
}

/// A node that has connected: the key of its device is made of the number.
pub fn come(world: &mut World, gateway: usize, number: u8, commands: &[&str]) -> TestNode {
    let (device, hello) = (TestDevice::new(number), Hello::node("secret"));
    let (at, challenge) = knock(world, gateway, "127.0.0.1", &[]);
    let mut params = hello.signed(&device, &challenge);
    params["client"]["displayName"] = format!("node {number}").into();
    params["caps"] = json!(["canvas"]);
    params["commands"] = json!(commands);
    params["permissions"] = json!({"camera": true});
    let answer = world.call(at, "connect", params);
    assert_eq!(answer["payload"]["type"], "hello-ok", "{answer}");
    TestNode { at, id: device.id }
}

/// What a node asks to have approved.
pub fn pending(world: &mut World, at: usize, node: &str) -> Option<String> {
    let list = ok(world.call(at, "node.pair.list", json!({})));
    let pending = list["pending"].as_array().expect("a list");
    let found = pending.iter().find(|request| request["nodeId"] == node);
    found.map(|request| request["requestId"].as_str().expect("an id").into())
}

/// Approves what a node asks.
pub fn approve(world: &mut World, at: usize, node: &str) -> Value {
    let request = pending(world, at, node).expect("it asks");
    ok(world.call(at, "node.pair.approve", json!({"requestId": request})))
}

/// An admin at the first loop, and a node at the last one that may do what it declares.
pub fn pair(world: &mut World, number: u8, commands: &[&str]) -> (usize, TestNode) {
    let last = world.nodes.len() - 1;
    let node = come(world, last, number, commands);
    let at = admin(world, 0);
    approve(world, at, &node.id);
    (at, node)
}

/// An entry of `node.list`.
pub fn listed(world: &mut World, at: usize, node: &str) -> Option<Value> {
    let list = ok(world.call(at, "node.list", json!({})));
    let nodes = list["nodes"].as_array().expect("a list");
    nodes.iter().find(|entry| entry["nodeId"] == node).cloned()
}

/// What a node is told to do, which it is told once.
#[track_caller]
pub fn told(world: &mut World, node: &TestNode) -> Value {
    let mut told = world.events(node.at, "node.invoke.request");
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

/// The names of what was cancelled.
pub fn cancelled(world: &mut World, node: &TestNode) -> Vec<Value> {
    let events = world.events(node.at, "node.invoke.cancel").into_iter();
    events.map(|mut event| event["invokeId"].take()).collect()
}

/// A node answers what it was told.
pub fn answer(world: &mut World, node: &TestNode, told: &Value, payload: &Value) -> Value {
    let result = json!({
        "id": told["id"], "nodeId": node.id, "ok": true, "payloadJSON": payload.to_string(),
    });
    world.call(node.at, "node.invoke.result", result)
}

pub fn command(node: &TestNode, command: &str) -> Value {
    json!({"nodeId": node.id, "command": command})
}

/// `details.code` of an `UNAVAILABLE`.
#[track_caller]
pub fn failed(answer: &Value) -> &str {
    assert_eq!(answer["error"]["code"], "UNAVAILABLE", "{answer}");
    answer["error"]["details"]["code"].as_str().unwrap_or("none")
}
