//! The methods of the host: refused to everybody but the host itself, and answered with what it says.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::world;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

fn host(world: &mut World) -> usize {
    let at = world.open_from(0, LOCAL);
    assert_eq!(world.call(at, "connect", json!({}))["ok"], true);
    at
}

#[test]
fn each_is_refused_to_everybody_who_is_not_the_host_and_nothing_is_asked_of_it() {
    for nodes in [1, 2] {
        for method in host_methods() {
            let mut world = World::new(nodes);
            world.host_says = Some(HostOutcome::Progress(DrainProgress::default()));
            let network =
                [("secret", "root"), ("secret", "host"), ("operator", "a"), ("viewer", "a")]
                    .map(|(token, user)| world.login(0, token, user));
            // Somebody's credential is judged as somebody's, wherever it comes from.
            let local = world.open_from(0, LOCAL);
            let hello = world.call(local, "connect", json!({"token": "secret", "user_id": "root"}));
            assert_eq!(hello["payload"]["role"], "owner");
            for at in network.into_iter().chain([local]) {
                let answer = world.call(at, method.name, json!({}));
                assert_eq!(code(&answer), "UNAUTHORIZED", "{}: {answer}", method.name);
                let text = message(&answer);
                assert!(text.contains("only the gateway's own host"), "{}: {text}", method.name);
            }
            let nobody = [world.open(0), world.open_from(0, LOCAL)];
            for at in nobody {
                let answer = world.call(at, method.name, json!({}));
                assert_eq!(message(&answer), "first request must be 'connect'", "{}", method.name);
            }
            assert_eq!(world.host_asked, [], "{}", method.name);
            let host = host(&mut world);
            assert_eq!(world.call(host, method.name, json!({}))["ok"], true, "{}", method.name);
            assert_eq!(world.host_asked.len(), 1, "{}", method.name);
        }
    }
}

#[test]
fn clients_of_the_second_dialect_do_not_have_them() {
    let mut world = World::new(1);
    let at = world.open_from(0, LOCAL);
    let connect = json!({
        "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.admin"],
        "client": {"id": "cli", "mode": "cli", "version": "1", "platform": "linux"},
    });
    assert_eq!(world.call(at, "connect", connect)["ok"], true);
    for method in host_methods() {
        let answer = world.call(at, method.name, json!({}));
        assert_eq!(code(&answer), "INVALID_REQUEST", "{}: {answer}", method.name);
    }
    assert_eq!(world.host_asked, []);
}

/// The host is asked this and says that; gives the answer.
fn ask(method: &str, params: Value, asked: &HostWork, says: HostOutcome) -> Value {
    let mut world = World::new(1);
    world.host_says = Some(says);
    let at = host(&mut world);
    let answer = world.call(at, method, params);
    assert_eq!(world.host_asked, std::slice::from_ref(asked), "{method}");
    answer
}

#[test]
fn a_reload_tells_what_has_changed_or_where_what_is_wrong_stands() {
    let good = HostOutcome::Reloaded(Reloaded {
        file: Some("/etc/moorline.json5".into()),
        changed: vec!["log.level".into()],
        need_restart: vec!["loops".into()],
        warnings: vec!["old \"name\"".into()],
    });
    let answer = ask("gateway.reload", json!({}), &HostWork::Reload, good);
    let wanted = json!({"file": "/etc/moorline.json5", "changed": ["log.level"], "needRestart": ["loops"],
        "warnings": ["old \"name\""]});
    assert_eq!(answer["payload"], wanted);
    let bad = HostOutcome::Misconfigured(vec![
        Misconfigured {
            place: "c.json5".into(),
            position: Some((3, 7)),
            key: Some("loops".into()),
            message: "not a number".into(),
        },
        Misconfigured { place: "--listen".into(), message: "no".into(), ..Default::default() },
    ]);
    let answer = ask("gateway.reload", json!({}), &HostWork::Reload, bad);
    assert_eq!(code(&answer), "FAILED_PRECONDITION");
    let wanted = json!([
        {"place": "c.json5", "line": 3, "column": 7, "key": "loops", "message": "not a number"},
        {"place": "--listen", "message": "no"},
    ]);
    assert_eq!(answer["error"]["details"]["problems"], wanted);
}

#[test]
fn tokens_are_told_as_the_host_has_them_with_whether_they_were_revoked() {
    let token = |fingerprint: &str, previous: bool, text: Option<&str>| HostToken {
        fingerprint: fingerprint.into(),
        source: "the state folder".into(),
        previous,
        kept: true,
        text: text.map(Into::into),
    };
    let says =
        HostOutcome::Tokens(vec![token("aabbccdd", false, Some("s")), token("11", true, None)]);
    assert!(!format!("{says:?}").contains("\"s\""), "no text in what is printed");
    let asked = HostWork::Tokens { texts: true };
    let answer = ask("gateway.tokens", json!({"texts": true}), &asked, says.clone());
    let tokens = &answer["payload"]["tokens"];
    assert_eq!(tokens[0]["fingerprint"], "sha256:aabbccdd");
    assert_eq!((&tokens[0]["token"], &tokens[0]["revoked"]), (&json!("s"), &json!(false)));
    assert_eq!((&tokens[1]["token"], &tokens[1]["previous"]), (&Value::Null, &json!(true)));
    let asked = HostWork::RotateToken { now: true };
    assert_eq!(ask("gateway.token.rotate", json!({"now": true}), &asked, says)["ok"], true);
    let refused = HostOutcome::Refused("there is none".into());
    let answer = ask("gateway.token.drop", json!({}), &HostWork::DropToken, refused);
    assert_eq!((code(&answer), message(&answer)), ("FAILED_PRECONDITION", "there is none"));
}

#[test]
fn a_drain_is_begun_and_watched_to_its_end() {
    let mut world = World::new(1);
    let now = world.now;
    let draining = DrainProgress { draining: true, connections: 3, runs: 1 };
    world.host_says = Some(HostOutcome::Progress(draining));
    let at = host(&mut world);
    let answer = world.call(at, "gateway.drain", json!({"restart": true}));
    let wanted = json!({"draining": true, "connections": 3, "runs": 1});
    assert_eq!(answer["payload"], wanted);
    world.nodes[0].drain(now, &Drain::stop("enough"));
    world.settle();
    assert_eq!(world.call(at, "gateway.progress", json!({}))["payload"], wanted);
    assert_eq!(world.host_asked, [HostWork::Drain { restart: true }, HostWork::Progress]);
}

#[test]
fn a_host_that_does_not_answer_is_not_waited_for_without_end() {
    let mut world = World::new(1);
    let at = host(&mut world);
    let id = world.request(at, "gateway.reload", json!({}));
    world.advance(Duration::from_secs(29));
    assert!(world.answer(at, &id).is_none());
    world.advance(Duration::from_secs(2));
    let answer = world.answer(at, &id).expect("an answer");
    assert_eq!(code(&answer), "UNAVAILABLE", "{answer}");
}
