//! What leaves in the dialect of OpenClaw has the members that its clients' schemas ask for, and no value
//! that those refuse; what its clients ask with is taken.

use crate::gateway;
use gateway::World;
use serde_json::{Value, json};

fn hello(world: &mut World, protocol: u64, scopes: &[&str]) -> (usize, Value) {
    let at = world.open(0);
    let params = json!({
        "minProtocol": protocol, "maxProtocol": protocol,
        "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
        "role": "operator", "scopes": scopes, "auth": {"token": "secret"},
    });
    let answer = world.call(at, "connect", params);
    assert_eq!(answer["ok"], true, "{answer}");
    (at, answer["payload"].clone())
}

#[test]
fn clients_of_protocol_3_are_told_of_auth_only_with_a_device_token() {
    let mut world = World::new(1);
    let (_, old) = hello(&mut world, 3, &["operator.read"]);
    assert!(old.get("auth").is_none(), "{old}");
    let (_, new) = hello(&mut world, 4, &["operator.read"]);
    assert_eq!(new["auth"], json!({"role": "operator", "scopes": ["operator.read"]}));
}

#[test]
fn the_user_of_a_connection_is_an_object_in_lists_of_who_is_connected() {
    let mut world = World::new(1);
    world.login(0, "secret", "ann");
    let (at, _) = hello(&mut world, 4, &["operator.read"]);
    let answer = world.call(at, "system-presence", json!({}));
    let entries = answer["payload"].as_array().expect("a list");
    let ann = entries.iter().find(|entry| entry["user"] == json!({"id": "ann"}));
    assert!(ann.is_some(), "{answer}");
    let users = entries.iter().filter_map(|entry| entry.get("user"));
    assert!(users.into_iter().all(Value::is_object), "{answer}");
}

#[test]
fn an_agent_without_a_picture_has_no_avatar_at_all() {
    let mut world = World::new(1);
    let (at, _) = hello(&mut world, 4, &["operator.read"]);
    let answer = world.call(at, "agent.identity.get", json!({"agentId": "main"}));
    assert_eq!(answer["payload"]["agentId"], "main", "{answer}");
    assert!(answer["payload"].get("avatar").is_none(), "{answer}");
}

#[test]
fn models_are_listed_whatever_clients_send_along() {
    let mut world = World::new(1);
    let (at, _) = hello(&mut world, 4, &["operator.read"]);
    let params = json!({
        "agentId": "main", "sessionKey": "agent:main:main", "provider": "moorline",
        "view": "configured", "includeDetails": true, "includeProviderCapabilities": true,
        "includeDefaultModels": true, "preparedOnly": false, "refresh": true,
    });
    let answer = world.call(at, "models.list", params);
    assert!(!answer["payload"]["models"].as_array().expect("models").is_empty(), "{answer}");
    let answer = world.call(at, "models.list", json!({"authProfileId": "p"}));
    assert_eq!(answer["ok"], true, "{answer}");
    let answer = world.call(at, "models.list", json!({"from": "a newer client"}));
    assert_eq!(answer["ok"], true, "{answer}");
}

#[test]
fn the_health_of_an_agent_says_all_that_there_is_to_it() {
    let mut world = World::new(1);
    let (at, hello) = hello(&mut world, 4, &[]);
    let health = world.call_slow(at, "health", json!({}));
    for health in [&hello["snapshot"]["health"], &health["payload"]] {
        let agents = health["agents"].as_array().expect("agents");
        assert!(!agents.is_empty(), "{health}");
        for agent in agents {
            let heartbeat = json!({
                "enabled": false, "every": "disabled", "everyMs": null,
                "prompt": "", "target": "none", "ackMaxChars": 0,
            });
            assert_eq!(agent["heartbeat"], heartbeat);
            assert_eq!(agent["sessions"], json!({"path": "", "count": 0, "recent": []}));
        }
    }
}
