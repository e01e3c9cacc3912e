//! `logs.tail` of the real gateway: what it logs, at whichever loop, and nothing that is secret.

mod support;
#[path = "support/gateway.rs"]
mod world;

use serde_json::{Value, json};
use world::{Client, Gateway, folder};

/// What nobody may find in a log.
const CANARY: &str = "canary-7c1f0e";

fn records(lines: &Value) -> Vec<Value> {
    let lines = lines.as_array().unwrap().iter();
    lines.map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap()).collect()
}

#[test]
fn an_admin_reads_what_was_logged_at_all_loops_and_finds_no_secret() {
    let state = folder("logs-page");
    let gateway = Gateway::with(&state, &["--loops", "2", "--log-level", "debug"]);
    let mut admin = Client::login(gateway.address, "adm").unwrap();
    // Loops share connections as the kernel likes.
    for _ in 0..8 {
        let mut client = Client::open(gateway.address).unwrap();
        let wrong = json!({"token": CANARY, "user_id": "eve\n{\"level\":\"ERROR\"}"});
        let answer = client.ask("connect", wrong).unwrap();
        assert_eq!(answer["ok"], false, "{answer}");
        let wrong = json!({"token": CANARY, "user_id": "eve"});
        assert_eq!(client.ask("connect", wrong).unwrap()["ok"], false);
    }
    let page = admin.call("logs.tail", json!({"limit": 100})).unwrap();
    let found = records(&page["lines"]);
    let of = |message: &str| found.iter().filter(|record| record["message"] == message).count();
    assert!(of("serving") == 1 && of("logged in") == 1 && of("login refused") == 8, "{page}");
    assert!(found.iter().all(|record| record["level"] != "ERROR"), "a peer wrote a line");
    assert!(!page.to_string().contains(CANARY), "{page}");
    assert!(page["file"].as_str().unwrap().starts_with("memory-"), "{page}");
    // What came since is the request itself, and it is told once.
    let next = admin.call("logs.tail", json!({"cursor": page["cursor"]})).unwrap();
    let since = records(&next["lines"]);
    assert!(since.iter().all(|record| record["message"] != "serving"), "{next}");
    assert!(since.iter().any(|record| record["method"] == "logs.tail"), "{next}");
}

#[test]
fn a_tail_follows_all_loops_and_does_not_feed_itself() {
    let state = folder("logs-tail");
    // Everything there is: what a tail itself would log were there, too.
    let gateway = Gateway::with(&state, &["--loops", "2", "--log-level", "trace"]);
    let mut admin = Client::login(gateway.address, "adm").unwrap();
    let started = admin.call("logs.tail", json!({"action": "start", "level": "trace"})).unwrap();
    assert_eq!(started["status"], "started");
    // Each round takes a look of the tail or two, which would leave lines if tails left any.
    for n in 0..3 {
        let user = format!("user{n}");
        let mut client = Client::login(gateway.address, &user).unwrap();
        client.call("health", json!({})).unwrap();
        drop(client);
        let is_end = |record: &Value| record["message"] == "closed" && record["user"] == *user;
        loop {
            let event = admin.event("log").unwrap();
            assert!(event.get("dropped").is_none(), "{event}");
            if records(&event["lines"]).iter().any(is_end) {
                break;
            }
        }
    }
    let page = admin.call("logs.tail", json!({"limit": 5000})).unwrap();
    let found = records(&page["lines"]);
    let of = |message: &str| found.iter().filter(|record| record["message"] == message).count();
    let methods = found.iter().filter_map(|record| record["method"].as_str());
    let asked: Vec<_> = methods.filter(|method| *method != "connect").collect();
    assert_eq!(asked, ["logs.tail", "health", "health", "health"], "one line for a request");
    assert_eq!((of("connected"), of("logged in"), of("closed")), (4, 4, 3));
    let known = ["connected", "logged in", "called", "closed", "serving"];
    let other: Vec<_> = found
        .iter()
        .filter(|record| !known.iter().any(|message| record["message"] == *message))
        .collect();
    assert!(other.len() < 3, "none for each look of the tail: {other:?}");
}
