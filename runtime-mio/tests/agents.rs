//! Agents that are endpoints of chat completions, good ones and bad ones, behind the real binary.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/odd_server.rs"]
mod odd_server;
mod support;
#[path = "support/upstream.rs"]
mod upstream;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_rustls::TlsAcceptor;
use gateway::{Client, Gateway, command, folder};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::PATIENCE;
use upstream::{Act, Endpoint, delta, end, piece};

const KEY: &str = "sk-canary-4711";

/// A breaker that never opens, for what is not about it.
fn no_breaker() -> Value {
    json!({"failures": 1_000_000, "failure_percent": 101})
}

/// The settings of an agent `model` at this endpoint, with these besides.
fn agents(endpoint: &Endpoint, more: &Value) -> Value {
    let mut backend = json!({
        "type": "openai", "base_url": format!("http://{}/v1", endpoint.address), "model": "m-1",
        "api_key": KEY, "retry_first_ms": 10, "breaker": no_breaker(),
    });
    for (key, value) in more.as_object().unwrap() {
        backend[key] = value.clone();
    }
    json!([{"id": "model", "name": "Model", "backend": backend}, {"id": "echo"}])
}

fn configure(state: &Path, agents: &Value) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = state.join("moorline.json5");
    let more =
        json!({"live_sessions": 10_000, "user_bytes": 1_000_000_000, "held_bytes": 1_000_000_000});
    std::fs::write(&path, json!({"agents": agents, "limits": more}).to_string()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A gateway in front of this endpoint, and its folder.
fn gateway(name: &str, endpoint: &Endpoint, more: &Value) -> (Gateway, PathBuf) {
    let state = folder(name);
    configure(&state, &agents(endpoint, more));
    let mut command = command(&state);
    without_proxies(&mut command);
    (Gateway::of(command.stderr(Stdio::inherit())), state)
}

/// This machine may have some.
fn without_proxies(command: &mut std::process::Command) {
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
}

fn login(gateway: &Gateway) -> Client {
    Client::login(gateway.address, "ann").unwrap()
}

fn say(client: &mut Client, text: &str) -> Value {
    client.ask("chat.send", json!({"message": text})).unwrap()
}

/// Begins a run; gives its session.
fn begin(client: &mut Client, text: &str) -> Value {
    let answer = client.call("chat.send", json!({"message": text, "ack": true})).unwrap();
    answer["sessionKey"].clone()
}

/// The events of a run that has begun, up to its end.
fn run(client: &mut Client) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let event = client.event("agent").unwrap();
        let kind = event["type"].as_str().unwrap().to_owned();
        events.push(event);
        if ["run.completed", "run.failed", "run.cancelled"].contains(&&*kind) {
            return events;
        }
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// Waits for what other processes do, without a message that it is done.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let late = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < late, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn link(client: &mut Client) -> Value {
    let mut listed = client.call("agents.list", json!({})).unwrap();
    listed["agents"][0]["link"].take()
}

