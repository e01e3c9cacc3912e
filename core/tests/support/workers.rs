//! Workers in the small world: clients of the role `agent`, and those who talk to their agents.
#![allow(dead_code)]

use super::world::{World, code, config};
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;

/// Two agents that workers answer for, with a token each, besides those of the world.
pub fn worker_config() -> GatewayConfig {
    let mut config = config();
    for agent in ["research", "coder"] {
        config.agents.push(Agent::new(agent, agent));
        let token = Secret::new(&format!("{agent}-token"));
        config.workers.push(WorkerBackend::new(agent, Some(token)));
    }
    config
}

/// The same; runs of both agents fail at once when there is no worker.
pub fn hasty() -> GatewayConfig {
    let mut config = worker_config();
    for worker in &mut config.workers {
        worker.wait = Duration::ZERO;
    }
    config
}

/// The same; the runs of lost workers are given to others.
pub fn requeueing() -> GatewayConfig {
    let mut config = worker_config();
    for worker in &mut config.workers {
        worker.on_lost = OnLost::Requeue;
    }
    config
}

/// A worker that is logged in and answers for nobody yet.
pub fn worker_login(world: &mut World, node: usize, token: &str) -> usize {
    let at = world.open(node);
    let hello = world.call(at, "connect", json!({"token": token, "role": "agent"}));
    assert_eq!(hello["payload"]["role"], "agent", "{hello}");
    at
}

/// A worker of the agent `research` that takes so many runs at once.
pub fn worker(world: &mut World, node: usize, concurrency: u64) -> usize {
    let at = worker_login(world, node, "research-token");
    let answer = world.call(at, "agent.register", json!({"concurrency": concurrency}));
    assert_eq!(answer["payload"]["agents"], json!(["research"]), "{answer}");
    at
}

/// Says something to the agent `research` in a session of its own; gives the run.
pub fn begin(world: &mut World, at: usize) -> String {
    begin_in(world, at, &Value::Null).0
}

/// The same in a session; gives that, too.
pub fn begin_in(world: &mut World, at: usize, session: &Value) -> (String, Value) {
    let params =
        json!({"message": "hello", "agentId": "research", "sessionKey": session, "ack": true});
    let answer = world.call(at, "chat.send", params);
    assert_eq!(code(&answer), "ok", "{answer}");
    let run = answer["payload"]["runId"].as_str().expect("a run").into();
    (run, answer["payload"]["sessionKey"].clone())
}

/// The runs that a worker was given since the last time.
pub fn given(world: &mut World, at: usize) -> Vec<String> {
    let events = world.events(at, "run.start");
    events.iter().map(|event| event["runId"].as_str().expect("a run").into()).collect()
}

/// Kinds and payloads of the events about a run that a client has seen since the last time; those of other
/// runs are dropped.
pub fn seen(world: &mut World, at: usize, run: &str) -> Vec<(String, Value)> {
    let events = world.events(at, "agent").into_iter().filter(|event| event["runId"] == run);
    events
        .map(|mut event| (event["type"].as_str().expect("a type").into(), event["payload"].take()))
        .collect()
}

/// The kinds only.
pub fn kinds(world: &mut World, at: usize, run: &str) -> Vec<String> {
    seen(world, at, run).into_iter().map(|(kind, _)| kind).collect()
}

pub fn delta(world: &mut World, at: usize, run: &str, text: &str) -> Value {
    world.call(at, "run.delta", json!({"runId": run, "text": text}))
}

pub fn complete(world: &mut World, at: usize, run: &str) -> Value {
    world.call(at, "run.complete", json!({"runId": run, "content": "done"}))
}

/// What `agents.list` says of the agent's workers.
pub fn link(world: &mut World, at: usize) -> Value {
    let list = world.call(at, "agents.list", json!({}));
    let agents = list["payload"]["agents"].as_array().expect("a list");
    let agent = agents.iter().find(|agent| agent["id"] == "research").expect("the agent");
    agent["link"].clone()
}

/// No run, no job and no call is left anywhere.
#[track_caller]
pub fn assert_quiet(world: &World) {
    assert_eq!(world.nodes.iter().map(Gateway::pending).sum::<usize>(), 0);
}
