//! Ending, reloading, and changing the token of the gateway that runs, by the host's command line.
#![cfg(target_os = "linux")]

#[path = "support/admin.rs"]
mod admin;
mod support;
#[path = "support/gateway.rs"]
mod world;

use admin::{Told, json_of, moorline, open, text_of};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;
use support::Process;
use world::{Client, Gateway, folder};

/// A gateway with the token of its state folder, and its settings in the file there.
fn start(state: &Path, settings: &str) -> Process {
    fs::write(state.join("moorline.json5"), settings).unwrap();
    let mut command: Command = open(state, &["serve", "--listen", "127.0.0.1:0"]);
    Process::of(command.env("MOORLINE_LOG_LEVEL", "error"))
}

#[test]
fn a_drain_waits_for_a_run_shows_it_and_returns_when_the_process_has_ended() {
    let state = folder("admin-drain");
    let mut gateway = Gateway::start(&state);
    let mut ann = Client::login(gateway.address, "ann").unwrap();
    // The agent of this build takes its time for each word.
    let message = "word ".repeat(60);
    let answer = ann.call("chat.send", json!({"message": message, "ack": true})).unwrap();
    let run = answer["runId"].clone();
    let drain = open(&state, &["drain", "--restart"]).spawn().unwrap();
    let shutdown = ann.event("shutdown").unwrap();
    assert_eq!(shutdown["reason"], "gateway restarting", "{shutdown}");
    let late = moorline(&state, &["devices"]);
    assert!(late.code == 1 && late.stderr.contains("restart in progress"), "{late:?}");
    loop {
        let event = ann.event("agent").unwrap();
        assert_eq!(event["runId"], run);
        if event["type"] == "run.completed" {
            break;
        }
    }
    assert_eq!(ann.closed().unwrap().0, 1012);
    let output = drain.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("ending: 1 connection, 1 run\n"), "{said}");
    assert!(said.lines().last().unwrap().starts_with("the gateway has ended, after "), "{said}");
    // It returned after the process: there is nothing left to wait for.
    let status = gateway.child.try_wait().unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(!state.join("admin.sock").exists());
}

#[test]
fn a_drain_that_is_not_waited_for_ends_the_gateway_all_the_same() {
    let state = folder("admin-no-wait");
    let mut gateway = Gateway::start(&state);
    let mut ann = Client::login(gateway.address, "ann").unwrap();
    let begun = json_of(&state, &["drain", "--no-wait", "--json"]);
    assert_eq!(begun["draining"], true, "{begun}");
    assert_eq!(begun["pid"], gateway.child.id());
    assert_eq!(ann.closed().unwrap().0, 1001);
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_gateway_with_nothing_to_do_ends_at_once_and_the_drain_says_so() {
    for (round, flags) in [&[][..], &["--no-wait"], &["--restart"], &["--json"]]
        .into_iter()
        .cycle()
        .take(8)
        .enumerate()
    {
        let state = folder(&format!("admin-drain-idle-{round}"));
        let mut gateway = Gateway::with(&state, &["--loops", "2"]);
        let said = moorline(&state, &[&["drain"], flags].concat());
        assert_eq!((said.code, &*said.stderr), (0, ""), "{flags:?}: {said:?}");
        let expected = match flags {
            ["--json"] => "\"ended\": true",
            ["--no-wait"] => "the gateway is ending\n",
            _ => "the gateway has ended, after ",
        };
        assert!(said.stdout.contains(expected), "{flags:?}: {said:?}");
        assert_eq!(gateway.child.wait().unwrap().code(), Some(0), "{flags:?}");
    }
}

#[test]
fn a_drain_answers_the_close_of_the_gateway_so_that_nobody_waits_for_it() {
    let state = folder("admin-drain-close");
    // Longer than the command waits for the process: a Close that is not answered fails it.
    fs::write(state.join("moorline.json5"), "{limits: {close_within_ms: 600000}}").unwrap();
    let mut gateway = Gateway::with(&state, &["--log-level", "info"]);
    // It follows the log, and has to go, too.
    let mut logs = open(&state, &["logs", "--follow"]).spawn().unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("serving"));
    let said = text_of(&state, &["drain"]);
    assert!(said.lines().last().unwrap().starts_with("the gateway has ended, after "), "{said}");
    let status = gateway.child.try_wait().unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(logs.wait().unwrap().success());
}