#[test]
fn what_a_model_says_thinks_and_calls_is_told_and_it_is_asked_as_configured() {
    let endpoint = Endpoint::start();
    let more = json!({
        "system_prompt": "Be brief.", "temperature": 0.5, "max_tokens": 99,
        "headers": {"X-Title": "tests"}, "context_messages": 2,
    });
    let (gateway, _state) = gateway("agents-good", &endpoint, &more);
    let call = json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": "{\"a\""}}]});
    let rest = json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]});
    let mut all = vec![delta(&json!({"reasoning_content": "hm"})), piece("Hello "), piece("there")];
    all.extend([delta(&call), delta(&rest)]);
    all.extend(end("tool_calls"));
    endpoint.will([Act::Events(all)]);
    let mut client = login(&gateway);
    let session = begin(&mut client, "first");
    let events = run(&mut client);
    let told: String = kinds(&events).join(" ");
    assert!(told.starts_with("run.started thinking chunk"), "{told}");
    assert!(told.ends_with("chunk tool.call run.completed"), "{told}");
    let call = &events[events.len() - 2]["payload"];
    assert_eq!(*call, json!({"name": "look", "id": "c1", "arguments": {"a": 1}}));
    let done = &events[events.len() - 1]["payload"];
    assert_eq!(
        (&done["content"], &done["stopReason"]),
        (&json!("Hello there"), &json!("tool_calls"))
    );
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12});
    assert_eq!(done["usage"], usage);
    // The whole answer at once is as good, on the same connection.
    let whole = json!({"choices": [{"message": {"content": "at once"}, "finish_reason": "stop"}]});
    endpoint.will([Act::Whole(whole.to_string())]);
    for (text, expected) in [("second", "at once"), ("third", "hello")] {
        let params = json!({"message": text, "sessionKey": session});
        assert_eq!(client.call("chat.send", params).unwrap()["content"], expected);
    }
    assert_eq!(endpoint.connections(), 1, "it is kept");
    let seen = endpoint.seen();
    assert_eq!(seen[0].target, "/v1/chat/completions");
    for line in [
        format!("authorization: bearer {KEY}\r\n"),
        format!("host: {}\r\n", endpoint.address),
        "x-title: tests\r\n".into(),
    ] {
        assert!(seen[0].head.contains(&line), "{}", seen[0].head);
    }
    let body = &seen[2].body;
    assert_eq!((&body["model"], &body["stream"]), (&json!("m-1"), &json!(true)));
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.5), &json!(99)));
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let expected = [
        said("system", "Be brief."),
        said("user", "second"),
        said("assistant", "at once"),
        said("user", "third"),
    ];
    assert_eq!(body["messages"], json!(expected));
    let models = client.call("models.list", json!({})).unwrap();
    assert_eq!(models["models"][0]["id"], "m-1");
    assert_eq!(models["models"][0]["provider"], "127.0.0.1");
}

#[test]
fn each_failure_reaches_the_user_at_once_with_its_code_and_the_name_of_the_endpoint() {
    let endpoint = Endpoint::start();
    let more = json!({
        "retries": 0, "first_byte_within_ms": 300, "silence_within_ms": 300, "total_within_ms": 2000,
        "max_event_bytes": 100_000,
    });
    let (gateway, _state) = gateway("agents-bad", &endpoint, &more);
    let mut client = login(&gateway);
    let error = |text: &str| json!({"error": {"message": text}}).to_string();
    let slow: Vec<_> = (0..40).map(|_| piece("slow ")).collect();
    for (act, code, wait, text) in [
        (Act::Status(500, None, String::new()), "UNAVAILABLE", Some(1000), "answered 500"),
        (
            Act::Status(503, Some(30), error("busy")),
            "UNAVAILABLE",
            Some(30_000),
            "answered 503: busy",
        ),
        (
            Act::Status(429, Some(7), String::new()),
            "RESOURCE_EXHAUSTED",
            Some(7000),
            "answered 429",
        ),
        (
            Act::Status(401, None, error("no sk-ca***")),
            "FAILED_PRECONDITION",
            None,
            "refuses the gateway's key (status 401)",
        ),
        (Act::Status(404, None, String::new()), "FAILED_PRECONDITION", None, "answered 404"),
        (
            Act::Status(400, None, error("too long")),
            "INVALID_REQUEST",
            None,
            "answered 400: too long",
        ),
        (Act::Hang, "UNAVAILABLE", Some(1000), "did not begin to answer within 300 ms"),
        (
            Act::Cut(vec![piece("half")]),
            "UNAVAILABLE",
            Some(1000),
            "ended its answer in the middle",
        ),
        (
            Act::Events(vec![piece("half")]),
            "UNAVAILABLE",
            Some(1000),
            "ended its answer in the middle",
        ),
        (
            Act::Hold(vec![piece("half")]),
            "UNAVAILABLE",
            Some(1000),
            "sent nothing for 300 ms in the middle",
        ),
        (Act::Events(vec!["{]".into()]), "INTERNAL", None, "gave an answer that is none"),
        (
            Act::Events(vec![error("overloaded")]),
            "UNAVAILABLE",
            Some(1000),
            "answered 500: overloaded",
        ),
        (Act::Page("text/html", "<p>hi</p>"), "INTERNAL", None, "it is a web page"),
        (Act::Whole("{}".into()), "INTERNAL", None, "gave an answer that is none"),
        (Act::Whole("x".repeat(17 << 20)), "INTERNAL", None, "more than 16777216 bytes"),
        (Act::Flood(10 * 1024 * 1024), "INTERNAL", None, "sent more than 100000 bytes at once"),
        (Act::Late(Duration::from_millis(250), slow), "UNAVAILABLE", Some(1000), "in the middle"),
    ] {
        let begun = Instant::now();
        endpoint.will([act.clone()]);
        begin(&mut client, "do it");
        let events = run(&mut client);
        let failed = events.last().unwrap();
        assert_eq!(failed["type"], "run.failed", "{act:?}");
        let payload = &failed["payload"];
        assert_eq!(payload["code"], code, "{act:?} {payload}");
        assert_eq!(payload.get("retryAfterMs"), wait.map(|ms| json!(ms)).as_ref(), "{payload}");
        let told = payload["error"].as_str().unwrap();
        let host = format!("the agent's model at {} ", endpoint.address);
        assert!(told.starts_with(&host) && told.contains(text), "{told}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{act:?}");
    }
    // Nothing of it has hurt the gateway's own link to the client, and 10 MB were not kept.
    assert_eq!(say(&mut client, "again")["payload"]["content"], "hello");
    assert!(gateway.memory("VmHWM") < 100 * 1024 * 1024, "{}", gateway.memory("VmHWM"));
}

