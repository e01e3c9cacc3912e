//! The binary by its configuration: what it says of it, and what a reload does to who is connected.

#[path = "support/configured.rs"]
mod configured;
mod support;

use configured::{Client, Gateway, folder, moorline, write};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use support::{PATIENCE, Peer};

#[test]
fn good_and_bad_files_are_reloaded_while_clients_talk() {
    let state = folder("reload");
    let file = state.join("moorline.json5");
    let good = |tokens: &str, origins: &str, more: &str| {
        format!(
            "{{ gateway: {{ tokens: [{tokens}], allowed_origins: [{origins}] }}, loops: 2,\n\
             {more} }}"
        )
    };
    write(&file, &good("'first', 'second'", "", ""));
    let gateway = Gateway::start(&state);

    // Four clients talk all the time, by either token.
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let talkers: Vec<_> = (0..4)
        .map(|n| {
            let (stop, answers) = (stop.clone(), answers.clone());
            let token = if n % 2 == 0 { "first" } else { "second" };
            let mut client = gateway.login(token, &format!("user-{n}"));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let said = client.call("chat.send", &json!({"message": "still there?"}))?;
                    assert_eq!(said["payload"]["content"], "still there?", "{said}");
                    for _ in 0..50 {
                        assert_eq!(client.call("health", &json!({}))?["ok"], true);
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();

    let page = "https://chat.example.com";
    let mut before = 0;
    for round in 0..10 {
        // A bad file says where, and changes nothing: neither its good parts nor the token.
        let (bad, place) = match round % 3 {
            0 => ("{ gateway: { token: 'x' },\n  loops: 'two' }", ":2:10: loops: expected"),
            1 => (
                "{ gateway: { allowed_origins: ['https://chat.example.com'],\n }",
                ":1:1: what begins here is not closed",
            ),
            _ => ("{ gateway: { token: 'x' }, agents: [] }", "agents need"),
        };
        write(&file, bad);
        let problem = gateway.refuse_to_reload();
        assert!(problem.contains(place), "{problem}");
        assert_eq!(gateway.upgrade(page), 403);
        // A good one holds at every loop: enough connections reach both.
        write(&file, &good("'first', 'second'", &format!("'{page}'"), ""));
        assert_eq!(gateway.reload()["changed"], "gateway.allowed_origins");
        assert!((0..20).all(|_| gateway.upgrade(page) == 101));
        write(&file, &good("'first', 'second'", "", ""));
        gateway.reload();
        assert!((0..20).all(|_| gateway.upgrade(page) == 403));
        // Nobody stood still meanwhile.
        while answers.load(Ordering::Relaxed) <= before {
            std::thread::yield_now();
        }
        before = answers.load(Ordering::Relaxed);
    }
    assert!(talkers.iter().all(|talker| !talker.is_finished()));

    // The file gone is as bad.
    fs::remove_file(&file).unwrap();
    assert!(gateway.refuse_to_reload().ends_with("moorline.json5: it is gone"));

    // What needs a restart is named; the level changes without.
    write(&file, &good("'first', 'second'", "", "log: { level: 'debug' }"));
    assert_eq!(gateway.reload()["changed"], "log.level");
    drop(gateway.login("first", "user-0"));
    gateway.line("connected");
    write(&file, &good("'first', 'second'", "", "").replace("loops: 2", "loops: 3"));
    gateway.signal(Signal::HUP);
    assert_eq!(gateway.line("these settings need a restart")["settings"], "loops");
    gateway.line("configuration reloaded");

    // Without the second token who came by it is closed, everybody else goes on.
    write(&file, &good("'first'", "", ""));
    gateway.reload();
    let mut refused = Peer::connect(gateway.address);
    let request =
        json!({"type": "req", "id": "1", "method": "connect", "params": {"token": "second"}});
    refused.send(1, request.to_string().as_bytes());
    let _challenge = refused.read_message();
    let answer: Value = serde_json::from_slice(&refused.read_message()).unwrap();
    assert_eq!(answer["error"]["details"]["source"], "params");
    stop.store(true, Ordering::Relaxed);
    for (n, talker) in talkers.into_iter().enumerate() {
        let ended: Result<(), (u16, String)> = talker.join().unwrap();
        let expected = if n % 2 == 0 { Ok(()) } else { Err((1008, "revoked".to_string())) };
        assert_eq!(ended, expected, "client {n}");
    }
    println!("{} requests were answered during 30 reloads", 51 * before);
}

#[test]
fn a_pipe_in_place_of_the_file_or_of_a_secret_is_refused_and_the_gateway_can_be_stopped() {
    let state = folder("pipe");
    let (file, secret) = (state.join("moorline.json5"), state.join("secret"));
    write(&secret, "first");
    write(&file, "{ gateway: { token: { file: 'secret' } }, watch_files_ms: 0 }");
    let mut gateway = Gateway::start(&state);
    for path in [&secret, &file] {
        fs::remove_file(path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
        let problem = gateway.refuse_to_reload();
        assert!(problem.contains("it is no regular file"), "{problem}");
    }
    gateway.signal(Signal::TERM);
    gateway.line("stopping");
    // The log ends with the process.
    let end = loop {
        if let Err(end) = gateway.log.recv_timeout(PATIENCE) {
            break end;
        }
    };
    assert_eq!(end, RecvTimeoutError::Disconnected, "it does not stop");
    assert!(gateway.child.wait().unwrap().success());
}

#[test]
fn the_token_of_the_state_folder_is_rotated_by_its_file() {
    let state = folder("kept-token");
    write(&state.join("token"), "first\n");
    let gateway = Gateway::start(&state);
    let mut client = gateway.login("first", "me");
    gateway.reload();
    assert_eq!(client.call("health", &json!({})).unwrap()["ok"], true);
    write(&state.join("token"), "second\n");
    gateway.reload();
    assert_eq!(client.call("health", &json!({})), Err((1008, "revoked".into())));
    gateway.login("second", "me");
    fs::set_permissions(state.join("token"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(gateway.refuse_to_reload().contains("chmod 600"));
}

#[test]
fn limits_of_a_reload_hold_for_new_connections_and_are_what_they_are_told() {
    let state = folder("limits");
    let file = state.join("moorline.json5");
    write(&file, "{ gateway: { token: 'first' } }");
    let gateway = Gateway::start(&state);
    let mut old = gateway.login("first", "old");
    write(
        &file,
        "{ gateway: { token: 'first' }, limits: { message_bytes: 2048, connections: 2 } }",
    );
    assert_eq!(
        gateway.reload()["changed"],
        "limits.connections, limits.pre_auth, limits.message_bytes"
    );
    let mut new = Client { raw: Peer::connect(gateway.address), requests: 0 };
    let hello = new.call("connect", &json!({"token": "first"})).unwrap();
    assert_eq!(hello["payload"]["policy"]["maxPayload"], 2048);
    let long = json!({"message": "x".repeat(3000)});
    assert_eq!(old.call("chat.send", &long).unwrap()["ok"], true);
    assert_eq!(gateway.upgrade("http://localhost"), 503);
    let (code, _) = new.call("chat.send", &long).unwrap_err();
    assert_eq!(code, 1009);
}

#[test]
fn too_few_open_files_for_the_connections_are_told_at_the_start_and_after_a_reload() {
    let state = folder("open-files");
    let file = state.join("moorline.json5");
    write(&file, "{ limits: { connections: 1000 } }");
    let limited = |limit: &str| {
        let limit = format!("{limit} && exec \"$0\" \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &limit, env!("CARGO_BIN_EXE_moorline")]);
        Gateway::of(&mut command, &state)
    };
    let few = "too few open files for limits.connections at all loops: allow more \
               (LimitNOFILE=1064 in the service, ulimit -n 1064 in a shell), or set \
               limits.connections lower";
    let gateway = limited("ulimit -S -n 300 && ulimit -H -n 400");
    assert_eq!(gateway.line(few)["openFiles"], 400);
    assert_eq!(gateway.line("serving")["openFiles"], 400);
    write(&file, "{ limits: { connections: 100 } }");
    gateway.reload();
    write(&file, "{ limits: { connections: 1000 } }");
    gateway.reload();
    assert_eq!(gateway.line(few)["needed"], 1064);
    drop(gateway);
    let gateway = limited("ulimit -S -n 300");
    let mut before = gateway.log.iter().take_while(|line| line["message"] != "serving");
    assert!(before.all(|line| line["message"] != few), "it could be raised");
}

#[test]
fn the_log_has_the_client_that_a_trusted_proxy_names_and_no_other() {
    let state = folder("proxy");
    let request =
        "GET /nope HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n\r\n";
    for (file, expected) in [
        ("{ gateway: { trusted_proxies: ['127.0.0.0/8'] } }", "192.0.2.7:0"),
        ("{ gateway: { trusted_proxies: ['10.0.0.0/8'] } }", "127.0.0.1:"),
    ] {
        write(&state.join("moorline.json5"), file);
        let gateway = Gateway::start(&state);
        let mut client = Peer::tcp(gateway.address);
        client.send_raw(request.as_bytes());
        assert!(client.read_head().starts_with("HTTP/1.1 404 "));
        let peer = gateway.line("refused")["peer"].as_str().unwrap().to_string();
        assert!(peer.starts_with(expected), "{peer}");
    }
}

fn check(state: &Path, more: &[&str], variables: &[(&str, &str)]) -> Output {
    moorline()
        .args(["check-config", "--state-dir"])
        .arg(state)
        .args(more)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn check_config_tells_every_value_and_its_origin_and_no_secret() {
    let state = folder("check");
    let file = state.join("moorline.json5");
    write(&file, "{\n gateway: {\n  token: 'hunter2',\n  rate_limit_rpm: 60,\n } }");
    let variables = [("MOORLINE_LOOPS", "2"), ("MOORLINE_LOPS", "3")];
    let output = check(&state, &["--log-level", "debug"], &variables);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let words: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let path = file.display().to_string();
    for (key, value, origin) in [
        ("gateway.token", "\"sha256:f52fbd32\"", format!("{path}:3")),
        ("gateway.rate_limit_rpm", "60", format!("{path}:4")),
        ("gateway.port", "18790", "default".into()),
        ("loops", "2", "MOORLINE_LOOPS".into()),
        ("log.level", "\"debug\"", "--log-level".into()),
    ] {
        assert!(words.contains(&vec![key, value, origin.as_str()]), "{key}: {text}");
    }
    let agent = ["  echo \"Echo\"", "    backend.type \"echo\""];
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = text.lines().map(squeezed).collect();
    let at = lines.iter().position(|line| line == "agents 1 default").expect(&text);
    assert_eq!(lines[at + 1..at + 3], agent.map(squeezed), "a block for each agent: {text}");
    assert!(text.contains("warning: MOORLINE_LOPS is no setting; did you mean MOORLINE_LOOPS?"));
    assert!(!text.contains("hunter2"));

    let output = check(&state, &["--json"], &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["ok"], &report["file"]), (&json!(true), &json!(path)));
    let settings = report["settings"].as_array().unwrap();
    let rpm = settings.iter().find(|row| row["key"] == "gateway.rate_limit_rpm").unwrap();
    assert_eq!((&rpm["value"], &rpm["from"]), (&json!(60), &json!(format!("{path}:4"))));
    assert!(!String::from_utf8(output.stdout).unwrap().contains("hunter2"));
}

#[test]
fn check_config_and_serve_refuse_the_same_file_with_exit_78() {
    let state = folder("refused");
    let file = state.join("other.json5");
    write(&file, "{\n  gateway: { tokens: ['hunter2'], prot: 1 } }");
    let path = file.display().to_string();
    let said =
        format!("moorline: {path}:2:35: gateway.prot: unknown key; did you mean gateway.port?");
    for command in ["check-config", "serve"] {
        let output = moorline().args([command, "--config", &path]).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{command}");
        assert_eq!(String::from_utf8(output.stderr).unwrap().trim(), said, "{command}");
        assert!(output.stdout.is_empty());
    }
    let output = check(&state, &["--json", "--config", &path], &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = &report["problems"][0];
    assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!(35)));
    assert_eq!(output.status.code(), Some(78));
    // What only the whole shows.
    let output = check(&state, &["--token", "t"], &[("MOORLINE_AGENTS", "[]")]);
    assert_eq!(output.status.code(), Some(78));
}
