//! What `moorline doctor` and `moorline agents` say of the gateway's links to its agents.

#[path = "support/admin.rs"]
mod admin;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/odd_server.rs"]
mod odd_server;
#[path = "support/report.rs"]
mod report;
mod support;
#[path = "support/upstream.rs"]
mod upstream;

use gateway::{Client, Gateway, command, folder};
use report::{diagnose, write};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use upstream::{Act, Endpoint};

/// A gateway with an agent whose key is refused, one that nobody answers for, one of workers, and a good one.
fn troubled(state: &Path, endpoint: &Endpoint) -> Gateway {
    let openai = |address, breaker| {
        json!({"type": "openai", "base_url": format!("http://{address}/v1"), "model": "m",
            "api_key": "wrong", "retries": 0, "breaker": breaker})
    };
    let (breaker, slow) = (json!({}), json!({"failures": 1, "open_first_ms": 60_000}));
    let agents = json!([
        {"id": "good"},
        {"id": "key", "backend": openai(endpoint.address, breaker)},
        {"id": "dead", "backend": openai(odd_server::nobody(), slow)},
        {"id": "work", "backend": {"type": "worker", "token": "a-token-of-workers-that-is-long-enough"}},
    ]);
    write(&state.join("moorline.json5"), &json!({ "agents": agents }).to_string());
    let mut command = command(state);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    Gateway::of(command.stderr(Stdio::inherit()))
}

#[test]
fn agents_that_do_not_work_are_told_with_reason_and_times_by_doctor_and_in_the_table() {
    let state = folder("doctor-agents");
    let endpoint = Endpoint::start();
    endpoint.will([Act::Status(401, None, "{}".into())]);
    let gateway = troubled(&state, &endpoint);
    let mut client = Client::login(gateway.address, "ann").unwrap();
    for agent in ["key", "dead"] {
        let answer =
            client.ask("chat.send", json!({"message": "do it", "agentId": agent})).unwrap();
        assert_eq!(answer["ok"], false, "{answer}");
    }
    let path = state.to_str().unwrap();
    let url = format!("ws://{}/ws", gateway.address);
    // Over the host's own socket, though no login works; and by a login.
    for arguments in [&["--state-dir", path][..], &[&url, "--token", "t"]] {
        let report = diagnose(arguments);
        let down = report.find("agents.down")["about"].as_str().unwrap();
        assert!(down.starts_with("dead: the agent's model at 127.0.0.1:"), "{down}");
        assert!(
            down.contains("cannot be reached") && down.contains("s ago; the next run may try in ")
        );
        let refused = report.find("agents.refused");
        let about = refused["about"].as_str().unwrap();
        assert!(about.starts_with("key: ") && about.contains("(status 401), first "), "{about}");
        assert!(refused["fix"].as_str().unwrap().contains("api_key"), "{refused}");
        let worker = report.find("agents.no-worker")["about"].as_str().unwrap();
        assert!(worker.starts_with("work: no worker takes its runs"), "{worker}");
        assert!(!report.has("agents.ok") && report.code == 2);
    }
    let report = diagnose(&[&url, "--state-dir", folder("doctor-agents-none").to_str().unwrap()]);
    assert!(report.has("agents.untested"), "{:#}", json!(report.findings));
    let table = admin::text_of(&state, &["agents"]);
    let row = |id: &str| table.lines().find(|line| line.starts_with(id)).unwrap().to_string();
    assert!(table.starts_with("ID "), "{table}");
    let dead = row("dead");
    assert!(
        dead.contains("unavailable") && dead.contains("open") && dead.contains(" in "),
        "{dead}"
    );
    assert!(dead.contains("cannot be reached"), "{dead}");
    let key = row("key");
    assert!(
        key.contains("refused") && key.contains("closed") && key.contains("status 401"),
        "{key}"
    );
    assert!(row("work").ends_with("no worker of the agent is connected to the gateway"), "{table}");
    assert!(row("good").contains("active") && row("good").ends_with('-'), "{table}");
    // Nothing is said any more of what works again.
    endpoint.will([Act::Say("works")]);
    let answer = client.ask("chat.send", json!({"message": "do it", "agentId": "key"})).unwrap();
    assert_eq!(answer["ok"], true, "{answer}");
    assert!(!diagnose(&["--state-dir", path]).has("agents.refused"));
}