#[test]
fn a_run_ends_when_its_time_is_over_though_it_still_talks() {
    let endpoint = Endpoint::start();
    let (gateway, _state) = gateway("agents-total", &endpoint, &json!({"total_within_ms": 300}));
    let mut client = login(&gateway);
    endpoint.will([Act::Hold(vec![piece("half")])]);
    let answer = say(&mut client, "talk");
    assert_eq!(answer["error"]["code"], "AGENT_TIMEOUT", "{answer}");
    until("the connection is closed", || endpoint.gone() == 1);
}

#[test]
fn what_fails_before_the_first_word_is_tried_again_and_told_and_what_fails_after_it_is_not() {
    let endpoint = Endpoint::start();
    let more = json!({"retry_longest_ms": 1500});
    let (gateway, _state) = gateway("agents-again", &endpoint, &more);
    let mut client = login(&gateway);
    endpoint.will([
        Act::Status(500, None, String::new()),
        Act::Status(429, Some(1), String::new()),
        Act::Say("here now"),
    ]);
    let begun = Instant::now();
    begin(&mut client, "do it");
    let events = run(&mut client);
    assert_eq!(kinds(&events)[..3], ["run.started", "run.retrying", "run.retrying"]);
    for (at, attempt, text) in [(1, 2, "answered 500"), (2, 3, "answered 429")] {
        let payload = &events[at]["payload"];
        assert_eq!((&payload["attempt"], &payload["maxAttempts"]), (&json!(attempt), &json!(3)));
        assert!(payload["error"].as_str().unwrap().contains(text), "{payload}");
    }
    assert_eq!(events[2]["payload"]["retryAfterMs"], 1000);
    assert!(begun.elapsed() >= Duration::from_secs(1), "it said when");
    assert_eq!(events.last().unwrap()["payload"]["content"], "here now");
    // Not three times, not after a word, and not later than anybody waits for.
    for (acts, tries) in [
        (vec![Act::Status(500, None, String::new()); 5], 3),
        (vec![Act::Cut(vec![piece("half")]); 2], 1),
        (vec![Act::Cut(vec![]), Act::Say("x")], 2),
        (vec![Act::Status(429, Some(2), String::new()); 2], 1),
        (vec![Act::Status(400, None, String::new()); 2], 1),
    ] {
        let before = endpoint.seen().len();
        endpoint.will(acts.clone());
        say(&mut client, "do it");
        assert_eq!(endpoint.seen().len() - before, tries, "{acts:?}");
    }
}