#[test]
fn a_log_is_followed_until_the_gateway_ends() {
    let state = folder("admin-follow");
    let mut gateway = Gateway::with(&state, &["--log-level", "info", "--loops", "2"]);
    let mut logs = open(&state, &["logs", "--follow", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = |message: &str| {
        let is_it = |line: &Value| line["message"] == message;
        let line = lines.by_ref().map(|line| serde_json::from_str(&line).unwrap()).find(is_it);
        line.expect("the log goes on")
    };
    next("serving");
    let mut ann = Client::login(gateway.address, "ann").unwrap();
    while next("logged in")["user"] != "ann" {}
    // There is time to read on until this has ended.
    let params = json!({"message": "word ".repeat(20), "ack": true});
    ann.call("chat.send", params).unwrap();
    drop(ann);
    let ended = text_of(&state, &["drain"]);
    assert!(ended.starts_with("ending: "), "{ended}");
    assert_eq!(next("stopping")["by"], "host");
    assert!(logs.wait().unwrap().success());
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reload_says_what_has_changed_and_where_what_is_wrong_stands() {
    let state = folder("admin-reload");
    let gateway = start(&state, "{gateway: {rate_limit_rpm: 60}}");
    let file = state.join("moorline.json5");
    let said = text_of(&state, &["reload"]);
    assert_eq!(said, format!("file: {}\nnothing has changed\n", file.display()));
    fs::write(&file, "{gateway: {rate_limit_rpm: 90}, loops: 2}").unwrap();
    let said = text_of(&state, &["reload"]);
    assert!(said.contains("changed: gateway.rate_limit_rpm\n"), "{said}");
    assert!(said.contains("needs a restart: loops\n"), "{said}");

    fs::write(&file, "{\n  gateway: {\n    rate_limit_rpm: 'many',\n    prt: 1,\n  },\n}").unwrap();
    let said = moorline(&state, &["reload"]);
    assert_eq!((said.code, &*said.stdout), (78, ""), "{said:?}");
    let place = format!("{}:3:21: gateway.rate_limit_rpm: ", file.display());
    assert!(said.stderr.contains(&place), "{said:?}");
    assert!(said.stderr.contains(&format!("{}:4:5: ", file.display())), "{said:?}");
    let said = moorline(&state, &["reload", "--json"]);
    assert_eq!(said.code, 78);
    let problems: Value = serde_json::from_str(&said.stdout).unwrap();
    let first = &problems["problems"][0];
    assert_eq!((&first["line"], &first["column"]), (&json!(3), &json!(21)), "{problems}");
    assert_eq!(first["key"], "gateway.rate_limit_rpm");

    fs::remove_file(&file).unwrap();
    let said = moorline(&state, &["reload"]);
    assert!(said.code == 78 && said.stderr.contains("it is gone"), "{said:?}");
    // It goes on by what was good.
    assert!(std::net::TcpStream::connect(gateway.address).is_ok());
}

/// Whether the gateway takes this token.
fn is_valid(gateway: &Process, token: &str) -> bool {
    let mut client = Client::open(gateway.address).unwrap();
    client.ask("connect", json!({"token": token, "user_id": "ann"})).unwrap()["ok"] == true
}

#[test]
fn a_rotated_token_is_valid_beside_the_new_one_over_a_restart_until_it_is_revoked() {
    let state = folder("admin-token");
    let mut gateway = start(&state, "{}");
    let token = |arguments: &[&str]| text_of(&state, arguments).trim().to_string();
    let old = token(&["token", "show"]);
    assert_eq!(old, fs::read_to_string(state.join("token")).unwrap().trim());
    let mut client = Client::open(gateway.address).unwrap();
    client.call("connect", json!({"token": old, "user_id": "ann"})).unwrap();
    // What holds is what the gateway goes by, whatever becomes of the file.
    fs::remove_file(state.join("token")).unwrap();
    assert_eq!(token(&["token", "show"]), old);
    let new = token(&["token", "rotate"]);
    assert_eq!(token(&["token", "show"]), new);
    assert!(is_valid(&gateway, &old) && is_valid(&gateway, &new) && !is_valid(&gateway, "x"));
    gateway.kill();
    let gateway = start(&state, "{}");
    assert!(is_valid(&gateway, &old) && is_valid(&gateway, &new), "both are kept");
    let list = json_of(&state, &["token", "--json"]);
    assert_eq!(list["tokens"].as_array().unwrap().len(), 2, "{list}");
    assert!(!list.to_string().contains(&new), "fingerprints only: {list}");

    let mut client = Client::open(gateway.address).unwrap();
    client.call("connect", json!({"token": old, "user_id": "ann"})).unwrap();
    assert!(text_of(&state, &["token", "revoke"]).starts_with("revoked: sha256:"));
    assert_eq!(client.closed().unwrap(), (1008, "revoked".into()));
    assert!(!is_valid(&gateway, &old) && is_valid(&gateway, &new));
    let said = moorline(&state, &["token", "revoke"]);
    assert!(said.code == 1 && said.stderr.contains("rotate --now"), "{said:?}");
    let said = moorline(&state, &["token", "revoke", &fingerprint(&state)]);
    assert!(said.code == 1 && said.stderr.contains("nobody could log in"), "{said:?}");
    assert!(is_valid(&gateway, &new));
    let newest = token(&["token", "rotate", "--now"]);
    assert!(!is_valid(&gateway, &new) && is_valid(&gateway, &newest));
}

/// That of the first token.
fn fingerprint(state: &Path) -> String {
    let list = json_of(state, &["token", "--json"]);
    list["tokens"][0]["fingerprint"].as_str().unwrap().to_string()
}

#[test]
fn a_configured_token_is_not_shown_and_not_rotated_but_can_be_revoked() {
    let state = folder("admin-configured");
    let gateway = Gateway::start(&state);
    let said = moorline(&state, &["token", "show"]);
    assert!(said.code == 1 && said.stderr.contains("gateway.token, --token"), "{said:?}");
    let said = moorline(&state, &["token", "rotate"]);
    assert!(said.code == 1 && said.stderr.contains("configured"), "{said:?}");
    assert!(is_valid(&gateway, "t"));
    let print = fingerprint(&state);
    assert_eq!(text_of(&state, &["token", "revoke", &print[..12]]), format!("revoked: {print}\n"));
    assert!(!is_valid(&gateway, "t"));
    assert!(text_of(&state, &["token"]).contains("revoked"));
    // Who cannot log in any more can still do this.
    assert!(text_of(&state, &["devices"]).contains("Nobody asks"));
}

#[test]
fn the_state_folder_may_be_named_by_a_variable_or_by_the_configuration() {
    let state = folder("admin-named");
    let _gateway = Gateway::start(&state);
    let config = folder("admin-named-config").join("c.json5");
    fs::write(&config, json!({"state_dir": state}).to_string()).unwrap();
    let run = |variable: &str, value: &Path, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
        let output = command.args(arguments).env(variable, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let config_text = config.to_str().unwrap();
    for (variable, value, arguments) in [
        ("MOORLINE_STATE_DIR", &*state, &["agents"][..]),
        ("MOORLINE_CONFIG", &*config, &["agents"]),
        ("MOORLINE_STATE_DIR", Path::new(""), &["agents", "--config", config_text]),
    ] {
        assert_eq!(run(variable, value, arguments), (Some(0), String::new()), "{variable}");
    }
    let nowhere = folder("admin-nowhere");
    let (code, said) = run("MOORLINE_STATE_DIR", &nowhere, &["agents"]);
    assert!(code == Some(1) && said.contains(nowhere.to_str().unwrap()), "{said}");
    let told = moorline(&state, &["agents", "--nonsense"]);
    assert_ne!(told, Told::failed(1, ""));
    assert_eq!(told.code, 2);
}
