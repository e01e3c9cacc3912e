//! Requests over OpenAI's API whose credential ends while they are under way: as a WebSocket does, they end with
//! it, and of their runs those that nobody else can have.
#![allow(clippy::disallowed_methods)]

use crate::gateway_jwt::{NOW, token, with_jwt};
use crate::http::*;
use crate::world;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use world::*;

/// A world in which clients wait long, and a key of ann in it for twenty seconds.
fn with_key(nodes: u16) -> (World, String) {
    let mut config = with_jwt();
    config.limits.handshake_within = 3600 * SECOND;
    config.agents.push(Agent::new("script", "Script"));
    let mut world = World::with(nodes, config);
    let admin = world.login(0, "secret", "root");
    let params = json!({"name": "api", "role": "operator", "user": "ann", "expiresInMs": 20_000});
    let made = world.call(admin, "api_keys.create", params);
    let key = made["payload"]["key"].as_str().expect("a key").to_string();
    (world, key)
}

fn stuck(stream: bool) -> Value {
    let model = [("model", json!("stuck"))];
    if stream { streamed(&model) } else { hello(&model) }
}

fn pending(world: &World) -> usize {
    world.nodes.iter().map(Gateway::pending).sum()
}

#[test]
fn a_token_that_is_revoked_ends_what_rests_on_it() {
    let mut world = World::with(1, patient());
    let admin = world.login(0, "secret", "root");
    let made = world.call(admin, "api_keys.create", json!({"name": "api", "role": "operator"}));
    let key = made["payload"]["key"].as_str().expect("a key").to_string();
    let id = made["payload"]["id"].as_str().expect("an id").to_string();
    let body = streamed(&[("model", json!("stuck"))]).to_string();
    let at = send(&mut world, 0, &request(&key, "", &body));
    assert_eq!(answer(&world, at).expect("an answer").status, 200);
    let gone = world.call(admin, "api_keys.revoke", json!({"id": id}));
    assert_eq!(gone["ok"], true, "{gone}");
    let ended = answer(&world, at).expect("an answer");
    assert_eq!(ended.chunks().last().expect("an event")["error"]["type"], "authentication_error");
    assert_eq!((ended.whole, world.cancelled, world.nodes[0].pending()), (true, 1, 0));
}

#[test]
fn a_stream_ends_with_its_token_and_says_why() {
    for nodes in [1, 3] {
        for jwt in [false, true] {
            let (mut world, mut bearer) = with_key(nodes);
            if jwt {
                // Half a minute of leeway comes on top.
                bearer = token(&json!({"exp": NOW - 10}));
            }
            let at = send(
                &mut world,
                usize::from(nodes) - 1,
                &request(&bearer, "", &stuck(true).to_string()),
            );
            world.advance(19 * SECOND);
            assert!(!answer(&world, at).expect("an answer").whole);
            assert_eq!(world.cancelled, 0);
            world.advance(SECOND);
            let ended = answer(&world, at).expect("an answer");
            assert_eq!(ended.status, 200);
            let error = &ended.chunks().pop().expect("an event")["error"];
            assert_eq!(
                (&error["type"], &error["code"]),
                (&json!("authentication_error"), &json!("invalid_api_key"))
            );
            assert!(error["message"].as_str().expect("a text").contains("expired"), "{error}");
            assert!(!ended.body.contains("[DONE]"));
            assert_eq!((ended.whole, world.cancelled, pending(&world)), (true, 1, 0));
        }
    }
}

#[test]
fn what_has_not_begun_to_be_answered_is_refused_when_its_token_ends() {
    // While its run works, and while its body comes.
    for whole in [true, false] {
        let (mut world, key) = with_key(1);
        let mut bytes = request(&key, "", &stuck(false).to_string());
        let last = bytes.pop().expect("a brace");
        if whole {
            bytes.push(last);
        }
        let at = send(&mut world, 0, &bytes);
        world.advance(19 * SECOND);
        assert_eq!(answer(&world, at), None);
        world.advance(SECOND);
        let ended = answer(&world, at).expect("an answer");
        assert_eq!((ended.status, ended.whole), (401, true), "{ended:?}");
        assert!(error(&ended)["message"].as_str().expect("a text").contains("expired"));
        assert_eq!((world.cancelled, pending(&world)), (usize::from(whole), 0));
    }
}

#[test]
fn a_run_that_others_can_have_goes_on_when_the_token_of_its_request_ends() {
    for header in
        ["Idempotency-Key: k\r\n", "X-Moorline-Session-Key: agent:stuck:ws:direct:mine\r\n"]
    {
        let (mut world, key) = with_key(1);
        let at = send(&mut world, 0, &request(&key, header, &stuck(true).to_string()));
        assert_eq!(answer(&world, at).expect("an answer").status, 200);
        world.advance(20 * SECOND);
        let ended = answer(&world, at).expect("an answer");
        assert!(ended.whole && ended.body.contains("expired"), "{header}: {ended:?}");
        assert_eq!((world.cancelled, world.runs.len()), (0, 1), "{header}");
    }
}

#[test]
fn an_answer_that_is_all_there_leaves_although_its_token_has_ended() {
    for ends in ["expires", "is revoked"] {
        for stream in [false, true] {
            let (mut world, key) = with_key(1);
            let (content, usage) = ("long ".repeat(100_000), Usage::default());
            world.script = vec![Outcome::Done { content, usage, stop: StopReason::Stop }];
            let script = [("model", json!("script"))];
            let body = if stream { streamed(&script) } else { hello(&script) };
            let at = world.socket(0);
            world.clients[at].stalled = true;
            world.feed(at, &request(&key, "", &body.to_string()));
            world.advance(10 * SECOND);
            match ends {
                "expires" => world.advance(10 * SECOND),
                _ => {
                    let admin = world.login(0, "secret", "root");
                    let keys = world.call(admin, "api_keys.list", json!({}));
                    let id = &keys["payload"]["keys"][0]["id"];
                    let gone = world.call(admin, "api_keys.revoke", json!({"id": id}));
                    assert_eq!(gone["ok"], true, "{gone}");
                }
            }
            world.clients[at].stalled = false;
            world.settle();
            let answer = answer(&world, at).expect("an answer");
            assert!(answer.whole && answer.status == 200, "{ends} {stream}: {}", answer.head);
            assert!(!answer.body.contains("authentication_error"), "{ends} {stream}");
        }
    }
}

#[test]
fn a_request_that_was_answered_leaves_no_timer_of_its_token() {
    let (mut world, key) = with_key(1);
    let at = send(&mut world, 0, &request(&key, "", &hello(&[]).to_string()));
    world.advance(10 * SECOND);
    assert_eq!(answer(&world, at).expect("an answer").status, 200);
    let heard = world.clients[at].heard.clone();
    world.advance(60 * SECOND);
    assert_eq!(world.clients[at].heard, heard);
}
