//! Devices of the second dialect in the small world, and what they say when they connect.
#![allow(dead_code)]

#[path = "signing.rs"]
mod signing;

use super::gateway::World;
use moorline_core::ClientRequest;
use serde_json::Value;
pub use signing::{Challenge, Hello, TestDevice};

impl TestDevice {
    /// Connects from this address.
    pub fn connect_from(
        &self,
        world: &mut World,
        node: usize,
        peer: &str,
        hello: &Hello,
    ) -> (usize, Value) {
        let (at, challenge) = knock(world, node, peer, &[]);
        let answer = world.call(at, "connect", hello.signed(self, &challenge));
        (at, answer)
    }

    /// Connects from the gateway's own host.
    pub fn connect(&self, world: &mut World, node: usize, hello: &Hello) -> (usize, Value) {
        self.connect_from(world, node, "127.0.0.1", hello)
    }
}

/// An open WebSocket, and what it was asked.
pub fn knock(
    world: &mut World,
    node: usize,
    peer: &str,
    headers: &[(&str, &str)],
) -> (usize, Challenge) {
    knock_at(world, node, peer, "localhost:18790", headers)
}

/// The same at another name of the gateway.
pub fn knock_at(
    world: &mut World,
    node: usize,
    peer: &str,
    host: &str,
    headers: &[(&str, &str)],
) -> (usize, Challenge) {
    let mut request = ClientRequest::new(host, "/").expect("a request");
    for (name, value) in headers {
        request = request.header(name, value).expect("a header");
    }
    let at = world.upgrade(node, peer, request);
    let challenge = world.events(at, "connect.challenge").remove(0);
    let nonce = challenge["nonce"].as_str().expect("a nonce").into();
    (at, Challenge { nonce, ts: challenge["ts"].as_u64().expect("a time") })
}

/// The token that a device was told.
pub fn token(hello: &Value) -> String {
    let token = &hello["payload"]["auth"]["deviceToken"];
    token.as_str().unwrap_or_else(|| panic!("no token in {hello}")).into()
}