#[test]
fn the_breaker_opens_is_seen_lets_one_try_and_closes() {
    let mut endpoint = Endpoint::start();
    let breaker = json!({"failures": 3, "open_first_ms": 5000, "open_most_ms": 5000});
    let more = json!({"retries": 0, "breaker": breaker, "first_byte_within_ms": 1500});
    let (gateway, _state) = gateway("agents-breaker", &endpoint, &more);
    let mut client = login(&gateway);
    assert_eq!(link(&mut client), json!({"state": "up", "breaker": "closed"}));
    let address = endpoint.address;
    endpoint.stop();
    for _ in 0..3 {
        let refused = say(&mut client, "do it");
        assert_eq!(refused["error"]["code"], "UNAVAILABLE");
        let text = refused["error"]["message"].as_str().unwrap();
        assert!(text.contains("cannot be reached") && text.contains("refused"), "{text}");
    }
    let shown = link(&mut client);
    assert_eq!((&shown["state"], &shown["breaker"]), (&json!("down"), &json!("open")));
    assert!(shown["reason"].as_str().unwrap().contains("cannot be reached"), "{shown}");
    assert!(shown["retryAtMs"].is_u64());
    assert_eq!(client.call("health", json!({})).unwrap()["agentsDown"], 1);
    let ready = http(gateway.address, "/ready");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(ready.contains(r#"{"name":"agents","ok":true,"value":1,"limit":2}"#), "{ready}");
    let endpoint = Endpoint::on(address, None);
    let refused = say(&mut client, "do it");
    let wait = refused["error"]["retryAfterMs"].as_u64().unwrap();
    assert!((1..=5000).contains(&wait), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("is not asked for now"));
    assert_eq!(endpoint.connections(), 0, "nobody asked it");
    std::thread::sleep(Duration::from_millis(wait));
    // Time alone is seen, too.
    let late = Instant::now() + PATIENCE;
    while link(&mut client)["breaker"] != "half-open" {
        assert!(Instant::now() < late);
    }
    // One tries, and another one is told to wait.
    endpoint.will([Act::Hang, Act::Say("works")]);
    let mut other = login(&gateway);
    begin(&mut client, "try");
    until("the probe has come", || endpoint.seen().len() == 1);
    assert_eq!(say(&mut other, "me, too")["error"]["code"], "UNAVAILABLE");
    // The probe fails, and the next one may try after a while.
    for state in ["open", "half-open"] {
        let late = Instant::now() + PATIENCE;
        while link(&mut client)["breaker"] != state {
            assert!(Instant::now() < late);
        }
    }
    assert_eq!(say(&mut other, "now")["payload"]["content"], "works");
    assert_eq!(link(&mut other), json!({"state": "up", "breaker": "closed"}));
}

/// What is wrong until somebody mends it is no business of the breaker, and must be seen all the same.
#[test]
fn an_agent_whose_endpoint_refuses_the_key_is_seen_everywhere_until_a_run_succeeds() {
    let endpoint = Endpoint::start();
    let more = json!({"breaker": {"failures": 2, "calls": 2}});
    let (gateway, _state) = gateway("agents-refused", &endpoint, &more);
    let mut client = login(&gateway);
    for (status, reason) in
        [(401, "refuses the gateway's key (status 401)"), (404, "answers 404 to")]
    {
        endpoint.will(vec![Act::Status(status, None, "{}".into()); 4]);
        for _ in 0..4 {
            assert_eq!(say(&mut client, "do it")["error"]["code"], "FAILED_PRECONDITION");
        }
        let listed = client.call("agents.list", json!({})).unwrap()["agents"][0].take();
        let link = &listed["link"];
        assert_eq!(
            (&listed["status"], &link["state"], &link["breaker"]),
            (&json!("refused"), &json!("refused"), &json!("closed"))
        );
        assert!(link["reason"].as_str().unwrap().contains(reason), "{link}");
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        assert!((now - 60_000..=now).contains(&link["sinceMs"].as_u64().unwrap()), "{link}");
    }
    assert_eq!(client.call("health", json!({})).unwrap()["agentsDown"], 1);
    let ready = http(gateway.address, "/ready");
    assert!(ready.contains(r#"{"name":"agents","ok":true,"value":1,"limit":2}"#), "{ready}");
    let metrics = http(gateway.address, "/metrics");
    for (state, value) in [("up", 0), ("refused", 1), ("trying", 0), ("down", 0)] {
        let line = format!("moorline_agent_state{{agent=\"model\",state=\"{state}\"}} {value}.0\n");
        assert!(metrics.contains(&line), "{line} {metrics}");
    }
    // A request that is wrong itself mends nothing, and a run that is served does.
    endpoint.will([Act::Status(400, None, "{}".into()), Act::Say("works")]);
    assert_eq!(say(&mut client, "do it")["error"]["code"], "INVALID_REQUEST");
    let shown = link(&mut client);
    assert!(shown["state"] == "refused" && shown["reason"].as_str().unwrap().contains("404"));
    assert_eq!(say(&mut client, "now")["payload"]["content"], "works");
    assert_eq!(link(&mut client), json!({"state": "up", "breaker": "closed"}));
}

/// Some providers answer 403 or 404 for what one user has asked; what they say of it may quote it.
#[test]
fn what_may_be_one_users_fault_counts_after_three_runs_in_a_row_and_is_told_to_nobody_else() {
    let endpoint = Endpoint::start();
    let more = json!({"retries": 0, "breaker": {"failures": 1, "open_first_ms": 60_000}});
    let (gateway, _state) = gateway("agents-refused-once", &endpoint, &more);
    let mut client = login(&gateway);
    let refuse = |status| {
        let said = json!({"error": {"message": "canary-prompt is not allowed"}});
        Act::Status(status, None, said.to_string())
    };
    let up = json!({"state": "up", "breaker": "closed"});
    let wrong = "answers 404 to the gateway's requests: base_url or model are wrong";
    let runs = [
        (refuse(404), "canary-prompt", None),
        (refuse(403), "(status 403)", None),
        (Act::Say("works"), "", None),
        (refuse(404), "canary-prompt", None),
        (refuse(302), "canary-prompt", None),
        (refuse(400), "canary-prompt", None),
        (refuse(403), "(status 403)", None),
        (refuse(302), "canary-prompt", None),
        (refuse(404), "canary-prompt", Some(("refused", wrong))),
        (refuse(403), "(status 403)", Some(("refused", "answers 403 to the gateway's requests"))),
        (Act::Say("works"), "", None),
        (refuse(404), "canary-prompt", None),
        (refuse(503), "canary-prompt", Some(("down", "answered 503"))),
    ];
    for (number, (act, told, shown)) in runs.into_iter().enumerate() {
        endpoint.will([act]);
        let answer = say(&mut client, "do it");
        let text = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(text.contains(told), "run {number}: {answer}");
        let link = link(&mut client);
        match shown {
            None => assert_eq!(link, up, "run {number}"),
            Some((state, reason)) => {
                assert_eq!(link["state"], state, "run {number}: {link}");
                assert!(link["reason"].as_str().unwrap().contains(reason), "run {number}: {link}");
            }
        }
        assert!(!link.to_string().contains("canary"), "run {number}: {link}");
    }
    let answer = say(&mut client, "the next");
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.contains("answered 503; it is not asked for now"), "{answer}");
}

fn http(address: std::net::SocketAddr, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_run_that_is_stopped_closes_its_connection_at_once() {
    let endpoint = Endpoint::start();
    let (gateway, _state) = gateway("agents-stop", &endpoint, &json!({}));
    let mut client = login(&gateway);
    endpoint.will([Act::Hold(vec![piece("half")]), Act::Hang]);
    for _ in 0..2 {
        let before = endpoint.seen().len();
        let session = begin(&mut client, "talk");
        until("it was asked", || endpoint.seen().len() == before + 1);
        client.call("chat.abort", json!({"sessionKey": session})).unwrap();
    }
    until("both are gone", || endpoint.gone() == 1 && endpoint.held() == 0);
}

#[test]
fn runs_are_bounded_and_those_that_wait_too_long_are_told() {
    let endpoint = Endpoint::start();
    let more = json!({"max_concurrent": 1, "max_queued": 1, "queue_within_ms": 1500});
    let (gateway, _state) = gateway("agents-crowd", &endpoint, &more);
    let mut clients: Vec<_> = (0..3).map(|_| login(&gateway)).collect();
    endpoint.will([Act::Hold(vec![piece("half")])]);
    begin(&mut clients[0], "talk");
    until("it was asked", || endpoint.held() == 1);
    begin(&mut clients[1], "wait");
    let full = say(&mut clients[2], "no place");
    assert_eq!(full["error"]["code"], "RESOURCE_EXHAUSTED", "{full}");
    assert!(full["error"]["message"].as_str().unwrap().contains("as many wait as may"), "{full}");
    let text = |client: &mut Client| -> String {
        loop {
            let event = client.event("agent").unwrap();
            if event["type"] == "run.failed" {
                return event["payload"]["error"].as_str().unwrap().into();
            }
        }
    };
    // All are the same user's, who sees what becomes of each run.
    assert!(text(&mut clients[0]).contains("as many wait"));
    assert!(text(&mut clients[0]).contains("none of them has ended in time"));
    endpoint.go_on(1);
    let late = Instant::now() + PATIENCE;
    while say(&mut clients[2], "free again")["ok"] != true {
        assert!(Instant::now() < late);
    }
}

#[test]
fn a_reload_gives_new_runs_to_the_new_backend_and_old_ones_end_as_they_began() {
    let (old, new) = (Endpoint::start(), Endpoint::start());
    let (gateway, state) = gateway("agents-reload", &old, &json!({}));
    let mut client = login(&gateway);
    old.will([Act::Hold(vec![piece("old")])]);
    begin(&mut client, "talk");
    until("it was asked", || old.held() == 1);
    configure(&state, &agents(&new, &json!({"model": "m-2"})));
    kill_process(Pid::from_child(&gateway.child), Signal::HUP).unwrap();
    let late = Instant::now() + PATIENCE;
    let mut other = login(&gateway);
    while other.call("models.list", json!({})).unwrap()["models"][0]["id"] != "m-2" {
        assert!(Instant::now() < late);
    }
    assert_eq!(say(&mut other, "new")["payload"]["content"], "hello");
    assert_eq!((new.seen().len(), old.seen().len()), (1, 1));
    old.go_on(1);
    let late = Instant::now() + PATIENCE;
    loop {
        let event = client.event("agent").unwrap();
        if event["type"] == "run.completed" && event["payload"]["content"] == "old" {
            break;
        }
        assert!(Instant::now() < late);
    }
}

#[test]
fn a_key_is_in_no_log_no_answer_and_no_report() {
    let endpoint = Endpoint::start();
    let state = folder("agents-secret");
    configure(&state, &agents(&endpoint, &json!({"headers": {"x-more": "canary-header"}})));
    let log = state.join("log");
    let mut command = command(&state);
    without_proxies(&mut command);
    let file = std::fs::File::create(&log).unwrap();
    let gateway = Gateway::of(command.env("MOORLINE_LOG_LEVEL", "trace").stderr(file));
    let mut client = login(&gateway);
    let echoed =
        json!({"error": {"message": format!("bad key {KEY} and canary-header")}}).to_string();
    endpoint.will([Act::Status(400, None, echoed), Act::Say("fine"), Act::Cut(vec![])]);
    let mut shown = vec![say(&mut client, "a").to_string()];
    assert!(shown[0].contains("bad key *** and ***"), "{shown:?}");
    shown.push(say(&mut client, "b").to_string());
    shown.push(client.call("config.get", json!({})).unwrap().to_string());
    assert!(shown[2].contains("m-1") && shown[2].contains("sha256:"), "{}", shown[2]);
    shown.push(client.call("agents.list", json!({})).unwrap().to_string());
    drop(gateway);
    shown.push(std::fs::read_to_string(&log).unwrap());
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_moorline"))
        .args(["check-config", "--state-dir"])
        .arg(&state)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    shown.push(String::from_utf8(check.stdout).unwrap());
    for text in shown {
        assert!(!text.contains(KEY) && !text.contains("canary-header"), "{text}");
    }
}

/// A certificate of its own, as PEM, and a server that has it.
fn tls() -> (String, TlsAcceptor) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let der = BASE64_STANDARD.encode(certified.cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    (pem, TlsAcceptor::from(Arc::new(config)))
}

#[test]
fn tls_proves_the_endpoint_and_proxies_are_gone_through() {
    let (pem, acceptor) = tls();
    let endpoint = Endpoint::with_tls(acceptor);
    let plain = Endpoint::start();
    let state = folder("agents-tls");
    let ca = state.join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let port = endpoint.address.port();
    let url = |host: &str, port: u16| format!("https://{host}:{port}/v1");
    let trusted = json!({"base_url": url("localhost", port), "ca_file": "ca.pem"});
    let unknown = json!({"base_url": url("localhost", port), "retries": 0});
    let other = json!({"base_url": url("127.0.0.1", port), "ca_file": "ca.pem", "retries": 0});
    let far = json!({"base_url": url("api.example.com", 443), "ca_file": "ca.pem", "retries": 0});
    let forwarded = json!({"base_url": "http://api.example.com/v1"});
    for (settings, proxy, expected) in [
        (&trusted, None, "hello"),
        (&unknown, None, "certificate"),
        (&other, None, "certificate"),
        (&trusted, Some(("HTTPS_PROXY", endpoint.address)), "hello"),
        // The proxy leads there, and TLS finds that it is somebody else.
        (&far, Some(("https_proxy", endpoint.address)), "certificate"),
        (&forwarded, Some(("HTTP_PROXY", plain.address)), "hello"),
    ] {
        configure(&state, &agents(&endpoint, settings));
        let mut command = command(&state);
        without_proxies(&mut command);
        if let Some((name, address)) = proxy {
            command.env(name, format!("http://u:p@{address}"));
        }
        let gateway = Gateway::of(command.stderr(Stdio::inherit()));
        let answer = say(&mut login(&gateway), "hi").to_string();
        assert!(answer.contains(expected), "{settings} {proxy:?}: {answer}");
    }
    let seen = endpoint.seen();
    let tunnels: Vec<_> = seen.iter().filter(|seen| seen.head.starts_with("CONNECT")).collect();
    assert_eq!(tunnels[0].target, format!("localhost:{port}"));
    assert_eq!(tunnels[1].target, "api.example.com:443");
    assert!(tunnels[1].head.contains("Proxy-Authorization: Basic dTpw\r\n"));
    assert_eq!(plain.seen()[0].target, "http://api.example.com/v1/chat/completions");
    assert!(plain.seen()[0].head.contains("proxy-authorization: basic dtpw\r\n"));
}

#[test]
fn an_endpoint_without_tls_under_https_is_told_as_that() {
    let endpoint = Endpoint::start();
    // One that waits for the end of a request line, one that answers what it does not understand, one that ends.
    let waits = odd_server::silent();
    let answers = odd_server::serving(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let ends = odd_server::serving(drop);
    for (address, expected) in [
        (
            waits,
            "took a connection and did not answer by TLS within 300 ms: is its base_url http://",
        ),
        (answers, "it does not answer by TLS: is its base_url http://"),
        (ends, "it ended the connection instead of answering by TLS: is its base_url http://"),
    ] {
        let url = format!("https://{address}/v1");
        let more = json!({"base_url": url, "retries": 0, "connect_within_ms": 300});
        let (gateway, _state) = gateway("agents-plain", &endpoint, &more);
        let answer = say(&mut login(&gateway), "hi");
        assert_eq!(answer["error"]["code"], "UNAVAILABLE");
        let told = answer["error"]["message"].as_str().unwrap();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn two_thousand_streams_at_once_take_few_threads_and_bounded_memory() {
    const STREAMS: usize = 2000;
    // Each is a socket here, too.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let endpoint = Endpoint::start();
    let more = json!({"max_concurrent": 4000});
    let (gateway, _state) = gateway("agents-many", &endpoint, &more);
    let mut client = login(&gateway);
    let before = gateway.memory("VmRSS");
    endpoint.will(vec![Act::Hold(vec![piece("some words to begin with ")]); STREAMS]);
    for _ in 0..STREAMS {
        begin(&mut client, "talk");
    }
    until("all are asked", || endpoint.held() == STREAMS);
    let threads = std::fs::read_dir(format!("/proc/{}/task", gateway.child.id())).unwrap().count();
    assert!(threads < 20, "{threads} threads");
    let each = gateway.memory("VmRSS").saturating_sub(before) / STREAMS as u64;
    println!("{threads} threads, {each} bytes of each stream");
    assert!(each < 64 * 1024, "{each} bytes");
    endpoint.go_on(STREAMS);
    let mut completed = 0;
    while completed < STREAMS {
        let event = client.event("agent").unwrap();
        assert_ne!(event["type"], "run.failed", "{event}");
        completed += usize::from(event["type"] == "run.completed");
    }
}
